"""Real faults: full and read-only disks, SIGKILL anywhere, compilers gone mad, many builds at once.

Nothing is simulated inside convgen: file systems are mounted in a namespace of the test's own,
processes are killed by the system. After each fault the earlier package is whole and works, and
what the fault left behind is gone after the next build at the latest.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import slices
from built import (
    ROOT,
    TINY,
    TINY_RELU,
    build,
    fake_cc,
    needs_cc,
    posix_only,
    tree,
    works,
)
from places import SUPPORT
from tools import lacking

from convgen.api import import_package
from convgen.errors import ConvgenError, MismatchError, ToolchainError
from convgen.spec.model import Layer

pytestmark = [needs_cc, posix_only, pytest.mark.usefixtures("convgen_stands_still")]

HEAD = f"""
import os, shutil, signal, subprocess, sys
sys.path[:0] = [{str(ROOT)!r}, {str(SUPPORT)!r}]
from dataclasses import replace
from pathlib import Path
from built import TINY, TINY_RELU, build, tree, works
from convgen.errors import ConvgenError, UsageError
"""
CACHED = {".entry", ".json", ".template"}  # suffixes of the cache's files
LEFT = {"tiny", ".tiny.lock", "the-cache"}


# -- disks ---------------------------------------------------------------------------------------


@cache
def namespace() -> tuple[str, ...]:
    """The command in front of one that may mount for itself alone; skips where that is refused."""
    said = "no unshare here"
    for flags in ("-m", "-rm"):
        if lacking("unshare") or sys.platform != "linux":
            break
        command = ("unshare", flags)
        trial = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
        done = subprocess.run(trial, capture_output=True, text=True)
        if done.returncode == 0:
            return command
        said = done.stderr.strip()
    pytest.skip(f"may not mount a file system here: {said}")


def mounting(code: str, folder: Path) -> str:
    """What ``code`` prints, run where it may mount on ``folder``."""
    command = [*namespace(), sys.executable, "-c", HEAD + code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


FULL = """
out = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(out)], check=True)
earlier = tree(build(out, TINY).path)

def leave(pages):
    with open(out / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - 4096 * pages))

for pages in range(2, 200, 6):
    leave(pages)
    try:
        result = build(out, TINY_RELU, use_cache=False)
        print(pages, "built")
        break
    except ConvgenError as error:
        print(pages, type(error).__name__, str(error).splitlines()[0])
        assert tree(out / "tiny") == earlier
        (out / "filler").unlink()
        assert works(out, TINY)
        names = {p.name for p in out.iterdir()}
        assert names - {"tiny.failed"} == {"tiny", ".tiny.lock", "the-cache"}, names
        shutil.rmtree(out / "tiny.failed", ignore_errors=True)
assert works(out, TINY_RELU)
leave(0)
result = build(out.parent / "roomy", TINY_RELU, cache_root=out / "another-cache")
print("cache", result.state, result.warnings[0])
assert not [p for p in (out / "another-cache").rglob("*") if p.is_file()]
assert works(out.parent / "roomy", TINY_RELU)
"""


def test_threat_disk_full_of_a_small_tmpfs(tmp_path: Path) -> None:
    """From no page free to just enough: a clear error each time, and the earlier package."""
    (tmp_path / "out").mkdir()
    *lines, last, cached = mounting(FULL, tmp_path / "out").splitlines()
    assert len(lines) >= 4
    for line in lines:
        assert "the disk is full" in line, line
    assert last.endswith(" built")
    assert cached.startswith("cache built cache ") and "No space left" in cached


READ_ONLY = """
out = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(out)], check=True)
build(out, TINY)
subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
earlier = tree(out / "tiny")
print(build(out, TINY).state)
try:
    build(out, TINY_RELU)
except UsageError as error:
    print(error)
