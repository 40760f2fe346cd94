"""Alarms of the prover, as ``convgen prove`` tells them: each with the line of C it is about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from convgen.errors import MismatchError

ALARM = re.compile(r"(\S+?):(\d+): ")


def told(alarms: Sequence[tuple[str, str]], files: Mapping[str, str]) -> MismatchError:
    """Every (body, alarm) with the line of C that it is about."""
    lines = [f"not proved: {len(alarms)} alarm{'' if len(alarms) == 1 else 's'}"]
    for body, alarm in alarms:
        lines.append(f"{body}: {alarm}")
        place = ALARM.match(alarm)
        if place is not None and place[1] in files:
            lines.append(f"    {files[place[1]].splitlines()[int(place[2]) - 1].strip()}")
    return MismatchError("\n".join(lines))
