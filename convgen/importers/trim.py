"""The part of a model that is wanted, in an order in which it can run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from convgen.importers.refusal import ModelError, model_error, shown
from convgen.importers.source import ABSENT, Node, Source

SHOWN = 8  # names that a message lists


def trimmed(source: Source, path: str, cut: str | None = None) -> Source:
    """Only the nodes that an output needs, each after those it takes from.

    ``cut``: ``A:B``, the tensors that become the inputs and the outputs, each a comma-separated
    list; an empty side keeps the model's own. Raises ``ModelError``.
    """
    if cut is not None:
        first, last = _ends(source, cut, path)
        source = replace(source, inputs=first or source.inputs, outputs=last or source.outputs)
    if not source.outputs:
        raise model_error(path, "M014", "the model has no output")
    if len(set(source.inputs)) < len(source.inputs) or ABSENT in (*source.inputs, *source.outputs):
        raise model_error(path, "M008", "an input stands twice, or has no name; repair the model")
    makers = _makers(source, path, cut=cut is not None)
    nodes = _ordered(source, makers, path)
    used = {name for node in nodes for name in (*node.inputs, *node.captured)}
    used |= set(source.outputs)
    inputs = tuple(name for name in source.inputs if name in used or cut is None)
    return replace(source, nodes=nodes, inputs=inputs)


def _makers(source: Source, path: str, *, cut: bool) -> Mapping[str, Node]:
    """Who makes each tensor. The ends of a cut are no longer made by anyone."""
    found: dict[str, Node] = {}
    for node in source.nodes:
        for name in node.outputs:
            if name == ABSENT:
                continue
            if name in found or _constant(source, name) or (not cut and name in source.inputs):
                raise model_error(path, "M008", f"tensor {shown(name)} is made twice; keep one")
            found[name] = node
    for name in source.inputs:
        found.pop(name, None)
    return found


def _ordered(source: Source, makers: Mapping[str, Node], path: str) -> tuple[Node, ...]:
    """Depth first from the outputs, without recursion: a file's depth is not ours to trust."""
    given = set(source.inputs)
    done: dict[int, None] = {}
    open_nodes: set[int] = set()
    missing: dict[str, None] = {}
    place = {id(node): index for index, node in enumerate(source.nodes)}
    stack: list[tuple[str, bool]] = [(name, False) for name in reversed(source.outputs)]
    while stack:
        name, finished = stack.pop()
        node = makers.get(name)
        if name == ABSENT or name in given or node is None:
            if name != ABSENT and name not in given and not _constant(source, name):
                missing[name] = None
            continue
        index = place[id(node)]
        if finished:
            open_nodes.discard(index)
            done[index] = None
        elif index not in done:
            if index in open_nodes:
                raise _cycle(source, sorted(open_nodes), path)
            open_nodes.add(index)
            stack.append((name, True))
            stack += [(need, False) for need in reversed((*node.inputs, *node.captured))]
    if missing:
        raise model_error(
            path,
            "M008",
            f"nobody makes {_listed(missing)}: the file is damaged, or --cut leaves out what "
            "the part needs",
        )
    # The file's own order is kept where it is one: people find their nodes again.
    indices = sorted(done)
    made = set(given)
    for index in indices:
        node = source.nodes[index]
        if any(name in makers and name not in made for name in (*node.inputs, *node.captured)):
            return tuple(source.nodes[i] for i in done)
        made |= set(node.outputs)
    return tuple(source.nodes[i] for i in indices)


def _constant(source: Source, name: str) -> bool:
    tensor = source.tensors.get(name)
    return tensor is not None and (tensor.data is not None or tensor.unread)


def _cycle(source: Source, indices: list[int], path: str) -> ModelError:
    names = _listed(source.nodes[i].label for i in indices)
    return model_error(path, "M008", f"these nodes wait for each other in a circle: {names}")


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(shown(name) for name in found[:SHOWN]) + more


def _ends(source: Source, cut: str, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The two lists of tensors. Names may hold the separators: every split is tried."""
    known = {name for node in source.nodes for name in (*node.inputs, *node.outputs)}
    known |= {*source.inputs, *source.outputs}
    known.discard(ABSENT)
    if ":" not in cut:
        raise model_error(
            path, "M012", f"--cut takes A:B, the tensors to begin and to end with; {cut!r} has no :"
        )
    places = [i for i, c in enumerate(cut) if c == ":"]
    tries = [(_list(cut[:i], known), _list(cut[i + 1 :], known)) for i in places]
    good = [(a, b) for a, b in tries if a is not None and b is not None]
    if len(good) != 1:
        raise model_error(path, "M012", _no_cut(cut, known, len(good)))
    first, last = good[0]
    assert first is not None and last is not None
    return first, last


def _list(text: str, known: set[str]) -> tuple[str, ...] | None:
    """The tensors that a text names; None when one of them is none."""
    if text in known or not text:
        return (text,) if text else ()
    names = tuple(text.split(","))
    return names if all(name in known for name in names) else None


def _no_cut(cut: str, known: set[str], fits: int) -> str:
    from difflib import get_close_matches

    if fits:
        return f"--cut {cut!r} can be read in {fits} ways; give one end only, as in 'A:' or ':B'"
    near: list[str] = []
    for part in cut.replace(",", ":").split(":"):
        if part and part not in known:
            near += get_close_matches(part, sorted(known), 3, 0.4)
    hint = f"; similar ones are {_listed(dict.fromkeys(near))}" if near else ""
    return f"--cut {cut!r} does not name two tensors of the model{hint}"
