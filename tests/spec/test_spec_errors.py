"""Each bad spec gives exactly the message that ``tests/bad_specs`` keeps, and docs show them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import spec_errors_page as bad

from convgen.spec import CODES

Golden = Callable[[Path, str], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bad") / "specs"
    bad.set_up(path)
    return path


@pytest.mark.parametrize("name", bad.cases())
def test_message(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, golden: Golden) -> None:
    monkeypatch.chdir(folder)
    text = bad.message(name)
    assert f"E{name[1:4]}" in bad.codes_of(text), text
    golden(bad.BAD / f"{name}.txt", text)


def test_every_code_has_a_bad_spec() -> None:
    assert {f"E{name[1:4]}" for name in bad.cases()} == set(CODES)


def test_there_are_many() -> None:
    assert len(bad.cases()) >= 70


def test_one_mistake_is_told_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a few cases hold several mistakes on purpose; the others give one error each."""
    monkeypatch.chdir(folder)
    several = {name for name in bad.cases() if bad.message(name).count("error[") > 1}
    assert several == {
        "e009_alias_bomb",
        "e009_shared_kernel",
        "e010_merge_key",
        "e101_several_mistakes",
        "e103_nothing_required",
        "e113_zero_stride_and_dilation",
        "e306_wrong_shape",
        "e307_float_weights_of_int8",
        "e408_scaled_int32",
        "e503_several_mistakes_in_a_network",
    }


def test_page_is_current(golden: Golden) -> None:
    golden(bad.PAGE, bad.page())
