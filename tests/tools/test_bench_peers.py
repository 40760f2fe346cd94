"""Peers: named, told apart, and those that are installed compute the layer within its bound."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import needs_cc
from quant_layers import saturates

from convgen.bench.child import serve
from convgen.bench.measure import Call
from convgen.bench.peers import PEERS, check_names, peer_module, select
from convgen.bench.peers.base import (
    CannotPrepare,
    Pads,
    Peer,
    Prepared,
    Problem,
    as_uint8,
    check_common,
    installed_version,
    pads,
    quickest,
)
from convgen.bench.rival import ProcessRival, RivalError
from convgen.bench.wire import (
    RESULT,
    in_planes,
    peer_form,
    read_arrays,
    spec_from_mapping,
    spec_to_mapping,
    write_arrays,
)
from convgen.errors import UsageError
from convgen.oracle.integers import reference
from convgen.oracle.points import choose_points
from convgen.spec import parse_mapping
from convgen.spec.model import ConvSpec
from convgen.verify.bound import judge_bounded
from convgen.verify.fills import Fill, bounded_fill

LAYERS = {
    "plain": {"input": "9x7x3", "k": 5, "f": 3, "p": 1, "act": "relu"},
    "no activation": {"input": "6x6x4", "k": 8, "f": 1},
    "stride": {"input": "11x11x4", "k": 4, "f": 5, "s": 2, "p": 2, "act": "relu"},
    "trimmed": {"input": "8x8x3", "k": 4, "f": 3, "s": 2, "p": 1, "act": "relu"},
    "oblong": {"input": "8x9x4", "k": 4, "f": [1, 3], "p": [0, 1], "s": [2, 1], "d": [1, 2]},
    "dilated": {"input": "9x9x4", "k": 4, "f": 3, "p": 2, "d": 2, "act": "relu"},
    "depthwise": {"input": "7x7x8", "k": 8, "f": 3, "p": 1, "g": "depthwise", "act": "relu"},
    "grouped": {"input": "7x7x8", "k": 12, "f": 3, "p": 1, "g": 2, "act": "relu"},
    "no bias": {"input": "6x6x4", "k": 4, "f": 3, "bias": False},
    "nchw": {"input": "6x5x4", "k": 4, "f": 3, "layout": "NCHW", "weight_layout": "OIHW"},
    "one-sided": {"input": "6x6x4", "k": 4, "f": 3, "p": {"top": 0, "left": 1, "bottom": 2}},
    "batch": {"input": "5x5x4", "batch": 2, "k": 4, "f": 3},
}
QUANT = {
    "input": {"scale": 0.02, "zero_point": -5},
    "weight": {"scale": [0.003, 0.004, 0.006, 0.005]},
    "output": {"scale": 0.03, "zero_point": -128},
    "rounding": "onnx",
}
OFF = {"output": {"scale": 0.03, "zero_point": 7}}  # ReLU cuts more than the type does
UNSIGNED = {
    "input": {"scale": 0.02, "zero_point": 100},
    "weight": {"scale": 0.004},
    "output": {"scale": 0.03, "zero_point": 0},
}
EIGHT_BITS: dict[str, dict[str, Any]] = {
    "plain": {"input": "9x7x3", "k": 4, "f": 3, "p": 1, "act": "relu", "quant": QUANT},
    "one scale": {"input": "5x5x8", "k": 4, "f": 1, "quant": QUANT | {"weight": {"scale": 0.004}}},
    "off": {"input": "5x5x8", "k": 4, "f": 3, "act": "relu", "quant": QUANT | OFF},
    "stride": {"input": "11x11x4", "k": 4, "f": 5, "s": 2, "p": 2, "quant": QUANT},
    "dilated": {"input": "9x9x4", "k": 4, "f": 3, "p": 2, "d": 2, "quant": QUANT},
    "depthwise": {"input": "7x7x4", "k": 4, "f": 3, "p": 1, "g": "depthwise", "quant": QUANT},
    "grouped": {"input": "7x7x8", "k": 4, "f": 3, "p": 1, "g": 2, "quant": QUANT, "bias": False},
    "nchw": {"input": "6x5x4", "k": 4, "f": 3, "layout": "NCHW", "quant": QUANT},
    "uint8": {"input": "6x6x4", "k": 4, "f": 3, "dtype": "uint8", "act": "relu",
              "quant": QUANT | UNSIGNED},
}  # fmt: skip
NO_8_BITS = ("ncnn", "mnn")
REFUSED = {("torch", "one-sided"), ("ncnn", "batch"), ("naive", "nchw"), ("litert", "nchw")}


def spec_of(**keys: Any) -> ConvSpec:
    (layer,) = parse_mapping({"name": "tested", "remainder": "floor", **keys})
    return layer.spec


# -- names -----------------------------------------------------------------------------------------


def test_select_knows_all_and_orders() -> None:
    assert select(None) == ()
    assert select("all") == PEERS
    assert select("naive, onnxruntime") == ("onnxruntime", "naive")


def test_a_wrong_name_is_explained() -> None:
    with pytest.raises(UsageError, match=r"--against: no peer 'onxruntime'; did you mean onnx"):
        select("onxruntime")
    with pytest.raises(UsageError, match="no peer 'all'"):
        select("all,ncnn")
    with pytest.raises(UsageError, match="--peer-python"):
        check_names("--peer-python", ["x"])


@pytest.mark.parametrize("name", PEERS)
def test_each_peer_has_a_module_that_imports_without_its_runtime(name: str) -> None:
    assert peer_module(name).name == name


def test_an_absent_peer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("convgen.bench.peers.base.version", absent)
    with pytest.raises(CannotPrepare, match=r"not installed \(pip install onnxruntime onnx\)"):
        installed_version(peer_module("onnxruntime"))


# -- layers ----------------------------------------------------------------------------------------


def test_padding_that_was_trimmed_comes_back() -> None:
    stem = spec_of(input="224x224x3", k=4, f=7, s=2, p=3)
    assert stem.padding.bottom == 2
    assert pads(stem) == Pads(3, 3, 3, 3)


def test_padding_that_matters_stays() -> None:
    spec = spec_of(**LAYERS["one-sided"])
    assert pads(spec) == Pads(0, 1, 2, 0) and not pads(spec).even


def test_layers_that_no_peer_takes() -> None:
    with pytest.raises(CannotPrepare, match="silu"):
        check_common(spec_of(input="4x4x1", k=1, f=1, act="silu"))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_survives_the_wire(name: str, tmp_path: Path) -> None:
    spec = spec_of(**LAYERS[name])
    assert spec_from_mapping(json.loads(json.dumps(spec_to_mapping(spec)))) == spec
    fill = bounded_fill(spec, 1)
    write_arrays(tmp_path, spec, fill.x, fill.w, fill.b)
    x, w, b = read_arrays(tmp_path)
    form = peer_form(spec)
    assert (x.shape, w.shape, b.shape) == (form.x_shape, form.w_shape, (spec.oc,))
    assert x.flags.c_contiguous and w.flags.c_contiguous
    assert spec.bias or not b.any()


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_an_8_bit_layer_survives_the_wire(name: str, tmp_path: Path) -> None:
    spec = spec_of(**{"dtype": "int8", **EIGHT_BITS[name]})
    assert spec_from_mapping(json.loads(json.dumps(spec_to_mapping(spec)))) == spec
    fill = bounded_fill(spec, 1)
    write_arrays(tmp_path, spec, fill.x, fill.w, fill.b)
    x, w, b = read_arrays(tmp_path)
    assert (x.dtype.name, w.dtype.name, b.dtype.name) == (spec.dtype, "int8", "int32")


def test_an_int8_layer_is_the_same_over_uint8_images() -> None:
    spec = spec_of(dtype="int8", **EIGHT_BITS["off"])
    fill = bounded_fill(spec, 1)
    higher = as_uint8(Problem(spec, fill.x, fill.w, fill.b))
    y = reference(higher.spec, higher.x, higher.w, higher.b)
    same = reference(spec, fill.x, fill.w, fill.b)
    assert higher.x.dtype == y.dtype == np.uint8 and len(np.unique(y)) > 10
    assert (y.astype(int) - 128 == same).all()


def test_layers_that_no_8_bit_peer_takes() -> None:
    sums = spec_of(input="4x4x1", k=1, f=1, dtype="int8", quant={"output": "int32"})
    with pytest.raises(CannotPrepare, match="int32 sums"):
        check_common(sums)
    spec = spec_of(dtype="int8", **EIGHT_BITS["plain"])
    fill = bounded_fill(spec, 1)
    with pytest.raises(CannotPrepare, match="no 8-bit layers with zero points are prepared for"):
        peer_module("ncnn").prepared(Problem(spec, fill.x, fill.w, fill.b))


def test_bfloat16_is_for_those_that_are_prepared_for_it(tmp_path: Path) -> None:
    spec = spec_of(dtype="bfloat16", **LAYERS["nchw"])
    fill = bounded_fill(spec, 1)
    write_arrays(tmp_path, spec, fill.x, fill.w, fill.b)
    assert {array.dtype.name for array in read_arrays(tmp_path)} == {"uint16"}
    problem = Problem(spec, fill.x, fill.w, fill.b)
    with pytest.raises(CannotPrepare, match="no bfloat16 layers are prepared for ncnn"):
        peer_module("ncnn").prepared(problem)
    taken = Peer("fake", (), lambda _: pytest.fail(), bf16=lambda p: Prepared(int, lambda: p.x))
    assert taken.prepared(problem).result() is fill.x
    with pytest.raises(CannotPrepare, match="float32, bfloat16 and 8-bit layers, this is float16"):
        check_common(spec_of(dtype="float16", **LAYERS["plain"]))


def test_the_quickest_way_is_taken_and_broken_ones_are_left_out() -> None:
    def slow() -> None:
        sum(range(20_000))

    def way(call: Call, name: str) -> Prepared:
        return Prepared(call, lambda: None, name)

    def broken() -> Prepared:
        raise RuntimeError("no")

    ways = [broken, lambda: way(slow, "slow"), lambda: way(lambda: None, "quick")]
    assert quickest(ways).variant == "quick"
    with pytest.raises(RuntimeError, match="no"):
        quickest([broken])


# -- the process -----------------------------------------------------------------------------------


def answers(peer: Peer, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    out = io.StringIO()
    serve(peer, io.StringIO("".join(json.dumps(r) + "\n" for r in requests)), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def request(spec: ConvSpec, folder: Path) -> dict[str, Any]:
    fill = bounded_fill(spec, 1)
    write_arrays(folder, spec, fill.x, fill.w, fill.b)
    return {"do": "prepare", "spec": spec_to_mapping(peer_form(spec)), "folder": str(folder),
            "threads": 3, "c_flags": ["-O1"]}  # fmt: skip


def test_a_peer_is_described_prepared_and_run(tmp_path: Path) -> None:
    spec, calls, problems = spec_of(**LAYERS["plain"]), [], []

    def prepare(problem: Problem) -> Prepared:
        problems.append(problem)
        y = np.zeros(spec.y_shape, np.float32)
        return Prepared(lambda: calls.append(1), lambda: y, "zeros")

    peer = Peer("fake", (), prepare, lambda: "7")
    said = answers(peer, {"do": "describe"}, request(spec, tmp_path), {"do": "run", "count": 5})
    assert said[:2] == [{"version": "7"}, {"variant": "zeros"}]
    assert said[2]["seconds"] >= 0 and len(calls) == 6
    assert problems[0].threads == 3 and problems[0].c_flags == ("-O1",) and problems[0].relu
    assert np.load(tmp_path / RESULT).shape == spec.y_shape


def test_whatever_a_peer_raises_is_an_answer(tmp_path: Path) -> None:
    def prepare(_: Problem) -> Prepared:
        raise ValueError("odd\nand more")

    spec = spec_of(**LAYERS["plain"])
    said = answers(Peer("fake", (), prepare), request(spec, tmp_path), {"do": "run", "count": 1})
    assert said[0] == {"error": "ValueError: odd"}
    assert "nothing is prepared" in said[1]["error"]


def test_a_python_that_is_not_there() -> None:
    with pytest.raises(RivalError, match="no-such-python"):
        ProcessRival("naive", python="./no-such-python")


@needs_cc
def test_a_dead_process_is_started_again(tmp_path: Path) -> None:
    rival = ProcessRival("naive")
    try:
        spec = spec_of(**LAYERS["plain"])
        request(spec, tmp_path)
        assert rival._process is not None
        rival._process.kill()
        rival._process.wait()
        with pytest.raises(RivalError, match=r"its process ended \(killed by signal 9\)"):
            rival.run(1)
        rival.prepare(peer_form(spec), tmp_path, 1, ())
        assert rival.run(2) > 0
    finally:
        rival.close()


def test_a_python_without_what_is_needed_says_so(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\nraise SystemExit('no such module')\n")
    script.chmod(0o755)
    with pytest.raises(RivalError, match=r"ended \(exit code 1\): no such module"):
        ProcessRival("naive", python=str(script))


# -- the real ones ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=PEERS)
def rival(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    try:
        found = ProcessRival(request.param)
    except RivalError as error:
        pytest.skip(f"{request.param}: {error}")
    yield found
    found.close()


@pytest.mark.parametrize("name", LAYERS)
def test_an_installed_peer_computes_the_layer(
    rival: ProcessRival, name: str, tmp_path: Path
) -> None:
    spec = spec_of(**LAYERS[name])
    fill = bounded_fill(spec, 1)
    write_arrays(tmp_path, spec, fill.x, fill.w, fill.b)
    if (rival.name, name) in REFUSED:
        with pytest.raises(RivalError, match=r"pads both ends|one image|NHWC images alone"):
            rival.prepare(peer_form(spec), tmp_path, 1, ())
        return
    rival.prepare(peer_form(spec), tmp_path, 1, ())
    y = np.load(tmp_path / RESULT)
    form = peer_form(spec)
    x, w, b = read_arrays(tmp_path)
    fill = Fill(x, w, b if spec.bias else None)
    verdict = judge_bounded(form, fill, y, choose_points(form, 1))
    assert verdict.max_error < 1e-2, verdict.detail  # the layer itself; some are rough beyond
    assert rival.run(3) > 0


def test_a_user_with_planes_hands_over_planes(tmp_path: Path) -> None:
    """Conversion counts: a peer may not be handed what its user would have to make first."""
    spec = spec_of(**LAYERS["nchw"])
    fill = bounded_fill(spec, 1)
    write_arrays(tmp_path, spec, fill.x, fill.w, fill.b)
    assert in_planes(tmp_path)
    problem = Problem(peer_form(spec), *read_arrays(tmp_path), planes=True)
    for name in ("naive", "litert"):
        try:
            __import__(peer_module(name).packages[0]) if name == "litert" else None
        except ImportError:
            continue
        with pytest.raises(CannotPrepare, match="NHWC images alone"):
            peer_module(name).prepared(problem)
    write_arrays(tmp_path, peer_form(spec), *(read_arrays(tmp_path)))
    assert not in_planes(tmp_path)


def test_torch_computes_bfloat16_layers(tmp_path: Path) -> None:
    try:
        torch = ProcessRival("torch")
    except RivalError as error:
        pytest.skip(f"torch: {error}")
    try:
        for name, keys in LAYERS.items():
            if ("torch", name) in REFUSED:
                continue
            spec = peer_form(spec_of(dtype="bfloat16", **keys))
            fill = bounded_fill(spec, 1)
            write_arrays(tmp_path, spec, fill.x, fill.w, fill.b)
            torch.prepare(spec, tmp_path, 1, ())
            y = np.load(tmp_path / RESULT)
            assert y.dtype == np.uint16 and y.shape == spec.y_shape
            verdict = judge_bounded(spec, fill, y, choose_points(spec, 1))
            assert verdict.max_error < 0.1, f"{name}: {verdict.detail}"
            assert torch.run(3) > 0
    finally:
        torch.close()


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_an_installed_peer_gives_the_integers_of_the_layer(
    rival: ProcessRival, name: str, tmp_path: Path
) -> None:
    """The very ones, or one beside them where sums lie on a tie."""
    if rival.name in NO_8_BITS:
        pytest.skip(f"{rival.name} is not prepared for 8-bit layers")
    spec = peer_form(spec_of(**{"dtype": "int8", **EIGHT_BITS[name]}))
    fill = bounded_fill(spec, 1)
    if saturates():  # ONNX Runtime is exact here as long as weights have 7 bits
        fill = replace(fill, w=fill.w.clip(-64, 64))
    write_arrays(tmp_path, spec, fill.x, fill.w, fill.b)
    rival.prepare(spec, tmp_path, 1, ())
    y, want = np.load(tmp_path / RESULT), reference(spec, fill.x, fill.w, fill.b)
    assert y.dtype == want.dtype and len(np.unique(want)) > 10
    beside = np.abs(y.astype(int) - want)
    assert beside.max() <= 1 and (beside > 0).mean() < 0.02
    assert rival.run(3) > 0
