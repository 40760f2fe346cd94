"""Mutants: the list, one mutated copy of the tree, the tests on it, and the table of what died.

``python tests/mutation.py [NAME...]`` is `make mutants`: each mutant of ``mutants.toml`` is applied
to a copy of the tree, the checkout itself is never touched, and the tests meant to kill it run
there; where they do not, the whole suite does. Golden files are not among them: they differ for
any change of a template, right or wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "mutants.toml"
PAGE = ROOT / "docs" / "mutants.md"
# What the tests read; the repository's history, builds and environments stay behind.
TREE = (
    "convgen", "templates", "specs", "tests", "examples", "docs", "benchmarks", ".ci",
    "pyproject.toml", "LICENSE", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Makefile",
)  # fmt: skip
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "build", ".hypothesis")
GOLDEN = "tests/c/test_golden.py"
NAMED_SECONDS, SUITE_SECONDS = 600, 5400


@dataclass(frozen=True)
class Mutant:
    """``before`` stands in ``file`` exactly once; ``after`` takes its place. ``tests``: what kills
    it, as pytest takes it: a file or one test. ``push``: applied and killed on every push."""

    name: str
    kind: str
    file: str
    before: str
    after: str
    breaks: str
    tests: tuple[str, ...]
    push: bool = False


@dataclass(frozen=True)
class Run:
    """One pytest run. ``killer``: the test that failed, or words where it was none; else empty.
    ``passed``: how many tests did; 0 beside no killer says that all of them were skipped."""

    killer: str
    passed: int
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """``killer`` is empty where the mutant survived; ``planned``: one of its own tests did it."""

    mutant: Mutant
    killer: str
    planned: bool
    seconds: float


class MutationError(Exception):
    """The list does not fit the tree, or a test fails without any mutant."""


def mutants() -> tuple[Mutant, ...]:
    """The published list, in its order."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    return tuple(Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries)


def misfit(mutant: Mutant, root: Path = ROOT) -> str:
    """Why the mutant cannot be applied to this tree; empty where it can."""
    path = root / mutant.file
    if not path.is_file():
        return f"{mutant.name}: there is no {mutant.file}"
    found = path.read_text(encoding="utf-8").count(mutant.before)
    if found != 1:
        return f"{mutant.name}: its text stands {found} times in {mutant.file}, not once"
    return "" if mutant.before != mutant.after else f"{mutant.name}: it changes nothing"


@contextmanager
def tree(mutant: Mutant | None = None) -> Iterator[Path]:
    """A copy of the tree, with the mutant if there is one. Raises MutationError."""
    with tempfile.TemporaryDirectory(prefix="convgen-mutant-") as name:
        folder = Path(name) / "tree"
        folder.mkdir()
        for part in TREE:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=LEFT_BEHIND)
            elif (ROOT / part).exists():
                shutil.copy2(ROOT / part, folder / part)
        if mutant is not None:
            if problem := misfit(mutant, folder):
                raise MutationError(problem)
            path = folder / mutant.file
            text = path.read_text(encoding="utf-8").replace(mutant.before, mutant.after)
            path.write_text(text, encoding="utf-8")
        yield folder


