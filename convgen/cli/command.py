"""A function as a command of click: its parameters are the options, as their annotations say.

    def build(specs: Annotated[list[str], Argument("SPEC", "Spec files.")],
              jobs: Annotated[int | None, Option("--jobs", "-j", least=1, metavar="N", help="...")],
              ) -> None: ...

Types are str, int, float, bool (a flag), Literal (a choice) and list[str] (as often as you like),
or one of these or None. A parameter without a default is required.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click

__all__ = ["Argument", "Ended", "Option", "command_of"]
Ended = click.exceptions.Exit  # a command that ends with an exit code
Complete = Callable[[str], list[str]]  # what may be meant by what is there of a value


@dataclass(frozen=True)
class Argument:
    """Words of the command line that belong to no option."""

    metavar: str
    help: str


class Option:
    """``names``: as they are typed. ``least``, ``most``: limits of a number. ``shown``: whether
    help tells the default. ``complete``: what a shell may offer."""

    def __init__(
        self,
        *names: str,
        help: str,
        metavar: str | None = None,
        least: float | None = None,
        most: float | None = None,
        shown: bool = True,
        complete: Complete | None = None,
    ) -> None:
        self.names = names
        self.help = help
        self.metavar = metavar
        self.least, self.most = least, most
        self.shown = shown
        self.complete = complete


class Command(click.Command):
    """Help that lists the arguments too."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(p.words.metavar, p.words.help) for p in self.params if isinstance(p, _Words)]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        super().format_options(ctx, formatter)


class _Words(click.Argument):
    def __init__(self, name: str, words: Argument, **more: Any) -> None:
        super().__init__([name], metavar=None, **more)
        self.words = words

    def make_metavar(self, ctx: click.Context) -> str:
        many = "..." if self.nargs == -1 else ""
        plain = self.words.metavar.strip("[]")
        return f"{plain if self.required else f'[{plain}]'}{many}"

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return f"'{self.words.metavar.strip('[]')}'"


def command_of(name: str, function: Callable[..., None], **more: Any) -> click.Command:
    """``more``: further settings of ``click.Command``."""
    hints = get_type_hints(function, include_extras=True)
    params: list[click.Parameter] = []
    many: set[str] = set()
    for parameter in inspect.signature(function).parameters.values():
        kind, declared = get_args(hints[parameter.name])
        kind, several = _kind(kind)
        if several:
            many.add(parameter.name)
        needed = parameter.default is inspect.Parameter.empty
        default = None if needed else parameter.default
        if isinstance(declared, Argument):
            nargs = -1 if several else 1
            given = {} if several else {"default": default}
            params.append(_Words(parameter.name, declared, nargs=nargs, required=needed, **given))
        else:
            params.append(_option(parameter.name, declared, kind, several, default))

    def call(**values: Any) -> None:
        for key in many:  # click's tuples; none is None where that is the default
            values[key] = list(values[key]) or None
        function(**values)

    text = inspect.getdoc(function) or ""
    return Command(name, callback=call, params=params, help=text, **more)


def _kind(hint: Any) -> tuple[Any, bool]:
    """The type of one value, and whether there may be several."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = [one for one in get_args(hint) if one is not type(None)]
    if get_origin(hint) is list:
        return get_args(hint)[0], True
    return hint, False


def _option(name: str, declared: Option, kind: Any, several: bool, default: Any) -> click.Option:
    flag = kind is bool
    return click.Option(
        [*declared.names, name],
        type=None if flag else _type(kind, declared),
        is_flag=flag,
        multiple=several,
        default=() if several else default,
        help=declared.help,
        metavar=declared.metavar,
        show_default=declared.shown and not flag and not several and default is not None,
        shell_complete=_completing(declared.complete),
    )


def _type(kind: Any, declared: Option) -> Any:
    limits: dict[str, Any] = {"min": declared.least, "max": declared.most}
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if declared.least is None and declared.most is None:
        return click.types.convert_type(kind)
    return click.IntRange(**limits) if kind is int else click.FloatRange(**limits)


def _completing(
    complete: Complete | None,
) -> Callable[[click.Context, click.Parameter, str], Sequence[Any]] | None:
    if complete is None:
        return None
    offer = complete
    return lambda context, parameter, incomplete: offer(incomplete)
