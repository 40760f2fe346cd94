"""How many axes an input has: 1, 2 or 3, and what the other keys must then say.

Values of one number an axis are spread over depth, height and width, whatever the rank; an axis
that is not there has the neutral value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convgen.spec.foreign import value_advice
from convgen.spec.forms import MAX_RANK, Sizes, mistake, nothing
from convgen.spec.model import Layout, Padding, WeightLayout
from convgen.spec.problem import Problem
from convgen.spec.scalars import disputed, show

if TYPE_CHECKING:
    from convgen.spec.fields import RawLayer

AXES: Mapping[int, tuple[str, ...]] = {
    1: ("length",),
    2: ("height", "width"),
    3: ("depth", "height", "width"),
}
_COUNT = {1: "one", 2: "two", 3: "three"}
_FORMS: Mapping[int, str] = {1: "3", 2: "3, [5, 3] or 5x3", 3: "3, [3, 5, 5] or 3x5x5"}
_STEPS: Mapping[int, str] = {1: "1", 2: "1 or [2, 1]", 3: "1 or [1, 2, 2]"}
SIDES: Mapping[int, tuple[str, ...]] = {
    1: ("left", "right"),
    2: ("top", "left", "bottom", "right"),
    3: ("front", "top", "left", "back", "bottom", "right"),
}
_DIMS: Mapping[int, str] = {1: "W", 2: "HW", 3: "DHW"}  # as layouts name the axes
KEYS = ("kernel", "stride", "padding", "dilation", "output_padding")


@dataclass(frozen=True)
class LayoutWord:
    """A layout, and the rank whose word the spec took; 0 for one that every rank takes."""

    value: Layout
    rank: int = 0


@dataclass(frozen=True)
class WeightWord:
    """The same of weights."""

    value: WeightLayout
    rank: int = 0


def _words(of: type[Layout] | type[WeightLayout]) -> dict[str, tuple[str, int]]:
    """Every spelling: the members' own, which any rank takes, and those that name other axes."""
    found = {str(member): (str(member), 0) for member in of}
    for rank in (1, 3):
        for member in of:
            found[str(member).replace("HW", _DIMS[rank])] = (str(member), rank)
    return found


LAYOUTS = _words(Layout)
WEIGHT_LAYOUTS = _words(WeightLayout)


def layout(value: object) -> LayoutWord:
    """``NHWC`` or ``NCHW``, in 1-D also ``NWC`` and ``NCW``, in 3-D ``NDHWC`` and ``NCDHW``."""
    if isinstance(value, str) and (advice := value_advice("layout", value)):
        raise mistake("E120", f"{show(value)} is not known here: {advice}")
    word, rank = _word(value, LAYOUTS)
    return LayoutWord(Layout(word), rank)


def weight_layout(value: object) -> WeightWord:
    """``HWIO``, ``OIHW``, ``OHWI``, ``IOHW`` or ``HWOI``, or the same with ``W`` or ``DHW``."""
    word, rank = _word(value, WEIGHT_LAYOUTS)
    return WeightWord(WeightLayout(word), rank)


def _word(value: object, words: Mapping[str, tuple[str, int]]) -> tuple[str, int]:
    from difflib import get_close_matches

    if value is None:
        raise nothing()
    if isinstance(value, str) and value in words:
        return words[value]
    own, hint = [word for word, (_, rank) in words.items() if rank == 0], ""
    if isinstance(value, str) and not disputed(value):
        spelled = value[:64].upper()
        close = get_close_matches(spelled, own, 1) or get_close_matches(spelled, words, 1)
        hint = f"; did you mean `{close[0]}`?" if close else ""
    text = f"{show(value)} is not one of {', '.join(own)}{hint}"
    raise mistake("E120" if isinstance(value, str) else "E119", text)


def rank_of(raw: RawLayer) -> int:
    """``input`` must be given."""
    assert raw.input
    return len(raw.input) - 1


def image_of(raw: RawLayer) -> tuple[int, int, int, int]:
    """(D, H, W, C) of the input, 1 where an axis is not there."""
    assert raw.input
    d, h, w, c = (1,) * (MAX_RANK + 1 - len(raw.input)) + raw.input
    return d, h, w, c


def spread(value: Sizes, rank: int, neutral: int) -> tuple[int, int, int]:
    """A number for depth, height and width, ``neutral`` where the axis is not there."""
    listed = (value,) * rank if isinstance(value, int) else value
    assert len(listed) == rank, (value, rank)
    d, h, w = (neutral,) * (MAX_RANK - rank) + listed
    return d, h, w


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
            right = dict.fromkeys((str(of.value), str(of.value).replace("HW", _DIMS[rank])))
            fix = " or ".join(f"`{word}`" for word in right)
            found.append(Problem("E126", key, f"{text}; write {fix}"))
    return found


def _count_problem(key: str, value: object, rank: int) -> Problem | None:
    if not isinstance(value, tuple) or len(value) == rank:
        return None
    entries = "1 entry" if len(value) == 1 else f"{len(value)} entries"
    verb = "has" if rank > 1 else "takes"
    forms = (_FORMS if key == "kernel" else _STEPS)[rank]
    text = f"{entries} where [{', '.join(AXES[rank])}] {verb} {_COUNT[rank]}; write {forms}"
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
