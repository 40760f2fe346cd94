"""The command tree: every verb with its place in the help. Built on first use, not on import."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer

from convgen import __version__

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


def _print_version(asked: bool) -> None:
    if asked:
        print(f"convgen {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """A compiler for convolution layers: a YAML spec in, a verified C kernel out.

    \b
    Example:  convgen init && convgen build layer.yaml
    """


def make_app(verb: str | None = None) -> typer.Typer:
    """The command line: of this verb alone, where it is one, else the whole.

    What a verb declares costs a tenth of a second for all of them. Help stays plain text: loading
    rich for it would double its time.
    """
    app = typer.Typer(
        name="convgen",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name in [verb] if verb in VERBS else VERBS:
        app.command(name)(function_of(name))
    return app


def function_of(verb: str) -> Callable[..., None]:
    """What carries the verb out."""
    module = import_module(f"convgen.cli.{VERBS[verb]}")
    function: Callable[..., None] = getattr(module, verb, None) or getattr(module, f"{verb}_")
    return function
