"""Schedules as values: what is printed is read back; what cannot be is refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convgen.errors import ScheduleError
from convgen.spec.schedule import Family, Schedule

SCHEDULES = st.builds(
    Schedule,
    family=st.sampled_from(Family),
    lanes=st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
    tile_h=st.integers(1, 64),
    tile_w=st.integers(1, 64),
    vectors=st.integers(1, 16),
    rows=st.integers(1, 64),
    strips=st.integers(1, 1024),
)
GOOD = {"family": "direct", "lanes": 8, "tile": [1, 6], "vectors": 2}


@settings(derandomize=True, deadline=None, database=None)
@given(SCHEDULES)
def test_every_schedule_comes_back_from_its_text_and_its_mapping(schedule: Schedule) -> None:
    assert Schedule.from_text(str(schedule)) == schedule
    assert Schedule.from_mapping(schedule.to_mapping()) == schedule


def test_the_text_is_the_yaml_that_pins_it() -> None:
    assert str(Schedule(Family.DIRECT, 8, 1, 6, 2)) == (
        "{family: direct, lanes: 8, tile: [1, 6], vectors: 2}"
    )
    assert str(Schedule(Family.WINOGRAD, 16, 4, 4, 2, 13, 5)).endswith("block: [13, 5]}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": "fft"}, "no family 'fft'; there are direct, "),
        ({"family": ["direct"]}, "no family"),
        ({"lanes": 3}, "lanes 3 is not 1, 2, 4"),
        ({"lanes": True}, "are ints"),
        ({"lanes": "8"}, "are ints"),
        ({"tile": [0, 6]}, r"tile\[0\] is 0, it must lie in 1..64"),
        ({"tile": [1, 65]}, r"tile\[1\] is 65"),
        ({"tile": 6}, r"tile is \[height, width\]"),
        ({"tile": [1, 2, 3]}, r"tile is \[height, width\]"),
        ({"vectors": 17}, "vectors is 17, it must lie in 1..16"),
        ({"block": [0, 1]}, r"block\[0\] is 0"),
        ({"block": [1]}, r"block is \[rows, strips\]"),
        ({"unroll": 2}, "keys must be family, lanes, tile, vectors"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        Schedule.from_mapping({**GOOD, **change})


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(ScheduleError, match=f"keys must be .*{key}"):
        Schedule.from_mapping({k: v for k, v in GOOD.items() if k != key})


@pytest.mark.parametrize("text", ["", "direct", "[1, 2]", "{family: direct", "{a: &x [*x]}"])
def test_text_that_is_no_schedule(text: str) -> None:
    with pytest.raises(ScheduleError):
        Schedule.from_text(text)
