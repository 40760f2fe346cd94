"""The networks of specs/networks: read, drawn, and built to what their graphs mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from built import needs_cc
from places import ROOT

import convgen
from convgen.network.meaning import evaluate
from convgen.network.text import parse_network_file

GALLERY = sorted((ROOT / "specs" / "networks").glob("*.yaml"))


@needs_cc
@pytest.mark.parametrize("path", GALLERY, ids=[path.stem for path in GALLERY])
def test_a_network_of_the_gallery(path: Path, tmp_path: Path) -> None:
    net = convgen.load(path, out=tmp_path)
    rng = np.random.default_rng(1)
    arrays = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, (shape, _) in net.INPUTS.items()
    }
    graph = parse_network_file(path).complete()
    values = evaluate(graph, arrays)
    found = net.run(*arrays.values())
    outputs = found if isinstance(found, tuple) else (found,)
    for name, got in zip(net.OUTPUTS, outputs, strict=True):
        np.testing.assert_allclose(got, values[name], rtol=1e-4, atol=1e-5)
