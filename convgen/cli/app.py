"""The command tree: every verb with its place in the help. Built on first use, not on import."""

from __future__ import annotations

from typing import Annotated

import typer

from convgen import __version__
from convgen.cli import (
    bench,
    build,
    check,
    clean,
    cross,
    doctor,
    emit,
    explain,
    imports,
    init,
    prove,
    schema,
    size,
    tune,
    verify,
)

VERBS = (
    init.init,
    imports.import_,
    check.check,
    explain.explain,
    build.build,
    emit.emit,
    cross.cross,
    size.size,
    verify.verify,
    prove.prove,
    bench.bench,
    tune.tune,
    schema.schema,
    doctor.doctor,
    clean.clean,
)


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


def make_app() -> typer.Typer:
    """The whole command line. Help stays plain text: loading rich for it would double its time."""
    app = typer.Typer(
        name="convgen",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for verb in VERBS:
        app.command(verb.__name__.rstrip("_"))(verb)  # import is a word of Python
    return app
