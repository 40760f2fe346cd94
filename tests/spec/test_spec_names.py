"""Names: the rule of letters, and every clash that a generated package could have."""

from __future__ import annotations

import itertools
import keyword
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools import c_compiler

from convgen.errors import SpecError
from convgen.spec import parse_text
from convgen.spec.names import refuse_name, suggest_name

# What a generated file defines for a layer `name`: name_SUFFIX functions, NAME_SUFFIX macros.
FUNCTIONS = ("cpu_ok", "isa", "pack", "run", "run_part", "packed")
MACROS = (
    *("N", "H", "W", "C", "OH", "OW", "OC", "KH", "KW", "SH", "SW", "DH", "DW", "PT", "PL", "PB"),
    *("PR", "G", "MACS", "PACKED_BYTES", "WORKSPACE_BYTES", "ALIGN", "BAKED", "ABI", "SPEC_ID"),
    "HEADER_ID",
    *("MODEL", "MAX", "MIN", "WIDTH", "BITS", "BIT", "SIZE", "DIG", "LEN_MAX", "MAX_MIN"),
)
TEXT = "input: 8x8x4\nfilters: 4\nkernel: 3\n"


@pytest.mark.parametrize("name", ["a", "conv1", "a_b", "x" * 63, "layer", "edge_filter", "v"])
def test_good(name: str) -> None:
    assert refuse_name(name) is None
    assert parse_text(f"name: {name}\n{TEXT}", "s.yaml")[0].spec.name == name


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *[(n, "E130") for n in ("", "A", "1a", "_a", "a-b", "a.b", "a b", "é", "x" * 64, "a\n")],
        *[(n, "E131") for n in ("int", "restrict", "co_yield", "xor", "def", "yield", "main")],
        *[(n, "E131") for n in ("linux", "nul", "com1", "lpt9", "true", "typeof")],
        *[(n, "E132") for n in ("array", "types", "math", "ctypes", "numpy", "cffi", "yaml")],
        *[(n, "E132") for n in ("convgen", "torch", "test", "pip")],
        *[(n, "E133") for n in ("int8", "uint64", "int_least8", "uint_fast16", "intmax", "size")],
        *[(n, "E133") for n in ("ptrdiff", "wchar", "ullong", "flt", "ns_name", "svc")],
    ],
)
def test_bad(name: str, code: str) -> None:
    refused = refuse_name(name)
    assert refused is not None
    assert refused[0] == code


def test_no_keyword_or_module_of_this_python_passes() -> None:
    words = {w for w in (*keyword.kwlist, *sys.stdlib_module_names) if re.fullmatch("[a-z]\\w*", w)}
    assert [w for w in sorted(words) if refuse_name(w) is None] == []


@pytest.mark.parametrize("text", ["", "Conv-1", "3x3", "../../etc", "int", "A" * 99, "日本", "__"])
def test_suggestions_keep_the_rule_of_letters(text: str) -> None:
    refused = refuse_name(suggest_name(text))
    assert refused is None or refused[0] != "E130"


@pytest.mark.parametrize("name", ["int", "numpy", "int8", "random", "svc", "convgen"])
def test_the_name_that_a_message_offers_is_good(name: str) -> None:
    refused = refuse_name(name)
    assert refused is not None
    (offered,) = re.findall(r"`name: (\w+)` would do", refused[1])
    assert refuse_name(offered) is None


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("specs/two-layers.yaml", "two_layers"),
        ("conv1.yml", "conv1"),
        ("<stdin>", "layer"),
        ("<dict>", "layer"),
    ],
)
def test_default(source: str, name: str) -> None:
    (layer,) = parse_text(TEXT, source)
    assert (layer.spec.name, layer.source) == (name, source)


def test_a_bad_default_is_told_with_the_way_out() -> None:
    with pytest.raises(
        SpecError, match="without a `name`, the file's gives `numpy`, but"
    ) as caught:
        parse_text(TEXT, "specs/numpy.yaml")
    assert [d.code for d in caught.value.diagnostics] == ["E132"]


@pytest.mark.needs("cc")
def test_standard_headers_define_nothing_of_ours() -> None:
    """Every macro NAME_SUFFIX of the compiler's own headers has a NAME that is refused."""
    headers = ("stdint.h", "limits.h", "stddef.h", "float.h", "string.h")
    source = "".join(f"#include <{header}>\n" for header in headers)
    run = [c_compiler(), "-std=c99", "-dM", "-E", "-x", "c", "-"]
    listing = subprocess.run(run, input=source, capture_output=True, text=True, check=True).stdout
    macros = set(re.findall(r"^#define (\w+)", listing, re.MULTILINE))
    assert "INT8_MAX" in macros
    clashes = {
        macro.removesuffix(f"_{suffix}").lower()
        for macro, suffix in itertools.product(macros, MACROS)
        if macro.endswith(f"_{suffix}")
    }
    assert [name for name in sorted(clashes) if refuse_name(name) is None] == []


@pytest.mark.needs("nm")
def test_the_c_library_defines_nothing_of_ours() -> None:
    libraries = {
        match[1]
        for match in re.finditer(r"(/\S+/lib(?:c|m)\.so\.6)$", _maps(), re.MULTILINE)
        if Path(match[1]).exists()
    }
    if not libraries:
        pytest.skip("no glibc to look at")
    command = ["nm", "-D", *sorted(libraries)]
    listing = subprocess.run(command, capture_output=True, text=True).stdout
    symbols = set(re.findall(r" \w (\w+)", listing))
    assert "memcpy" in symbols
    clashes = {
        symbol.removesuffix(f"_{suffix}")
        for symbol, suffix in itertools.product(symbols, FUNCTIONS)
        if symbol.endswith(f"_{suffix}")
    }
    assert [name for name in sorted(clashes) if refuse_name(name) is None] == []


def _maps() -> str:
    maps = Path("/proc/self/maps")
    return maps.read_text() if maps.exists() else ""


def test_two_layers_never_clash_with_each_other() -> None:
    """No suffix is another one with something in front: `a_run` cannot define `a`'s symbols."""
    for suffixes in (FUNCTIONS, MACROS[:26]):
        for one, other in itertools.permutations(suffixes, 2):
            assert not one.endswith(f"_{other}")


@pytest.mark.parametrize("name", ["selftest", "install", "all", "package_source"])
def test_names_of_files_and_targets_in_the_package(name: str) -> None:
    found = refuse_name(name)
    assert found is not None and found[0] == "E131"
