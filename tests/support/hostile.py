"""Hostile spec files by the hundred thousand: the front end refuses them in its own words, or reads
them, within bounds of time and memory.

Hypothesis draws them: real specs damaged byte by byte and token by token, maps of any keys and
values in every style of YAML, and texts made to exhaust a reader. Each chunk is a child process
under a limit on its memory. ``PYTHONPATH=tests/support python -m hostile`` runs them
(``make hostile``).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from places import ROOT, SUPPORT

from convgen.errors import SpecError
from convgen.spec import parse_bytes
from convgen.spec.codes import CODES
from convgen.spec.fields import ALIASES, RawLayer
from convgen.spec.model import Layer
from convgen.spec.names import refuse_name
from convgen.spec.nodes import MAX_BYTES
from convgen.verify.isolate import child_environment

CHUNK = 2000  # inputs of one child
MEMORY = 1 << 30  # bytes of address space above what the child has when it starts
SECONDS = 2.0  # of processor time for one input: 64 KiB of YAML take PyYAML about half of one
MESSAGE = 1 << 20  # characters that a refusal may print

CORPUS = [
    path.read_bytes()
    for folder in ("specs", "tests/bad_specs", "examples")
    for path in sorted((ROOT / folder).rglob("*.yaml"))
    if path.stat().st_size <= MAX_BYTES
]
KEYS = [*RawLayer.keys, *(a for names in ALIASES.values() for a in names), "layers"]
INNER = [
    *("top", "left", "bottom", "right", "kind", "alpha", "min", "max", "approximate", "init"),
    *("stddev", "seed", "w", "b", "input", "weight", "output", "sum", "scale", "zero_point"),
    *("rounding", "calibration", "percentile", "family", "lanes", "tile", "vectors", "block"),
]
WORDS = [
    *("8x8x4", "32x32x3", "3", "1", "0", "-1", "5x3", "same", "same_lower", "valid", "relu"),
    *("clip", "gelu", "tanh", "any", "depthwise", "true", "false", "~", "NCHW", "OIHW", "auto"),
    *("int8", "uint8", "float16", "strict", "floor", "direct", "winograd", "planar", "onnx"),
    *("w.npz", "w.npz#scale", "w.npy", "truncated_normal", "tflite", "layer", "abcdefg"),
]
EVIL = [
    *("*/", "/*", "//", "\\", "\\\n", '"', "'", "`", "$(id)", ";", "|| true", "{{ 7*7 }}"),
    *("{% include 'x' %}", "{# #}", "%s%n", "../../../etc/passwd", "/dev/zero", "CON", "..", "."),
    *("con.npz", "#define x", "??/", "\x00", "\x1b[31m", "\u2028", "\u202e", "\ufeff", "\ud800"),
    *("\U0001f600", "e\u0301", "\u0661", "\uff11", "9" * 41, "1e999", "-1e999", ".inf", ".nan"),
    *("1e-999", "0x7fffffff", "017", "0o17", "1_000", "12:30", "2147483648", "-2147483649"),
    *("18446744073709551616", "1" + "0" * 400, "no", "on", "int", "__class__", "a" * 300),
]
SYNTAX = [
    *(": ", ":", "\n", "\r\n", "\r", "\n  ", "\n- ", "- ", ", ", "{", "}", "[", "]", "# x\n", "\t"),
    *("&a ", "*a", "&a [*a]", "!!int ", "!!python/object/apply:os.system ", "!<x> ", "! ", "<<: "),
    *(
        "<<: *a",
        "? ",
        "---\n",
        "...\n",
        "|\n",
        ">2-\n",
        "%YAML 1.1\n---\n",
        "%TAG ! x:\n",
        "@",
        "`",
    ),
    *('"\\x00"', '"\\uD800"', '"\\U00110000"', "\x85", "\xa0", "\x7f", "=", "~", "''", '""'),
]
TOKENS = [*KEYS, *INNER, *WORDS, *EVIL, *SYNTAX]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# -- what is drawn ---------------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real spec after a few accidents."""
    data = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 40)))
        piece = data[start:stop]
        match draw(st.integers(0, 7)):
            case 0:
                data = data[:start] + data[stop:]
            case 1:
                data = data[:stop] + piece * draw(st.integers(1, 50)) + data[stop:]
            case 2:
                data = data[:start] + draw(st.binary(max_size=4)) + data[stop:]
            case 3 | 4:
                data = data[:start] + _bytes(draw(st.sampled_from(TOKENS))) + data[start:]
            case 5:  # one line's value becomes another
                data = _other_value(data, start, _bytes(draw(st.sampled_from([*WORDS, *EVIL]))))
            case 6:  # a line of one spec in another
                lines = draw(st.sampled_from(CORPUS)).splitlines(keepends=True)
                data = data[:start] + b"\n" + draw(st.sampled_from(lines)) + data[start:]
            case _:
                number = str(draw(st.integers(-(2**70), 2**70))).encode()
                data = re.sub(rb"\d+", number, data, count=draw(st.integers(1, 3)))
    return data


