"""Which names a layer may have: each becomes files, a Python package, C identifiers and macros."""

from __future__ import annotations

import keyword
import re
import sys

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)

_C_WORDS = """
    alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor
    bool break case catch char char8_t char16_t char32_t class compl concept const const_cast
    consteval constexpr constinit continue contract_assert co_await co_return co_yield decltype
    default delete do double dynamic_cast else enum explicit export extern false float for friend
    goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq
    private protected public reflexpr register reinterpret_cast requires restrict return short
    signed sizeof static static_assert static_cast struct switch synchronized template this
    thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using
    virtual void volatile wchar_t while xor xor_eq
"""
_C_KEYWORDS = frozenset(_C_WORDS.split())
_WINDOWS = ("con", "prn", "aux", "nul", *(f"{k}{n}" for k in ("com", "lpt") for n in range(1, 10)))
_CMAKE = """
    all clean depend edit_cache help install list_install_components package package_source
    preinstall rebuild_cache uninstall
"""
_SYSTEM_WORDS = {
    **dict.fromkeys(("linux", "unix", "i386", "arm", "mips", "sparc"), "a macro of compilers"),
    **dict.fromkeys(("main", "errno", "null", "offsetof"), "a name of the C language"),
    **dict.fromkeys(_WINDOWS, "a device on Windows"),
    **dict.fromkeys(_CMAKE.split(), "a target that CMake keeps for itself"),
    **dict.fromkeys(("yes", "no", "on", "off"), "true or false where YAML reads it"),
    "selftest": "the file of the generated self test",
}
_MODULE_WORDS = """
    cffi convgen filelock hypothesis jinja2 jsonschema markupsafe matplotlib mypy numpy onnx
    onnxruntime pip pkg_resources platformdirs pycparser pydantic pydantic_core pygments pytest
    rich ruff scipy setuptools sklearn tensorflow test torch typer typing_extensions wheel yaml
"""
_MODULES = frozenset(_MODULE_WORDS.split())
# What the standard headers define in front of _C, _MAX, _MIN, _WIDTH and the like.
_MACRO_WORDS = """
    int8 int16 int32 int64 uint8 uint16 uint32 uint64
    int_least8 int_least16 int_least32 int_least64 uint_least8 uint_least16 uint_least32
    uint_least64 int_fast8 int_fast16 int_fast32 int_fast64 uint_fast8 uint_fast16 uint_fast32
    uint_fast64 intmax uintmax intptr uintptr size ssize ptrdiff sig sig_atomic wchar wint mb mb_len
    bool char schar uchar shrt ushrt short ushort int uint long ulong llong ullong long_long
    ulong_long word bitint flt dbl ldbl flt_mant dbl_mant ldbl_mant
    dec32 dec64 dec128 decimal posix xopen
"""
_MACRO_STEMS = frozenset(_MACRO_WORDS.split())
_FUNCTIONS = {"ns_name": "ns_name_pack", "svc": "svc_run"}


def refuse_name(name: str) -> tuple[str, str] | None:
    """The rule that ``name`` breaks and why, as (code, text); None for a good name."""
    if not _NAME.fullmatch(name):
        text = "a name is a lower-case letter, then up to 62 of a-z, 0-9 and _"
        return "E130", f"{text}; {_such_as(suggest_name(name))}"
    better = _such_as(f"{name[:57]}_layer")
    for words, language in ((_C_KEYWORDS, "C or C++"), (keyword.kwlist, "Python")):
        if name in words:
            return "E131", f"`{name}` is a keyword of {language}; {better}"
    if why := _SYSTEM_WORDS.get(name):
        return "E131", f"`{name}` is {why}; {better}"
    if name in _MACRO_STEMS:
        text = f"the macros {name.upper()}_... would clash with the standard C headers"
        return "E133", f"{text}; {better}"
    if function := _FUNCTIONS.get(name):
        return "E133", f"the C library already has a function `{function}`; {better}"
    if name in sys.stdlib_module_names:
        text = f"the built package would hide Python's own module `{name}`"
        return "E132", f"{text}; {better}"
    if name in _MODULES:
        return "E132", f"the built package would hide the package `{name}`; {better}"
    return None


def suggest_name(text: str) -> str:
    """A name that every rule accepts, as close to ``text`` as it goes."""
    name = re.sub(r"[^a-z0-9_]+", "_", text.lower(), flags=re.ASCII).strip("_")[:50]
    if not name or not name[0].isalpha():
        name = f"layer_{name}".rstrip("_")
    return name if refuse_name(name) is None else f"{name}_layer"


def _such_as(name: str) -> str:
    return f"`name: {name}` would do"
