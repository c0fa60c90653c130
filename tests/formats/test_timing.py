"""The time column of text formats: rounded, counted, jittered, with gaps, and against the header."""

import numpy as np
import pytest

from biomechgpt_jax.biomechanics.flags import cautions
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats.parsing.timing import Timing, timing


def _of(time: np.ndarray, header_hz: float = float("nan"), fill: bool = True) -> Timing:
    return timing(np.asarray(time, np.float64), header_hz, "a.trc", fill)


def _times(rate_hz: float, rows: int = 184, decimals: int = 9) -> np.ndarray:
    return np.round(np.arange(rows) / rate_hz, decimals)


@pytest.mark.parametrize("rate_hz", [50, 60, 75, 80, 90, 100, 120, 150, 200, 250])
@pytest.mark.parametrize("decimals", [2, 3, 6])
def test_rounded_times_give_the_rate_on_an_even_grid(rate_hz: float, decimals: int) -> None:
    found = _of(_times(rate_hz, decimals=decimals), rate_hz)
    assert found.rate_hz == rate_hz and found.even and found.frames == 184 and found.flags == ()


def test_rounded_times_need_no_header() -> None:
    assert _of(_times(150, decimals=3)).rate_hz == 150
    assert _of(_times(59.94, rows=2000, decimals=4)).rate_hz == pytest.approx(59.94, abs=0.002)


def test_a_rate_of_television_is_not_rounded_to_the_next_whole_number() -> None:
    assert _of(_times(59.94), 59.94).rate_hz == 59.94
    assert _of(_times(59.94)).rate_hz == pytest.approx(59.94, abs=1e-3)


def test_frames_that_are_lost_are_unseen_and_do_not_slow_the_movement() -> None:
    time = np.concatenate([_times(100, 250), _times(100, 150) + 5.5])
    found = _of(time, 100)
    assert found.rate_hz == 100 and found.even and found.frames == 700
    values = found.on_grid(np.arange(400.0)[:, None])[:, 0]
    assert np.isnan(values[250:550]).all() and values[249] == 249 and values[550] == 250
    assert cautions(found.flags) == ("3.00 s are missing after data row 250",)


def test_one_lost_frame_is_no_reason_for_a_caution() -> None:
    found = _of(np.delete(_times(50), 20), 50)
    assert found.frames == 184 and found.flags == ("filled-time",)
    assert np.flatnonzero(np.isnan(found.on_grid(np.ones(183)))).tolist() == [20]


def test_a_gap_is_refused_by_row_where_it_cannot_be_unseen() -> None:
    with pytest.raises(InputError, match=r"0.32 s are missing after data row 20"):
        _of(np.delete(_times(50), slice(20, 35)), fill=False)


def test_a_gap_of_an_hour_does_not_fill_the_memory() -> None:
    time = _times(100)
    time[100:] += 3600
    with pytest.raises(InputError, match="3600 s are missing, most after data row 100"):
        _of(time)


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (np.arange(1, 185), "counts frames: the header's 100 Hz"),
        (np.arange(0, 1840, 10), "are milliseconds"),
        (np.round(np.arange(184) * 1e4), "are microseconds"),
        (np.full(184, np.nan), "not every row has a time"),
        (np.zeros(184), "not every row has a time"),
        (np.arange(184) / 50, "the header says 100 Hz, the times 50: the times are followed"),
    ],
)
def test_times_that_are_no_seconds_or_not_the_headers_are_told(time: np.ndarray, words: str) -> None:
    found = _of(time, 100)
    assert found.rate_hz == (50 if "50" in words else 100) and found.frames == 184
    assert len(cautions(found.flags)) == 1 and words in found.flags[0]


def test_frames_that_are_counted_may_be_lost_too() -> None:
    found = _of(np.delete(np.arange(184), slice(50, 90)), 100)
    assert found.rate_hz == 100 and found.frames == 184
    assert "0.40 s are missing after data row 50" in cautions(found.flags)


@pytest.mark.parametrize(
    ("time", "header_hz", "words"),
    [
        (np.arange(184) * 1000, float("nan"), "is time in seconds"),
        (np.arange(1, 185), float("nan"), "is time in seconds"),
        (np.arange(1, 185), 1.0, "is time in seconds"),
        (np.full(184, np.nan), float("nan"), "neither times in every row nor a frame rate"),
        (np.concatenate([_times(100), _times(100)]), 100, "does not increase at data row 185"),
        (np.arange(184) * 1e-6, float("nan"), "is time in seconds"),
    ],
)
def test_times_without_an_answer_are_refused(time: np.ndarray, header_hz: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        _of(time, header_hz)


def test_late_rows_are_jitter_and_not_lost_frames() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(300) / 50 + rng.uniform(-0.006, 0.006, 300)
    found = _of(time)
    assert found.frames == 300 and not found.even and found.flags == ("uneven-time",)
    wave = found.on_grid(np.sin(2 * np.pi * time))
    np.testing.assert_allclose(wave, np.sin(2 * np.pi * (time[0] + np.arange(300) / found.rate_hz)), atol=0.01)


def test_uneven_rows_are_never_interpolated_across_a_gap() -> None:
    time = np.arange(300) / 50 + np.random.default_rng(0).uniform(-0.004, 0.004, 300)
    found = _of(np.delete(time, slice(100, 150)))
    unseen = np.flatnonzero(np.isnan(found.on_grid(np.arange(250.0))))
    assert found.frames == 300 and {*range(101, 149)} <= {*unseen} <= {*range(99, 151)}
