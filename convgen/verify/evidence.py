"""All that is proved of one layer's C: each body that the file has, and what the proof rests on.

Memory and every other arithmetic are proved for any content of the packed array. The sums of 8-bit
layers stay within int32 because ``pack`` (or the build, for baked weights) refuses weights that
could bring them out: EVA, which keeps no relation between the cells of an array, is shown a smaller
claim instead where it can see it, and otherwise the certificate names that refusal as assumption.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from convgen.errors import ToolchainError
from convgen.plan.kernel import KernelPlan
from convgen.verify.eva import SECONDS, Proof, Reading
from convgen.verify.harness import Content, bias_limit
from convgen.verify.prove import prove


class Sums(StrEnum):
    """What the sums of products of a body rest on."""

    FLOAT = "floating point"  # cannot overflow into undefined behaviour
    SHOWN = "shown for the baked weights"
    BOUNDED = "shown for every weight and bounded biases"
    CONTRACT = "within int32 by pack's check"


@dataclass(frozen=True)
class BodyProof:
    """One body of the file. ``proofs``: EVA's runs, the one for any packed content first.

    ``alarms``: what is not proved and rests on no named assumption; none means proved.
    """

    body: str
    proofs: tuple[Proof, ...]
    sums: Sums
    alarms: tuple[str, ...]

    @property
    def proved(self) -> bool:
        return not self.alarms

    @property
    def functions(self) -> int:
        return self.proofs[0].functions

    @property
    def seconds(self) -> float:
        return sum(proof.seconds for proof in self.proofs)


def evidence(
    plan: KernelPlan,
    files: Mapping[str, str],
    *,
    baked: bool = False,
    timeout: float = SECONDS,
) -> Iterator[BodyProof]:
    """The proof of each body of the rendered ``files``, one after another.

    ``baked``: the C carries its weights. Raises ``ToolchainError`` as ``prove`` does.
    """
    for reading, isa in readings(plan):
        yield prove_body(plan, files, reading, isa, baked=baked, timeout=timeout)


def prove_body(
    plan: KernelPlan,
    files: Mapping[str, str],
    reading: Reading,
    isa: str | None = None,
    *,
    baked: bool = False,
    timeout: float = SECONDS,
) -> BodyProof:
    """One of ``readings``; raises ``ToolchainError`` as ``prove`` does."""
    name = plan.plain.isa.name if reading is Reading.PLAIN else isa or plan.body.isa.name
    first = prove(plan, files, reading, isa=isa, timeout=timeout)
    proofs, sums = _sums(plan, files, reading, isa, baked, timeout, first)
    alarms = tuple(alarm for alarm in first.alarms if alarm not in first.sums)
    return BodyProof(name, proofs, sums, alarms)


def readings(plan: KernelPlan) -> tuple[tuple[Reading, str | None], ...]:
    """Every body of the file: how it is selected, and which vector body of a fat file it is."""
    plain = ((Reading.PLAIN, None),)
    if len(plan.bodies) == 1:
        return plain
    if not plan.fat:
        return (Reading.SIMD, None), *plain
    return *((Reading.SIMD, isa) for isa in plan.isas), *plain


def _sums(
    plan: KernelPlan,
    files: Mapping[str, str],
    reading: Reading,
    isa: str | None,
    baked: bool,
    timeout: float,
    first: Proof,
) -> tuple[tuple[Proof, ...], Sums]:
    """The runs, and what the sums rest on after a second one, on a content that bounds them."""
    if not plan.spec.quantized:
        return (first,), Sums.FLOAT
    content = Content.BAKED if baked else Content.BOUNDED
    if not first.sums or (content is Content.BOUNDED and bias_limit(plan) is None):
        return (first,), Sums.CONTRACT
    try:
        second = prove(plan, files, reading, isa=isa, timeout=min(timeout, 60.0), content=content)
    except ToolchainError:
        return (first,), Sums.CONTRACT  # it took too long: the first run says all the rest
    if not second.proved:
        return (first,), Sums.CONTRACT
    return (first, second), Sums.SHOWN if baked else Sums.BOUNDED


def assumptions(plan: KernelPlan, sums: frozenset[Sums]) -> tuple[str, ...]:
    """In words, what the proof takes for granted."""
    name = plan.spec.name
    found = [
        "The caller's arrays have the sizes that the header states, are aligned to their elements, "
        "and only those overlap that the header allows.",
        f"A packed array was written by this file's {name}_pack with result 0, or is its "
        f"{name}_packed.",
        "C types have the sizes and alignments of frama-c's gcc_x86_64.",
        "frama-c's EVA is sound, and the compiler translates defined C as the standard says.",
    ]
    if len(plan.bodies) > 1:
        found.append(
            "Vector instructions do what the scalar model in the file says; tests hold each to it "
            "bit by bit."
        )
    if Sums.BOUNDED in sums:
        limit = bias_limit(plan)
        found.append(
            f"Sums are shown to stay within int32 for all weights and all biases in -{limit} .. "
            f"{limit} - 1. With a bias beyond, the check of {name}_pack keeps them there: it "
            "refuses weights whose sum of |w - w_zero| * max|x - x_zero| + |bias| exceeds "
            "2147483647."
        )
    if Sums.CONTRACT in sums:
        found.append(
            f"Sums stay within int32 by the check of {name}_pack, or of the build for baked "
            "weights: weights are refused whose sum of |w - w_zero| * max|x - x_zero| + |bias| "
            "exceeds 2147483647 in any channel. EVA's run takes no overflow of these sums for "
            "granted."
        )
    return tuple(found)
