"""A stand-in for the training program: it prints its place, then follows the script in STUB, one word per start.

Words: an exit code; `wait`, which on SIGTERM takes three seconds to save and exits with 75; `lost`, at which process 0
is killed and the others exit with 134.
"""

import os
import signal
import sys
import time
from pathlib import Path

workdir = Path(sys.argv[sys.argv.index("--workdir") + 1])
process = os.environ.get("BIOMECHGPT_PROCESS_ID", os.environ.get("SLURM_PROCID", "0"))
workdir.mkdir(parents=True, exist_ok=True)
starts = workdir / f"starts.{process}"
with starts.open("a") as file:
    file.write("started\n")
nth = len(starts.read_text().splitlines())
names = ("BIOMECHGPT_COORDINATOR", "BIOMECHGPT_PROCESSES", "XLA_FLAGS")
print("start", nth, *(os.environ.get(name, "-") for name in names), flush=True)
word = os.environ["STUB"].split()[nth - 1]


def end(number: int, _frame: object) -> None:
    time.sleep(3)
    print("saved", flush=True)
    sys.exit(75)


if word == "wait":
    signal.signal(signal.SIGTERM, end)
    print("waiting", flush=True)
    time.sleep(60)
if word == "lost":
    if process == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(134)
sys.exit(int(word))
