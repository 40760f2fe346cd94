"""Readers of single values: every form that a key takes, broadcast to one typed value.

Each raises ``Mistake`` with its ``E###``, or ``Mistakes`` of several with their places.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from pathlib import PurePath
from typing import TypeVar

from convgen.errors import ScheduleError
from convgen.spec.foreign import value_advice
from convgen.spec.names import refuse_name
from convgen.spec.reading import Map, Mistake, Mistakes, Place, placed, read_by
from convgen.spec.scalars import disputed, show
from convgen.spec.schedule import Schedule

MAX_SIZE = 2**24  # height, width, channels, filters, batch
MAX_STEP = 2**16  # kernel, stride, dilation, padding: sums of their products stay below 2^31
MAX_RANK = 3  # axes of an image beside its channels
MAX_SEED = 2**64 - 1
FLOAT32_MAX = float.fromhex("0x1.fffffep127")

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)

_SHAPE = re.compile(r"(?:0|[1-9][0-9]{0,20})(?:x(?:0|[1-9][0-9]{0,20}))+", re.ASCII)
_LOOSE_SHAPE = re.compile(r"[0-9]+(?:\s*[xX×*,]\s*[0-9]+)+", re.ASCII)


def nothing() -> Mistake:
    return Mistake("E104", "there is no value: write one, or remove the key to take its default")


def whole(value: object, low: int, high: int) -> int:
    """An int in low..high. A bool, a float and text that looks like a number are refused."""
    match value:
        case None:
            raise nothing()
        case bool():
            raise Mistake("E112", f"{show(value)} is a truth value; write a whole number")
        case int() if low <= value <= high:
            return value
        case int():
            raise Mistake("E113", f"{show(value)} is out of range: it must lie in {low}..{high}")
        case str() if why := disputed(value):
            raise Mistake("E111", f"{why}; a whole number belongs here")
        case str() if value.strip().isdecimal():
            raise Mistake("E110", f"{show(value)} is quoted text; remove the quotes")
    raise Mistake("E110", f"{show(value)} is not a whole number, such as {max(low, 1)}")


def number(value: object) -> float:
    """A finite real number that float32 can hold."""
    match value:
        case None:
            raise nothing()
        case bool():
            raise Mistake("E112", f"{show(value)} is a truth value; write a number")
        case float() if math.isnan(value):
            raise Mistake("E114", "nan is not a number; write a finite one")
        case int() | float() if abs(value) <= FLOAT32_MAX:
            return float(value)
        case int() | float():
            raise Mistake("E115", f"{show(value)} does not fit float32 (at most 3.4e38)")
        case str() if why := disputed(value):
            raise Mistake("E111", f"{why}; a number belongs here")
    raise Mistake("E114", f"{show(value)} is not a finite decimal number, such as 0.1 or 1e-3")


def truth(value: object) -> bool:
    match value:
        case None:
            raise nothing()
        case bool():
            return value
        case str() if why := disputed(value):
            raise Mistake("E111", f"{why}; write `true` or `false`")
    raise Mistake("E116", f"{show(value)} is neither `true` nor `false`")


def choice(value: object, kind: type[Choice], other: str = "", key: str = "") -> Choice:
    """The member of ``kind`` that ``value`` spells. ``other`` tells of further forms; ``key``
    names the table of other programs' words in ``foreign``."""
    if value is None:
        raise nothing()
    names = [str(member) for member in kind]
    if isinstance(value, str) and value in names:
        return kind(value)
    if isinstance(value, str) and key and (advice := value_advice(key, value)):
        raise Mistake("E120", f"{show(value)} is not known here: {advice}")
    hint = _near(value, names) if isinstance(value, str) else ""
    text = f"{show(value)} is not one of {', '.join(names)}{other}{hint}"
    raise Mistake("E120" if isinstance(value, str) else "E119", text)


def _near(text: str, names: Sequence[str]) -> str:
    folded = {name.lower(): name for name in names}
    close = get_close_matches(text[:64].lower(), folded, 1)
    return f"; did you mean `{folded[close[0]]}`?" if close else ""


def each(values: Sequence[object], read: Callable[[object], T]) -> list[T]:
    """``read`` of every entry; all mistakes at once, each with its index."""
    good: list[T] = []
    bad: list[tuple[Place, Mistake]] = []
    for at, value in enumerate(values):
        try:
            good.append(read(value))
        except (Mistake, Mistakes) as error:
            bad += placed(error, at)
    if bad:
        raise Mistakes(bad)
    return good


Sizes = int | tuple[int, ...]  # one number for every axis, or one for each


