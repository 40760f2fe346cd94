"""``python -m convgen``: the command line."""

from __future__ import annotations

from convgen.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
