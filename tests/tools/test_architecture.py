"""The shape of the tree: imports go downwards, files stay small, templates hold no data."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

PACKAGE = ROOT / "convgen"
MODULES = sorted(PACKAGE.rglob("*.py"))
TEMPLATES = sorted((ROOT / "templates").rglob("*.j2"))
KERNEL_TEMPLATES = [p for p in TEMPLATES if p.parent.name == "templates" or "kernels" in p.parts]
C_TEMPLATES = [*KERNEL_TEMPLATES, *(p for p in TEMPLATES if p.parent.name in ("selftest", "bench"))]

# From the bottom up; one line is one layer, whose members do not import each other.
LAYERS = (
    ("errors",),
    ("spec", "toolchain"),
    ("oracle", "target"),
    ("network", "numbers", "plan"),
    ("ctext", "importers"),
    ("kernels",),
    ("render",),
    ("choose",),
    ("verify",),
    ("bench",),
    ("package", "tune"),
    ("api", "cross"),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
NO_NAMES = re.compile(
    r"(?:^|_)(?:utils?|helpers?|managers?|process(?:ors?|ing)?|misc|common)(?:_|$)"
)
TALLEST_FILE, LONGEST_FUNCTION = 400, 70


def part_of(path: Path) -> str:
    """The layer's name: the first folder or the module under convgen."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """The parts of convgen that a module imports when it runs, late imports included.

    What stands under ``if TYPE_CHECKING`` is for the type checker alone.
    """
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.ImportFrom(module="convgen"):
                yield from (alias.name for alias in node.names if alias.name != "__version__")
            case ast.ImportFrom(module=str(module)) if module.startswith("convgen."):
                yield module.split(".")[1]
            case ast.Import():
                names = (alias.name.split(".") for alias in node.names)
                yield from (name[1] for name in names if name[0] == "convgen" and name[1:])
            case _:
                yield from imported(node)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


each_module = pytest.mark.parametrize(
    "path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES]
)


@each_module
def test_lower_layers_never_import_upper_ones(path: Path) -> None:
    me = part_of(path)
    if me == "__init__":
        return  # the package's face: it names what users import, and loads it on demand
    assert me in RANK, f"{me}: give it a layer in this test, and in ARCHITECTURE.md"
    for other in set(imported(parsed(path))) - {me}:
        assert RANK[other] < RANK[me], f"{me} imports {other}"


def test_the_import_check_can_fail() -> None:
    late = "def f():\n  from convgen.cli import app\n"
    text = f"{late}if TYPE_CHECKING:\n  from convgen.api import build\n"
    assert list(imported(ast.parse(text))) == ["cli"]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def edges() -> dict[str, set[str]]:
    """Which modules import which, late imports and those for the type checker included."""
    names = {module_of(path) for path in MODULES}
    found: dict[str, set[str]] = {}
    for path in MODULES:
        me, to = module_of(path), set()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("convgen"):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                to |= (inner & names) or {str(node.module)}
                to |= {str(node.module)} if inner - names and inner & names else set()
            elif isinstance(node, ast.Import):
                to |= {alias.name for alias in node.names} & names
        # The version and the face that users import stand in the package itself.
        found[me] = to - {me, "convgen"} if me != "convgen" else set()
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of some circle of imports, none if there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := walk(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next(filter(None, (walk(name, []) for name in sorted(graph))), [])


def test_no_two_modules_import_each_other() -> None:
    """Not in a roundabout way, not late, and not for the type checker alone."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle(edges()) == []


# These list the lowerings of others, by element type; every other room imports tiled alone.
LISTING = {"direct", "lanewise"}
STEP = {("scalar", "core"), ("integer", "elementwise"), ("pairs", "tiled")}


def test_a_kernels_room_imports_no_other() -> None:
    for module, others in edges().items():
        parts = module.split(".")
        if parts[1:2] != ["kernels"] or len(parts) < 4:
            continue
        rooms = {
            o.split(".")[2] for o in others if o.startswith("convgen.kernels.") and o.count(".") > 2
        }
        strangers = rooms - {parts[2], "tiled"}
        if parts[2] not in LISTING:
            assert all((parts[2], room) in STEP for room in strangers), f"{module}: {strangers}"


def test_the_oracle_shares_nothing_with_the_kernels() -> None:
    """It judges them: only what the layer means is common to both."""
    for path in (PACKAGE / "oracle").glob("*.py"):
        assert set(imported(parsed(path))) <= {"spec", "oracle"}
    judges = {
        part for path in (PACKAGE / "verify").glob("**/*.py") for part in imported(parsed(path))
    }
    assert judges.isdisjoint({"kernels", "choose", "render", "ctext"})


def test_nothing_but_the_interface_stands_at_the_root() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        "__init__.py", "__main__.py", "api.py", "errors.py",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["spec", "target", "plan", "ctext", "kernels", "choose", "render"])
def test_the_pipeline_touches_neither_clock_nor_process(name: str) -> None:
    """Reading specs, weights and CPU facts is at the edges; lowering and rendering are pure."""
    edges = {"parse.py", "mapping.py", "weights.py", "host.py"}
    for path in MODULES:
        if part_of(path) != name or path.name in edges:
            continue
        modules = {
            alias.name.split(".")[0]
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").split(".")[0]
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.ImportFrom)
        }
        assert modules.isdisjoint({"os", "subprocess", "time", "datetime", "random", "tempfile"})


@each_module
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= TALLEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@each_module
def test_names_say_what_is_inside(path: Path) -> None:
    assert not any(
        NO_NAMES.search(part) for part in path.relative_to(PACKAGE).with_suffix("").parts
    )


@each_module
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree)
    future = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    assert future or len(tree.body) == 1, "annotations are not evaluated anywhere"


@pytest.mark.parametrize("path", C_TEMPLATES, ids=lambda path: path.name)
def test_templates_name_no_instruction_set(path: Path) -> None:
    """Differences between machines come as data, from convgen/target."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(
        r"avx\w*|\bsse\w*|\bneon\b|_mm\d*_\w+|__m\d+|immintrin|__x86_64__", text, re.I
    )
    assert not found


@pytest.mark.parametrize("path", KERNEL_TEMPLATES, ids=lambda path: path.name)
def test_kernel_templates_name_no_dtype_or_layout(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"\bb?float(?:16|32|64)\b|\bu?int8\b|NHWC|NCHW|HWIO|OIHW|OHWI", text)
    assert text.startswith("{#"), "a template opens with what it needs"