def sizes(value: object, low: int, *, text_form: bool = False) -> Sizes:
    """``3`` for every axis; ``[5, 3]`` and, where ``text_form``, ``5x3``: one number an axis."""
    forms = "3, [5, 3] or 5x3" if text_form else "1 or [2, 1]"
    match value:
        case str() if text_form and _SHAPE.fullmatch(value) and not disputed(value):
            value = _numbers(value)
        case str() if _LOOSE_SHAPE.fullmatch(value) and not disputed(value):
            meant = _meant(value)
            wanted = "x".join(map(str, meant)) if text_form else str(meant)
            how = wanted if _accepted(lambda: sizes([*meant], low)) else forms
            raise Mistake("E119", f"{show(value)} is not a form of this key; write {how}")
        case dict():
            raise Mistake("E119", f"a map does not belong here; write {forms}")
    if not isinstance(value, list):
        return whole(value, low, MAX_STEP)
    if not 1 <= len(value) <= MAX_RANK:
        text = f"{len(value)} entries where there is one an axis, at most {MAX_RANK}"
        raise Mistake("E117", f"{text}; write {forms}")
    return tuple(each(value, lambda v: whole(v, low, MAX_STEP)))


def _meant(text: str) -> list[int]:
    """The numbers of a loosely written shape; cut to what Python's int() is willing to read."""
    return [int(part[:64]) for part in re.findall("[0-9]+", text)]


def _accepted(read: Callable[[], object]) -> bool:
    """Does a reader take what a message is about to suggest?"""
    try:
        read()
    except (Mistake, Mistakes):
        return False
    return True


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split("x")]


_size = partial(whole, low=1, high=MAX_SIZE)


class _Sizes(Map):
    """The input's sizes by name, in any order; a 1-D one has no h, only a 3-D one has d."""

    w: int = read_by(_size)
    c: int = read_by(_size)
    h: int | None = read_by(_size, None)
    d: int | None = read_by(_size, None)


def image(value: object) -> tuple[int, ...]:
    """(H, W, C) of ``32x32x3``, ``[32, 32, 3]`` or ``{c: 3, h: 32, w: 32}``; (L, C) in 1-D and
    (D, H, W, C) in 3-D."""
    how = "write height x width x channels, such as 32x32x3 or [32, 32, 3]"
    match value:
        case None:
            raise nothing()
        case dict():
            named = _Sizes.read(value)
            if named.d is not None and named.h is None:
                raise Mistake("E103", "`h` is missing: a 3-D input has d, h, w and c")
            axes = (named.d, named.h, named.w)
            return (*(size for size in axes if size is not None), named.c)
        case str() if _SHAPE.fullmatch(value) and not disputed(value):
            sizes: list[object] = [*_numbers(value)]
        case list():
            sizes = value
        case str() if why := disputed(value):
            raise Mistake("E111", f"{why}; {how}")
        case str() if _LOOSE_SHAPE.fullmatch(value):
            meant = _meant(value)
            if _accepted(lambda: image([*meant])):
                how = f"write {'x'.join(map(str, meant))}"
            raise Mistake("E119", f"{show(value)} is not a form of this key; {how}")
        case _:
            raise Mistake("E119", f"{show(value)} is no input size; {how}")
    if not 2 <= len(sizes) <= MAX_RANK + 1:
        number = f"{len(sizes)} size{'' if len(sizes) == 1 else 's'}"
        batch = "; the batch has its own key" if len(sizes) == MAX_RANK + 2 else ""
        more = "; a 1-D layer has length x channels, a 3-D one depth x height x width x channels"
        raise Mistake("E117", f"{number} where two to four belong{batch}; {how}{more}")
    return tuple(each(sizes, lambda v: whole(v, 1, MAX_SIZE)))


def word_or_whole(value: object, word: str, high: int) -> int | None:
    """An int in 1..high, or None for ``word``."""
    if value == word:
        return None
    if isinstance(value, str) and not disputed(value) and not value.strip().isdecimal():
        hint = _near(value, [word])
        raise Mistake("E120", f"{show(value)} is neither a whole number nor `{word}`{hint}")
    return whole(value, 1, high)


def version(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value != 1:
        raise Mistake("E121", f"version {show(value)} is unknown: this convgen reads version 1")
    return whole(value, 1, 1)


def name(value: object) -> str:
    if value is None:
        raise nothing()
    if not isinstance(value, str):
        raise Mistake("E130", f"{show(value)} is not a name; a name is text, such as conv1")
    if refused := refuse_name(value):
        raise Mistake(*refused)
    return value


def file_path(value: object, suffix: str, advice: str) -> PurePath:
    """A path that ends in ``suffix``; whether there is such a file is asked when it is loaded."""
    if value is None:
        raise nothing()
    if not isinstance(value, str):
        raise Mistake("E119", f"{show(value)} is no file name; {advice}")
    if not value.strip() or not value.isprintable():
        raise Mistake("E312", "a path is printable text that is not empty, such as weights/a.npz")
    path = PurePath(value)
    if path.suffix.lower() != suffix:
        raise Mistake("E302", f"{show(value)} does not end in {suffix}; {advice}")
    return path


def schedule(value: object) -> Schedule | None:
    """A pinned schedule, or None for ``auto``."""
    if value == "auto":
        return None
    if not isinstance(value, dict):
        hint = "write `auto`, or the map that `convgen explain` prints"
        raise Mistake("E124", f"{show(value)} is no schedule; {hint}")
    try:
        return Schedule.from_mapping(value)
    except (ScheduleError, ValueError) as error:  # ValueError: an int too long to print
        text = str(error).removeprefix("schedule: ")
        raise Mistake("E124", f"{text}; `convgen explain` prints one to copy") from None
