"""The kind of kernels with lanes along the reduction."""

from __future__ import annotations

from convgen.kernels.kind import Kind
from convgen.kernels.reduction.picture import sums
from convgen.kernels.reduction.words import reduction_text
from convgen.kernels.reduction.work import reduction_work

KIND = Kind("kernels/reduction/reduction.j2", reduction_text, work=reduction_work, picture=sums)
