"""The options that several verbs share, declared once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from convgen.cli.command import Argument, Option


def _targets(incomplete: str) -> list[str]:
    from convgen.target import TARGETS

    return [name for name in TARGETS if name.startswith(incomplete)]


def _isas(incomplete: str) -> list[str]:
    from convgen.target import ISA_NAMES

    return [name for name in ISA_NAMES if name.startswith(incomplete)]


def targets_so_far(incomplete: str) -> list[str]:
    """Completions of ``--target A,B``: the last name, those before it kept."""
    from convgen.target import TARGETS

    return _listed(incomplete, ("all", *TARGETS))


def peers_so_far(incomplete: str) -> list[str]:
    """Completions of ``--against A,B``: the last name, those before it kept."""
    from convgen.bench.peers import PEERS

    return _listed(incomplete, ("all", *PEERS))


def _listed(incomplete: str, names: Iterable[str]) -> list[str]:
    head, comma, last = incomplete.rpartition(",")
    taken = head.split(",")
    return [f"{head}{comma}{n}" for n in names if n.startswith(last) and n not in taken]


Specs = Annotated[
    list[str],
    Argument(
        "SPEC", "Spec files, model files (ONNX, TFLite), folders of them, or - for standard input."
    ),
]
Json = Annotated[bool, Option("--json", help="Print one JSON object on stdout.")]
Verbose = Annotated[bool, Option("--verbose", "-v", help="Say more, on stderr.")]
Quiet = Annotated[
    bool, Option("--quiet", "-q", help="Errors alone, and the data that was asked for.")
]
OutDir = Annotated[
    str, Option("--out", "-o", metavar="DIR", help="Folder of the generated packages.")
]
Isa = Annotated[
    str | None,
    Option(
        "--isa",
        metavar="ISA",
        help="avx512bf16, avx512, avx512f, avxvnni, avx2, sse2 or plain.",
        shown=False,
        complete=_isas,
    ),
]
TargetName = Annotated[
    str | None,
    Option(
        "--target",
        metavar="NAME",
        help="A named target; without it, this machine's.",
        shown=False,
        complete=_targets,
    ),
]
SplitWeights = Annotated[
    bool, Option("--split-weights", help="Baked weights in a <name>_weights.c of their own.")
]
WeightsFormat = Annotated[
    Literal["c", "bin"],
    Option(
        "--weights-format",
        help="Baked weights as numbers in C, or in <name>_weights.bin, which the assembler takes "
        "in: no time to compile, whatever the size.",
    ),
]
TogetherName = Annotated[
    str | None,
    Option(
        "--together",
        metavar="NAME",
        help="Also a package NAME of all layers in one library, for a program of thousands.",
        shown=False,
    ),
]
Compiler = Annotated[
    str | None,
    Option("--cc", metavar="COMMAND", help="C compiler to use, as in 'clang'.", shown=False),
]
MaxCode = Annotated[
    int | None,
    Option(
        "--max-code-bytes", least=1, metavar="N", shown=False,
        help="Machine code of a kernel at most; without it, 65536 where possible.",
    ),
]  # fmt: skip
MaxWorkspace = Annotated[
    int | None,
    Option(
        "--max-workspace-bytes", least=0, metavar="N", shown=False,
        help="Workspace of a running part at most.",
    ),
]  # fmt: skip
MaxRam = Annotated[
    int | None,
    Option(
        "--max-ram-bytes", least=1, metavar="N", shown=False,
        help="RAM of one run at most, as convgen size counts it.",
    ),
]  # fmt: skip
MeasureIt = Annotated[
    bool, Option("--measure", help="Build and time it here, beside this machine's limits.")
]
Jobs = Annotated[
    int | None,
    Option(
        "--jobs",
        "-j",
        least=1,
        metavar="N",
        help="Layers built at once; without it, one a CPU.",
        shown=False,
    ),
]
NoVerify = Annotated[bool, Option("--no-verify", help="Skip the checks of the built kernel.")]
Timeout = Annotated[
    float, Option("--timeout", least=0.1, metavar="S", help="Limit of one compiler call, in s.")
]
NoCache = Annotated[bool, Option("--no-cache", help="Neither take nor keep a cached build.")]
BuildTuned = Annotated[
    bool, Option("--tuned", help="Use the winners that convgen tune has stored.")
]
TuneFirst = Annotated[bool, Option("--tune", help="Tune first, then build with the winners.")]

Shapes = Annotated[
    list[str] | None,
    Option(
        "--shape", metavar="NAME=1x3x224x224", shown=False,
        help="Sizes of a model's input that its file leaves open.",
    ),
]  # fmt: skip
Cut = Annotated[
    str | None,
    Option(
        "--cut", metavar="A:B", shown=False,
        help="Only the part of a model between these tensors.",
    ),
]  # fmt: skip
NetName = Annotated[
    str | None,
    Option("--name", metavar="NAME", help="What a model's network is called.", shown=False),
]
