"""1-D, 3-D and transposed layers as packages and self tests, in the ranks that they have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import convgen
from convgen.oracle.floats import error_bound, reference
from convgen.spec import parse_file, parse_mapping, parse_text

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler on this machine"
)

SPECS = {
    "series": "input: 40x3\nfilters: 10\nkernel: 5\npadding: same\nstride: 2\nactivation: relu\n",
    "series_first": (
        "input: 19x4\nfilters: 6\nkernel: 3\ngroups: 2\nbatch: 2\nlayout: NCW\nweight_layout: OIW\n"
    ),
    "solid": (
        "input: 4x6x7x3\nfilters: 5\nkernel: 3\npadding: {front: 1, top: 1}\nstride: [1, 2, 1]\n"
        "batch: any\nremainder: floor\n"
    ),
    "solid_first": (
        "input: 3x5x4x4\nfilters: 6\nkernel: [2, 3, 1]\nlayout: NCDHW\nweight_layout: OIDHW\n"
    ),
    "upsampled": (
        "input: 5x6x4\nfilters: 7\nkernel: 3\nstride: 2\npadding: 1\noutput_padding: 1\n"
        "transposed: true\nweight_layout: IOHW\nlayout: NCHW\n"
    ),
    "upsampled_groups": (
        "input: 5x6x4\nfilters: 6\nkernel: [2, 3]\nstride: [3, 2]\ndilation: [2, 1]\ngroups: 2\n"
        "transposed: true\nweight_layout: HWOI\npadding: same\n"
    ),
    "upsampled_solid": (
        "input: 3x4x4x2\nfilters: 3\nkernel: 2\nstride: 2\ntransposed: true\nbias: false\n"
    ),
}


def arrays(spec: object, images: int = 1) -> list[np.ndarray | None]:
    rng = np.random.default_rng(4)
    x_shape = (images, *spec.x_shape[1:]) if spec.batch_any else spec.x_shape
    shapes = (x_shape, spec.w_shape, spec.b_shape)
    return [None if s is None else rng.standard_normal(s, np.float32) for s in shapes]


@pytest.mark.parametrize("name", SPECS)
def test_a_package(name: str, tmp_path: Path) -> None:
    text = f"name: {name}\n{SPECS[name]}"
    module = convgen.build(text, tmp_path, cache_root=tmp_path / "cache", verify=False)
    (layer,) = parse_text(text, "s.yaml")
    spec = layer.spec
    x, w, b = arrays(spec, images=3)
    y = module.conv(x, w, b, threads=2)
    wanted, bound = reference(spec, x, w, b), error_bound(spec, x, w, b)
    assert y.shape == wanted.shape and (np.abs(y - wanted) <= bound).all()
    skipped = int(spec.batch_any)
    assert module.INPUT_SHAPE[skipped:] == spec.x_shape[skipped:]
    assert module.OUTPUT_SHAPE[skipped:] == spec.y_shape[skipped:]
    assert (spec.w_shape, spec.macs) == (module.WEIGHT_SHAPE, module.MACS)
    with pytest.raises(ValueError, match=r"pass x\[None\] for a batch of one image"):
        module.conv(x[0], w, b)
    with pytest.raises(ValueError, match="expected"):
        module.conv(x, w[None], b)
    again = parse_mapping(module.SPEC)  # what it says of itself is that layer
    assert again[0].spec == spec


@pytest.mark.parametrize("name", SPECS)
def test_a_self_test(name: str, tmp_path: Path) -> None:
    spec_file = tmp_path / f"{name}.yaml"
    spec_file.write_text(SPECS[name], encoding="utf-8")
    done = self_tested(name, emitted(spec_file), tmp_path)
    assert done.returncode == 0 and f"{name}: ok" in done.stdout, done.stdout


def self_tested(name: str, files: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The self test over the plain C body, without a warning."""
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    compiler = next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))))
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1"]
    made = [f"-D{name.upper()}_PLAIN", f"{name}.c", "selftest.c", "-o", "selftest"]
    subprocess.run([compiler, *strict, *made], cwd=folder, check=True, timeout=120)
    return subprocess.run(
        [folder / "selftest"], capture_output=True, text=True, timeout=60, check=False
    )


def emitted(path: Path) -> dict[str, str]:
    """The embeddable files of the one layer of a spec."""
    from convgen.package.emit.files import decide, kernel_files
    from convgen.package.emit.selftests import selftest_file
    from convgen.target import TARGETS

    (layer,) = parse_file(path)
    decided = decide(layer, TARGETS["x86-64-avx2"])
    return {**kernel_files(decided), "selftest.c": selftest_file(decided.plan, None)}


def test_a_self_test_can_fail(tmp_path: Path) -> None:
    """One weight of a phase taken from another tap, and the program says so."""
    path = tmp_path / "upsampled.yaml"
    path.write_text(SPECS["upsampled"], encoding="utf-8")
    files = emitted(path)
    head, table, rest = files["upsampled.c"].partition("across[3] = {")
    line, end, tail = rest.partition("};")
    numbers = line.strip().rstrip(",").split(", ")
    swapped = f"\n    {', '.join([numbers[1], numbers[0], *numbers[2:]])},\n  "
    files["upsampled.c"] = head + table + swapped + end + tail
    done = self_tested("upsampled", files, tmp_path)
    assert done.returncode == 1 and "FAIL" in done.stdout
