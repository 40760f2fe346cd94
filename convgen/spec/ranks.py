"""How many axes an input has: 1, 2 or 3, and what the other keys must then say.

Values of one number an axis are spread over depth, height and width, whatever the rank; an axis
that is not there has the neutral value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convgen.spec.foreign import value_advice
from convgen.spec.forms import MAX_RANK, Sizes, nothing
from convgen.spec.model import Layout, WeightLayout
from convgen.spec.reading import Mistake
from convgen.spec.scalars import disputed, show

AXES: Mapping[int, tuple[str, ...]] = {
    1: ("length",),
    2: ("height", "width"),
    3: ("depth", "height", "width"),
}
COUNT = {1: "one", 2: "two", 3: "three"}
FORMS: Mapping[int, str] = {1: "3", 2: "3, [5, 3] or 5x3", 3: "3, [3, 5, 5] or 3x5x5"}
STEPS: Mapping[int, str] = {1: "1", 2: "1 or [2, 1]", 3: "1 or [1, 2, 2]"}
DIMS: Mapping[int, str] = {1: "W", 2: "HW", 3: "DHW"}  # as layouts name the axes
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
            found[str(member).replace("HW", DIMS[rank])] = (str(member), rank)
    return found


LAYOUTS = _words(Layout)
WEIGHT_LAYOUTS = _words(WeightLayout)


def layout(value: object) -> LayoutWord:
    """``NHWC`` or ``NCHW``, in 1-D also ``NWC`` and ``NCW``, in 3-D ``NDHWC`` and ``NCDHW``."""
    if isinstance(value, str) and (advice := value_advice("layout", value)):
        raise Mistake("E120", f"{show(value)} is not known here: {advice}")
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
    raise Mistake("E120" if isinstance(value, str) else "E119", text)


def spread(value: Sizes, rank: int, neutral: int) -> tuple[int, int, int]:
    """A number for depth, height and width, ``neutral`` where the axis is not there."""
    listed = (value,) * rank if isinstance(value, int) else value
    assert len(listed) == rank, (value, rank)
    d, h, w = (neutral,) * (MAX_RANK - rank) + listed
    return d, h, w
