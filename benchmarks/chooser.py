"""The chooser against tuning: how far its pick is from the best of many kernels, on random layers.

    python benchmarks/chooser.py [--layers 60] [--seed 1] [--limit SECONDS] [--markdown FILE]

Layers are drawn in turn from seven kinds: dense, pointwise, strided, dilated, depthwise, grouped
and odd sizes. On each, the chooser's pick, its short list and at least 50 candidates beyond it are
measured together, interleaved, over several processes; the ratio is the pick's time over the least.
Everything measured is kept in --store: a run that was cut off, or ran into its --limit, goes on
where it was, and a changed cost model measures only kernels that are new to it.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import random
import statistics
import time
from pathlib import Path

import convgen
from convgen.spec.model import Act, Activation, ConvSpec, Layer, Padding
from convgen.target import Target, resolve_target
from convgen.target.host import cpu_name
from convgen.toolchain import Compiler, find_compiler
from convgen.tune import Setting, Store, Tuned, default_store_path, key_of, tune_layer
from convgen.tune.measure import machine
from convgen.tune.session import anonymous
from convgen.tune.shortlist import ranked, shortlist, wider

KINDS = ("dense", "pointwise", "strided", "dilated", "depthwise", "grouped", "odd")
BEYOND = 50  # candidates drawn beyond the short list
MOST_MACS, LEAST_MACS = 300e6, 0.1e6
HEAD = "| layer | shape | pick µs | best µs | ratio | measured | pick | best |"


def draw(index: int, seed: int) -> ConvSpec:
    """Layer ``index`` of a seed: its kind by turns, its sizes at random, its work within limits."""
    rng = random.Random(f"{seed}/{index}")
    kind = KINDS[index % len(KINDS)]
    while True:
        spec = _drawn(f"{kind}_{index}", kind, rng)
        if spec is not None and LEAST_MACS <= spec.macs <= MOST_MACS:
            return spec


def _drawn(name: str, kind: str, rng: random.Random) -> ConvSpec | None:
    """One layer of a kind, or None where its windows do not fit."""
    size = rng.choice((7, 8, 14, 16, 20, 28, 32, 40, 56, 64, 112))
    height = width = size
    c, oc = (rng.choice((3, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)) for _ in range(2))
    taps, stride, dilation, groups = rng.choice((3, 3, 3, 5, 7)), 1, 1, 1
    match kind:
        case "pointwise":
            taps = 1
        case "strided":
            stride = rng.choice((2, 2, 3, 4))
        case "dilated":
            taps, dilation = rng.choice((3, 3, 5)), rng.choice((2, 2, 3, 4))
        case "depthwise":
            c = oc = groups = max(c, 8)
            stride = rng.choice((1, 1, 2))
        case "grouped":
            groups = rng.choice((2, 4, 8, 16, 32))
            c, oc = (groups * rng.choice((1, 2, 4, 8, 16, 24)) for _ in range(2))
        case "odd":
            height, width = rng.randint(5, 70), rng.randint(5, 70)
            c, oc, taps = rng.randint(1, 150), rng.randint(1, 150), rng.choice((2, 3, 4, 5, 6))
    pad = (taps - 1) * dilation // 2 if rng.random() < 0.8 else 0
    reach = (taps - 1) * dilation + 1
    if min(height, width) + 2 * pad < reach:
        return None
    # A bottom or right part that no window reaches is trimmed, as the parser does.
    trims = [min(pad, (side + 2 * pad - reach) % stride) for side in (height, width)]
    padding = Padding(pad, pad, pad - trims[0], pad - trims[1])
    return ConvSpec(
        name, height, width, c, oc, taps, taps, stride, stride, dilation, dilation, padding,
        groups, activation=Activation(Act.RELU),
    )  # fmt: skip


def evaluate(
    spec: ConvSpec, target: Target, compiler: Compiler, store: Store, budget: float
) -> Tuned:
    """Measure the pick, the short list and ``BEYOND`` others of one layer."""
    everything = ranked(anonymous(spec), target)
    short = shortlist(everything)
    field = (*short, *wider(everything, short, BEYOND, seed=1))
    key = key_of(spec, target, compiler)
    with machine(compiler, False, default_store_path().with_suffix(".measuring.lock")) as bench:
        return tune_layer(
            Layer(spec, "<drawn>"), field, bench, store, key, Setting(target, budget=budget)
        )


def shape(spec: ConvSpec) -> str:
    text = f"{spec.h}x{spec.w}x{spec.c} k{spec.oc} f{spec.kh}"
    extras = {"s": (spec.sh, 1), "p": (spec.padding.top, 0), "d": (spec.dh, 1)}
    extras["g"] = (spec.groups, 1)
    return text + "".join(f" {k}{v}" for k, (v, usual) in extras.items() if v != usual)


def row(spec: ConvSpec, tuned: Tuned) -> tuple[str, float]:
    """A line of the table and the ratio: the pick's time over the least of all."""
    timed = [c for c in tuned.candidates if c.microseconds is not None and c.fault is None]
    best = min(timed, key=lambda c: c.microseconds or 0.0)
    mine = tuned.chosen.microseconds
    assert mine is not None and best.microseconds is not None
    ratio = mine / best.microseconds
    count = f"{len(timed)}{'' if tuned.complete else ' (cut off)'}"
    return (
        f"| {spec.name} | {shape(spec)} | {mine:.1f} | {best.microseconds:.1f} | {ratio:.3f} | "
        f"{count} | `{tuned.chosen.schedule}` | `{best.schedule}` |"
    ), ratio


def closing(ratios: dict[str, float]) -> list[str]:
    """Median and worst, of all and by kind."""
    lines = [""]
    if ratios:
        worst = max(ratios, key=lambda name: ratios[name])
        lines.append(
            f"{len(ratios)} layers: median {statistics.median(ratios.values()):.3f}, "
            f"worst {ratios[worst]:.3f} ({worst}). Aimed at: 1.10 and 1.25."
        )
        for kind in KINDS:
            own = [ratio for name, ratio in ratios.items() if name.startswith(f"{kind}_")]
            if own:
                lines.append(f"- {kind}: median {statistics.median(own):.3f}, worst {max(own):.3f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds for one layer")
    parser.add_argument("--limit", type=float, help="begin no new layer after these seconds")
    parser.add_argument("--isa")
    parser.add_argument("--cc")
    parser.add_argument("--store", type=Path, help="what was measured (user's data folder)")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    args = parser.parse_args()
    start = time.monotonic()
    target, compiler = resolve_target(isa=args.isa), find_compiler(args.cc)
    lines = [
        f"{cpu_name()}, {platform.system()}, {datetime.date.today()}, {compiler}, target "
        f"{target.name}, convgen {convgen.__version__}; {args.layers} layers of seed {args.seed}, "
        f"at least {BEYOND} candidates beyond the short list where there are so many.",
        "",
        HEAD,
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    ratios: dict[str, float] = {}
    with Store(args.store or default_store_path().with_name("chooser.sqlite")) as store:
        for index in range(args.layers):
            left = args.limit - (time.monotonic() - start) if args.limit else args.budget
            if left <= 0:
                print(f"(--limit: {args.layers - index} layers left; run again to go on)")
                break
            spec = draw(index, args.seed)
            tuned = evaluate(spec, target, compiler, store, min(args.budget, left))
            text, ratios[spec.name] = row(spec, tuned)
            lines.append(text)
            print(text, flush=True)
    lines += closing(ratios)
    print("\n".join(closing(ratios)))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
