"""Roll call before the start: process 0 waits until all have come, and can say who has not.

`jax.distributed.initialize` aborts the program when a process is missing, and does not say which. So process 0
first listens on the coordinator's port itself; the others report their number and host name there and are held until
all are in. Then the port is given to jax.
"""

import contextlib
import socket
import time

from biomechgpt_jax.errors import ClusterError

_WORD, _GO = "biomechgpt", b"go\n"
_ANSWER_S = 5.0  # for a caller to say who it is


def hold(port: int, processes: int, timeout_s: float) -> None:
    """On process 0: wait for all the others, then let them go.

    Args:
        port: of the coordinator.
        processes: how many there are, this one included.
        timeout_s: how long to wait.

    Raises:
        ClusterError: the port is taken, somebody did not come, or two came as the same process.
    """
    deadline = time.monotonic() + timeout_s
    came: dict[int, tuple[str, socket.socket]] = {}
    try:
        listener = _listen(port, deadline)
    except OSError as error:
        raise ClusterError(
            f"port {port} of the coordinator cannot be opened on {socket.gethostname()} ({error.strerror}); end the "
            "run that holds it, or choose another port"
        ) from error
    with listener, contextlib.ExitStack() as open_calls:
        while len(came) < processes - 1:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                call = open_calls.enter_context(listener.accept()[0])
            except TimeoutError as error:
                missing = [str(process) for process in range(1, processes) if process not in came]
                heard = ", ".join(f"{process} ({came[process][0]})" for process in sorted(came)) or "none"
                raise ClusterError(
                    f"not all {processes} processes have come within {timeout_s:g} s: process {', '.join(missing)} "
                    f"is missing; heard of: {heard}"
                ) from error
            who = _who(call)
            if who is None or not 0 < who[0] < processes:
                continue  # a stranger, or of a run of another size
            process, host = who
            if process in came and _connected(came[process][1]):
                raise ClusterError(
                    f"two processes came as process {process}: on {came[process][0]} and on {host}; give every process "
                    "its own number, and end what is left of an earlier run"
                )
            came[process] = (host, call)
        listener.close()  # before they go: the port is jax's now
        for _, call in came.values():
            with contextlib.suppress(OSError):
                call.sendall(_GO)


def report(coordinator: str, process: int, timeout_s: float) -> None:
    """On the others: tell process 0 that this one is here, and wait until all are.

    Raises:
        ClusterError: the coordinator cannot be reached, or did not let go in time.
    """
    deadline = time.monotonic() + timeout_s
    host, _, port = coordinator.rpartition(":")
    reason = "it does not answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=min(left, _ANSWER_S)) as call:
                call.sendall(f"{_WORD} {process} {socket.gethostname()}\n".encode())
                reason = "it waits for other processes"
                call.settimeout(max(0.01, deadline - time.monotonic()))
                if call.recv(len(_GO)) == _GO:
                    return
        except OSError as error:
            reason = reason if isinstance(error, TimeoutError) else str(error)
        time.sleep(0.2)
    raise ClusterError(
        f"process {process} ({socket.gethostname()}) could not start with the coordinator {coordinator} within "
        f"{timeout_s:g} s ({reason}); is process 0 running, and is the port open between the hosts?"
    )


def _listen(port: int, deadline: float) -> socket.socket:
    """A listening socket; an earlier run of the same job may hold the port a little longer."""
    both = socket.has_dualstack_ipv6()
    while True:
        try:
            if both:
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
            return socket.create_server(("", port), backlog=1024)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _who(call: socket.socket) -> tuple[int, str] | None:
    """Number and host name of a caller; None: it is none of ours."""
    call.settimeout(_ANSWER_S)
    try:
        words = call.makefile("rb").readline(1024).decode().split()
    except (OSError, UnicodeDecodeError):
        return None
    return (int(words[1]), words[2]) if len(words) == 3 and words[0] == _WORD and words[1].isdecimal() else None


def _connected(call: socket.socket) -> bool:
    """Whether the other end still waits."""
    call.setblocking(False)
    try:
        return call.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        call.setblocking(True)
