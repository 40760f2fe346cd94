"""Where TFLite's fixed-point scaling of a sum rises: it is a step function of the sum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]


def thresholds(factor: Int64s, right: Int64s, steps: Int64s, *, once: bool) -> Int64s:
    """[channel][step]: the least sum whose scaled value, before its zero point, is that step.

    ``right``: 1 to 21. ``once``: floor(sum * factor / 2^(31 + right) + 1/2). Else the product is
    first rounded to floor(it / 2^31 + 1/2) and that to a multiple of 2^right, halves away from 0,
    as gemmlowp's SaturatingRoundingDoublingHighMul and RoundingDivideByPOT do. All fits int64.
    """
    f, r, one = factor[:, None], right[:, None], np.int64(1)
    found: Int64s
    if once:
        found = -((steps * (-one << (31 + r)) + (one << (30 + r))) // f)
        return found
    # Step 1 - j is reached where the mirrored sum no longer gives j.
    j = np.where(steps >= 1, steps, 1 - steps)
    high = (j << r) - (one << (r - 1))
    above = -((2**30 - (high << 31)) // f)
    below = (((1 - high) << 31) - 2**30 - 1) // f + 1
    found = np.where(steps >= 1, above, below)
    return found
