"""The verbs that compile nothing: init, check, explain, emit, schema, doctor."""

from __future__ import annotations

import json
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


def test_the_verbs_are_those_of_the_contract() -> None:
    assert [verb.__name__ for verb in VERBS] == [
        "init", "check", "explain", "build", "emit", "cross", "size", "verify", "bench", "tune",
        "schema", "doctor", "clean",
    ]  # fmt: skip


@pytest.mark.parametrize("verb", [verb.__name__ for verb in VERBS])
def test_every_verb_has_help_with_an_example_and_json(verb: str) -> None:
    ran = run(verb, "--help")
    assert ran.code == 0
    assert f"Example:  convgen {verb}" in ran.out
    assert "--json" in ran.out
    assert len(ran.out.splitlines()) < 40


def test_help_lists_every_verb_without_cutting_its_line() -> None:
    out = run("--help").out
    assert all(f"\n  {verb.__name__} " in out for verb in VERBS)
    assert "..." not in out.partition("Commands:")[2]


@pytest.mark.parametrize(
    "args", [("nope",), ("check",), ("check", "--nope", "x"), ("build", "--jobs", "0", "x"), ()]
)
def test_wrong_usage_is_2(args: tuple[str, ...]) -> None:
    ran = run(*args)
    assert ran.code == 2
    assert "Usage: convgen" in ran.out + ran.err


# -- init ------------------------------------------------------------------------------------------


def test_init_writes_a_spec_that_parses() -> None:
    ran = run("init")
    assert (ran.code, ran.err) == (0, "next: convgen build layer.yaml\n")
    assert ran.out.startswith("wrote layer.yaml\n")
    (layer,) = parse_file("layer.yaml")
    assert layer.spec.name == "layer"
    assert layer.spec.y_shape == (1, 32, 32, 10)
    first = Path("layer.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=layer.schema.json"
    assert json.loads(Path("layer.schema.json").read_text())["title"]


def test_init_mentions_every_key_of_the_schema() -> None:
    run("init")
    text = Path("layer.yaml").read_text()
    (layer,) = parse_text(text, "layer.yaml")
    from convgen.spec.resolved import resolved_mapping

    for key in [*resolved_mapping(layer), "weights"]:
        assert f"\n{key}:" in text or f"\n# {key}:" in text, key


def test_init_in_a_folder_and_under_another_name() -> None:
    assert run("init", "sub/").code == 0
    assert run("init", "sub/my-edge.yml").code == 0
    assert parse_file("sub/layer.yaml")[0].spec.name == "layer"
    assert parse_file("sub/my-edge.yml")[0].spec.name == "my_edge"


def test_init_never_overwrites_without_force() -> None:
    write("layer.yaml", "mine")
    ran = run("init")
    assert ran.code == 2
    assert "--force" in ran.err
    assert Path("layer.yaml").read_text() == "mine"
    assert run("init", "--force").code == 0
    assert Path("layer.yaml").read_text() != "mine"


def test_init_keeps_a_schema_that_is_there() -> None:
    write("layer.schema.json", "mine")
    assert run("init").code == 0
    assert Path("layer.schema.json").read_text() == "mine"


@pytest.mark.parametrize("name", ["int.yaml", "layer.txt", "1x.yaml"])
def test_init_refuses_a_name_that_no_layer_can_have(name: str) -> None:
    ran = run("init", name)
    assert ran.code == 2
    assert not Path(name).exists()


# -- check -----------------------------------------------------------------------------------------


def test_check_prints_the_table() -> None:
    spec = write("a.yaml", "input: 32x32x3\nk: 10\nf: 5\np: 2\nact: relu\n")
    ran = run("check", spec)
    assert (ran.code, ran.err) == (0, "")
    head, row = ran.out.splitlines()
    columns = ["layer", "input", "filters", "output", "parameters", "MACs", "receptive field"]
    assert head.split("  ") and [c for c in columns if c in head] == columns
    wanted = ["a", "32x32x3", "10 of 5x5x3, pad 2", "32x32x10", "760", "768,000", "5x5"]
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == wanted


def test_check_reads_folders_and_stdin_and_each_file_once() -> None:
    write("specs/b.yaml", TINY)
    write("specs/a.yml", TINY)
    write("specs/readme.txt", "no spec")
    ran = run("check", "specs", "specs/a.yml", "-", stdin=TINY + "name: piped\n")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["a", "b", "piped"]


def test_check_reports_every_error_of_every_file() -> None:
    write("bad1.yaml", "input: 5x5x1\nk: 1\nf: x\nstride: true\n")
    write("bad2.yaml", "input: 5x5x1\nk: 1\nf: 3\nnope: 1\n")
    write("good.yaml", TINY)
    ran = run("check", "bad1.yaml", "good.yaml", "bad2.yaml", "gone.yaml")
    assert ran.code == 1
    places = [line.split(" ")[0] for line in ran.err.splitlines() if "error[" in line]
    assert places == ["bad1.yaml:3:4:", "bad1.yaml:4:9:", "bad2.yaml:4:1:", "gone.yaml:"]
    assert "4 errors; 1 good layer" in ran.err
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["good"]


def test_check_reads_the_weights_too() -> None:
    write("a.yaml", TINY + "weights: gone.npz\n")
    ran = run("check", "a.yaml")
    assert ran.code == 1
    assert "E301" in ran.err


def test_notes_go_to_stderr_unless_quiet() -> None:
    spec = write("a.yaml", "input: 224x224x3\nk: 64\nf: 7\ns: 2\np: 3\n")
    ran = run("check", spec)
    assert ran.code == 0
    assert ran.err.startswith("a.yaml: note: a: ")
    assert run("check", "-q", spec).err == ""


def test_check_json_has_the_documented_keys() -> None:
    ran = run("check", "--json", write("a.yaml", TINY), write("b.yaml", "k: 1\n"))
    data = ran.json
    assert (data["verb"], data["ok"], data["exit_code"], ran.code) == ("check", False, 1, 1)
    (layer,) = data["layers"]
    assert set(layer) == {
        "name", "source", "input_shape", "weight_shape", "bias_shape", "output_shape", "dtype",
        "layout", "weight_layout", "params", "macs", "receptive_field", "baked", "notes", "spec",
    }  # fmt: skip
    assert layer["output_shape"] == [1, 5, 5, 2]
    assert {e["code"] for e in data["errors"]} == {"E103"}
    assert {e["source"] for e in data["errors"]} == {"b.yaml"}


def test_an_empty_folder_is_said() -> None:
    Path("empty").mkdir()
    ran = run("check", "empty")
    assert ran.code == 2
    assert "no *.yaml or *.yml" in ran.err


def test_stdin_that_is_no_text_is_a_spec_error() -> None:
    ran = run("check", "-", stdin=b"\xff\xfe")
    assert ran.code == 1
    assert "<stdin>:1:1: error[E003]" in ran.err


def test_the_whole_gallery_checks() -> None:
    ran = run("check", str(SPECS))
    assert ran.code == 0
    assert len(ran.out.splitlines()) > 15


# -- explain ---------------------------------------------------------------------------------------


def test_explain_teaches_in_order() -> None:
    ran = run("explain", "--isa", "avx2", write("a.yaml", TINY))
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
    data = run("explain", "--json", write("a.yaml", TINY)).json
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
    assert layer["winograd"]["patch"] == 6
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
