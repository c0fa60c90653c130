"""Roll call before the start: process 0 waits until all processes have arrived, and can name those that have not.

`jax.distributed.initialize` aborts the program when a process is missing, without saying which. Therefore process 0
first listens on the coordinator's port itself; the others report their number and host name there and are held until
all have arrived. Then the port is handed to jax.
"""

import contextlib
import socket
import time

from biomechgpt_jax.errors import ClusterError

_WORD, _GO = "biomechgpt", b"go\n"
_ANSWER_S = 5.0  # time limit for a caller to identify itself


def hold(port: int, processes: int, timeout_s: float) -> None:
    """On process 0: wait for all other processes, then release them.

    Args:
        port: port of the coordinator.
        processes: number of processes, including this one.
        timeout_s: how long to wait.

    Raises:
        ClusterError: the port is taken, a process did not arrive, or two arrived with the same number.
    """
    deadline = time.monotonic() + timeout_s
    arrived: dict[int, tuple[str, socket.socket]] = {}
    try:
        listener = _listen(port, deadline)
    except OSError as error:
        raise ClusterError(
            f"port {port} of the coordinator cannot be opened on {socket.gethostname()} ({error.strerror}); end the "
            "run that holds it, or choose another port"
        ) from error
    with listener, contextlib.ExitStack() as open_calls:
        while len(arrived) < processes - 1:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                call = open_calls.enter_context(listener.accept()[0])
            except TimeoutError as error:
                missing = [str(process) for process in range(1, processes) if process not in arrived]
                heard = ", ".join(f"{process} ({arrived[process][0]})" for process in sorted(arrived)) or "none"
                raise ClusterError(
                    f"not all {processes} processes arrived within {timeout_s:g} s: process {', '.join(missing)} "
                    f"is missing; heard from: {heard}; see its log, or raise distributed.start_timeout_s"
                ) from error
            caller = _identify(call)
            if caller is None or not 0 < caller[0] < processes:
                continue  # a stranger, or a process of a run of another size
            process, host = caller
            if process in arrived and _connected(arrived[process][1]):
                raise ClusterError(
                    f"two processes arrived as process {process}: on {arrived[process][0]} and on {host}; give every "
                    "process its own number, and end what is left of an earlier run"
                )
            arrived[process] = (host, call)
        listener.close()  # before releasing them, because the port is jax's now
        for _, call in arrived.values():
            with contextlib.suppress(OSError):
                call.sendall(_GO)


def report(coordinator: str, process: int, timeout_s: float) -> None:
    """On the other processes: report to process 0 and wait until all processes have arrived.

    Raises:
        ClusterError: the coordinator cannot be reached, or did not release this process in time.
    """
    deadline = time.monotonic() + timeout_s
    host, _, port = coordinator.rpartition(":")
    reason = "it does not answer"
    while (remaining := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=min(remaining, _ANSWER_S)) as call:
                call.sendall(f"{_WORD} {process} {socket.gethostname()}\n".encode())
                reason = "it waits for other processes"
                call.settimeout(max(0.01, deadline - time.monotonic()))
                if call.recv(len(_GO)) == _GO:
                    return
        except OSError as error:
            reason = reason if isinstance(error, TimeoutError) else str(error)
        time.sleep(0.2)
    raise ClusterError(
        f"process {process} ({socket.gethostname()}) could not join the coordinator {coordinator} within "
        f"{timeout_s:g} s ({reason}); is process 0 running, and is the port open between the hosts?"
    )


def _listen(port: int, deadline: float) -> socket.socket:
    """Open a listening socket, retrying because an earlier run of the same job may still hold the port."""
    dual_stack = socket.has_dualstack_ipv6()
    while True:
        try:
            if dual_stack:
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
            return socket.create_server(("", port), backlog=1024)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _identify(call: socket.socket) -> tuple[int, str] | None:
    """Number and host name of a caller; None if it is not one of our processes."""
    call.settimeout(_ANSWER_S)
    try:
        words = call.makefile("rb").readline(1024).decode().split()
    except (OSError, UnicodeDecodeError):
        return None
    return (int(words[1]), words[2]) if len(words) == 3 and words[0] == _WORD and words[1].isdecimal() else None


def _connected(call: socket.socket) -> bool:
    """Whether the other end is still waiting."""
    call.setblocking(False)
    try:
        return call.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        call.setblocking(True)
