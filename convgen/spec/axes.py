"""The axes that a layer's input has, and keys that speak of another number of them."""

from __future__ import annotations

from convgen.spec.fields import RawLayer
from convgen.spec.forms import MAX_RANK
from convgen.spec.model import SIDES, Padding
from convgen.spec.problem import Problem
from convgen.spec.ranks import AXES, COUNT, DIMS, FORMS, KEYS, STEPS, spread


def rank_of(raw: RawLayer) -> int:
    """``input`` must be given."""
    assert raw.input
    return len(raw.input) - 1


def image_of(raw: RawLayer) -> tuple[int, int, int, int]:
    """(D, H, W, C) of the input, 1 where an axis is not there."""
    assert raw.input
    d, h, w, c = (1,) * (MAX_RANK + 1 - len(raw.input)) + raw.input
    return d, h, w, c


def padding_of(raw: RawLayer) -> Padding:
    """The sides of a padding that is given by numbers; none where a mode gives it."""
    match raw.padding:
        case Padding() as sides:
            return sides
        case int() | tuple() as numbers:
            d, h, w = spread(numbers, rank_of(raw), 0)
            return Padding(h, w, h, w, d, d)
    return Padding()


def rank_problems(raw: RawLayer, bad: frozenset[str]) -> list[Problem]:
    """Keys that speak of another number of axes than the input has; ``bad`` are refused already."""
    rank = rank_of(raw)
    found = [
        problem
        for key in KEYS
        if key not in bad and (problem := _count_problem(key, getattr(raw, key), rank))
    ]
    if isinstance(raw.padding, Padding) and "padding" not in bad:
        found += _side_problems(raw.padding, rank)
    for key, of in (("layout", raw.layout), ("weight_layout", raw.weight_layout)):
        if key not in bad and of.rank not in (0, rank):
            text = f"it names the axes of {of.rank}-D arrays, but the input is {rank}-D"
            right = dict.fromkeys((str(of.value), str(of.value).replace("HW", DIMS[rank])))
            fix = " or ".join(f"`{word}`" for word in right)
            found.append(Problem("E126", key, f"{text}; write {fix}"))
    return found


def _count_problem(key: str, value: object, rank: int) -> Problem | None:
    if not isinstance(value, tuple) or len(value) == rank:
        return None
    entries = "1 entry" if len(value) == 1 else f"{len(value)} entries"
    verb = "has" if rank > 1 else "takes"
    forms = (FORMS if key == "kernel" else STEPS)[rank]
    text = f"{entries} where [{', '.join(AXES[rank])}] {verb} {COUNT[rank]}; write {forms}"
    if rank == 1 and key == "padding":
        text += ", or {left: 1, right: 2}"
    return Problem("E117", key, text)


def _side_problems(padding: Padding, rank: int) -> list[Problem]:
    strangers = [
        side
        for side in ("front", "back", "top", "bottom")
        if side not in SIDES[rank] and getattr(padding, side)
    ]
    if not strangers:
        return []
    named = " and ".join(f"`{side}`" for side in strangers)
    text = f"a {rank}-D input has no {named}: its sides are {', '.join(SIDES[rank])}"
    return [Problem("E125", "padding", text, (strangers[0],))]
