"""What a verification found: plain values that travel as JSON and stand in the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

NUMBERS = ("max_error", "bound_ratio", "microseconds")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``available``: False where this system cannot look at it."""

    name: str
    passed: bool
    detail: str = ""
    available: bool = True


@dataclass(frozen=True)
class Measure:
    """Numbers of the bounded fills and of the quick timing; NaN where it never came to that.

    ``max_error``: largest |kernel - oracle|. ``bound_ratio``: largest |kernel - oracle| / bound.
    ``microseconds``: median time of one call. ``direct_error``: of a kernel with a bound of its
    own (Winograd), the largest |direct summation in the layer's type - oracle| on the same data.
    """

    max_error: float = float("nan")
    bound_ratio: float = float("nan")
    microseconds: float = float("nan")
    direct_error: float | None = None


@dataclass(frozen=True)
class Begin:
    """A check is about to start: names the culprit if the kernel takes the process down."""

    name: str


Event = Begin | Check | Measure


@dataclass(frozen=True)
class Report:
    """Every check in the order it ran, and the measured numbers (see ``Measure``)."""

    checks: tuple[Check, ...]
    max_error: float
    bound_ratio: float
    microseconds: float
    direct_error: float | None = None

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    def with_body(self, body: str, other: Report) -> Report:
        """This report with the checks of another body or layer of its library; the time stays this
        one's."""
        checks = tuple(replace(check, name=f"{check.name} on {body}") for check in other.checks)
        errors = max(self.max_error, other.max_error), max(self.bound_ratio, other.bound_ratio)
        return Report((*self.checks, *checks), *errors, self.microseconds)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON, NaN as None too; ``from_mapping`` reads it back."""
        numbers = {key: getattr(self, key) for key in NUMBERS}
        return {
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            **{key: value if value == value else None for key, value in numbers.items()},
            "direct_error": self.direct_error,
        }

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Report:
        """Raises ``KeyError`` or ``TypeError`` for anything that ``to_mapping`` did not write."""
        numbers = {key: float("nan") if data[key] is None else float(data[key]) for key in NUMBERS}
        checks = tuple(Check(**check) for check in data["checks"])
        return cls(checks, **numbers, direct_error=data["direct_error"])


def assemble(events: Iterable[Event]) -> Report:
    """One report of a run's events; a later measure replaces an earlier one."""
    checks: list[Check] = []
    measure = Measure()
    for event in events:
        match event:
            case Check():
                checks.append(event)
            case Measure():
                measure = event
            case Begin():
                pass
    numbers = (measure.max_error, measure.bound_ratio, measure.microseconds)
    return Report(tuple(checks), *numbers, measure.direct_error)
