"""Every target: its operations, its kernels' self tests and their bits, under emulation."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from foreign import BY_NAME, FOREIGN, STRICT, compiler, run_program
from vector_source import source

from convgen.choose.chooser import choose
from convgen.cross import Outcome, try_layer
from convgen.cross.tools import called, wanted
from convgen.cross.trial import Bench
from convgen.errors import ScheduleError
from convgen.kernels import lower
from convgen.package.emit.files import emit_files
from convgen.spec.model import Act, Activation, ConvSpec, InitWeights, Layer, Layout, Padding
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS, VectorIsa
from convgen.target.isa import model
from convgen.target.rigs import RIGS, Rig, rigs_of
from convgen.toolchain import Processes

pytestmark = pytest.mark.tools
ONE = Padding(1, 1, 1, 1)
SMALL = ConvSpec("small", 5, 6, 5, 7, 3, 3, padding=ONE)
# One layer of each family, and each activation once: six programs a target.
LAYERS = {
    "direct": replace(SMALL, activation=Activation(Act.RELU)),
    "planes": replace(
        SMALL, layout=Layout.NCHW, sh=2, batch=2, activation=Activation(Act.LEAKY_RELU, alpha=0.25)
    ),
    "depthwise": replace(SMALL, c=6, oc=6, groups=6, activation=Activation(Act.RELU6)),
    "grouped": replace(SMALL, c=8, oc=8, groups=4, activation=Activation(Act.CLIP, low=-2.0)),
    "winograd": replace(SMALL, h=8, w=8, c=16, oc=9),
}
EXACT = ("direct", "planes", "depthwise", "grouped")
SMOOTH = (Act.SIGMOID, Act.SILU, Act.TANH, Act.GELU, Act.GELU_TANH, Act.HARDSWISH)
each_rig = pytest.mark.parametrize("rig", FOREIGN, ids=lambda rig: rig.name)
seen: dict[str, dict[str, str]] = {}  # bits by layer and rig


def layer_of(label: str, rig: Rig) -> Layer:
    """The layer, Winograd pinned where the target can: on small maps others win."""
    spec, target = LAYERS[label], TARGETS[rig.target]
    pinned = None
    if label == "winograd" and target.isa.lanes > 1:
        pinned = Schedule(Family.WINOGRAD, target.isa.lanes, 4, 4, 1, 4, 1)
    return Layer(spec, "<t>", schedule=pinned)


def bits_of(verdict: str) -> str:
    return verdict.rpartition("bits ")[2].strip(" )\n")


@each_rig
@pytest.mark.parametrize("label", LAYERS)
def test_self_test_of_each_family(rig: Rig, label: str, tmp_path: Path) -> None:
    target = TARGETS[rig.target]
    layer = layer_of(label, rig)
    code, words = run_program(rig, tmp_path, c_files(layer, rig))
    assert code == 0, words
    isa = target.isa
    if label == "grouped":
        isa = choose_isa(layer.spec, rig)
    assert f"({isa.name}, error " in words
    seen.setdefault(label, {})[rig.name] = bits_of(words)


def c_files(layer: Layer, rig: Rig) -> dict[str, str]:
    files = emit_files(layer, TARGETS[rig.target])
    return {name: text for name, text in files.items() if name.endswith((".c", ".h"))}


def choose_isa(spec: ConvSpec, rig: Rig) -> VectorIsa:
    found = TARGETS[rig.target].lanes(choose(spec, TARGETS[rig.target]).schedule.lanes)
    assert found is not None
    return found


@pytest.mark.parametrize("label", EXACT)
def test_exact_sums_have_the_same_bits_on_every_machine(label: str, tmp_path: Path) -> None:
    """Big-endian, microcontrollers and vectors of any width: where nothing rounds, all agree."""
    found = dict(seen.get(label, {}))
    for rig in (BY_NAME["generic"], BY_NAME["generic, s390x"]):
        if rig.name in found:
            continue
        try:
            files = c_files(Layer(LAYERS[label], "<t>"), rig)
            found[rig.name] = bits_of(run_program(rig, tmp_path, files)[1])
        except pytest.skip.Exception:
            continue
    if len(found) < 2:
        pytest.skip("one machine alone has nothing to agree with")
    assert len(set(found.values())) == 1, found


@each_rig
def test_smooth_activations(rig: Rig, tmp_path: Path) -> None:
    """All of them in one program: a layer each, called in turn."""
    files, calls = {}, ""
    for act in SMOOTH:
        name = f"the_{act.value}"
        spec = replace(SMALL, name=name, h=3, w=3, c=4, oc=6, kh=1, kw=1,
                       padding=Padding(0, 0, 0, 0), activation=Activation(act))  # fmt: skip
        emitted = c_files(Layer(spec, "<t>"), rig)
        for file in (f"{name}.c", f"{name}.h"):
            files[file] = emitted[file]
        files[f"{name}_test.c"] = (
            f"int {name}_main(void);\n#define main {name}_main\n{emitted['selftest.c']}"
        )
        calls += f"  if ({name}_main() != 0) return 1;\n"
    protos = "".join(f"int the_{act.value}_main(void);\n" for act in SMOOTH)
    files["all.c"] = f"{protos}int main(void)\n{{\n{calls}  return 0;\n}}\n"
    code, words = run_program(rig, tmp_path, files)
    assert code == 0 and words.count(": ok, ") == len(SMOOTH), words


# -- the operations themselves -------------------------------------------------------------------

COMPARE = """\
#include <stdint.h>
#include <stdio.h>
#include <string.h>
enum { COUNT = 1024 };
typedef void side(const float *a, const float *b, const float *c, float *y, int count);
@declared
static float a[COUNT], b[COUNT], c[COUNT], real[COUNT], wanted[COUNT];
static uint32_t state = 1;
static uint32_t bits_of(float v) { uint32_t u; memcpy(&u, &v, sizeof u); return u; }
static float value_of(uint32_t u) { float v; memcpy(&v, &u, sizeof v); return v; }
static uint32_t next(void)
{
  state = state * UINT32_C(1664525) + UINT32_C(1013904223);
  return state ^ state >> 15;
}
/* Numbers of all sizes whose products and quotients are no subnormals; a sixteenth specials. */
static float number(void)
{
  static const uint32_t special[] = {
    0, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x3f800000
  };
  const uint32_t u = next();
  if (u % 16 == 0) return value_of(special[u / 16 % 6]);
  return value_of((u & UINT32_C(0x807fffff)) | (100 + u % 56) << 23);
}
static int wrong(const char *name, side *is, side *should)
{
  int count = 0;
  is(a, b, c, real, COUNT);
  should(a, b, c, wanted, COUNT);
  for (int i = 0; i < COUNT; ++i) {
    if (real[i] != real[i] && wanted[i] != wanted[i]) continue; /* which NaN is no matter */
    count += bits_of(real[i]) != bits_of(wanted[i]);
  }
  if (count != 0) printf("%s: %d wrong\\n", name, count);
  return count != 0;
}
int main(void)
{
  int bad = 0;
  for (int i = 0; i < COUNT; ++i) a[i] = number(), b[i] = number(), c[i] = number();
@lanewise
  for (int i = 0; i < COUNT; ++i) { /* products are exact: rounded once or twice, it is the same */
    a[i] = (float)((int)(next() % 2001) - 1000);
    b[i] = (float)((int)(next() % 2001) - 1000);
    c[i] = (float)((int)(next() % 20001) - 10000) / 8.0f;
  }
  bad += wrong("fma", real_fma, model_fma);
  for (int i = 0; i < COUNT; ++i) a[i] = 12582912.0f + (float)((int)(next() % 254) - 126);
  bad += wrong("exp2i", real_exp2i, model_exp2i);
@stores
  return bad;
}
"""
STORE = """\
  memset(real, 0, sizeof real);
  memset(wanted, 0, sizeof wanted);
  real_store_part_@n(a, real);
  model_store_part_@n(a, wanted);
  if (memcmp(real, wanted, sizeof real) != 0) {
    ++bad;
    printf("store_part @n wrong\\n");
  }
