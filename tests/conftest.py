"""Shared by all tests: ``--update-golden`` rewrites committed expectations instead of comparing;
``needs`` skips what a machine cannot run, ``tools`` marks what asks for more than README promises.

Also the built packages of tests/support/built.py, which is imported only where they are asked for.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import slices
from objects import SHARED
from tools import BASE, COMPILER, asked, need, not_asked_for


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files")


@pytest.hookimpl(tryfirst=True)  # before Hypothesis takes its seed
def pytest_configure(config: pytest.Config) -> None:
    seeded = config.getoption("hypothesis_seed", None) is not None
    if not seeded and "not deep" in config.option.markexpr:  # a tree draws the same each time
        config.option.hypothesis_seed = slices.TURN
    # A shell's background job ignores Ctrl-C, and so would every process that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # one folder for all workers, which inherit its name
        folder = tempfile.mkdtemp(prefix="convgen-tests-")
        os.environ[SHARED] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


# -- time ----------------------------------------------------------------------------------------

# Seconds of one worker that a folder may take on a fast core: twenty minutes in all, so that two
# workers need ten. Who adds tests looks here first.
BUDGET = {
    "c": 300, "cli": 60, "importers": 60, "kernels": 360, "network": 90, "package": 210,
    "spec": 60, "tools": 120,
}  # fmt: skip
_spent: dict[str, list[float]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """With pytest-xdist: called where the reports of all workers arrive."""
    parts = report.nodeid.partition("::")[0].split("/")
    folder = parts[1] if len(parts) > 2 else "."
    _spent.setdefault(folder, []).append(report.duration)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What each folder took, where that is enough to matter."""
    if sum(map(sum, _spent.values())) < 60 or hasattr(terminalreporter.config, "workerinput"):
        return
    terminalreporter.section("time of one worker, and its budget")
    for folder, durations in sorted(_spent.items()):
        calls, budget = len(durations) // 3, BUDGET.get(folder, 0)
        words = f"{folder:10}{calls:6} tests{sum(durations):8.0f} s of {budget:4} s"
        terminalreporter.write_line(words + " over" * (sum(durations) > budget))


# -- tools -----------------------------------------------------------------------------------------

_started: list[str] = []  # programs that the running test has started


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "subprocess.Popen":
        _started.append(os.fsdecode(arguments[0]))  # type: ignore[arg-type]


sys.addaudithook(_watch)


def _beyond_base(item: pytest.Item) -> bool:
    """Whether a mark or a parameter names a tool that README's second command does not ask for."""
    asked = {str(name) for mark in item.iter_markers("needs") for name in mark.args}
    callspec = getattr(item, "callspec", None)
    for value in callspec.params.values() if callspec else ():
        words = value if isinstance(value, tuple) else (value, getattr(value, "cc", None))
        named = (word for word in words if isinstance(word, str))
        asked |= {word for word in named if word == "valgrind" or COMPILER.fullmatch(word)}
    return bool(asked - BASE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _beyond_base(item):
            item.add_marker("tools")
    slices.thin(items, Path(__file__).parent)


def pytest_runtest_setup(item: pytest.Item) -> None:
    _started.clear()
    asked.clear()
    for mark in item.iter_markers("needs"):
        need(*mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Whoever runs a tool asks for it first; ``tools`` marks those that take what is there."""
    result = yield
    if pyfuncitem.get_closest_marker("tools"):
        return result
    programs = [Path(p).name for p in _started if "/" not in p or p.startswith(("/usr/", "/bin/"))]
    forgotten = not_asked_for(programs)
    assert not forgotten, f"this test runs {', '.join(forgotten)}: tools.need() it, or mark `needs`"
    return result


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """``golden(path, text)``: the file at ``path`` must hold ``text``."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        found = path.read_text(encoding="utf-8") if path.exists() else "(no such file)"
        assert found == text, f"{path.name} is not current: run pytest --update-golden and look"

    return check


@pytest.fixture(scope="session", params=["api", "abi"])
def package(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], ModuleType]:
    """``package(name)``: a module of tests/support/built.py's layers, with and without Python.h."""
    from built import packages

    from convgen.package.disk.binding import this_python

    if request.param == "api" and not this_python().include:
        pytest.skip("no Python.h here")
    cache = Path(os.environ[SHARED]) / "packages"  # what one worker has built, the others copy
    return packages(tmp_path_factory.mktemp(request.param), request.param, cache_root=cache)


@pytest.fixture
def layer(package: Callable[[str], ModuleType]) -> ModuleType:
    """The package of the layer named ``layer``."""
    return package("layer")


@pytest.fixture(scope="module")
def convgen_stands_still() -> Iterator[None]:
    """Whoever edits convgen while its tests run would make every build stale."""
    from convgen.package.disk import session

    digest = session.own_digest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "own_digest", lambda: digest)
        yield