def _other_value(data: bytes, at: int, value: bytes) -> bytes:
    colon, end = data.find(b": ", at), data.find(b"\n", data.find(b": ", at))
    return data if colon < 0 or end < 0 else data[: colon + 2] + value + data[end:]


LEAF = st.one_of(
    st.sampled_from([*WORDS, *EVIL]),
    st.sampled_from([None, True, False, 0, 1, 3, -1, 0.5, float("inf"), float("nan")]),
    st.integers(-3, 70),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(max_size=12),
    st.binary(max_size=4),
    st.dates(),
)
NAME = st.one_of(st.sampled_from([*KEYS, *INNER]), st.sampled_from([*WORDS, *EVIL]), st.integers())
VALUE = st.recursive(
    LEAF,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(NAME, inner, max_size=5)),
    max_leaves=10,
)
GOOD = {"input": "8x8x4", "filters": 4, "kernel": 3, "padding": 1}


@st.composite
def structured(draw: st.DrawFn) -> bytes:
    """A map that is a spec but for some keys, in any of YAML's styles."""
    data: dict[Any, Any] = dict(GOOD) if draw(st.booleans()) else {}
    for _ in range(draw(st.integers(0, 3))):
        data[draw(NAME)] = draw(VALUE)
    if draw(st.integers(0, 4)) == 0:
        data = {"layers": [data, data] if draw(st.booleans()) else [data, draw(VALUE)]}
    text = yaml.dump(
        data,
        default_flow_style=draw(st.sampled_from([None, True, False])),
        default_style=draw(st.sampled_from([None, None, None, '"', "'", "|"])),
        allow_unicode=draw(st.booleans()),
        width=draw(st.sampled_from([20, 80, 10**6])),
        explicit_start=draw(st.booleans()),
        sort_keys=False,
    )
    return _bytes(text)


TOKENS_TEXT = st.lists(st.sampled_from(TOKENS), max_size=60).map(
    lambda words: _bytes("".join(words))
)


@st.composite
def exhausting(draw: st.DrawFn) -> bytes:
    """Deep, long and repeated, up to the size that a spec may have and a little over."""
    unit = draw(st.sampled_from([
        "[", "{a: ", "{", "- ", "? ", "[[],", "{a: 1, ", "&a [*a, ", "!!map {", "'", '"', "\\",
        "\n", " ", "\t", "#", "x", "9", "a: b\n", "- - - -\n", "k{n}: 1\n", "&a{n} x\n", "*a\n",
        '"\\x41', "{n}, ", "\u00e9", "\U0001f600", "---\n", "|\n ", ": ", "layers:\n- ",
        "- {{input: 8x8x4, filters: 4, kernel: 3}}\n", "filters: 4\n", "{n}: {{}}\n", "\0",
        "\ufeff", "- {{name: l{n}, input: 8x8x4, filters: 4, kernel: 3}}\n",
    ]))  # fmt: skip
    count = draw(st.one_of(st.integers(1, 300), st.integers(300, 70_000)))
    size = len(_bytes(unit))
    count = min(count, MAX_BYTES // size + draw(st.integers(-2, 2)))
    many = unit * count
    if "{n}" in unit or "{{" in unit:
        many = "".join(unit.format(n=k) for k in range(min(count, 9000)))
    head = draw(st.sampled_from(["", "input: ", "name: ", "layers:\n", "quant: {", "weights: "]))
    tail = draw(st.sampled_from(["", "]", "}", "\nfilters: 4\n", '"', "'"]))
    return _bytes(head + many + tail)


def inputs() -> st.SearchStrategy[bytes]:
    encoded = st.tuples(st.text(max_size=80), st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]))
    return st.one_of(
        damaged(),
        damaged(),
        structured(),
        structured(),
        TOKENS_TEXT,
        exhausting(),
        st.binary(max_size=200),
        st.text(max_size=200).map(_bytes),
        encoded.map(lambda pair: pair[0].encode(pair[1], "surrogatepass")),
    )


