"""TensorBoard's events."""

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from biomechgpt_jax.training.events import Events


def read(file: Path) -> list[Event]:
    """Records of a TFRecord file: a length of eight bytes, a checksum of four, the data, a checksum of four."""
    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def test_scalars_of_a_step_stand_in_one_event(tmp_path: Path) -> None:
    events = Events(tmp_path / "a", 5)
    events.write(5, {"loss": 1.5, "mfu": 0.25})
    events.close()
    (file,) = (tmp_path / "a").glob("events*")
    *_, start, last = read(file)
    assert start.step == 5 and start.session_log.status == start.session_log.START
    assert last.step == 5 and last.wall_time > 0
    assert {value.tag: value.simple_value for value in last.summary.value} == {"loss": 1.5, "mfu": 0.25}


def test_a_full_disk_neither_stops_nor_holds_up_the_run(disk) -> None:
    disk.remount("size=16k")
    events = Events(disk.path / "events", 1)
    for step in range(2000):
        events.write(step, {"loss": 1.0})
    events.flush()
    events.close()
    (file,) = (disk.path / "events").glob("events*")
    assert 0 < file.stat().st_size <= 16 * 1024
