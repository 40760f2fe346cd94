"""``convgen size``: sections as binutils see them, the stack as a run leaves its mark on it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from built import LAYERS, needs_cc
from cli_runner import TINY, run

from convgen.package.emit.files import decide, emit_files
from convgen.package.emit.size import Size, layer_size
from convgen.spec.model import Layer
from convgen.target import TARGETS, host_target
from convgen.toolchain import (
    Compiler,
    CompilerKind,
    Sections,
    Stack,
    find_compiler,
    read_stack,
    sections,
    stack_flags,
)

elf_only = pytest.mark.skipif(sys.platform != "linux", reason="reads ELF")
GENERIC = TARGETS["generic"]
ARM = "arm-none-eabi-gcc -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16"
CASES = [
    pytest.param(cc, marks=pytest.mark.needs(cc.split()[0])) for cc in ("gcc", "clang", "tcc", ARM)
]


def size_of(layer: Layer, cc: str) -> Size:
    return layer_size(decide(layer, GENERIC), find_compiler(cc))


# -- sections --------------------------------------------------------------------------------------


@elf_only
@pytest.mark.needs("size")
@pytest.mark.parametrize("cc", CASES)
def test_sections_agree_with_binutils(cc: str, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(
        "const int table[9] = {1, 2, 3};\nint first = 1, zeros[70];\n"
        "int f(int i);\nint f(int i) { return table[i] + first + zeros[i] + i / 7; }\n"
    )
    subprocess.run([*cc.split(), "-O2", "-c", "a.c", "-o", "a.o"], cwd=tmp_path, check=True)
    listing = subprocess.run(["size", "-A", "a.o"], cwd=tmp_path, capture_output=True, text=True)
    sizes = dict.fromkeys(("text", "rodata", "data", "bss", "eh_frame", "ARM"), 0)
    for name, size in re.findall(
        r"^\.(text|rodata|data|bss|eh_frame|ARM)\S*\s+(\d+)", listing.stdout, re.M
    ):
        sizes[name] += int(size) if name != "ARM" else 0
    found = sections(tmp_path / "a.o")
    assert found == Sections(*(sizes[n] for n in ("text", "rodata", "data", "bss", "eh_frame")))
    assert found.text > 0 and found.rodata + found.data >= 40 and found.bss + found.data >= 284


@elf_only
@pytest.mark.parametrize("cc", CASES)
def test_a_layer_has_no_variables(cc: str) -> None:
    found = size_of(LAYERS["baked"], cc)
    assert found.code is not None and found.code.bss == 0
    assert found.code.data == 0 or cc == "tcc", "tcc keeps constants among the variables"
    constants = found.code.rodata + found.code.data
    run_time = size_of(replace(LAYERS["baked"], weights=None), cc).code
    assert run_time is not None
    assert abs(constants - run_time.rodata - run_time.data - found.packed) < 64
    assert found.flash == found.code.text + constants


# -- stack -----------------------------------------------------------------------------------------

PAINTED = """\
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "@name.h"
static float x[@x], y[@y], packed[@MACRO_PACKED_BYTES / 4];
static float workspace[@MACRO_WORKSPACE_BYTES / 4 + 1];
static unsigned char stack[1 << 18];
static void *nothing(void *p) { return p; }
static void *called(void *p) { @name_run(x, packed, y, workspace); return p; }
static long used(void *(*body)(void *))
{
  pthread_t thread;
  pthread_attr_t attr;
  long clean = 0;
  memset(stack, 0xa5, sizeof stack);
  pthread_attr_init(&attr);
  pthread_attr_setstack(&attr, stack, sizeof stack);
  if (pthread_create(&thread, &attr, body, NULL)) return -1;
  pthread_join(thread, NULL);
  while (stack[clean] == 0xa5) ++clean;
  return (long)sizeof stack - clean;
}
int main(void)
{
  const long idle = used(nothing);
  printf("%ld\\n", used(called) - idle);
  return 0;
}
"""


@elf_only
@pytest.mark.parametrize("cc", CASES[:2])
@pytest.mark.parametrize("name", ["layer", "roomy"])
def test_stack_is_what_a_run_uses(name: str, cc: str, tmp_path: Path) -> None:
    """A thread's stack is painted, the layer runs on it, and the paint that is gone is counted."""
    layer, target = LAYERS[name], host_target()
    found = layer_size(decide(layer, target), find_compiler(cc))
    assert found.stack is not None and found.stack.exact is (cc == "gcc")
    text = PAINTED
    for mark, value in {
        "@name": name, "@MACRO": name.upper(), "@x": str(found.x // 4), "@y": str(found.y // 4),
    }.items():  # fmt: skip
        text = text.replace(mark, value)
    for file, content in emit_files(layer, target).items():
        if "/" not in file:
            (tmp_path / file).write_text(content)
    (tmp_path / "main.c").write_text(text)
    files = ("main.c", f"{name}.c")
    command = [cc, "-O2", "-pthread", "-Wl,-z,now", *files, "-o", "painted"]
    subprocess.run(command, cwd=tmp_path, check=True)
    used = int(subprocess.run([tmp_path / "painted"], capture_output=True, text=True).stdout)
    slack = 200  # the calling frame, and what memset of the C library needs
    assert 0 < used <= found.stack.bytes + slack
    if found.stack.exact:
        # A frame may hold room that this run has not touched, though not much of it.
        assert used >= found.stack.bytes // 2


GRAPH = """\
graph: { title: "a.c"
node: { title: "a.c:leaf" label: "leaf\\na.c:1:1\\n40 bytes (static)" }
node: { title: "a.c:wide" label: "wide\\na.c:2:1\\n100 bytes (static)" }
node: { title: "memcpy" label: "memcpy\\n<built-in>" shape : ellipse }
edge: { sourcename: "a.c:leaf" targetname: "memcpy" }
node: { title: "run" label: "run\\na.c:9:1\\n16 bytes (static)" }
edge: { sourcename: "run" targetname: "a.c:middle" label: "a.c:10:3" }
node: { title: "a.c:middle" label: "middle\\na.c:3:1\\n70 bytes (dynamic,bounded)" }
edge: { sourcename: "a.c:middle" targetname: "a.c:leaf" label: "a.c:4:3" }
edge: { sourcename: "run" targetname: "a.c:wide" label: "a.c:11:3" }
}
"""


def test_deepest_chain(tmp_path: Path) -> None:
    graph = tmp_path / "a.ci"
    assert read_stack(tmp_path, "a", "run") is None
    graph.write_text(GRAPH)
    assert read_stack(tmp_path, "a", "run") == Stack(16 + 70 + 40, exact=True)
    graph.write_text(GRAPH.replace("40 bytes (static)", "40 bytes (dynamic)"))
    assert read_stack(tmp_path, "a", "run") is None, "a frame without a bound"
    graph.write_text(GRAPH.replace('targetname: "memcpy"', 'targetname: "__indirect_call"'))
    assert read_stack(tmp_path, "a", "run") == Stack(16 + 70 + 40 + 100, exact=False)


def test_sum_of_frames(tmp_path: Path) -> None:
    (tmp_path / "a.su").write_text(
        "a.c:1:leaf\t40\tstatic\na.c:7:a_pack\t30\tstatic\na.c:9:run\t8\tstatic\n"
    )
    assert read_stack(tmp_path, "a", "run", ("a_pack",)) == Stack(48, exact=False)


def test_old_compilers_are_asked_for_what_they_have() -> None:
    def flags(kind: CompilerKind, version: str) -> tuple[str, ...]:
        return stack_flags(Compiler(("cc",), kind, version, "x", "id"))

    assert flags(CompilerKind.GCC, "12.2.0") == ("-fcallgraph-info=su",)
    assert flags(CompilerKind.GCC, "9.4.0") == ("-fstack-usage",)
    assert flags(CompilerKind.GCC, "unknown") == ("-fstack-usage",)
    assert flags(CompilerKind.OTHER, "unknown") == ()


# -- the verb --------------------------------------------------------------------------------------


@needs_cc
@elf_only
def test_size_of_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(TINY)
    Path("b.yaml").write_text(TINY + "weights: {init: truncated_normal, stddev: 0.1}\n")
    ran = run("size", "a.yaml", "b.yaml", "--isa", "plain")
    assert ran.code == 0
    head, a, b, total = ran.out.splitlines()
    assert total.split()[:2] == ["total", "900"]
    assert head.split()[:4] == ["layer", "MACs", ".text", ".rodata"]
    assert a.split()[:2] == ["a", "450"] and "baked" in b and "target generic" in ran.err
    data = run("size", "a.yaml", "b.yaml", "--isa", "plain", "--json").json
    assert data["target"] == "generic" and [x["name"] for x in data["layers"]] == ["a", "b"]
    first, second = data["layers"]
    assert first["x"] == 100 and first["y"] == 200 and first["data"] == first["bss"] == 0
    assert second["flash"] - first["flash"] >= second["packed"] > 0
    assert first["ram"] == first["stack"] + 300 + first["packed"] + first["workspace"]
    assert second["ram"] == second["stack"] + 300 + second["workspace"]


@elf_only
@pytest.mark.needs("arm-none-eabi-gcc")
def test_size_for_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(TINY)
    quick, small = (
        run("size", "a.yaml", "--json", "--cc", cc).json["layers"][0] for cc in (ARM, f"{ARM} -Os")
    )
    assert 0 < small["text"] < quick["text"], "the optimisation that the command names holds"
    ran = run("size", "a.yaml", "--cc", ARM)
    assert "compiles for another machine: target generic" in ran.err
    named = run("size", "a.yaml", "--json", "--target", "cortex-m4").json
    assert named["target"] == "cortex-m4" and "arm-none-eabi" in named["compiler"]
    assert named["layers"][0]["text"] > 0


def test_a_target_without_its_compiler_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    Path("a.yaml").write_text(TINY)
    ran = run("size", "a.yaml", "--target", "cortex-m7")
    assert ran.code == 3 and "install arm-none-eabi-gcc" in ran.err


@needs_cc
def test_a_compiler_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(TINY)
    ran = run("size", "a.yaml", "--cc", "cc --no-such-option")
    assert ran.code == 3 and "--no-such-option" in ran.err
