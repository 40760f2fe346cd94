"""``convgen prove``: what it prints, the certificate it files, and when it files none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cli_runner import TINY, needs_compiler, run

from convgen.package.disk.manifest import CERTIFICATE
from convgen.verify import eva as prover

needs_frama_c = pytest.mark.needs("frama-c")
BYTES = """name: a
input: 5x4x2
filters: 3
kernel: 2
dtype: int8
quant:
  input: {scale: 0.02, zero_point: -3}
  weight: {scale: 0.01}
  output: {scale: 0.06, zero_point: 4}
"""
PLAIN = ("--isa", "plain")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("a.yaml").write_text(BYTES)


@needs_frama_c
@needs_compiler
def test_the_certificate_is_about_the_very_c_of_the_package() -> None:
    assert run("build", "-q", *PLAIN, "a.yaml").code == 0
    ran = run("prove", "--json", "a.yaml")
    assert ran.code == 0, ran.err
    (layer,) = ran.json["layers"]
    assert layer["proved"] and layer["package"] == "written"
    path = Path("build/a") / CERTIFICATE
    assert layer["certificate"] == str(path)
    text = path.read_text()
    stated = json.loads(text)
    assert sorted(stated["files"]) == ["a.c", "a.h"]
    for name, digest in stated["files"].items():
        assert hashlib.sha256((path.parent / name).read_bytes()).hexdigest() == digest
    manifest = json.loads((path.parent / "manifest.json").read_text())
    assert manifest["files"]["a.c"] == stated["files"]["a.c"]
    assert stated["alarms"] == 0 and "frama-c" in stated["prover"]
    assert [body["sums"] for body in stated["bodies"]] == [
        "shown for every weight and bounded biases"
    ]
    assert any("check of a_pack" in words for words in stated["assumptions"])
    assert str(Path.cwd()) not in text and "tmp" not in text

    again = run("prove", "a.yaml")
    assert path.read_text() == text
    assert again.out.splitlines()[0] == f"a: proved; {path} unchanged"
    assert again.out.splitlines()[1].split()[:3] == ["layer", "body", "functions"]
    # Neither verify nor a build is confused by it, and clean takes it away with the rest.
    assert run("verify", "a.yaml").code == 0
    assert run("build", "--json", *PLAIN, "a.yaml").json["layers"][0]["state"] == "unchanged"
    assert path.exists()
    assert run("clean", "--all", "-q").code == 0
    assert not path.parent.exists()


@needs_frama_c
@needs_compiler
def test_a_package_of_other_c_gets_none_and_loses_its_own() -> None:
    run("build", "-q", *PLAIN, "a.yaml")
    run("prove", "-q", "a.yaml")
    path = Path("build/a") / CERTIFICATE
    assert path.exists()
    Path("a.yaml").write_text(BYTES.replace("kernel: 2", "kernel: 1"))
    ran = run("prove", "a.yaml")
    assert ran.code == 0
    assert "the C in build/a is another" in ran.err
    stated = json.loads(path.read_text())["files"]["a.c"]
    assert stated == hashlib.sha256(Path("build/a/a.c").read_bytes()).hexdigest()
    assert run("build", "-q", *PLAIN, "a.yaml").code == 0
    assert not path.exists()


@needs_frama_c
def test_an_emitted_package_gets_one_and_none_is_made_where_there_is_none() -> None:
    ran = run("prove", *PLAIN, "a.yaml")
    assert ran.code == 0
    assert "no package at build/a, so no certificate was written" in ran.err
    assert not Path("build").exists()
    assert run("emit", "-q", *PLAIN, "a.yaml").code == 0
    assert run("prove", "-q", *PLAIN, "a.yaml").code == 0
    assert (Path("build/a") / CERTIFICATE).exists()
    Path("a.yaml").write_text(BYTES.replace("kernel: 2", "kernel: 1"))
    assert run("emit", "-q", *PLAIN, "a.yaml").code == 0
    assert not (Path("build/a") / CERTIFICATE).exists()


@needs_frama_c
def test_an_alarm_shows_its_place_and_the_line_of_c(monkeypatch: pytest.MonkeyPatch) -> None:
    import convgen.package.emit.files as module

    real = module.kernel_files

    def broken(decided: object) -> dict[str, str]:
        files = real(decided)  # type: ignore[arg-type]
        good = "kh < kh_taps;"
        assert good in files["a.c"]
        return {name: text.replace(good, "kh <= kh_taps;") for name, text in files.items()}

    monkeypatch.setattr(module, "kernel_files", broken)
    ran = run("prove", "--json", *PLAIN, "a.yaml")
    assert ran.code == 4
    (error,) = ran.json["errors"]
    assert error["kind"] == "mismatch" and error["layer"] == "a"
    assert "plain: a.c:" in error["message"]
    assert "] + 3;" in error["message"]
    (layer,) = ran.json["layers"]
    assert not layer["proved"] and layer["certificate"] is None


def test_without_frama_c_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.yaml").write_text(TINY)
    monkeypatch.setattr(prover, "find_frama_c", lambda: None)
    ran = run("prove", "a.yaml")
    assert ran.code == 3
    assert "apt install frama-c-base" in ran.err and "opam install frama-c" in ran.err
