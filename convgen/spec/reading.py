"""Maps of a spec, read key by key: every mistake is found, each with the place that it lies at.

A ``Map`` declares its keys as attributes, each with the reader of its values:

    class Sides(Map):
        top: int = read_by(whole, 0)

``Sides.read({"top": 2})`` is a frozen value; a key that was not given has its default. Readers take
one value and raise ``Mistake``, or ``Mistakes`` where they read a list or another map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

MISSING, UNKNOWN = "missing", "unknown"  # kinds of mistakes beside the ``E###``
Place = tuple[str | int, ...]  # keys and indices, from the value that is read inwards


class Mistake(Exception):
    """What is wrong with one value. ``code``: an ``E###``, or ``MISSING`` or ``UNKNOWN``."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


class Mistakes(Exception):
    """Several of them, each with its place."""

    def __init__(self, found: Iterable[tuple[Place, Mistake]]) -> None:
        self.found = tuple(found)
        super().__init__(self.found)


def placed(error: Mistake | Mistakes, at: str | int) -> list[tuple[Place, Mistake]]:
    """What a reader raised for the value at this key or index."""
    if isinstance(error, Mistake):
        return [((at,), error)]
    return [((at, *place), mistake) for place, mistake in error.found]


@dataclass(frozen=True)
class Key:
    """A key of a map. ``default``: of one that may be left out; ``needed``: may not."""

    reader: Callable[[Any], Any]
    default: Any = None
    needed: bool = False
    description: str = ""


def read_by(reader: Callable[[Any], Any], default: Any = ..., description: str = "") -> Any:
    """Declares a key of a ``Map``; without a default it is needed."""
    needed = default is ...
    return Key(reader, None if needed else default, needed, description)


class Map:
    """Frozen values by key. ``given``: the keys that the map had."""

    keys: ClassVar[Mapping[str, Key]] = {}
    given: frozenset[str]

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Key)}
        for name in own:
            delattr(cls, name)  # an attribute is a value's, not the class's
        cls.keys = {**cls.keys, **own}

    def __init__(self, values: Mapping[str, Any]) -> None:
        found = {name: values.get(name, one.default) for name, one in self.keys.items()}
        self.__dict__.update(found, given=frozenset(values))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    @classmethod
    def read(cls, mapping: Mapping[str, Any]) -> Self:
        """Raises ``Mistakes``, all there are: in the order of the keys, then the unknown ones."""
        values: dict[str, Any] = {}
        wrong: list[tuple[Place, Mistake]] = []
        for name, one in cls.keys.items():
            if name in mapping:
                try:
                    values[name] = one.reader(mapping[name])
                except (Mistake, Mistakes) as error:
                    wrong += placed(error, name)
            elif one.needed:
                wrong.append(((name,), Mistake(MISSING)))
        wrong += [((name,), Mistake(UNKNOWN)) for name in mapping if name not in cls.keys]
        if wrong:
            raise Mistakes(wrong)
        return cls(values)

    def changed(self, **values: Any) -> Self:
        """The same but for these values, which are not read."""
        return type(self)({name: getattr(self, name) for name in self.given} | values)
