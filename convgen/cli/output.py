"""How a verb speaks: data on stdout, messages on stderr, one JSON object under --json, exit codes.

A verb runs inside ``session``. Whatever goes wrong there becomes a message and an exit code: a
user's mistake never shows a traceback, our own bug asks for a report.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from convgen import __version__
from convgen.cli.command import Ended
from convgen.errors import ConvgenError, Exit, SpecError, Terminated, ToolchainError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

_BOX = 4  # columns that the lines of a boxed table take beyond its text
BROKEN_PIPE = 141  # as a program ended by SIGPIPE: 128 + 13


@dataclass
class Output:
    """Where one run of a verb prints. ``payload`` becomes the JSON object's own keys."""

    verb: str
    json: bool = False
    verbose: bool = False
    quiet: bool = False
    payload: dict[str, Any] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    code: int = Exit.OK

    def data(self, text: str = "") -> None:
        """A line of the result, to stdout; nothing under --json."""
        if not self.json:
            print(text)

    def raw(self, text: str) -> None:
        """Text of the result as it is, to stdout; nothing under --json."""
        if not self.json:
            print(text, end="")

    def done(self, text: str = "") -> None:
        """A line about work that was done, to stdout; nothing under --json or -q."""
        if not self.quiet:
            self.data(text)

    def note(self, text: str) -> None:
        """A message, to stderr; nothing under -q."""
        if not self.quiet:
            say(text)

    def detail(self, text: str) -> None:
        """A message for -v only, to stderr."""
        if self.verbose and not self.quiet:
            say(text)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> None:
        """A table to stdout; column ``i`` is right-aligned where ``right[i]`` is ``r``."""
        if self.json:
            return
        console, width = terminal(sys.stdout), screen_width()
        text = plain_table(head, rows, right)
        if width is not None and max(map(len, text.splitlines())) + _BOX > width:
            print(stacked_table(head, rows, width))
        elif console is None:
            print(text)
        else:
            _rich_table(console, head, rows, right)

    def fail(self, error: ConvgenError, layer: str | None = None) -> None:
        """Print a mistake and remember it; the verb goes on. The worst exit code wins."""
        self.errors += error_facts(error, layer)
        self.code = max(self.code, int(error.exit_code))
        say_error(error, layer)

    def finish(self) -> None:
        """Print the JSON object, when that was asked for."""
        if self.json:
            import json

            head = {
                "convgen": __version__,
                "verb": self.verb,
                "ok": self.code == Exit.OK,
                "exit_code": int(self.code),
            }
            print(json.dumps({**head, **self.payload, "errors": self.errors}, indent=2))


@contextmanager
def session(
    verb: str, *, json: bool = False, verbose: bool = False, quiet: bool = False
) -> Iterator[Output]:
    """Run a verb's body; raises ``Ended`` with the exit code that its failures add up to."""
    out = Output(verb, json=json, verbose=verbose, quiet=quiet)
    try:
        try:
            yield out
        except ConvgenError as error:
            out.fail(error)
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.errno is None:  # not the system's: libraries derive errors of their own
                _internal_error(out, error)
            else:
                out.fail(_system_error(error))
        except KeyboardInterrupt as reason:
            ended = isinstance(reason, Terminated)
            word = "terminated" if ended else "interrupted"
            out.code = Exit.TERMINATED if ended else Exit.INTERRUPTED
            out.errors.append({"kind": word, "layer": None, "message": word})
            say(word)
        except Ended:
            raise
        except Exception as error:  # our own bug: the one place that may catch everything
            _internal_error(out, error)
        out.finish()
        flush()
    except BrokenPipeError:
        silence()
        raise Ended(BROKEN_PIPE) from None
    if out.code:
        raise Ended(int(out.code))


def _system_error(error: OSError) -> UsageError:
    """A file or folder that the system refuses: the user named it, so it counts as usage."""
    reason = error.strerror or str(error)
    return UsageError(f"{error.filename or 'standard output'}: {reason}")


def _internal_error(out: Output, error: Exception) -> None:
    summary = f"{type(error).__name__}: {error}".splitlines()[0]
    out.code = Exit.INTERNAL
    out.errors.append({"kind": "internal", "layer": None, "message": summary})
    if out.verbose:
        say("".join(traceback.format_exception(error)).rstrip())
    hint = "" if out.verbose else "; run again with -v for the traceback"
    say_head("internal error: ", summary)
    say(f"This is a bug in convgen {__version__}, not in your spec. Please report it with the")
    say(f"command and the spec that led here{hint}.")