assert tree(out / "tiny") == earlier and works(out, TINY)
elsewhere = out.parent / "elsewhere"
for layer in (TINY, TINY_RELU):
    result = build(elsewhere, layer, cache_root=out / "the-cache")
    assert works(elsewhere, layer)
    print(result.state, *result.warnings)
"""


def test_threat_read_only_output_and_cache(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    same, refused, cached, built = mounting(READ_ONLY, tmp_path / "out").splitlines()
    assert same == "unchanged"
    assert "cannot write here (Read-only file system); choose a folder with -o" in refused
    assert cached == "cached"
    assert built.startswith("built cache ") and "not written (Read-only file system)" in built


OTHER_CPU = """
from convgen.target import host_target
out = Path(sys.argv[1])
if sys.argv[2:]:
    result = build(out, TINY)
    assert works(out, TINY)
    print(result.state, result.target, host_target().name)
    sys.exit()
again = [sys.executable, "-c", sys.orig_argv[2], str(out), "again"]
subprocess.run(again, check=True)
text = Path("/proc/cpuinfo").read_text()
less = [" ".join(w for w in line.split(" ") if not w.startswith(("avx", "fma", "f16c")))
        for line in text.splitlines()]
(out / "cpuinfo").write_text("\\n".join(less) + "\\n")
subprocess.run(["mount", "--bind", str(out / "cpuinfo"), "/proc/cpuinfo"], check=True)
subprocess.run(again, check=True)
subprocess.run(["umount", "/proc/cpuinfo"], check=True)
subprocess.run(again, check=True)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="edits what an x86-64 says of itself")
def test_threat_cache_from_another_cpu(tmp_path: Path) -> None:
    """The machine is another overnight, with fewer instructions; later it is the old one again."""
    (tmp_path / "out").mkdir()
    before, less, after = map(str.split, mounting(OTHER_CPU, tmp_path / "out").splitlines())
    if before[2] in ("x86-64-sse2", "generic"):
        pytest.skip("this CPU has no instructions to lose")
    assert before[:2] == ["built", before[2]]
    assert less == ["built", "x86-64-sse2", "x86-64-sse2"]
    assert after == ["cached", before[2], before[2]]


# -- killed --------------------------------------------------------------------------------------

# Builds a layer of its own height. With a number beside it, it kills itself at that one of the
# things it does to files and processes.
KILLED = """
out, high, at = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
seen = 0

def hook(event, arguments):
    global seen
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
        return
    if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.utime",
                 "shutil.rmtree", "subprocess.Popen"):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

layer = replace(TINY, spec=replace(TINY.spec, h=high))
print("go", flush=True)
sys.addaudithook(hook)
build(out, layer)
print(seen)
"""


def of_height(high: int) -> Layer:
    return replace(TINY, spec=replace(TINY.spec, h=high))


def start(out: Path, high: int, at: int = 0) -> subprocess.Popen[str]:
    """A build that has been under way from "go" on; its temporary files lie in ``out``/tmp."""
    command = [sys.executable, "-c", HEAD + KILLED, str(out), str(high), str(at)]
    env = {**os.environ, "TMPDIR": str(out.parent / "tmp")}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert child.stdout is not None and child.stdout.readline() == "go\n"
    return child


def kill_builds(out: Path, count: int, seed: int) -> None:
    """``count`` builds die of SIGKILL at random moments, half of them at a random thing they do."""
    (out.parent / "tmp").mkdir()
    draw, high, died = random.Random(seed), 5, 0
    build(out, of_height(4))
    child, begin = start(out, high), time.perf_counter()
    things = int(child.communicate()[0])
    seconds = time.perf_counter() - begin
    for number in range(6, 6 + 4 * count):  # one that ended before its moment counts for nothing
        where = f"seed {seed}, build {number}"
        if number % 2:
            child = start(out, number, draw.randint(1, things))
            child.communicate(timeout=60)
        else:
            child = start(out, number)
            time.sleep(draw.uniform(0, seconds))
            child.kill()
            child.communicate()
        died += child.returncode == -signal.SIGKILL
        found = import_package(out / "tiny").INPUT_SHAPE[1]
        assert found in (high, number), where
        assert works(out, of_height(found)), where
        high = found
        if died == count:
            break
    assert died == count
    build(out, of_height(4))
    assert works(out, of_height(4))
    assert {p.name for p in out.iterdir()} == LEFT
    hidden = [p.name for p in (out / "tiny").iterdir() if p.name.startswith(".")]
    assert not hidden and not list((out.parent / "tmp").iterdir())
    assert {p.suffix for p in (out / "the-cache").rglob("*") if p.is_file()} <= CACHED


