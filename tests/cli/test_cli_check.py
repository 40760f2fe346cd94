"""The verbs ``init`` and ``check``: a first spec, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runner import ROOT, TINY, run

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
        "quant", "sqnr",
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
