"""``docs/models.md`` is current, and no attribute of a taken operator is unheard of."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package knows every attribute")

from models_page import PAGE, page  # noqa: E402

import convgen.importers.onnx as room  # noqa: E402
from convgen.importers.onnx.rules import MEANINGLESS, RULES  # noqa: E402

ANCIENT = ("consumed_inputs", "paddings", "height_scale", "width_scale")  # before set 6


def test_page_is_current(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, page())


def test_every_attribute_of_every_taken_operator_is_known() -> None:
    """Of any operator set from 7 on: a rule asks for it, or it is known to change nothing."""
    folder = Path(inspect.getfile(room)).parent
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    unknown = []
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain or schema.name not in RULES:
            continue
        for name in schema.attributes:
            known = f'"{name}"' in text or name in MEANINGLESS.get(schema.name, ())
            if not known and name not in ANCIENT:
                unknown.append(f"{schema.name}.{name}")
    assert not set(unknown)
