"""Our own reading of YAML's plain scalars: YAML 1.2's core, less what readers disagree on.

PyYAML follows YAML 1.1, where ``no`` is false, ``017`` is 15, ``12:30`` is 750 and ``1e-3`` is
text. Here such spellings stay text, and ``disputed`` says why a number cannot be written so.
"""

from __future__ import annotations

import re

MAX_DIGITS = 40

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTH = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)

_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+", re.ASCII)
_BASED = re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]*", re.ASCII)
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_.]*", re.ASCII)
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(:[0-9]+)+(\.[0-9]*)?", re.ASCII)
_YES_NO = {
    **dict.fromkeys(("y", "yes", "on"), "true"),
    **dict.fromkeys(("n", "no", "off"), "false"),
}


class TooLongError(ValueError):
    """A number of more than ``MAX_DIGITS`` characters."""


def read_plain(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar. Raises ``TooLongError``."""
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    is_int = _INT.fullmatch(text)
    is_float = _FLOAT.fullmatch(text)
    if not is_int and not is_float:
        return text
    if len(text) > MAX_DIGITS:
        raise TooLongError
    return int(text) if is_int else float(text)


def disputed(text: str) -> str | None:
    """Why ``text`` cannot stand for a number or truth value although some readers take it, or None.

    >>> disputed("no")
    'YAML 1.1 reads `no` as false, YAML 1.2 as text'
    """
    if truth := _YES_NO.get(text.lower()):
        return f"YAML 1.1 reads `{text}` as {truth}, YAML 1.2 as text"
    if _BASED.fullmatch(text):
        return f"`{text}` is not decimal, and readers differ on it; write decimal digits"
    if _SEXAGESIMAL.fullmatch(text):
        return f"YAML 1.1 reads `{text}` in base 60; write decimal digits"
    if _LEADING_ZERO.fullmatch(text):
        return f"YAML 1.1 reads `{text}` as octal, YAML 1.2 as decimal; remove the leading zero"
    if _UNDERSCORES.fullmatch(text):
        return f"YAML 1.1 takes underscores in `{text}`, YAML 1.2 does not; remove them"
    return None


def show(value: object) -> str:
    """``value`` as a message names it: short, printable, and in YAML's words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"`{str(value).lower()}`"
        case int():
            return f"`{value}`" if value.bit_length() < 200 else "a number of over 60 digits"
        case float():
            return f"`{value!r}`"
        case str():
            text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value[:41])
            return f"`{text[:40]}{'...' if len(text) > 40 else ''}`"
        case list():
            return "a list"
        case dict():
            return "a map"
    return f"a value of type {type(value).__name__}"
