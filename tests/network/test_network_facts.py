"""What ``check`` and ``explain`` say of networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run

from convgen.network.facts import drawing, receptive_fields, rows
from convgen.network.graph import Graph
from convgen.network.meaning import evaluate
from convgen.network.text import parse_network_text

DIGITS = """\
network: digits
input: 28x28x1
weights: {init: truncated_normal, stddev: 0.1}
layers:
  - conv: {k: 8, f: 5, act: relu}
  - maxpool: {f: 2, s: 2}
  - conv: {name: skip, k: 16, f: 3, p: 1}
  - conv: {k: 16, f: 3, p: 1}
  - norm: batch
  - add: {of: [skip, previous], act: relu}
  - avgpool: global
  - dense: {k: 10}
  - softmax
"""


def graph_of(layers: str, size: str = "40x40x1") -> Graph:
    weights = "weights: {init: truncated_normal, stddev: 1}"
    return parse_network_text(
        f"network: n\ninput: {size}\n{weights}\nlayers:\n{layers}", "n"
    ).load()


@pytest.mark.parametrize(
    "layers",
    [
        "  - conv: {k: 1, f: 3}\n  - maxpool: {f: 2, s: 2}\n  - conv: {k: 1, f: 3, d: 2}\n",
        "  - conv: {k: 1, f: 5x3, s: [2, 1], p: same}\n  - avgpool: {f: 3}\n",
        "  - conv: {name: a, k: 1, f: 3, p: 1}\n  - conv: {k: 1, f: 5, p: 2}\n"
        "  - add: {of: [a, previous]}\n",
        "  - resize: {scale: 2}\n  - conv: {k: 1, f: 3}\n",
        "  - transposed: {k: 1, f: 4, s: 2}\n  - conv: {k: 1, f: 5}\n",
    ],
)
def test_receptive_fields_are_what_one_output_depends_on(layers: str) -> None:
    """Each input element is changed in turn; those that move the middle output are counted."""
    graph = graph_of(layers)
    out = graph.outputs[0]
    reach = receptive_fields(graph)[out]
    assert reach is not None
    x = np.abs(np.random.default_rng(0).standard_normal((1, 40, 40, 1))).astype(np.float32)
    y = evaluate(graph, {"input": x})[out]
    row, column = y.shape[1] // 2, y.shape[2] // 2
    seen = np.zeros((40, 40), bool)
    for i in range(4, 36):
        for axis in (0, 1):
            changed = x.copy()
            changed[0, i if axis == 0 else slice(None), i if axis == 1 else slice(None), 0] += 50
            moved = evaluate(graph, {"input": changed})[out][0, row, column, 0]
            if moved != y[0, row, column, 0]:
                seen[i if axis == 0 else 0, i if axis == 1 else 0] = True
    tall, wide = int(seen[1:, 0].sum()), int(seen[0, 1:].sum())
    told = tuple(int(part) for part in str(reach).split("x"))
    assert tall <= told[0] <= tall + 1 and wide <= told[1] <= wide + 1


def test_rows_and_the_drawing() -> None:
    graph = parse_network_text(DIGITS, "n").graph
    found = rows(graph)
    assert [row.reach for row in found[:4]] == ["5x5", "6x6", "10x10", "14x14"]
    assert sum(row.macs for row in found) == graph.total_macs
    lines = [line.rstrip() for line in drawing(graph)]
    assert lines == ["o", "o", "o", "o", "+-o", "| o", "o-'", "o", "o", "o", "o"]


def test_a_drawing_keeps_a_column_for_every_live_value() -> None:
    text = "".join(
        f"  - conv: {{name: {name}, k: 2, f: 1, of: input}}\n" for name in ("a", "b", "c")
    )
    graph = graph_of(f"{text}  - sub: {{of: [a, c]}}\n  - add: {{of: [b, previous, input]}}\n")
    lines = [line.rstrip() for line in drawing(graph)]
    assert lines[1:4] == ["+-o", "+-|-o", "+-|-|-o"]
    assert len(lines) == 1 + len(graph.nodes)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "digits.yaml").write_text(DIGITS, encoding="utf-8")
    return "digits.yaml"


def test_check_tells_shapes_and_costs(spec: str) -> None:
    ran = run("check", spec)
    assert ran.code == 0 and ran.err == ""
    lines = ran.out.splitlines()
    assert lines[0] == "digits  (digits.yaml)"
    assert any(line.startswith("+-o  conv") and line.endswith("conv_2") for line in lines)
    assert "10 layers" in lines[-1]
    ran = run("check", spec, "--json")
    facts = json.loads(ran.out)["networks"][0]
    assert facts["outputs"] == [{"name": "softmax", "shape": [1, 10], "dtype": "float32"}]
    assert facts["layers"][0]["parameters"] == 208


def test_check_takes_layers_and_networks_together(spec: str) -> None:
    Path("layer.yaml").write_text("input: 8x8x3\nfilters: 4\nkernel: 3\n", encoding="utf-8")
    Path("bad.yaml").write_text("network: bad\ninput: 3x3x3\nlayers: [softmx]\n", encoding="utf-8")
    ran = run("check", ".")
    assert ran.code == 1 and "bad.yaml:3:10: error[E501]" in ran.err
    assert "layer" in ran.out and "digits  (digits.yaml)" in ran.out


def test_explain_tells_what_was_fused_and_where_everything_lies(spec: str) -> None:
    ran = run("explain", spec, "--target", "generic")
    assert ran.code == 0, ran.err
    assert "batch_norm `norm`: its scale is in the weights, its shift in the bias" in ran.out
    for heading in ("As it is built", "Folded and fused", "Steps", "Memory"):
        assert f"\n{heading}\n" in ran.out
    facts = json.loads(run("explain", spec, "--target", "generic", "--json").out)["networks"][0]
    assert facts["max_live_bytes"] <= facts["arena_bytes"] <= 1.02 * facts["max_live_bytes"] + 64
    assert len(facts["steps"]) < 10


def test_weights_that_nothing_gives_are_asked_for(spec: str) -> None:
    text = DIGITS.replace("weights: {init: truncated_normal, stddev: 0.1}\n", "")
    Path(spec).write_text(text, encoding="utf-8")
    assert run("check", spec).code == 0
    ran = run("emit", spec, "--target", "generic")
    assert ran.code == 1 and "no weights for conv.w, conv.b" in ran.err
