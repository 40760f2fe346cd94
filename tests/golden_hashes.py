"""Digests of the generated C: every target x every shipped spec, edge layer and activation, the
layers in one element type each by turns; with --all in every one, which takes half an hour of one
core. Whoever moves code proves with them that not a byte of the C has changed.

    python tests/golden_hashes.py --check             every cell, against tests/golden/hashes.txt
    python tests/golden_hashes.py --check --slice 600 the cells of a push: each room, element type
                                                      and target at least once
    python tests/golden_hashes.py --update            write the file anew
    python tests/golden_hashes.py --all --file F --update, and after the move --check: all of them

``--file`` names another store, ``--jobs`` how many processes, ``--only`` a regular expression that
a row's name or a target must match. The exit code is 1 where a digest differs.

The store is a table: a row for each layer and element type, a column for each target. A cell is
``room:digest``. The room is the kernel that was chosen, as its algorithm family and, behind a dot,
how it multiplies; the digest is of ``<name>.c`` and ``<name>.h``. A layer that no kernel of a
target takes has ``-``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS / "support"), str(TESTS.parent)]

from edge_layers import ACTIVATIONS, EDGES, LAYER, layer, with_activation  # noqa: E402

from convgen.choose.chooser import ranking  # noqa: E402
from convgen.errors import ConvgenError  # noqa: E402
from convgen.package.emit.files import decide, kernel_files  # noqa: E402
from convgen.plan.kernel import KernelPlan  # noqa: E402
from convgen.spec import parse_file  # noqa: E402
from convgen.spec.model import Accuracy, Act, ConvSpec, DType, Layer  # noqa: E402
from convgen.spec.quant import Affine, Quant, Rounding  # noqa: E402
from convgen.target import TARGETS  # noqa: E402

STORE = TESTS / "golden" / "hashes.txt"
DIGITS = 10  # 40 bits: ten thousand changed files are all seen
PUSH = 500  # cells that a push compares; there are fewer rooms x element types x targets

CLAMPS = (Act.NONE, Act.RELU, Act.RELU6, Act.CLIP)
# Layers for which the best schedule of every family that takes them is rendered, chosen or not.
EACH_FAMILY = ("depthwise", "grouped_by_4", "one_channel", "planes", "row", "wide", "batch")
FAST = {
    "winograd": layer("14x15x32", 36, "3x3", "1 1 1 1"),
    "winograd_flat": layer("4x30x32", 35, "1x5", "0 2 0 2"),
    "winograd_planes": replace(EDGES["planes"], c=24, oc=24),
    "grouped_winograd": layer("12x12x48", 48, "3x3", "1 1 1 1", groups=3),
}


@dataclass(frozen=True)
class Row:
    """A layer of one element type: ``family`` pins the best schedule of that family."""

    name: str
    layer: Layer
    family: str = ""

    def __str__(self) -> str:
        return f"{self.name}{'/' * bool(self.family)}{self.family} {self.layer.spec.dtype}"


def _quantized(spec: ConvSpec, turn: int) -> ConvSpec:
    """The layer with scales and zero points of its own; ``turn`` goes through the variants."""
    low = 0 if spec.dtype is DType.UINT8 else -128
    scales = tuple(0.01 + 0.001 * (i % 7) for i in range(spec.oc if turn % 2 else 1))
    # Most weights have no zero point: with one, the general path alone takes the layer.
    zeros = {3: (turn % 7,), 7: tuple(i % 5 - 2 for i in range(spec.oc))}.get(turn % 9, (0,))
    stepped = Affine((0.0625,), (low + 100 + turn % 29,))
    table = spec.activation.kind not in CLAMPS
    output = Affine((0.03,), (low + 128 - turn % 3,)) if table else stepped
    sums = turn % 11 == 10 and spec.activation.kind in (Act.NONE, Act.RELU)
    quant = Quant(
        Affine((0.02,), (low + 128 + turn % 31 - 15,)),
        Affine(scales, zeros),
        None if sums else output,
        stepped if table else None,
        list(Rounding)[turn % 3],
    )
    return replace(spec, quant=quant)


def _of_types(spec: ConvSpec, turn: int, types: Sequence[DType]) -> Iterator[ConvSpec]:
    for dtype in types:
        typed = replace(spec, name=f"l{turn}", dtype=dtype)
        yield _quantized(typed, turn) if typed.quantized else typed


def rows(everything: bool = False) -> list[Row]:
    """Every row of the table, in its order; ``everything``: each layer in each element type."""
    found = [
        Row(f"specs/{path.stem}/{item.spec.name}", item)
        for path in sorted((TESTS.parent / "specs").glob("*.yaml"))
        for item in parse_file(str(path))
    ]
    layers = {f"edge/{name}": spec for name, spec in EDGES.items()}
    layers |= {f"act/{name}": with_activation(name) for name in ACTIVATIONS}
    for turn, (name, spec) in enumerate(layers.items()):
        types = list(DType) if everything else [list(DType)[turn % len(DType)]]
        found += [Row(name, Layer(s, "<golden>")) for s in _of_types(spec, turn, types)]
    fast = {name: EDGES[name] for name in EACH_FAMILY} | FAST | {"layer": LAYER}
    for turn, (name, spec) in enumerate(fast.items()):
        types = list(DType) if everything else [DType.FLOAT32, DType.BFLOAT16, DType.INT8]
        for typed in _of_types(replace(spec, accuracy=Accuracy.FAST), turn, types):
            item = Layer(typed, "<golden>")
            found.append(Row(f"fast/{name}", item))
            families = _families(typed)
            if len(families) > 1:
                found += [Row(f"fast/{name}", item, family) for family in families]
    return found


@cache
def _families(spec: ConvSpec) -> tuple[str, ...]:
    """Families that some target has a schedule for."""
    names = ("x86-64-avx512", "generic")
    found = {e.plan.schedule.family for name in names for e in ranking(spec, TARGETS[name])}
    return tuple(sorted(found))


def room(plan: KernelPlan) -> str:
    """Which kernel this is, by the value alone: no name of a module is part of it."""
    family = str(plan.schedule.family)
    if plan.step:
        return f"{family}.steps"
    if plan.spec.quantized:
        return f"{family}.{'scalar' if plan.schedule.lanes == 1 else 'dots'}"
    return f"{family}.pairs" if plan.packing.side > 1 else family


def cell(row: Row, target: str) -> str:
    """``room:digest`` of one layer's files, or ``-`` where there is no such kernel."""
    item, machine = row.layer, TARGETS[target]
    if row.family:
        best = (
            entry.plan.schedule
            for entry in ranking(item.spec, machine)
            if entry.plan.schedule.family == row.family
        )
        item = replace(item, schedule=next(best, None))
        if item.schedule is None:
            return "-"
    try:
        decided = decide(item, machine)
    except ConvgenError as error:
        return f"-{type(error).__name__}"
    files = kernel_files(decided)
    text = "".join(f"{name}\0{files[name]}\0" for name in sorted(files))
    return f"{room(decided.plan)}:{hashlib.sha256(text.encode()).hexdigest()[:DIGITS]}"


