"""Peers, called as their users deploy them: weights constant, graph optimised, threads fixed.

One module per peer. Each runs in a process of its own (``convgen.bench.child``), since these
runtimes rarely live together; nothing here is imported before its peer is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from convgen.bench.peers.base import CannotPrepare, Peer, Prepared, Problem
from convgen.errors import UsageError

__all__ = ["PEERS", "CannotPrepare", "Peer", "Prepared", "Problem", "peer_module", "select"]

PEERS = ("onnxruntime", "openvino", "torch", "litert", "ncnn", "mnn", "naive")
ALL = "all"


def select(text: str | None) -> tuple[str, ...]:
    """The peers of ``--against``, in the order of ``PEERS``. Raises ``UsageError``."""
    if text is None:
        return ()
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == [ALL]:
        return PEERS
    check_names("--against", names)
    return tuple(name for name in PEERS if name in names)


def check_names(option: str, names: Sequence[str]) -> None:
    """Raises ``UsageError`` for a name that is no peer's."""
    from difflib import get_close_matches

    for name in names:
        if name not in PEERS:
            close = get_close_matches(name, PEERS, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"{option}: no peer {name!r}; {hint}there are {', '.join(PEERS)}")


def peer_module(name: str) -> Peer:
    """The peer of that name; its runtime is not imported yet."""
    assert name in PEERS, name
    peer: Peer = import_module(f"convgen.bench.peers.{name}").PEER
    return peer
