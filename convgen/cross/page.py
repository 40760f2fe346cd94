"""The table of targets as a Markdown page: what each needs, and what came of every trial."""

from __future__ import annotations

from collections.abc import Sequence

from convgen.cross.trial import Outcome, Trial
from convgen.spec.model import DType
from convgen.target import TARGETS, Target
from convgen.target.rigs import RIGS

KNOWN = (
    "target", "vectors", "floats", "registers", "8-bit", "bfloat16", "flags", "compiled with",
    "run by",
)  # fmt: skip
HEAD = ("layer", "target", "compiles", "runs", "self test", "text bytes", "error")


def trial_row(trial: Trial) -> tuple[str, ...]:
    """One line of the table, in the order of ``HEAD``."""
    outcome = trial.outcome
    ran = outcome in (Outcome.OK, Outcome.WRONG, Outcome.OTHER_BODY)
    return (
        trial.layer,
        trial.rig,
        f"yes: {trial.compiler}" if trial.compiler else str(outcome),
        f"yes: {trial.isa or '?'}" if ran else "no" if trial.compiler else "-",
        str(outcome) if trial.compiler else "-",
        "-" if trial.text is None else str(trial.text),
        "-" if trial.error is None else f"{trial.error:g}",
    )


def targets_page(trials: Sequence[Trial], command: str) -> str:
    """The whole page; only the second table depends on what was tried."""
    return "\n".join(
        (
            "# Targets",
            "",
            f"Made by `{command}`; do not edit.",
            "",
            *_known(),
            "",
            *_tried(trials),
            "",
        )
    )


def _known() -> list[str]:
    """What convgen knows of each target: all of it data in convgen/target."""
    lines = [
        "`convgen emit SPEC --target NAME` writes the C for any of them on any machine. x86-64 and "
        "AArch64 kernels",
        "switch their instructions on themselves; the others take the flags below, without which "
        "their plain C is",
        "compiled: `<name>_isa()` says which it was. `convgen cross SPEC` compiles with the first "
        "compiler found (on a",
        "machine of the target's own kind, with its own) and runs the self test, elsewhere under "
        "the emulator. `8-bit`:",
        "steps of several products that int8 and uint8 layers take, and how many they are; "
        "`bfloat16`: the same.",
        "",
        *_line(*KNOWN),
        *_line(*["---"] * len(KNOWN)),
    ]
    for rig in RIGS:
        target = TARGETS[rig.target]
        isa = target.isa
        lines += _line(
            rig.name,
            isa.name,
            str(isa.lanes),
            str(isa.registers),
            _steps(target),
            _pairs(target),
            " ".join(f"`{flag}`" for flag in target.flags) or "none",
            _first_of(rig.compilers),
            rig.board.machine + " in QEMU" if rig.board else _first_of(rig.emulators) or "itself",
        )
    return lines


def _pairs(target: Target) -> str:
    """The products of a step of bfloat16 layers, where it has more than one to a lane."""
    isa = target.bf16
    return f"{isa.name} {isa.depth * isa.lanes}" if isa is not None else "-"


def _steps(target: Target) -> str:
    """The 8-bit steps of a target, each with its products."""
    dots = [(dot.name, dot.lanes * dot.depth) for dot in target.dot_isas(DType.INT8)]
    named = dots + [(step.name, step.depth) for step in target.core_steps]
    return ", ".join(f"{name} {count}" for name, count in named) or "-"


def _tried(trials: Sequence[Trial]) -> list[str]:
    lines = [
        "## Tried",
        "",
        "The self test compares every output with a plain loop in double (built-in weights: "
        "samples), and some with the",
        "float64 oracle. Its numbers are integers whose sums are exact: direct kernels have no "
        "error at all up to their",
        "activation, Winograd's transforms round. `text bytes`: the layer's machine code; `error`: "
        "the largest one met, as",
        "a fraction of the largest output.",
        "",
        *_line(*HEAD),
        *_line(*["---"] * len(HEAD)),
    ]
    for trial in trials:
        lines += _line(*trial_row(trial))
    return lines


def _line(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def _first_of(commands: Sequence[tuple[str, ...]]) -> str:
    names = dict.fromkeys(command[0] for command in commands)
    shown = [name if not name.startswith("@") else f"PyPI's {name[1:]}" for name in names]
    return " or ".join([shown[0], *([shown[-1]] if len(shown) > 1 else [])]) if shown else ""