def error_facts(error: ConvgenError, layer: str | None = None) -> list[dict[str, Any]]:
    """An exception as plain data for --json: one entry, or one per diagnostic of a spec."""
    if isinstance(error, SpecError):
        return [
            {
                "kind": "spec",
                "layer": layer,
                "message": d.message,
                "source": d.source,
                "line": d.line,
                "col": d.col,
                "code": d.code,
                "snippet": d.snippet,
            }
            for d in error.diagnostics
        ]
    kind = {
        Exit.SPEC: "spec",
        Exit.USAGE: "usage",
        Exit.TOOLCHAIN: "toolchain",
        Exit.MISMATCH: "mismatch",
        Exit.REGRESSION: "regression",
    }
    facts = {"kind": kind[error.exit_code], "layer": layer, "message": str(error)}
    if isinstance(error, ToolchainError):
        facts |= {"command": error.command, "stderr": error.stderr}
    return [facts]


# -- the two streams -----------------------------------------------------------------------------


def terminal(stream: IO[str]) -> Console | None:
    """A rich console when ``stream`` is a terminal that takes colour, else None: plain text."""
    if not is_terminal(stream) or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console

    return Console(file=stream, highlight=False)


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether a person is looking at ``stream``."""
    return stream is not None and not stream.closed and stream.isatty()


def say(text: str) -> None:
    """A line to stderr."""
    print(text, file=sys.stderr)


def say_head(head: str, text: str) -> None:
    """A line to stderr whose head stands out on a terminal."""
    console = terminal(sys.stderr)
    if console is None:
        say(head + text)
        return
    from rich.text import Text

    console.print(Text.assemble((head, "bold red"), text), soft_wrap=True)


def say_error(error: ConvgenError, layer: str | None = None) -> None:
    """A user's mistake to stderr. A diagnostic carries its own place; others say ``error:``."""
    if isinstance(error, SpecError):
        for d in error.diagnostics:
            say_head("", str(d)) if not d.line else _say_diagnostic(str(d))
        return
    text = str(error)
    if layer is not None and not text.startswith(f"layer {layer}:"):
        text = f"layer {layer}: {text}"
    say_head("error: ", text)


def _say_diagnostic(text: str) -> None:
    head, mark, rest = text.partition(": error[")
    console = terminal(sys.stderr)
    if console is None or not mark:
        say(text)
        return
    from rich.text import Text

    code, _, message = rest.partition("]")
    console.print(
        Text.assemble((head, "bold"), ": ", (f"error[{code}]", "bold red"), message),
        soft_wrap=True,
    )


def flush() -> None:
    """Hand everything printed to the reader now, so that a broken pipe shows here."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def silence() -> None:
    """Nobody reads stdout any more: send what is still buffered nowhere, without a complaint."""
    try:
        if sys.stdout.fileno() != 1:
            return  # somebody's own file, a test's say: that stays open and theirs
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.close(sink)
    except (OSError, ValueError, AttributeError):
        pass  # no file at all behind it: there is nothing to silence


def screen_width() -> int | None:
    """Columns of the terminal that shows stdout; None where nobody looks at it: then lines keep
    their length, for whatever reads them."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None


def wrapped(line: str, width: int | None) -> list[str]:
    """A line of prose, a formula or YAML within ``width``, what follows it indented; words and
    numbers stay whole."""
    if width is None or len(line) <= width:
        return [line]
    start = len(line) - len(line.lstrip())
    more = " " * (start + 4)
    return textwrap.wrap(
        line, width, subsequent_indent=more, break_long_words=False, break_on_hyphens=False
    )


# -- tables --------------------------------------------------------------------------------------


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> str:
    """Aligned columns, two spaces between them, no trailing blanks."""
    grid = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    widths = [max(len(row[i]) for row in grid) for i in range(len(head))]
    lines = []
    for row in grid:
        cells = [
            cell.rjust(w) if right[i : i + 1] == "r" else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def stacked_table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """A table that is too wide for the terminal, a block for each row: its first cell, then
    ``name value`` pairs, as many to a line as there is room for. Nothing is cut."""
    lines = []
    for row in rows:
        lines += wrapped(str(row[0]), width)
        line = " "
        for name, cell in zip(head[1:], map(str, row[1:]), strict=True):
            if not cell:
                continue
            pair = f" {name} {cell}" if name else f" {cell}"
            if len(line) + len(pair) + 1 > width and line.strip():
                lines.append(line)
                line = " "
            line += pair if not line.strip() else f" {pair}"
            if len(line) > width:  # one long cell: a sentence
                *full, line = wrapped(line, width)
                lines += full
        if line.strip():
            lines.append(line)
    return "\n".join(lines)


def _rich_table(
    console: Console, head: Sequence[str], rows: Sequence[Sequence[str]], right: str
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if right[i : i + 1] == "r" else "left")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)
