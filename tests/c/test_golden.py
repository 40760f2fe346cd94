"""Four generated files, byte for byte: what a change of the templates does to the C, as a diff. Of
three thousand others a digest (golden_hashes.py): all machines give the same bytes.

``pytest --update-golden`` writes the files anew, ``make golden-full`` the digests; the diff is then
part of the review.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from edge_layers import LAYER, depthwise, layer
from golden_hashes import PUSH, STORE, computed, differences, read, rows, sliced
from kernels import planned, target_of
from places import TESTS

from convgen.package.disk.inputs import own_digest
from convgen.render.source import render_c
from convgen.spec.model import Act, Activation, ConvSpec, Layout, WeightLayout
from convgen.target import TARGETS

FOLDER = TESTS / "golden"
GROUPED = layer(
    "6x5x4", 36, "3x3", "1 1 1 1", groups=2, batch=2, layout=Layout.NCHW,
    weight_layout=WeightLayout.OIHW, activation=Activation(Act.CLIP, low=-1.0, high=1.0),
)  # fmt: skip
FILES: dict[str, tuple[ConvSpec, str]] = {
    "layer_avx512.c": (LAYER, "avx512"),
    "layer_generic.c": (LAYER, "plain"),
    "depthwise_avx2.c": (replace(depthwise("4x5x8", "3x3", "1 1 1 1"), name="dw"), "avx2"),
    "grouped_nchw_sse2.c": (replace(GROUPED, name="grouped"), "sse2"),
}
PARTS = 12


@pytest.mark.parametrize("file", FILES)
def test_generated_c_is_what_was_reviewed(file: str, golden: Callable[[Path, str], None]) -> None:
    spec, isa = FILES[file]
    golden(FOLDER / file, render_c(planned(spec, target_of(isa)))[f"{spec.name}.c"])


needs_table = pytest.mark.skipif(
    not STORE.is_file(), reason="no digests are committed: make golden-full writes them"
)


@needs_table
@pytest.mark.parametrize("part", range(PARTS))
def test_every_machine_emits_the_same_bytes(part: int) -> None:
    """Of each kernel, element type and target at least one; the rest is another commit's turn."""
    stored = read(STORE)
    keys = sliced(stored, PUSH, own_digest())[part::PARTS]
    found = computed(keys)
    assert not differences(stored, found), (
        f"{differences(stored, found)}\nmake golden-full writes them anew, if that is meant"
    )


@needs_table
def test_the_table_has_every_row_and_target() -> None:
    """And a slice of it every kernel, whatever the commit."""
    stored = read(STORE)
    assert list(stored) == [(str(row), target) for row in rows() for target in TARGETS]
    kinds = {(cell.partition(":")[0], row.split()[1], t) for (row, t), cell in stored.items()}
    for seed in ("one commit", "another"):
        keys = sliced(stored, PUSH, seed)
        assert len(keys) == len(set(keys)) == PUSH
        assert {(stored[k].partition(":")[0], k[0].split()[1], k[1]) for k in keys} == kinds
    assert sliced(stored, PUSH, "one commit") != sliced(stored, PUSH, "another")


def test_a_digest_that_differs_is_told_with_its_place() -> None:
    key = ("edge/depthwise float32", "generic")
    assert differences({key: "depthwise:1"}, {key: "depthwise:1"}) == ""
    told = differences({key: "depthwise:1"}, {key: "depthwise:2"})
    assert told == "edge/depthwise float32 on generic: depthwise:1 is now depthwise:2"


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in FOLDER.glob("*.c")} == set(FILES)
