"""build, verify and clean with a real compiler, on layers small enough to be quick."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_runner import TINY, Ran, needs_compiler, run

pytestmark = needs_compiler


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a", "b"):
        Path(f"{name}.yaml").write_text(TINY)


def states(ran: Ran) -> dict[str, str]:
    return {layer["name"]: layer["state"] for layer in ran.json["layers"]}


def test_build_prints_what_was_made_and_how_to_import_it() -> None:
    ran = run("build", "a.yaml")
    assert (ran.code, ran.err) == (0, "")
    head, *lines = ran.out.splitlines()
    assert head.startswith("a: built in build/a (")
    facts = {line.split()[0]: line for line in lines}
    assert facts["output"].split() == ["output", "1x5x5x2"]
    assert "against the float64 oracle" in facts["max"]
    assert "of its bound" in facts["max"]
    assert "us," in facts["speed"] and "GFLOP/s" in facts["speed"]
    assert "machine code" in facts["code"]
    line = facts["import"].strip().removeprefix("import").strip()
    code = f"{line}; print(a.OUTPUT_SHAPE, a.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(1, 5, 5, 2)")


def test_states_follow_what_had_to_be_done() -> None:
    assert states(run("build", "--json", "a.yaml")) == {"a": "built"}
    assert states(run("build", "--json", "a.yaml")) == {"a": "unchanged"}
    assert states(run("build", "--json", "a.yaml", "-o", "other")) == {"a": "cached"}
    assert states(run("build", "--json", "a.yaml", "-o", "third", "--no-cache")) == {"a": "built"}


def test_several_layers_give_a_table_and_a_summary() -> None:
    run("build", "-q", "a.yaml")
    ran = run("build", "a.yaml", "b.yaml", "--jobs", "2")
    assert ran.code == 0
    head, first, second, last = ran.out.splitlines()
    assert head.split()[:3] == ["layer", "state", "output"]
    assert first.split()[:3] == ["a", "unchanged", "1x5x5x2"]
    assert second.split()[:3] == ["b", "built", "1x5x5x2"]
    assert second.endswith("import b")
    assert last == "import them with: import sys; sys.path.insert(0, 'build')"
    assert ran.err == "2 layers: 1 built, 1 unchanged\n"


def test_quiet_says_nothing() -> None:
    ran = run("build", "-q", "a.yaml", "b.yaml")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_build_json_has_the_documented_keys() -> None:
    data = run("build", "--json", "a.yaml").json
    (layer,) = data["layers"]
    assert set(layer) == {
        "name", "ok", "state", "path", "import", "output_shape", "macs", "target", "isa",
        "schedule", "reason", "binding", "compiler", "warnings", "notes", "seconds", "code_bytes",
        "verified", "checks", "max_error", "direct_error", "bound_ratio", "microseconds", "gflops",
        "sqnr",
    }  # fmt: skip
    assert layer["ok"] and layer["verified"]
    assert 0 < layer["bound_ratio"] < 1
    assert layer["gflops"] == pytest.approx(2 * layer["macs"] / layer["microseconds"] / 1e3, 1e-2)
    assert all(check["passed"] for check in layer["checks"])


def test_no_verify_is_said() -> None:
    ran = run("build", "a.yaml", "--no-verify")
    assert ran.code == 0
    assert "not verified" in ran.out
    data = run("build", "--json", "a.yaml", "--no-verify").json
    assert data["layers"][0]["verified"] is False
    assert data["layers"][0]["max_error"] is None
    assert "-" in run("build", "a.yaml", "b.yaml", "--no-verify").out


def test_a_failing_layer_hides_no_other_and_the_worst_code_is_returned() -> None:
    Path("bad.yaml").write_text("input: 5x5x1\nk: 1\nf: x\n")
    Path("p.yaml").write_text(TINY + "schedule: {family: direct, lanes: 64, tile: [1, 1], "
                              "vectors: 1}\n")  # fmt: skip
    ran = run("build", "--json", "bad.yaml", "p.yaml", "a.yaml")
    assert ran.code == 1
    assert states(ran) == {"p": "failed", "a": "built"}
    assert [e["layer"] for e in ran.json["errors"]] == [None, "p"]
    assert "bad.yaml:3:4: error[E110]" in ran.err
    assert "error: layer p: schedule" in ran.err


def test_a_failing_compiler_is_3_with_its_command_and_the_c_kept() -> None:
    fake = Path("badcc").absolute()
    fake.write_text('#!/bin/sh\ncase "$*" in *" -c "*) echo "a.c:1: boom" >&2; exit 1;; esac\n'
                    'exec cc "$@"\n')  # fmt: skip
    fake.chmod(0o755)
    ran = run("build", "--json", "--cc", str(fake), "a.yaml")
    assert ran.code == 3
    (error,) = ran.json["errors"]
    assert error["kind"] == "toolchain"
    assert "boom" in error["stderr"]
    assert str(fake) in error["command"]
    assert "boom" in ran.err
    assert Path("build/a.failed/a.c").exists()


def test_a_hanging_compiler_is_stopped() -> None:
    fake = Path("slowcc").absolute()
    fake.write_text('#!/bin/sh\ncase "$*" in *" -c "*) sleep 60;; esac\nexec cc "$@"\n')
    fake.chmod(0o755)
    ran = run("build", "--cc", str(fake), "--timeout", "0.3", "a.yaml")
    assert ran.code == 3
    assert "did not finish" in ran.err


def test_no_compiler_is_3() -> None:
    ran = run("build", "--cc", "no-such-compiler", "a.yaml")
    assert ran.code == 3
    assert "no-such-compiler" in ran.err


def test_compiler_warnings_are_shown_and_recorded() -> None:
    fake = Path("warncc").absolute()
    fake.write_text('#!/bin/sh\ncase "$*" in *" -c a.c"*) echo "a.c:1: warning: hm" >&2;; esac\n'
                    'exec cc "$@"\n')  # fmt: skip
    fake.chmod(0o755)
    ran = run("build", "--cc", str(fake), "a.yaml")
    assert ran.code == 0
    assert "a: warning: a.c:1: warning: hm" in ran.err
    assert "hm" in Path("build/a/manifest.json").read_text()


def test_verbose_tells_the_stages_and_the_schedule() -> None:
    err = run("build", "-v", "a.yaml").err
    assert "a: compile\n" in err and "a: verify\n" in err and "a: done\n" in err
    assert "a: {family: " in err


def test_verify_runs_the_ladder_again() -> None:
    run("build", "-q", "a.yaml", "b.yaml")
    ran = run("verify", "a.yaml", "b.yaml")
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines()]
    assert rows[0] == ["layer", "check", "result", "detail"]
    assert {row[0] for row in rows[1:]} == {"a", "b"}
    assert ["a", "files", "passed"] in [row[:3] for row in rows]
    data = run("verify", "--json", "a.yaml").json
    (layer,) = data["layers"]
    assert layer["verified"] is True
    assert "exact fill" in {check["name"] for check in layer["checks"]}
    assert layer["bound_ratio"] < 1


def test_verify_holds_winograd_to_its_own_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from convgen.verify import isolate as ladder

    asked: list[Any] = []
    real = ladder.verify_in_child

    def noting(*args: object, **kwargs: object) -> object:
        asked.append(kwargs["leeway"])
        return real(*args, **kwargs)  # type: ignore[arg-type]

    Path("w.yaml").write_text(
        "input: 12x12x16\nk: 16\nf: 3\np: 1\n"
        "schedule: {family: winograd, lanes: 1, tile: [2, 2], vectors: 4, block: [2, 2]}\n"
    )
    assert run("build", "-q", "--isa", "plain", "w.yaml").code == 0
    monkeypatch.setattr(ladder, "verify_in_child", noting)
    assert run("verify", "w.yaml").code == 0
    assert [leeway.tiling is not None for leeway in asked] == [True]


def test_verify_of_a_layer_that_is_not_built_says_so() -> None:
    ran = run("verify", "a.yaml")
    assert ran.code == 2
    assert "build/a: not built; run convgen build a.yaml first" in ran.err
    ran = run("verify", "a.yaml", "-o", "my out")
    assert "my out/a: not built; run convgen build a.yaml -o 'my out' first" in ran.err


def test_verify_notices_a_touched_file_before_it_runs_anything() -> None:
    run("build", "-q", "a.yaml")
    (library,) = Path("build/a").glob("*.so")
    data = library.read_bytes()
    library.unlink()
    library.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    ran = run("verify", "--json", "a.yaml")
    assert ran.code == 4
    (layer,) = ran.json["layers"]
    assert layer["verified"] is False
    assert [check["name"] for check in layer["checks"]] == ["files"]
    assert library.name in ran.err


def test_verify_catches_a_wrong_kernel_behind_an_honest_manifest() -> None:
    run("build", "-q", "a.yaml")
    other = Path("b.yaml")
    other.write_text(TINY.replace("relu", "relu6").replace("\n", "\nname: a\n", 1))
    run("build", "-q", "b.yaml", "-o", "other")
    (good,) = Path("build/a").glob("*.so")
    (wrong,) = Path("other/a").glob("*.so")
    good.unlink()
    good.write_bytes(wrong.read_bytes())
    manifest = Path("build/a/manifest.json")
    listed = json.loads(manifest.read_text())
    import hashlib

    listed["files"][good.name] = hashlib.sha256(good.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(listed))
    ran = run("verify", "a.yaml")
    assert ran.code == 4
    assert "FAILED" in ran.out
    assert "error: layer a: the built kernel failed" in ran.err


def test_verify_refuses_a_package_of_another_spec() -> None:
    run("build", "-q", "a.yaml")
    Path("a.yaml").write_text(TINY.replace("filters: 2", "filters: 3"))
    ran = run("verify", "a.yaml")
    assert ran.code == 2
    assert "built from another spec" in ran.err


def test_verify_of_abi_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from convgen.package.disk import session
    from convgen.package.disk.binding import Binding

    monkeypatch.setattr(session, "choose_binding", lambda *_: Binding.ABI)
    assert run("build", "--json", "a.yaml").json["layers"][0]["binding"] == "abi"
    assert run("verify", "a.yaml").code == 0


def test_clean_empties_the_cache_and_leaves_packages() -> None:
    run("build", "-q", "a.yaml")
    ran = run("clean")
    assert ran.out.startswith("removed 1 cached build (")
    assert Path("build/a/a.c").exists()
    assert states(run("build", "--json", "a.yaml", "-o", "other")) == {"a": "built"}


def test_clean_all_removes_packages_and_nothing_else() -> None:
    run("build", "-q", "a.yaml", "b.yaml")
    Path("build/mine").mkdir()
    Path("build/mine/manifest.json").write_text('{"name": "mine"}')
    Path("build/b/notes.txt").write_text("keep me")
    Path("build/plain.txt").write_text("keep me")
    subprocess.run([sys.executable, "-c", "import a"], cwd="build", check=True)
    ran = run("clean", "--all", "--json")
    assert ran.code == 0
    assert [p["path"] for p in ran.json["packages"]] == ["build/a", "build/b"]
    assert [p["left"] for p in ran.json["packages"]] == [[], ["notes.txt"]]
    left = sorted(str(p.relative_to("build")) for p in Path("build").rglob("*"))
    assert left == ["b", "b/notes.txt", "mine", "mine/manifest.json", "plain.txt"]


def test_clean_all_after_a_rebuild_leaves_no_earlier_library() -> None:
    run("build", "-q", "a.yaml")
    Path("a.yaml").write_text(TINY.replace("relu", "relu6"))
    run("build", "-q", "a.yaml")
    assert len(list(Path("build/a").glob("*.so"))) == 2
    run("clean", "--all")
    assert list(Path("build").iterdir()) == []


def test_a_package_does_not_go_to_standard_output() -> None:
    ran = run("build", "a.yaml", "-o", "-")
    assert ran.code == 2 and "convgen emit -o -" in ran.err and not Path("-").exists()


@pytest.mark.parametrize("verb", ["build", "emit"])
def test_a_file_in_the_folders_place_is_said_with_the_fix(verb: str) -> None:
    Path("taken").write_text("mine")
    ran = run(verb, "a.yaml", "-o", "taken")
    assert ran.code == 2 and "choose a folder with -o" in ran.err
    assert Path("taken").read_text() == "mine"
