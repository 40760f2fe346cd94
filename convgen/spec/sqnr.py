"""What quantising a layer costs, as a value that is printed and kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Sqnr:
    """Power of the exact outputs over the power of the error, in dB, on ``images`` samples: of all
    outputs, and of each channel. Infinite without an error, minus infinite without a signal."""

    overall: float
    channels: tuple[float, ...]
    images: int

    @property
    def least(self) -> float:
        return min(self.channels)

    @property
    def weakest(self) -> int:
        """The channel of the least."""
        return self.channels.index(self.least)

    @property
    def median(self) -> float:
        return median(self.channels)

    def line(self) -> str:
        """What it comes to, in one line."""
        return (
            f"{self.overall:.1f} dB on {self.images} sample(s); of the channels "
            f"{self.least:.1f} at least (channel {self.weakest}), {self.median:.1f} in the median"
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON, which knows no infinity: null where there is no error or no signal.

        ``least`` and ``median`` follow from ``channels``.
        """
        return {
            "overall": _finite(self.overall),
            "least": _finite(self.least),
            "median": _finite(self.median),
            "channels": [_finite(value) for value in self.channels],
            "images": self.images,
        }

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Sqnr:
        """The reverse of ``to_mapping``, but that every null is infinite."""
        channels = tuple(_number(value) for value in data["channels"])
        return cls(_number(data["overall"]), channels, int(data["images"]))


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.inf if value is None else float(value)
