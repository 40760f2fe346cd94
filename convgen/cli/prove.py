"""``convgen prove``: the C of each layer before a prover, and a certificate into its package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from convgen.cli.alarms import told
from convgen.cli.command import Option
from convgen.cli.options import (
    Cut,
    Isa,
    Json,
    NetName,
    OutDir,
    Quiet,
    Shapes,
    Specs,
    TargetName,
    Verbose,
)
from convgen.cli.output import Output, session
from convgen.errors import ConvgenError

if TYPE_CHECKING:
    from convgen.package.disk.certificate import Filed
    from convgen.package.emit.files import Decided
    from convgen.spec.model import Layer
    from convgen.target import Target
    from convgen.verify.evidence import BodyProof

HEAD = ("layer", "body", "functions", "alarms", "seconds", "sums")
RIGHT = "llrrrl"

ProverTimeout = Annotated[
    float, Option("--timeout", least=0.1, metavar="S", help="Limit of one proof, in seconds.")
]


def prove(
    specs: Specs,
    out_dir: OutDir = "build",
    isa: Isa = None,
    target: TargetName = None,
    timeout: ProverTimeout = 300.0,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Prove with frama-c that generated C stays inside its arrays.

    \b
    Example:  convgen prove layer.yaml
    """
    with session("prove", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.cli.network_prove import prove_graph
        from convgen.cli.networks import parted, read_networks, reading
        from convgen.cli.sources import distinct, read_layers
        from convgen.verify.eva import frama_c_version

        out.payload |= {"out": out_dir, "prover": None, "layers": []}
        kinds = parted(specs)
        graphs = read_networks(kinds.networks, reading(shape, cut, name), out)
        layers = distinct(read_layers(kinds.layers, out), out)
        version = frama_c_version()
        out.payload["prover"] = f"frama-c {version}"
        rows: list[tuple[str, ...]] = []
        for graph in graphs:
            place = Path(out_dir) / graph.name
            try:
                rows += prove_graph(graph, place, _given(target, isa), timeout, version, out)
            except ConvgenError as error:
                out.fail(error, graph.name)
        for layer in layers:
            place = Path(out_dir) / layer.spec.name
            try:
                rows += _prove_layer(layer, place, _given(target, isa), timeout, version, out)
            except ConvgenError as error:
                out.fail(error, layer.spec.name)
        if rows and not out.quiet:
            out.table(HEAD, rows, RIGHT)


def _given(target: str | None, isa: str | None) -> Target | None:
    """The target that was asked for; None where nothing was."""
    from convgen.target import resolve_target

    return None if target is None and isa is None else resolve_target(target, isa)


def _prove_layer(
    layer: Layer, place: Path, target: Target | None, timeout: float, version: str, out: Output
) -> list[tuple[str, ...]]:
    """Prove one layer and file its certificate; the rows of the table."""
    from convgen.package.disk.certificate import certificate, file_certificate
    from convgen.package.emit.files import kernel_files
    from convgen.verify.evidence import evidence

    name = layer.spec.name
    decided = decided_for(layer, place, target)
    files = kernel_files(decided)
    proofs: list[BodyProof] = []
    baked = decided.weights is not None
    for proof in evidence(decided.plan, files, baked=baked, timeout=timeout):
        out.detail(f"{name}: {proof.body}: {proof.seconds:.1f} s, {len(proof.alarms)} alarms")
        proofs.append(proof)
    filed = None
    if all(proof.proved for proof in proofs):
        filed = file_certificate(place, files, certificate(decided, files, proofs, version))
        filed.tell(place, out.done, out.note)
    else:
        alarms = [(proof.body, alarm) for proof in proofs for alarm in proof.alarms]
        out.fail(told(alarms, files), name)
    out.payload["layers"].append(_facts(decided, place, proofs, filed))
    return [
        (name, p.body, str(p.functions), str(len(p.alarms)), f"{p.seconds:.2f}", p.sums)
        for p in proofs
    ]


def decided_for(layer: Layer, place: Path, target: Target | None) -> Decided:
    """The layer as its package was built, where there is one; else for the target that was asked
    for, else for this machine's."""
    from convgen.package.disk.manifest import read_manifest
    from convgen.package.emit.files import decide
    from convgen.spec.schedule import Schedule
    from convgen.target import TARGETS, resolve_target

    manifest = read_manifest(place)
    built = None if manifest is None else TARGETS.get(manifest.target)
    if manifest is not None and built is not None and target in (None, built):
        return decide(layer, built, Schedule.from_text(manifest.schedule))
    return decide(layer, target or resolve_target(None, None))


def _facts(
    decided: Decided, place: Path, proofs: list[BodyProof], filed: Filed | None
) -> dict[str, Any]:
    from convgen.package.disk.certificate import Filed
    from convgen.package.disk.manifest import CERTIFICATE

    kept = filed in Filed.kept()
    return {
        "name": decided.layer.spec.name,
        "target": decided.plan.target.name,
        "schedule": str(decided.plan.schedule),
        "proved": all(proof.proved for proof in proofs),
        "certificate": str(place / CERTIFICATE) if kept else None,
        "package": None if filed is None else str(filed),
        "bodies": [
            {
                "body": proof.body,
                "functions": proof.functions,
                "alarms": list(proof.alarms),
                "seconds": proof.seconds,
                "sums": str(proof.sums),
            }
            for proof in proofs
        ],
    }