def test_threat_killed_at_random_moments(tmp_path: Path) -> None:
    kill_builds(tmp_path / "out", 6, slices.TURN)


@pytest.mark.deep
def test_threat_killed_at_random_moments_of_200_builds(tmp_path: Path) -> None:
    kill_builds(tmp_path / "out", 200, random.randrange(1 << 30))


# -- compilers -----------------------------------------------------------------------------------

GARBAGE = 'head -c 3000 /dev/urandom > "$o"'
FAILED = "failed on .*exit code 1"
COMPILERS = {
    "crashes": ("kill -SEGV $$", ToolchainError, r"failed on .* \(killed by signal 11\)"),
    "writes nothing": ("exit 0", ToolchainError, r"says it compiled tiny\w*\.c, but .*\.o is not"),
    "writes garbage": (f'case "$o" in *.o) {GARBAGE}; exit 0;; esac', ToolchainError, FAILED),
    "writes empty files": ('case "$o" in *.o) : > "$o"; exit 0;; esac', MismatchError, "load: "),
    "links garbage": (f'case "$o" in *.so) {GARBAGE}; exit 0;; esac', MismatchError, "load: "),
    "links half a library": (
        'case "$o" in *.so) $REAL "$@"; head -c 6000 "$o" > half; mv half "$o"; exit 0;; esac',
        MismatchError,
        "load: ",
    ),
    "prints garbage": ("head -c 90000 /dev/urandom >&2; exit 1", ToolchainError, FAILED),
    "never stops printing": ("exec yes >&2", ToolchainError, r"did not finish tiny.* within 1 s"),
}
OUTPUT = 'for a in "$@"; do [ "$p" = -o ] && o="$a"; p="$a"; done; '