def run(folder: Path, tests: Sequence[str], *, seconds: float, more: Sequence[str] = ()) -> Run:
    """The tests of a copied tree on that tree, up to the first failure. Raises MutationError."""
    scratch = folder.parent
    command = [
        sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "--no-header",
        "-p", "no:cacheprovider", f"--basetemp={scratch / 'pytest'}", *more, *tests,
    ]  # fmt: skip
    env = {
        **os.environ, "PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(scratch / "cache"),
        "TMPDIR": str(scratch), "COLUMNS": "500",
    }  # fmt: skip
    start = time.monotonic()
    with (scratch / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Run(f"no end after {seconds:.0f} s", 0, time.monotonic() - start)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.seek(0)
        text = log.read()
    spent = time.monotonic() - start
    if code > 2:  # no such test, or none at all
        raise MutationError(f"pytest ended with {code}:\n{text[-3000:]}")
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", text, re.MULTILINE)
    passed = re.search(r"(\d+) passed", text)
    killer = failed.group(1) if failed else f"pytest ends with {code}" if code else ""
    return Run(killer, int(passed.group(1)) if passed else 0, spent)


def judged(mutant: Mutant, *, whole_suite: bool = True, workers: int = 2) -> Verdict:
    """Apply one mutant and run its tests; then, where they do not see it, the whole suite."""
    with tree(mutant) as folder:
        first = run(folder, mutant.tests, seconds=NAMED_SECONDS)
        if first.killer or not whole_suite:
            return Verdict(mutant, first.killer, True, first.seconds)
        spent, innocent = first.seconds, [f"--ignore={GOLDEN}", f"-n{workers}"]
        for _ in range(5):
            found = run(folder, (), seconds=SUITE_SECONDS, more=innocent)
            spent += found.seconds
            if not found.killer or "::" not in found.killer or not fails_anyway(found.killer):
                return Verdict(mutant, found.killer, False, spent)
            innocent.append(f"--deselect={found.killer}")
    raise MutationError(f"{mutant.name}: {innocent[2:]} fail without any mutant")


def fails_anyway(test: str) -> bool:
    with tree() as folder:
        return bool(run(folder, [test], seconds=NAMED_SECONDS).killer)


def check_ground(chosen: Iterable[Mutant]) -> None:
    """Without a mutant every named test passes, on convgen as it is copied. Raises otherwise."""
    with tree() as folder:
        where = "import convgen; print(convgen.__file__)"
        found = subprocess.run(
            [sys.executable, "-c", where], cwd=folder, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(folder)}, check=True,
        )  # fmt: skip
        if Path(found.stdout.strip()).parent != folder / "convgen":
            raise MutationError(f"tests would run on {found.stdout.strip()}, not on the copy")
        tests = list(dict.fromkeys(test for mutant in chosen for test in mutant.tests))
        result = run(folder, tests, seconds=SUITE_SECONDS)
    if result.killer:
        raise MutationError(f"without any mutant, this fails: {result.killer}")
    words = f"{len(tests)} tests and files named, all pass unmutated"
    print(f"{words} ({result.seconds:.0f} s)", flush=True)


def line(verdict: Verdict) -> str:
    """One row of the table."""
    how = "killed" if verdict.killer else "SURVIVED"
    if verdict.killer and not verdict.planned:
        how = "killed, not as planned"
    return f"{verdict.mutant.name:<34} {how:<9} {verdict.seconds:6.1f} s  {verdict.killer}"


def page() -> str:
    """docs/mutants.md: the list as people read it."""
    found = mutants()
    kinds = list(dict.fromkeys(mutant.kind for mutant in found))
    words = [
        "# Mutants: changes that the tests must see",
        "",
        f"{len(found)} small mistakes, each made on purpose in a copy of the templates or the",
        "generator, one at a time. `make mutants` makes every one of them and fails unless the",
        "normal test suite does; golden files, which differ for any change at all, are not asked.",
        "Every push checks that all still apply and that their tests exist, and kills a few.",
        "",
        "This page is made from `tests/mutants.toml`.",
    ]
    for kind in kinds:
        words += ["", f"## {kind[0].upper()}{kind[1:]}", ""]
        for mutant in (m for m in found if m.kind == kind):
            quick = ", on every push" if mutant.push else ""
            words += [
                f"**{mutant.name}** in `{mutant.file}`: {mutant.breaks}",
                "",
                *("    - " + text for text in mutant.before.splitlines()),
                *("    + " + text for text in mutant.after.splitlines() or ["(nothing)"]),
                "",
                f"Killed by {', '.join(f'`{test}`' for test in mutant.tests)}{quick}.",
                "",
            ]
        words.pop()
    return "\n".join(words) + "\n"


def main() -> int:
    """Every mutant, or those named; the exit code is 1 where one survives, 2 where none can run."""
    words = "Apply each mutant to a copy of the tree and see whether the tests fail."
    parser = argparse.ArgumentParser(prog="make mutants", description=words)
    parser.add_argument("names", nargs="*", help="only these (a part of a name will do)")
    parser.add_argument("--named-only", action="store_true", help="do not ask the whole suite")
    parser.add_argument("--workers", type=int, default=2, help="processes for the whole suite")
    options = parser.parse_args()
    wanted = options.names
    chosen = [m for m in mutants() if not wanted or any(name in m.name for name in wanted)]
    try:
        check_ground(chosen)
        verdicts = []
        for mutant in chosen:
            verdict = judged(mutant, whole_suite=not options.named_only, workers=options.workers)
            verdicts.append(verdict)
            print(line(verdict), flush=True)
    except MutationError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    dead = sum(bool(verdict.killer) for verdict in verdicts)
    spent = sum(verdict.seconds for verdict in verdicts)
    print(f"{dead} of {len(verdicts)} mutants killed in {spent:.0f} s")
    return 0 if verdicts and dead == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
