"""The list of mutants fits the tree, and what judges them can say both: killed, survived.

A few are killed here; `make mutants` takes them all.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mutation
import pytest
from mutation import MutationError, Verdict

LISTED = mutation.mutants()
# A change that changes nothing, for a test that passes in no time.
HARMLESS = mutation.Mutant(
    "harmless", "none", "convgen/kernels/planar/shuffle.py", "Streams of floats",
    "Streams of some floats", "-",
    ("tests/kernels/planar/test_shuffle.py",),
)  # fmt: skip


def test_mutants_are_many_and_of_every_kind() -> None:
    assert len(LISTED) >= 40 and len({m.name for m in LISTED}) == len(LISTED)
    assert len({m.kind for m in LISTED}) >= 12 and 3 <= sum(m.push for m in LISTED) <= 6
    assert {m.file.split("/")[0] for m in LISTED} == {"convgen", "templates"}


@pytest.mark.parametrize("mutant", LISTED, ids=lambda mutant: mutant.name)
def test_a_mutant_still_applies(mutant: mutation.Mutant) -> None:
    assert mutation.misfit(mutant) == ""
    assert mutant.tests and not any(test.startswith(mutation.GOLDEN) for test in mutant.tests)


def test_the_tests_that_kill_exist() -> None:
    named = sorted({test for mutant in LISTED for test in mutant.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, *named], cwd=mutation.ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-2000:]


def test_the_page_is_the_list(golden: Callable[[Path, str], None]) -> None:
    golden(mutation.PAGE, mutation.page())


@pytest.mark.parametrize("mutant", [m for m in LISTED if m.push], ids=lambda m: m.name)
def test_a_mutant_is_killed(mutant: mutation.Mutant) -> None:
    verdict = mutation.judged(mutant, whole_suite=False)
    assert verdict.killer.startswith("tests/") and verdict.planned


def test_a_harmless_change_survives() -> None:
    verdict = mutation.judged(HARMLESS, whole_suite=False)
    assert verdict.killer == "" and "SURVIVED" in mutation.line(verdict)


def test_the_checkout_stays_as_it_is() -> None:
    path = mutation.ROOT / HARMLESS.file
    before = path.read_bytes()
    with mutation.tree(HARMLESS) as folder:
        assert (folder / HARMLESS.file).read_bytes() != before
    assert path.read_bytes() == before and not folder.exists()


def test_what_does_not_apply_or_exist_is_an_error() -> None:
    for wrong, words in (
        (replace(HARMLESS, before="Streams of strings"), "0 times"),
        (replace(HARMLESS, before="Pick"), "times in convgen/kernels/planar/shuffle.py, not once"),
        (replace(HARMLESS, file="convgen/none.py"), "there is no convgen/none.py"),
        (replace(HARMLESS, after=HARMLESS.before), "changes nothing"),
        (replace(HARMLESS, tests=(f"{HARMLESS.tests[0]}::test_none",)), "pytest ended with 4"),
    ):
        with pytest.raises(MutationError, match=words):
            mutation.judged(wrong, whole_suite=False)


@pytest.mark.parametrize(
    ("killer", "planned", "code"), [("tests/x", True, 0), ("tests/y", False, 0), ("", True, 1)]
)
def test_exit_code(
    killer: str, planned: bool, code: int,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["mutants"])
    monkeypatch.setattr(mutation, "mutants", lambda: (HARMLESS,))
    monkeypatch.setattr(mutation, "check_ground", lambda chosen: None)
    monkeypatch.setattr(
        mutation, "judged", lambda mutant, **_: Verdict(mutant, killer, planned, 1.5)
    )
    assert mutation.main() == code
    printed = capsys.readouterr().out
    assert ("SURVIVED" in printed) is (code == 1)
    assert f"{1 - code} of 1 mutants killed" in printed
    assert ("not as planned" in printed) is not planned
