"""Shared by all tests: ``--update-golden`` rewrites committed expectations instead of comparing.

Also the built packages of tests/built.py, which is imported only where they are asked for.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files")


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and so would every process that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
    """``package(name)``: the module of a layer of tests/built.py, with and without Python.h."""
    from built import packages

    from convgen.package.disk.binding import this_python

    if request.param == "api" and not this_python().include:
        pytest.skip("no Python.h here")
    return packages(tmp_path_factory.mktemp(request.param), request.param)


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
