"""Many builds: side by side, at once, killed at any moment, interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from built import (
    CHILD,
    TINY,
    TINY_RELU,
    build,
    fake_cc,
    needs_cc,
    options,
    posix_only,
    tree,
    works,
)

from convgen.errors import (
    ConvgenError,
    ToolchainError,
    UsageError,
)
from convgen.package.disk import library as library_module
from convgen.package.disk.build import BuildEvent, BuildResult, Stage, build_many

pytestmark = [needs_cc, pytest.mark.usefixtures("convgen_stands_still")]


def test_threat_two_builds_of_one_layer_at_once(tmp_path: Path) -> None:
    """Processes: each ends well, and one package is there."""
    code = f"""{CHILD}
layer = TINY_RELU if sys.argv[1] == "relu" else TINY
print(build_layer(layer, options(Path({str(tmp_path)!r}), use_cache=False)).state)
"""
    kinds = ["none", "none", "relu"]
    children = [
        subprocess.Popen([sys.executable, "-c", code, kind], stdout=subprocess.PIPE, text=True)
        for kind in kinds
    ]
    states = [child.communicate(timeout=120)[0].strip() for child in children]
    assert all(child.returncode == 0 for child in children)
    assert set(states) <= {"built", "unchanged"} and "built" in states
    is_relu = "relu" in (tmp_path / "tiny" / "__init__.py").read_text()
    assert works(tmp_path, TINY_RELU if is_relu else TINY)


def test_threads_of_one_process_building_one_layer(tmp_path: Path) -> None:
    results: list[BuildResult] = []

    def one() -> None:
        results.append(build(tmp_path, TINY))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.state for r in results) == ["built", "unchanged", "unchanged", "unchanged"]


@posix_only
def test_many_layers_and_a_failing_one(tmp_path: Path) -> None:
    names = ["a", "b", "tiny", "c"]
    layers = [replace(TINY, spec=replace(TINY.spec, name=name)) for name in names]
    cc = fake_cc(tmp_path / "picky-cc", 'case "$*" in *tiny.c*) exit 1;; esac; exec $REAL "$@"')
    events: list[BuildEvent] = []
    found = build_many(layers, options(tmp_path, cc=cc), jobs=3, on_event=events.append)
    assert [isinstance(r, ConvgenError) for r in found] == [False, False, True, False]
    assert [r.name for r in found if isinstance(r, BuildResult)] == ["a", "b", "c"]
    assert isinstance(found[2], ToolchainError)
    for name, last in zip(names, ("done", "done", "failed", "done"), strict=True):
        stages = [event.stage for event in events if event.name == name]
        assert stages[0] == Stage.GENERATE and stages[-1] == last
        assert sorted(stages, key=list(Stage).index) == stages
    assert events[-1].outcome is not None
    again = build_many(layers, options(tmp_path, cc=cc), jobs=2)
    assert [getattr(r, "state", "") for r in again] == ["unchanged", "unchanged", "", "unchanged"]


def test_two_layers_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two layers are named tiny"):
        build_many([TINY, TINY_RELU], options(tmp_path))
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


def test_no_layers_at_all(tmp_path: Path) -> None:
    assert build_many([], options(tmp_path)) == []


def test_our_own_bug_in_one_layer_is_not_swallowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **others: object) -> None:
        raise RuntimeError("the verification broke")

    monkeypatch.setattr(library_module, "verify_plan_in_child", broken)
    with pytest.raises(RuntimeError, match="the verification broke"):
        build_many([TINY], options(tmp_path))
    assert not (tmp_path / "tiny").exists()


@posix_only
def test_threat_ctrl_c_ends_the_compilers_and_keeps_earlier_builds(tmp_path: Path) -> None:
    earlier = tree(build(tmp_path, TINY).path)
    cc = fake_cc(tmp_path / "slow-cc", f"echo $$ >> {tmp_path}/pids; exec sleep 60")
    code = f"""{CHILD}
other = Layer(ConvSpec("other", 4, 4, 1, 2, 3, 3), "<t>")
settings = options(Path({str(tmp_path)!r}), cc={cc!r})
try:
    if sys.argv[1] == "many":
        build_many([TINY_RELU, other], settings, jobs=2)
    else:
        build_layer(TINY_RELU, settings)
except KeyboardInterrupt:
    print("interrupted")
"""
    for how, compilers in (("many", 2), ("one", 1)):
        (tmp_path / "pids").unlink(missing_ok=True)
        child = subprocess.Popen(
            [sys.executable, "-c", code, how], stdout=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 60
        while len(pids(tmp_path)) < compilers and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=20)
        assert out == "interrupted\n"
        time.sleep(0.1)
        assert not [pid for pid in pids(tmp_path) if Path(f"/proc/{pid}").exists()]
        assert tree(tmp_path / "tiny") == earlier and works(tmp_path, TINY)
        assert not list(tmp_path.glob(".*.work"))


def pids(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "pids").read_text().split()]
    except OSError:
        return []
