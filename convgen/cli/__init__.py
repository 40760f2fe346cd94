"""The command line. ``main`` is all there is to call; everything else loads when it is needed."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``convgen`` with these arguments (those of the process without any); the exit code.

    Never raises: an interrupt is 130, SIGTERM 143, and whatever else goes wrong is a message and
    its code.
    """
    _show_everything()
    _clean_up_when_terminated()
    try:
        from convgen.cli.app import make_app

        args = list(sys.argv[1:] if argv is None else argv)
        make_app()(args=args, prog_name="convgen")
    except SystemExit as end:
        return _exit_code(end)
    except KeyboardInterrupt as reason:
        from convgen.errors import Terminated

        return 143 if isinstance(reason, Terminated) else 130
    return 0


def _clean_up_when_terminated() -> None:
    """SIGTERM unwinds as Ctrl-C does, unless somebody handles it: nothing stays half done."""

    def end(number: int, frame: object) -> None:
        from convgen.errors import Terminated

        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: let the cleaning up be done
        raise Terminated

    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


def _show_everything() -> None:
    """A file name or a snippet that the terminal's encoding lacks is escaped, never a crash."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _exit_code(end: SystemExit) -> int:
    """The code of an exit; help and usage are printed before any verb runs, so flush them here."""
    code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    from convgen.cli.output import BROKEN_PIPE, flush, silence

    # Click wraps the streams where the reader of its help went away, and ends with another code.
    if sys.stdout is not None and not isinstance(sys.stdout, io.TextIOBase):
        silence()
        return BROKEN_PIPE
    try:
        flush()
    except BrokenPipeError:
        silence()
        return BROKEN_PIPE
    return code
