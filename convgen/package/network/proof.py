"""A network before the prover: its C, its arrays, which loops are read round by round; and the
certificate of what was proved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from convgen import __version__
from convgen.package.disk.certificate import FORMAT
from convgen.package.disk.manifest import read_manifest
from convgen.package.network.program import Program
from convgen.package.network.python import weights_name
from convgen.package.network.text import condition, network_files
from convgen.package.network.use import C_TYPES
from convgen.spec.elements import ELEMENTS
from convgen.verify.eva import Proof, Reading
from convgen.verify.network.prove import PARTS, Proven, network_driver
from convgen.verify.prove import kept_apart


def proven(program: Program) -> Proven:
    """What is proved of a network's program."""
    name = program.name
    whole = any(any(ELEMENTS[value.dtype].limits) for value in program.graph.values.values())
    plans = [call.conv.plan for calls in program.calls for call in calls if call.conv is not None]
    apart = {key: rounds for plan in plans for key, rounds in kept_apart(plan).items()}
    return Proven(
        name=name,
        files=network_files(program, weights=whole),
        inputs=tuple(C_TYPES[slot.dtype] for slot in program.inputs),
        outputs=tuple(C_TYPES[slot.dtype] for slot in program.outputs),
        steps=len(program.steps),
        baked=f"{name}_weights.c" if whole else None,
        apart=apart,
        vectors=bool(condition(program)) or any(len(plan.bodies) > 1 for plan in plans),
    )


def proved_files(program: Program, network: Proven, place: Path) -> dict[str, bytes]:
    """What a package of the very network that was proved holds."""
    name = program.name
    files = {file: network.files[file].encode() for file in (f"{name}.c", f"{name}.h")}
    manifest = read_manifest(place)
    if manifest is not None:
        return files | {weights_name(manifest.extension): bytes(program.blob)}
    if network.baked:
        files[network.baked] = network.files[network.baked].encode()
    return files


def network_certificate(
    program: Program, network: Proven, proofs: Mapping[Reading, Proof], frama_c: str
) -> str:
    """The JSON text: every body without an alarm, or with alarms about sums alone."""
    name = network.name
    sums = any(proof.sums for proof in proofs.values())
    data = {
        "format": FORMAT,
        "convgen": __version__,
        "network": name,
        "target": program.target.name,
        "files": {
            file: hashlib.sha256(network.files[file].encode()).hexdigest()
            for file in (f"{name}.c", f"{name}.h")
        },
        "weights": hashlib.sha256(program.blob).hexdigest(),
        "prover": f"frama-c {frama_c}, plugin EVA",
        "claim": (
            f"For every content of the inputs: no access of {name}_run, and of {name}_step for "
            f"every part of at most {PARTS}, leaves the inputs, outputs, weights and arena, no "
            "pointer is formed outside one, no array that is copied lies over its copy, and no "
            "undefined arithmetic is done."
        ),
        "alarms": 0,
        "assumptions": _assumptions(network, sums),
        "bodies": [
            {
                "body": body_name(program, reading),
                "functions": proof.functions,
                "by_assumption": len(proof.sums),
                "command": proof.command,
            }
            for reading, proof in proofs.items()
        ],
        "driver.c": network_driver(network).splitlines(),
    }
    return json.dumps(data, indent=2) + "\n"


def body_name(program: Program, reading: Reading) -> str:
    """The instruction set of the bodies that are read."""
    return program.target.isas[0 if reading is Reading.SIMD else -1].name


def _assumptions(network: Proven, sums: bool) -> list[str]:
    found = [
        "The caller's arrays have the sizes and alignments that the header states, and outputs and "
        "the arena overlap nothing.",
        f"The weights are those of {network.baked}."
        if network.baked
        else "The weights may have any content.",
        "C types have the sizes and alignments of frama-c's gcc_x86_64.",
        "frama-c's EVA is sound, and the compiler translates defined C as the standard says.",
    ]
    if network.vectors:
        found.append(
            "Vector instructions do what the scalar model in the file says; tests hold each to it "
            "bit by bit."
        )
    if sums:
        found.append(
            "Sums of products of 8-bit numbers stay within int32 by the build's check of the "
            "weights, sums over windows by their number of elements."
        )
    return found
