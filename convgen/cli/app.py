"""The command tree: every verb with its place in the help. Built on first use, not on import."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import click

from convgen import __version__
from convgen.cli.command import command_of

# Verb to the module of its function, which bears the verb's name; in the order of the help.
VERBS = {
    "init": "init",
    "import": "imports",  # a word of Python, so the function is import_
    "check": "check",
    "explain": "explain",
    "build": "build",
    "emit": "emit",
    "cross": "cross",
    "size": "size",
    "verify": "verify",
    "prove": "prove",
    "bench": "bench",
    "tune": "tune",
    "schema": "schema",
    "doctor": "doctor",
    "clean": "clean",
}


HELP = """A compiler for convolution layers: a YAML spec in, a verified C kernel out.

\b
Example:  convgen init && convgen build layer.yaml
"""
SETTINGS = {"help_option_names": ["-h", "--help"]}


class Verbs(click.Group):
    """Every verb; its module loads when it is asked for. Help names them in their own order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        return command_of(cmd_name, function_of(cmd_name), context_settings=SETTINGS)


def make_app() -> click.Group:
    """The command line."""
    return Verbs(
        name="convgen",
        help=HELP,
        no_args_is_help=True,
        context_settings=SETTINGS,
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Print the version and exit.",
            )
        ],
    )


def _print_version(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        print(f"convgen {__version__}")
        context.exit()


def function_of(verb: str) -> Callable[..., None]:
    """What carries the verb out."""
    module = import_module(f"convgen.cli.{VERBS[verb]}")
    function: Callable[..., None] = getattr(module, verb, None) or getattr(module, f"{verb}_")
    return function
