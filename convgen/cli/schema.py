"""``convgen schema``: the JSON Schema of a spec, for editors."""

from __future__ import annotations

from typing import Annotated

from convgen.cli.command import Option
from convgen.cli.options import Json, Quiet, Verbose
from convgen.cli.output import session


def schema(
    network: Annotated[bool, Option("--network", help="Of networks, not of layers.")] = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Print the JSON Schema (draft-07) of a spec, for editors.

    \b
    Example:  convgen schema > convgen.schema.json
    Then begin a spec with:
      # yaml-language-server: $schema=convgen.schema.json
    """
    from json import dumps

    from convgen.spec import json_schema

    # The schema is JSON already and an editor reads it as it is: --json adds no envelope to it.
    with session("schema", verbose=verbose, quiet=quiet) as out:
        if network:
            from convgen.network.text.schema import network_schema

            out.data(dumps(network_schema(), indent=2))
        else:
            out.data(dumps(json_schema(), indent=2))
