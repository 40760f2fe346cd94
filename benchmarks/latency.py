"""How long do the everyday commands take? Medians of CPU seconds for one layer.

    python benchmarks/latency.py [--spec specs/layer.yaml] [--rounds 7]

Each command is a process of its own; CPU seconds are its own and its children's, so a busy machine
does not show. ``load`` is asked again in one process, as a program that imports a layer does.
Cache and packages lie in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from convgen.target.host import cpu_name

ROOT = Path(__file__).resolve().parent.parent
# Seconds of CPU at most; ``load`` alone is in milliseconds of one call.
TARGETS = {"emit": 0.5, "build, cached": 0.5, "build, unchanged": 0.25, "check": 0.2}
LOAD_TARGET = 5.0


def cpu_seconds(command: list[str], env: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def medians(spec: str, rounds: int, folder: Path) -> dict[str, float]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "CONVGEN_CACHE": str(folder / "cache"), "PYTHONPATH": path}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # Python keeps compiled modules, as it does for users
    convgen = [sys.executable, "-m", "convgen"]
    out = [spec, "-o"]
    commands = {
        "emit": [*convgen, "emit", *out, str(folder / "emitted")],
        "build, cached": [*convgen, "build", *out, ""],
        "build, unchanged": [*convgen, "build", *out, str(folder / "built")],
        "check": [*convgen, "check", spec],
    }
    subprocess.run(commands["build, unchanged"], env=env, check=True, capture_output=True)
    found = {}
    for name, command in commands.items():
        taken = []
        for number in range(rounds + 1):  # the first one fills caches
            if not command[-1]:
                command = [*commands[name][:-1], str(folder / f"again{number}")]
            taken.append(cpu_seconds(command, env))
            if name == "build, cached":
                command = commands[name]
        found[name] = statistics.median(taken[1:])
    return found


def load_milliseconds(spec: str, rounds: int, folder: Path) -> float:
    import convgen

    os.environ["CONVGEN_CACHE"] = str(folder / "cache")
    taken = []
    for _ in range(rounds + 1):
        start = time.process_time()
        convgen.load(spec, folder / "built")
        taken.append((time.process_time() - start) * 1e3)
    return statistics.median(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spec", default=str(ROOT / "specs" / "layer.yaml"))
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="convgen-latency-") as name:
        found = medians(asked.spec, asked.rounds, Path(name))
        load = load_milliseconds(asked.spec, asked.rounds, Path(name))
    print(f"{cpu_name()}, Python {sys.version.split()[0]}; medians of {asked.rounds}, CPU time")
    for what, seconds in found.items():
        print(f"  {what:18} {seconds:6.3f} s   (target {TARGETS[what]} s)")
    print(f"  {'load, unchanged':18} {load:6.2f} ms  (target {LOAD_TARGET} ms)")


if __name__ == "__main__":
    main()