# -- what is asked ---------------------------------------------------------------------------------


@dataclass
class Tally:
    """``accepted``: specs that were read after all. ``slowest``: processor seconds of one."""

    inputs: int = 0
    accepted: int = 0
    slowest: float = 0.0


def attack(data: bytes, tally: Tally) -> tuple[Layer, ...]:
    """Read one input; any exception but ``SpecError``, and whatever takes too long, is a bug."""
    begin = time.process_time()
    layers: tuple[Layer, ...] = ()
    try:
        layers = parse_bytes(data, "<hostile>")
    except SpecError as error:
        _worded(error)
    took = time.process_time() - begin
    assert took < SECONDS, f"{took:.1f} s for {len(data)} bytes"
    for layer in layers:
        assert refuse_name(layer.spec.name) is None, layer
    tally.inputs += 1
    tally.accepted += bool(layers)
    tally.slowest = max(tally.slowest, took)
    return layers


def _worded(error: SpecError) -> None:
    """A refusal names rules that are documented, in text that any terminal can print."""
    assert error.diagnostics
    for found in error.diagnostics:
        assert found.code in CODES and found.message, found
    text = str(error)
    text.encode("utf-8")
    assert len(text) <= MESSAGE, f"a refusal of {len(text)} characters"
    assert all(c.isprintable() or c == "\n" for c in text), ascii(text)


def run_chunk(number: int, examples: int) -> Tally:
    """``examples`` inputs of chunk ``number``; the failing one is shrunk and raised."""
    tally = Tally()

    @seed(number)
    @settings(
        max_examples=examples, deadline=None, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(inputs())
    def read(data: bytes) -> None:
        attack(data, tally)

    read()
    return tally


def chunk_in_child(number: int, examples: int) -> tuple[Tally | None, str]:
    """What came of it, or None and what the child said last."""
    command = [sys.executable, "-m", "hostile", "--chunk", str(number), "--count", str(examples)]
    environment = child_environment()
    environment["PYTHONPATH"] = f"{SUPPORT}:{environment['PYTHONPATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=3600
    )
    if done.returncode:
        said = "\n".join(line[:300] for line in done.stderr.splitlines()[-40:])
        return None, f"chunk {number}: exit code {done.returncode}\n{said}"
    return Tally(**json.loads(done.stdout)), ""


def main() -> int:
    parse = argparse.ArgumentParser(prog="python -m hostile", description=__doc__)
    parse.add_argument("--count", type=int, default=100_000, help="inputs in all (%(default)s)")
    parse.add_argument("--seed", type=int, default=1, help="of the first chunk (%(default)s)")
    parse.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    parse.add_argument("--chunk", type=int, help=argparse.SUPPRESS)
    options = parse.parse_args()
    if options.chunk is not None:
        _bounded()
        print(json.dumps(asdict(run_chunk(options.chunk, options.count))))
        return 0
    begin, total, failed = time.monotonic(), Tally(), 0
    chunks = range(options.seed, options.seed + -(-options.count // CHUNK))
    with ThreadPoolExecutor(options.jobs) as pool:
        for found, said in pool.map(lambda k: chunk_in_child(k, CHUNK), chunks):
            if found is None:
                failed += 1
                print(said, file=sys.stderr, flush=True)
                continue
            total.inputs += found.inputs
            total.accepted += found.accepted
            total.slowest = max(total.slowest, found.slowest)
    print(
        f"hostile: seeds {chunks.start}..{chunks.stop - 1}: {total.inputs} inputs, "
        f"{total.accepted} of them read as specs, {failed} chunks failed, slowest "
        f"{total.slowest:.2f} s, {time.monotonic() - begin:.0f} s in all"
    )
    return int(bool(failed))


def _bounded() -> None:
    """No more address space than there is now and ``MEMORY``."""
    import resource

    used = next(_status("VmSize"), 0) << 10
    limit = used + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _status(key: str) -> Iterator[int]:
    file = Path("/proc/self/status")
    lines = file.read_text().splitlines() if file.exists() else ()
    return (int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    sys.exit(main())
