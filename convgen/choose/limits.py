"""What one kernel may take up: plain values, known before anything is decided."""

from __future__ import annotations

from dataclasses import asdict, dataclass

DEFAULT_CODE = 64 << 10  # bytes of machine code that a kernel keeps to unless none does
GIVEN_FIX = "raise the limit, or let convgen choose the schedule"


@dataclass(frozen=True)
class SizeLimits:
    """Bytes of machine code of one kernel, of workspace for each running part, and of RAM for one
    run (``convgen.choose.ram``), at most.

    None: no limit of the user's; code then keeps to ``DEFAULT_CODE`` where some schedule does.
    """

    code_bytes: int | None = None
    workspace_bytes: int | None = None
    ram_bytes: int | None = None

    def to_mapping(self) -> dict[str, int | None]:
        """Plain data for JSON; the fields in their order."""
        return asdict(self)


NO_LIMITS = SizeLimits()
