"""``convgen prove`` of networks: ``<net>_run`` and every part of its steps before the prover."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convgen.cli.alarms import told
from convgen.cli.output import Output

if TYPE_CHECKING:
    from convgen.network.graph import Graph
    from convgen.spec.schedule import Schedule
    from convgen.target import Target
    from convgen.verify.eva import Proof

SUMS = "within int32 by the build's check"


def prove_graph(
    graph: Graph, place: Path, target: Target | None, timeout: float, version: str, out: Output
) -> list[tuple[str, ...]]:
    """Prove one network and file its certificate; the rows of the table."""
    from convgen.package.disk.certificate import Filed, file_certificate
    from convgen.package.disk.manifest import CERTIFICATE
    from convgen.package.network.program import program_of
    from convgen.package.network.proof import (
        body_name,
        network_certificate,
        proved_files,
        proven,
    )
    from convgen.verify.network.prove import prove_network

    program = program_of(graph, _target(place, target), tuned=_tuned(place))
    network = proven(program)
    proofs = {}
    for reading in network.readings:
        proof = prove_network(network, reading, timeout=timeout)
        proofs[reading] = proof
        body = body_name(program, reading)
        out.detail(f"{graph.name}: {body}: {proof.seconds:.1f} s, {len(_open(proof))} alarms")
    named = [(body_name(program, reading), proof) for reading, proof in proofs.items()]
    unproved = [(body, alarm) for body, proof in named for alarm in _open(proof)]
    filed = None
    if unproved:
        out.fail(told(unproved, network.files), graph.name)
    else:
        text = network_certificate(program, network, proofs, version)
        filed = file_certificate(place, proved_files(program, network, place), text)
        filed.tell(place, out.done, out.note)
    out.payload["layers"].append(
        {
            "name": graph.name,
            "target": program.target.name,
            "schedule": f"{len(program.steps)} steps, {len(program.functions)} functions",
            "proved": not unproved,
            "certificate": str(place / CERTIFICATE) if filed in Filed.kept() else None,
            "package": None if filed is None else str(filed),
            "bodies": [
                {
                    "body": body,
                    "functions": proof.functions,
                    "alarms": list(_open(proof)),
                    "seconds": proof.seconds,
                    "sums": SUMS if proof.sums else "",
                }
                for body, proof in named
            ],
        }
    )
    return [
        (graph.name, body, str(proof.functions), str(len(_open(proof))), f"{proof.seconds:.2f}",
         SUMS if proof.sums else "")
        for body, proof in named
    ]  # fmt: skip


def _open(proof: Proof) -> tuple[str, ...]:
    """The alarms that rest on no named assumption."""
    return tuple(alarm for alarm in proof.alarms if alarm not in proof.sums)


def _target(place: Path, asked: Target | None) -> Target:
    """The target that was asked for, else that of the package, else this machine's."""
    from convgen.package.disk.manifest import read_manifest
    from convgen.target import TARGETS, resolve_target

    manifest = read_manifest(place)
    built = None if manifest is None else TARGETS.get(manifest.target)
    return asked or built or resolve_target(None, None)


def _tuned(place: Path) -> dict[str, Schedule]:
    """The tuned schedules of the package at ``place``, which is the one to prove."""
    from convgen.package.disk.manifest import read_manifest

    manifest = read_manifest(place)
    return {} if manifest is None else manifest.schedules