"""


# tcc knows no vectors of any kind: it takes the bodies that are one float wide.
VECTORS = [r for r in FOREIGN if TARGETS[r.target].isa.lanes > 1 and r.name != "generic, tcc"]


@pytest.mark.parametrize("rig", VECTORS, ids=lambda rig: rig.name)
def test_operations_mean_what_the_model_says(rig: Rig, tmp_path: Path) -> None:
    isa = TARGETS[rig.target].isa
    parts = [f"load_part_{n}" for n in range(1, isa.lanes)]
    spreads = [op.name for op in isa.operations if op.name.startswith("spread_")]
    names = ["add", "sub", "mul", "div", "max", "min", "set1", "load", *spreads, *parts]
    sides = [f"{side}_{name}" for side in ("real", "model") for name in [*names, "fma", "exp2i"]]
    declared = f"side {', '.join(sides)};\n"
    for n in range(1, isa.lanes):
        declared += f"void real_store_part_{n}(const float *, float *);\n"
        declared += f"void model_store_part_{n}(const float *, float *);\n"
    calls = "\n".join(f'  bad += wrong("{n}", real_{n}, model_{n});' for n in names)
    stores = "".join(STORE.replace("@n", str(n)) for n in range(1, isa.lanes))
    main = COMPARE.replace("@declared", declared).replace("@lanewise", calls)
    files = {
        "real.c": source(isa, "real"),
        "model.c": source(model(isa), "model"),
        "main.c": main.replace("@stores", stores.rstrip("\n")),
    }
    # The operations are macros' text: what clang and gcc say of unused ones is no matter here.
    code, words = run_program(rig, tmp_path, files, "-Wno-unused-function")
    assert code == 0, words


# -- microcontrollers ----------------------------------------------------------------------------

ALLOWED = {"__aeabi_ldivmod", "__aeabi_idivmod", "memcpy", "memset"}


@pytest.mark.parametrize(
    ("name", "label", "act"),
    [
        ("cortex-m4", "direct", Act.GELU),
        ("cortex-m4", "winograd", Act.NONE),
        ("cortex-m7", "depthwise", Act.SIGMOID),
    ],
)
def test_no_double_and_no_library_in_a_cortex_m_kernel(
    name: str, label: str, act: Act, tmp_path: Path
) -> None:
    rig = BY_NAME[name]
    gcc = compiler(rig).command
    layer = Layer(replace(LAYERS[label], activation=Activation(act)), "<t>")
    for file, text in c_files(layer, rig).items():
        (tmp_path / file).write_text(text)
    flags = (*STRICT, *TARGETS[name].flags, "-Wdouble-promotion")
    subprocess.run([*gcc, *flags, "-c", "small.c"], cwd=tmp_path, check=True, timeout=60)
    listing = subprocess.run(
        [gcc[0].replace("gcc", "nm"), "-u", "small.o"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert {line.split()[-1] for line in listing.splitlines()} <= ALLOWED


def test_winograd_is_refused_where_doubles_are_calls() -> None:
    spec = LAYERS["winograd"]
    with pytest.raises(ScheduleError, match="cortex-m4 has no instructions for"):
        lower(spec, Schedule(Family.WINOGRAD, 1, 4, 4, 4, 4, 1), TARGETS["cortex-m4"])


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m7", "cortex-m55"])
def test_the_quiet_self_test_needs_a_return_value_alone(name: str, tmp_path: Path) -> None:
    rig = BY_NAME[name]
    compiler(rig)
    files = c_files(Layer(LAYERS["direct"], "<t>", weights=InitWeights(0.5, 1)), rig)
    assert run_program(rig, tmp_path, files, "-ffreestanding") == (0, "")
    wrong = files["small.c"].replace("packed, y, part, parts);", "packed, y + 1, part, parts);")
    wrong = wrong.replace("(const float *)packed, y,", "(const float *)packed + 1, y,")
    assert wrong != files["small.c"]
    code, _ = run_program(rig, tmp_path, {**files, "small.c": wrong}, "-DSMALL_SELFTEST_QUIET")
    assert code == 1


# -- trials --------------------------------------------------------------------------------------


def test_every_target_has_a_rig() -> None:
    assert {rig.target for rig in RIGS} == set(TARGETS)
    assert len({rig.name for rig in RIGS}) == len(RIGS)
    assert [rig.name for rig in rigs_of(["generic", "cortex-m4"])] == [
        "cortex-m4", "generic", "generic, tcc", "generic, s390x",
    ]  # fmt: skip


def bench(folder: Path, cc: str | None = None) -> Bench:
    return Bench(folder, cc, 60, Processes())


def test_a_trial_tells_a_missing_compiler_from_a_failing_one(tmp_path: Path) -> None:
    rig = replace(BY_NAME["aarch64-neon"], compilers=(("no-such-gcc",), ("@ziglangs",)))
    layer = Layer(LAYERS["direct"], "<t>")
    if compiler_of_this_machine(rig):
        pytest.skip("this machine is the target")
    trial = try_layer(layer, rig, bench(tmp_path))
    assert trial.outcome is Outcome.NO_COMPILER
    assert trial.detail == "needs no-such-gcc or PyPI's ziglangs"
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\ntest $# = 1\n")
    failing.chmod(0o755)
    trial = try_layer(layer, rig, bench(tmp_path, str(failing)))
    assert trial.outcome is Outcome.NOT_COMPILED and "exit code 1" in trial.detail


def compiler_of_this_machine(rig: Rig) -> bool:
    from convgen.target import is_foreign

    return not is_foreign(TARGETS[rig.target])


def test_a_trial_sees_that_the_plain_body_ran(tmp_path: Path) -> None:
    """An Arm compiler told of no NEON: right, but not what was asked for."""
    rig = BY_NAME["armv7-neon"]
    compiler(rig)
    flags = "-mfpu=vfpv3-d16"
    wrapper = tmp_path / "gcc"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(compiler(rig).command)} "$@" {flags}\n')
    wrapper.chmod(0o755)
    trial = try_layer(Layer(LAYERS["direct"], "<t>"), rig, bench(tmp_path, str(wrapper)))
    assert (trial.outcome, trial.isa) == (Outcome.OTHER_BODY, "plain")


def test_an_impossible_schedule_is_no_crash(tmp_path: Path) -> None:
    pinned = Layer(SMALL, "<t>", schedule=Schedule(Family.DIRECT, 16, 1, 4, 1))
    trial = try_layer(pinned, BY_NAME["generic"], bench(tmp_path))
    assert trial.outcome is Outcome.IMPOSSIBLE and "16 lanes" in trial.detail


def test_names_of_programs() -> None:
    assert called(("/usr/bin/python3.11", "-m", "ziglang", "cc")) == "ziglang"
    assert called(("/usr/bin/clang-19", "--target=wasm32-wasi")) == "clang-19"
    assert wanted((("zig", "cc"), ("@ziglang", "cc"))) == "zig or PyPI's ziglang"