Cells = dict[tuple[str, str], str]


def read(store: Path) -> Cells:
    """(row, target) to cell, as ``write`` wrote it."""
    lines = [line for line in store.read_text().splitlines() if not line.startswith("#")]
    targets = lines[0].split()[1:]
    found: Cells = {}
    for line in lines[1:]:
        name, dtype, *cells = line.split()
        found |= {(f"{name} {dtype}", t): c for t, c in zip(targets, cells, strict=True)}
    return found


def write(store: Path, cells: Mapping[tuple[str, str], str]) -> None:
    targets = list(dict.fromkeys(target for _, target in cells))
    names = list(dict.fromkeys(row for row, _ in cells))
    lines = ["# Written by tests/golden_hashes.py --update.", " ".join(["targets", *targets])]
    lines += [" ".join([name, *(cells[name, target] for target in targets)]) for name in names]
    store.write_text("\n".join(lines) + "\n")


def sliced(cells: Mapping[tuple[str, str], str], count: int, seed: str) -> list[tuple[str, str]]:
    """``count`` cells, each (room, element type, target) of the store among them, the choice made
    by ``seed``. More than ``count`` only where there are more such triples."""
    order = sorted(cells)
    Random(seed).shuffle(order)
    first: dict[tuple[str, str, str], tuple[str, str]] = {}
    for row, target in order:
        kind = cells[row, target].partition(":")[0]
        first.setdefault((kind, row.split()[1], target), (row, target))
    taken = dict.fromkeys(first.values())
    for key in order:
        if len(taken) >= count:
            break
        taken.setdefault(key)
    return list(taken)


def _work(task: tuple[str, list[str]]) -> list[tuple[str, str, str]]:
    name, targets = task
    row = _by_name()[name]
    return [(name, target, cell(row, target)) for target in targets]


@cache
def _by_name() -> dict[str, Row]:
    return {str(row): row for row in rows(everything=True)}


def computed(wanted: Iterable[tuple[str, str]], jobs: int = 1) -> Cells:
    """The cells anew, in the order that they were asked for."""
    tasks: dict[str, list[str]] = {}
    keys = list(wanted)
    for row, target in keys:
        tasks.setdefault(row, []).append(target)
    if jobs == 1:
        done = [part for task in tasks.items() for part in _work(task)]
    else:
        with ProcessPoolExecutor(jobs) as pool:
            done = [part for parts in pool.map(_work, tasks.items(), chunksize=4) for part in parts]
    found = {(row, target): value for row, target, value in done}
    return {key: found[key] for key in keys}


def differences(wanted: Mapping[tuple[str, str], str], found: Mapping[tuple[str, str], str]) -> str:
    """Lines of the cells that differ, empty where none does."""
    return "\n".join(
        f"{row} on {target}: {wanted.get((row, target), 'nothing')} is now {value}"
        for (row, target), value in found.items()
        if wanted.get((row, target)) != value
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--update", action="store_true")
    parser.add_argument("--file", type=Path, default=STORE)
    parser.add_argument("--slice", type=int, default=0, metavar="COUNT")
    parser.add_argument("--seed", default="", help="chooses the slice")
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--all", action="store_true", help="each layer in each element type")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if args.all and args.file == STORE:
        parser.error("--all wants a store of its own: --file")
    old = read(args.file) if args.check else {}
    every = [(str(row), target) for row in rows(args.all) for target in TARGETS]
    assert len(every) == len(set(every))
    keys = sliced(old, args.slice, args.seed) if args.slice else every
    keys = [key for key in keys if re.search(args.only, " ".join(key))]
    found = computed(keys, args.jobs)
    if args.update:
        write(args.file, found)
        print(f"{len(found)} cells written to {args.file}")
        return 0
    report = differences(old, found)
    gone = sorted(set(old) - set(every))
    print(
        report or f"{len(found)} cells are as they were",
        *(f"gone: {key}" for key in gone),
        sep="\n",
    )
    return 1 if report or gone else 0


if __name__ == "__main__":
    sys.exit(main())