@pytest.fixture(scope="module")
def with_earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good package of TINY, for builds of TINY_RELU that fail."""
    out = tmp_path_factory.mktemp("earlier")
    build(out, TINY)
    return out


@pytest.mark.parametrize("how", COMPILERS)
def test_threat_compiler_that(with_earlier: Path, tmp_path: Path, how: str) -> None:
    body, kind, words = COMPILERS[how]
    out, earlier = with_earlier, tree(with_earlier / "tiny")
    cc = fake_cc(tmp_path / "cc", f'{OUTPUT}{body}\nexec $REAL "$@"')
    with pytest.raises(ConvgenError, match=words) as caught:
        build(out, TINY_RELU, cc=cc, timeout=1 if "never" in how else 60)
    assert type(caught.value) is kind and len(str(caught.value)) < 600_000
    assert "the generated C is kept in" in str(caught.value)
    assert tree(out / "tiny") == earlier and works(out, TINY)
    assert {p.name for p in out.iterdir()} == {*LEFT, "tiny.failed"}
    assert not [p.name for p in (out / "tiny.failed").iterdir() if p.name.startswith(".")]
    assert {p.suffix for p in (out / "the-cache").rglob("*") if p.is_file()} <= CACHED


# -- signals -------------------------------------------------------------------------------------

ENDLESS = """
case "$*" in *"-c a.c"*)
cat > wrapped.c <<'END'
#define a_pack a_real_pack
#include "a.c"
#undef a_pack
int a_pack(const float *w, const float *b, void *packed)
{
  for (volatile int i = 0; w != NULL;) i = 1;
  return a_real_pack(w, b, packed);
}
END
exec $REAL -O2 -fPIC -c wrapped.c -o a.o;;
esac
exec $REAL "$@"
"""
STAGES = {
    "generate": 'exec $REAL "$@"',
    "compile": 'case "$*" in *" -c "*) sleep 60;; esac; exec $REAL "$@"',
    "verify": ENDLESS,
}
SPEC = "input: [5, 5, 1]\nfilters: 2\nkernel: 3\npadding: 1\n"


def children_of(pid: int) -> set[int]:
    """Every process that this one started, and theirs."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child, *children_of(child)}
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def convgen(folder: Path, *args: str) -> subprocess.Popen[str]:
    caches = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "c"), "TMPDIR": str(folder)}
    env = {**os.environ, **caches, "XDG_DATA_HOME": str(folder / "d"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "convgen", *args],
        cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def read_until(child: subprocess.Popen[str], words: str) -> None:
    """Read its messages up to one that holds ``words``; what follows is read and dropped."""
    assert child.stderr is not None
    for line in child.stderr:
        if words in line:
            threading.Thread(target=child.stderr.read, daemon=True).start()
            return
    raise AssertionError(f"it never said {words!r}")


@pytest.fixture(scope="module")
def with_a(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a.yaml, built."""
    folder = tmp_path_factory.mktemp("a")
    (folder / "a.yaml").write_text(SPEC)
    assert convgen(folder, "build", "a.yaml").wait(60) == 0
    return folder


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("stage", STAGES)
def test_threat_sigterm_in_each_stage(with_a: Path, tmp_path: Path, stage: str) -> None:
    """The children die with the build, whatever they are at; the earlier package stays."""
    shutil.copytree(with_a, tmp_path, dirs_exist_ok=True)
    earlier = tree(tmp_path / "build" / "a")
    (tmp_path / "a.yaml").write_text(SPEC + "activation: relu\n")
    cc = fake_cc(tmp_path / "cc", STAGES[stage])
    child = convgen(tmp_path, "build", "-v", "--cc", cc, "a.yaml")
    read_until(child, f"a: {stage}")
    if stage != "generate":
        until = time.monotonic() + 20
        while not (started := children_of(child.pid)) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.3)
        started |= children_of(child.pid)
    else:
        started = children_of(child.pid)
    begin = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 143
    assert time.monotonic() - begin < 10
    until = time.monotonic() + 2
    while any(map(is_running, started)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(is_running, started))
    assert tree(tmp_path / "build" / "a") == earlier
    assert {p.name for p in (tmp_path / "build").iterdir()} == {"a", ".a.lock"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_threat_ctrl_c_in_a_tune_that_compiles(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "a.yaml").write_text(SPEC)
    cc = fake_cc(tmp_path / "cc", STAGES["compile"])
    child = convgen(tmp_path, "tune", "-v", "--cc", cc, "--candidates", "2", "a.yaml")
    read_until(child, "compile")
    time.sleep(0.3)
    begin = time.monotonic()
    child.send_signal(number)
    assert child.wait(60) == 128 + number
    assert time.monotonic() - begin < 10
    assert not list(tmp_path.glob("convgen_tune_*"))


# -- at once -------------------------------------------------------------------------------------


def test_threat_sixteen_builds_of_one_layer_at_once(tmp_path: Path) -> None:
    """One of them builds, and all of them end well with the one package."""
    code = HEAD + "print(build(Path(sys.argv[1]), TINY).state)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(16)]
    states = sorted(child.communicate(timeout=300)[0].strip() for child in children)
    assert states == ["built"] + 15 * ["unchanged"]
    assert works(tmp_path, TINY)
    assert {p.name for p in tmp_path.iterdir()} == LEFT
