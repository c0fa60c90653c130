"""Devices and processes."""

from dataclasses import dataclass

from biomechgpt_jax.config.checks import require


@dataclass(frozen=True)
class Mesh:
    """Sizes of the mesh axes; -1 once: whatever devices are left."""

    replica: int = 1
    data: int = -1
    fsdp: int = 1
    sequence: int = 1
    tensor: int = 1


@dataclass(frozen=True)
class Distributed:
    """Several processes as one run. A field at its default takes BIOMECHGPT_<FIELD> of the environment, where set."""

    coordinator: str = ""  # host:port of process 0; empty: found from the cluster, or a single process
    processes: int = 0  # 0: as the cluster says
    process_id: int = -1  # -1: as the cluster says
    start_timeout_s: int = 300  # until the coordinator is reached and all have come
    heartbeat_timeout_s: int = 100  # a process silent for so long is lost, which ends the others (134)
    shutdown_timeout_s: int = 300
    barrier_timeout_s: int = 300  # at the checks of the start and where processes meet between stages
    stall_s: float = 45.0  # without a finished step: the host that is behind is named and dumps its stacks
    first_step_stall_s: float = 900.0  # the same for the first steps, which compile

    def __post_init__(self) -> None:
        for name in ("start_timeout_s", "heartbeat_timeout_s", "shutdown_timeout_s", "barrier_timeout_s"):
            require(getattr(self, name) >= 1, f"distributed.{name} is {getattr(self, name)}; give at least 1")
        for name in ("stall_s", "first_step_stall_s"):
            require(getattr(self, name) > 0, f"distributed.{name} is {getattr(self, name)}; give a positive number")
        require(self.processes >= 0, f"distributed.processes is {self.processes}; give 0 or more")
        port = self.coordinator.rpartition(":")[2]
        require(
            not self.coordinator or (":" in self.coordinator and port.isdecimal()),
            f'distributed.coordinator is "{self.coordinator}"; give host:port, such as "node1:8476"',
        )
