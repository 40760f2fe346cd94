"""The YAML form of networks: reading, deriving shapes, writing."""

from __future__ import annotations

from convgen.network.text.parse import (
    parse_network_bytes,
    parse_network_file,
    parse_network_mapping,
    parse_network_text,
)
from convgen.network.text.spec import NetworkSpec
from convgen.spec.nodes import is_network

__all__ = [
    "NetworkSpec",
    "is_network",
    "parse_network_bytes",
    "parse_network_file",
    "parse_network_mapping",
    "parse_network_text",
]
