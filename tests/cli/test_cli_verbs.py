"""The tree of commands, and the verbs explain, emit, schema, doctor."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import ROOT, TINY, needs_compiler, run

from convgen.cli.app import VERBS
from convgen.cli.doctor import Finding, Status, examine
from convgen.spec import parse_file, parse_text

SPECS = ROOT / "specs"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name


# -- the tree of commands --------------------------------------------------------------------------


NAMES = list(VERBS)


def test_the_verbs_are_those_of_the_contract() -> None:
    assert NAMES == [
        "init", "import", "check", "explain", "build", "emit", "cross", "size", "verify", "prove",
        "bench", "tune", "schema", "doctor", "clean",
    ]  # fmt: skip


@pytest.mark.parametrize("verb", NAMES)
def test_every_verb_has_help_with_an_example_and_json(verb: str) -> None:
    ran = run(verb, "--help")
    assert ran.code == 0
    assert f"Example:  convgen {verb}" in ran.out
    assert "--json" in ran.out
    assert len(ran.out.splitlines()) < 40


def test_help_lists_every_verb_without_cutting_its_line() -> None:
    out = run("--help").out
    assert all(f"\n  {verb} " in out for verb in NAMES)
    assert "..." not in out.partition("Commands:")[2]


@pytest.mark.parametrize(
    "args", [("nope",), ("check",), ("check", "--nope", "x"), ("build", "--jobs", "0", "x"), ()]
)
def test_wrong_usage_is_2(args: tuple[str, ...]) -> None:
    ran = run(*args)
    assert ran.code == 2
    assert "Usage: convgen" in ran.out + ran.err


# -- explain ---------------------------------------------------------------------------------------


DIRECT = TINY + "schedule: {family: direct, lanes: 8, tile: [1, 3], vectors: 1}\n"


def test_explain_teaches_in_order() -> None:
    ran = run("explain", "--isa", "avx2", write("a.yaml", DIRECT))
    assert (ran.code, ran.err) == (0, "")
    headings = [
        "Spec, every default written out", "Sizes", "Filter windows", "Cost", "Bytes", "Target",
        "Schedule", "Register tile", "Output, cut into rectangles",
    ]  # fmt: skip
    places = [ran.out.index(f"\n{heading}") for heading in headings]
    assert places == sorted(places)
    assert "OH = floor((H + PT + PB - f_h) / SH) + 1 = floor((5 + 1 + 1 - 3) / 1) + 1" in ran.out
    assert "x86-64-avx2: avx2, 8 float32 lanes, 16 registers" in ran.out


def test_the_printed_schedule_pins_the_same_plan() -> None:
    first = run("explain", "--isa", "avx2", "--json", write("a.yaml", TINY)).json["layers"][0]
    text = run("explain", "--isa", "avx2", "a.yaml").out
    line = next(x.strip() for x in text.splitlines() if x.strip().startswith("schedule: {"))
    pinned = write("b.yaml", TINY + line + "\n")
    second = run("explain", "--isa", "avx2", "--json", pinned).json["layers"][0]
    assert (first["pinned"], second["pinned"]) == (False, True)
    assert second["schedule"] == first["schedule"]
    assert second["regions"] == first["regions"]
    assert second["reason"] == "pinned in the spec"
    assert second["bound"] == first["bound"]


def test_explain_json_resolves_to_the_same_layer() -> None:
    data = run("explain", "--isa", "avx2", "--json", write("a.yaml", DIRECT)).json
    (layer,) = data["layers"]
    (again,) = parse_text(layer["resolved"], "a.yaml")
    assert again.spec == parse_file("a.yaml")[0].spec
    assert layer["bytes"]["input"] == 100
    assert layer["bytes"]["packed"] >= layer["bytes"]["weights"] + layer["bytes"]["bias"]
    assert sum(r["rows"][1] * r["cols"][1] * r["channels"][1] for r in layer["regions"]) >= 50
    assert layer["drawing"].startswith("padded input 7 x 7")


def test_explain_of_a_winograd_schedule() -> None:
    pinned = "{family: winograd, lanes: 8, tile: [4, 4], vectors: 2, block: [4, 2]}"
    text = f"input: 16x16x16\nk: 16\nf: 3\np: 1\nschedule: {pinned}\n"
    ran = run("explain", "--isa", "avx2", write("a.yaml", text))
    assert ran.code == 0
    for heading in ("Winograd tile", "Register tile of the products", "Output, cut into tiles"):
        assert f"\n{heading}\n" in ran.out
    (layer,) = run("explain", "--isa", "avx2", "--json", "a.yaml").json["layers"]
    assert layer["regions"] == []
    assert layer["winograd"]["patch"] == [6, 6]
    assert layer["bytes"]["workspace"] > 0


def test_a_schedule_that_does_not_fit_the_target_is_a_spec_error() -> None:
    pinned = TINY + "schedule: {family: direct, lanes: 16, tile: [1, 4], vectors: 1}\n"
    ran = run("explain", "--isa", "sse2", write("a.yaml", pinned), write("b.yaml", TINY))
    assert ran.code == 1
    assert "error: layer a: schedule: x86-64-sse2 has no vectors of 16 lanes" in ran.err
    assert "\nb  (b.yaml)" in f"\n{ran.out}"


@pytest.mark.parametrize(
    "flags", [("--isa", "mmx"), ("--target", "vax"), ("--isa", "avx2", "--target", "generic")]
)
def test_a_target_that_does_not_exist_is_usage(flags: tuple[str, ...]) -> None:
    ran = run("explain", *flags, write("a.yaml", TINY))
    assert ran.code == 2
    assert ran.err.startswith("error: --")


# -- emit ------------------------------------------------------------------------------------------


def test_emit_writes_the_c_alone() -> None:
    ran = run("emit", write("a.yaml", TINY), "-o", "src", "--isa", "plain")
    assert ran.code == 0
    names = sorted(p.name for p in Path("src/a").iterdir())
    assert names == [
        "CMakeLists.txt", "README.md", "a.c", "a.h", "idf_component.yml", "library.json",
        "selftest.c", "zephyr",
    ]  # fmt: skip
    assert ran.out.startswith("a: written in src/a")
    assert run("emit", "a.yaml", "-o", "src", "--isa", "plain").out.startswith("a: unchanged")


def test_emit_to_stdout_is_the_same_file() -> None:
    run("emit", write("a.yaml", TINY), "-o", "src", "--isa", "plain")
    ran = run("emit", "a.yaml", "-o", "-", "--isa", "plain")
    assert ran.out == Path("src/a/a.c").read_text()
    data = run("emit", "a.yaml", "-o", "-", "--isa", "plain", "--json").json
    assert data["layers"][0]["text"] == ran.out


def test_emit_to_stdout_takes_one_layer() -> None:
    ran = run("emit", write("a.yaml", TINY), write("b.yaml", TINY), "-o", "-")
    assert (ran.code, ran.out) == (2, "")
    assert "a, b" in ran.err


def test_emit_leaves_a_built_package_alone() -> None:
    write("build/a/manifest.json", "{}")
    write("build/a/a.c", "/* built */")
    ran = run("emit", write("a.yaml", TINY))
    assert ran.code == 2
    assert "build/a holds a built package" in ran.err
    assert Path("build/a/a.c").read_text() == "/* built */"


def test_emit_leaves_files_of_others_alone() -> None:
    write("src/a/a.c", "/* mine */")
    ran = run("emit", write("a.yaml", TINY), "-o", "src")
    assert ran.code == 2
    assert "src/a/a.c: convgen did not write this file" in ran.err
    assert [path.name for path in Path("src/a").iterdir()] == ["a.c"]
    assert Path("src/a/a.c").read_text() == "/* mine */"


def test_two_layers_of_one_name_do_not_share_a_folder() -> None:
    write("x/a.yaml", TINY)
    write("y/a.yaml", TINY)
    ran = run("emit", "x/a.yaml", "y/a.yaml", "-o", "src")
    assert ran.code == 2
    assert "x/a.yaml" in ran.err and "y/a.yaml" in ran.err
    assert Path("src/a/a.c").exists()


def test_emit_json() -> None:
    data = run("emit", write("a.yaml", TINY), "-o", "src", "--json", "--isa", "plain").json
    (layer,) = data["layers"]
    assert layer["path"] == str(Path("src/a"))
    assert layer["target"] == "generic"
    assert set(layer["changed"]) == set(layer["files"])
    assert layer["files"]["a.c"] == Path("src/a/a.c").stat().st_size


def test_a_folder_that_cannot_be_written_is_usage() -> None:
    write("src", "a file, no folder")
    ran = run("emit", write("a.yaml", TINY), "-o", "src")
    assert ran.code == 2
    assert "src" in ran.err


# -- schema and doctor -----------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_schema_is_draft_07(flags: tuple[str, ...]) -> None:
    data = run("schema", *flags).json
    assert data["$schema"] == "http://json-schema.org/draft-07/schema#"


@needs_compiler
def test_doctor_finds_what_a_build_needs() -> None:
    ran = run("doctor")
    assert ran.code == 0
    status = {line.split("  ")[0]: line.split()[-1] for line in ran.out.splitlines()}
    for name in ("compiler", "compile and run", "binding", "cpu", "target", "peak", "cache"):
        assert name in status
    data = run("doctor", "--json").json
    assert {c["status"] for c in data["checks"]} <= {"ok", "warn", "fail", "absent"}
    assert next(c for c in data["checks"] if c["name"] == "compile and run")["status"] == "ok"


def test_doctor_without_a_compiler_fails_with_the_fix() -> None:
    ran = run("doctor", "--cc", "no-such-compiler", "--json")
    assert ran.code == 3
    (compiler,) = (c for c in ran.json["checks"] if c["name"] == "compiler")
    assert compiler["status"] == "fail"
    assert "no-such-compiler" in compiler["what"]
    assert compiler["fix"]
    assert "fix:" in ran.err


@needs_compiler
def test_doctor_notices_a_compiler_that_cannot_link(tmp_path: Path) -> None:
    fake = tmp_path / "halfcc"
    fake.write_text('#!/bin/sh\ncase "$*" in *-shared*) echo no linker >&2; exit 1;; esac\n'
                    'exec cc "$@"\n')  # fmt: skip
    fake.chmod(0o755)
    found = {f.name: f for f in examine(str(fake))}
    assert found["compiler"].status is Status.OK
    assert found["compile and run"].status is Status.FAIL
    assert "no linker" in found["compile and run"].what


def test_doctor_says_why_the_binding_is_abi(monkeypatch: pytest.MonkeyPatch) -> None:
    import sysconfig

    from convgen.cli import doctor

    monkeypatch.setattr(sysconfig, "get_path", lambda _: "/nowhere")
    finding: Finding = doctor._binding()
    assert finding.status is Status.WARN
    assert "ABI" in finding.what
    assert "python3-dev" in finding.fix


def test_clean_without_anything_is_fine() -> None:
    ran = run("clean", "--all")
    assert ran.code == 0
    assert ran.out.startswith("removed 0 cached builds")
