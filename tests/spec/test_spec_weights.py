"""Baked weights: the frozen generator, and files that are whole, exact, or refused."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convgen.errors import SpecError
from convgen.spec import load_weights, parse_file, parse_mapping
from convgen.spec.weights import Weights, truncated_normal

TEXT = "input: 8x9x4\nfilters: 6\nkernel: [3, 2]\ngroups: 2\n"
SHAPE = (3, 2, 2, 6)
W = np.linspace(-1, 1, 72, dtype=np.float32).reshape(SHAPE)
B = np.arange(6, dtype=np.float32)


def load(folder: Path, weights: str, more: str = "") -> Weights:
    spec = folder / "layer.yaml"
    spec.write_text(f"{TEXT}weights: {weights}\n{more}")
    (layer,) = parse_file(spec)
    loaded = load_weights(layer)
    assert loaded is not None
    return loaded


def refused(folder: Path, weights: str, more: str = "") -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(folder, weights, more)
    assert all((d.line, d.col) == (5, 10) for d in caught.value.diagnostics)
    assert all("weights: " in d.snippet for d in caught.value.diagnostics)
    return [d.code for d in caught.value.diagnostics]


def init(**keys: Any) -> Weights:
    base = {"input": "8x8x4", "filters": 6, "kernel": [3, 2], "groups": 2}
    weights = {"init": "truncated_normal", "stddev": 0.1, "seed": 0}
    (layer,) = parse_mapping({**base, "weights": weights, **keys})
    loaded = load_weights(layer)
    assert loaded is not None
    return loaded


GOLDEN_DIGEST = "feed932873aac1de39d64267268d2d41ace9dd5c445a2f66f7730d3d765beda7"
GOLDEN_FIRST = [0.11027427762746811, 0.11882777512073517, -0.07878702878952026]


class TestInit:
    def test_bytes_never_change(self) -> None:
        """Fails on a machine or NumPy that gives other bytes: the digest is the promise."""
        data = truncated_normal(100_000, 7).astype("<f8").tobytes()
        assert hashlib.sha256(data).hexdigest() == GOLDEN_DIGEST
        w = init(weights={"init": "truncated_normal", "stddev": 0.1, "seed": 7}).w
        assert w.ravel()[:3].tolist() == GOLDEN_FIRST

    def test_follows_its_description(self) -> None:
        """The same numbers from Python's integers and floats alone, but for PCG64's stream."""
        raw = [int(r) for r in np.random.PCG64(2**64 - 1).random_raw(400)]
        kept = []
        for first, second in zip(raw[::2], raw[1::2], strict=True):
            z = 4 * ((first >> 11) * 2.0**-53) - 2
            x, density = -0.5 * (z * z), 1.0
            for term in range(24, 0, -1):
                density = density * (x / term) + 1
            if (second >> 11) * 2.0**-53 < density:
                kept.append(z)
        assert truncated_normal(100, 2**64 - 1).tolist() == kept[:100]

    def test_is_a_normal_cut_at_two_sigma(self) -> None:
        z = truncated_normal(400_000, 1)
        assert z.min() >= -2
        assert z.max() < 2
        assert abs(z.mean()) < 0.006
        assert abs(z.std() - 0.87963) < 0.004  # sqrt(1 - 4 phi(2) / (2 Phi(2) - 1))
        for cut, share in ((0.5, 0.40117), (1.0, 0.71525), (1.5, 0.90773)):
            assert abs(np.mean(np.abs(z) < cut) - share) < 0.004

    def test_longer_draws_begin_alike(self) -> None:
        assert truncated_normal(50_000, 3)[:10].tolist() == truncated_normal(10, 3).tolist()

    def test_seed_and_stddev(self) -> None:
        one = init().w
        other = init(weights={"init": "truncated_normal", "stddev": 0.1, "seed": 1}).w
        wider = init(weights={"init": "truncated_normal", "stddev": 0.2}).w
        assert not np.array_equal(one, other)
        assert np.array_equal(wider, 2 * one)

    def test_layouts_hold_the_same_filters(self) -> None:
        hwio = init().w
        assert np.array_equal(init(weight_layout="OIHW").w, hwio.transpose(3, 2, 0, 1))
        assert np.array_equal(init(weight_layout="OHWI").w, hwio.transpose(3, 0, 1, 2))

    def test_shape_dtype_order_and_bias(self) -> None:
        loaded = init(weight_layout="OIHW")
        assert (loaded.w.shape, loaded.w.dtype) == ((6, 2, 3, 2), np.float32)
        assert loaded.w.flags.c_contiguous
        assert not loaded.w.flags.writeable
        assert loaded.b is not None
        assert loaded.b.tolist() == [0.0] * 6
        assert init(bias=False).b is None


class TestFiles:
    def test_npz(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "w.npz", w=W, b=B, other=np.ones(3))
        loaded = load(tmp_path, "w.npz")
        assert loaded.b is not None
        assert np.array_equal(loaded.w, W)
        assert np.array_equal(loaded.b, B)
        assert not loaded.w.flags.writeable

    def test_npz_compressed(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "w.npz", w=W, b=B)
        assert np.array_equal(load(tmp_path, "w.npz").w, W)

    def test_npy_and_fortran_order(self, tmp_path: Path) -> None:
        np.save(tmp_path / "w.npy", np.asfortranarray(W))
        np.save(tmp_path / "b.npy", B)
        loaded = load(tmp_path, "{w: w.npy, b: b.npy}")
        assert np.array_equal(loaded.w, W)
        assert loaded.w.flags.c_contiguous

    def test_without_bias(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "w.npz", w=W)
        np.save(tmp_path / "w.npy", W)
        assert load(tmp_path, "w.npz", "bias: false\n").b is None
        assert load(tmp_path, "{w: w.npy}", "bias: false\n").b is None
        np.savez(tmp_path / "w.npz", w=W, b=B)
        assert refused(tmp_path, "w.npz", "bias: false\n") == ["E309"]

    def test_paths_start_from_the_specs_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "specs" / "data").mkdir(parents=True)
        (tmp_path / "elsewhere").mkdir()
        np.savez(tmp_path / "specs" / "data" / "w.npz", w=W, b=B)
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert load(tmp_path / "specs", "data/w.npz").w.shape == SHAPE
        absolute = tmp_path / "specs" / "data" / "w.npz"
        assert load(tmp_path / "elsewhere", str(absolute)).w.shape == SHAPE

    def test_a_mapping_starts_from_the_current_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        np.savez(tmp_path / "w.npz", w=W, b=B)
        monkeypatch.chdir(tmp_path)
        data = {"input": "8x9x4", "k": 6, "f": [3, 2], "g": 2, "weights": "w.npz"}
        loaded = load_weights(parse_mapping(data)[0])
        assert loaded is not None
        assert np.array_equal(loaded.w, W)
        data["weights"] = "none.npz"
        with pytest.raises(
            SpecError, match=r"^<dict>: error\[E301\]: weights: cannot read none.npz"
        ):
            load_weights(parse_mapping(data)[0])

    def test_run_time_weights(self) -> None:
        assert load_weights(parse_mapping({"input": "8x8x4", "k": 6, "f": 3})[0]) is None

    def test_all_that_is_wrong(self, tmp_path: Path) -> None:
        bad = W.copy()
        bad[0, 0, 0, 0] = np.inf
        np.savez(tmp_path / "w.npz", w=bad, b=B.astype(np.float64))
        assert refused(tmp_path, "w.npz") == ["E308", "E307"]
        np.savez(tmp_path / "w.npz", w=W[:2])
        assert refused(tmp_path, "w.npz") == ["E306", "E304"]
        assert refused(tmp_path, "{w: no.npy, b: neither.npy}") == ["E301", "E301"]

    @pytest.mark.parametrize(
        ("array", "code"),
        [
            (W.astype(np.float64), "E307"),
            (W.astype(np.float16), "E307"),
            (W.astype(np.int32), "E307"),
            (W.astype(">f4"), "E307"),
            (W.astype(np.complex64), "E307"),
            (W[..., None], "E306"),
            (W.ravel(), "E306"),
            (W.transpose(3, 2, 0, 1), "E306"),
            (np.zeros((0, 2, 2, 6), np.float32), "E306"),
            (np.float32(1), "E306"),
            (np.zeros(SHAPE, dtype=[("x", "<f4")]), "E307"),
            (np.full(SHAPE, "x"), "E307"),
            (np.full(SHAPE, None), "E305"),
        ],
    )
    def test_wrong_arrays(self, tmp_path: Path, array: Any, code: str) -> None:
        np.save(tmp_path / "w.npy", array, allow_pickle=True)
        np.save(tmp_path / "b.npy", B)
        assert refused(tmp_path, "{w: w.npy, b: b.npy}") == [code]

    def test_pickle_is_never_run(self, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "sprung"),)

        array = np.empty(SHAPE, dtype=object)
        array[:] = Trap()
        np.savez(tmp_path / "w.npz", w=array, b=B)
        assert refused(tmp_path, "w.npz") == ["E305"]
        (tmp_path / "w.npz").write_bytes(array.dumps())
        assert refused(tmp_path, "w.npz") == ["E303"]
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize("keep", [0, 5, 60, 127, 200, -1])
    def test_truncated_npy(self, tmp_path: Path, keep: int) -> None:
        (tmp_path / "w.npy").write_bytes(npy(W)[:keep])
        np.save(tmp_path / "b.npy", B)
        assert refused(tmp_path, "{w: w.npy, b: b.npy}") == ["E303"]

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
    def test_truncated_npz(self, tmp_path: Path, share: float) -> None:
        np.savez(tmp_path / "w.npz", w=W, b=B)
        data = (tmp_path / "w.npz").read_bytes()
        (tmp_path / "w.npz").write_bytes(data[: int(len(data) * share)])
        assert refused(tmp_path, "w.npz") == ["E303"]

    def test_flipped_bits_in_an_npz(self, tmp_path: Path) -> None:
        """Each bit of the archive: refused, or a file whose arrays are untouched (names, dates)."""
        np.savez_compressed(tmp_path / "w.npz", w=W, b=B)
        data = (tmp_path / "w.npz").read_bytes()
        for at in range(0, len(data), 7):
            flipped = bytearray(data)
            flipped[at] ^= 0x10
            (tmp_path / "w.npz").write_bytes(flipped)
            try:
                assert np.array_equal(load(tmp_path, "w.npz").w, W)
            except SpecError as error:
                assert {d.code for d in error.diagnostics} <= {"E303", "E304", "E301"}

    @pytest.mark.parametrize(
        "header",
        [
            b"(" * 5000,
            b"{'descr': '<f4', 'fortran_order': False, 'shape': (10**9,)}",
            b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 2, 2, 6)}",
            b"{'descr': '<f4'}",
            b"__import__('os').getcwd()",
            b"{'descr': 'O,O', 'fortran_order': 1, 'shape': 3}",
            b"\xff\xfe\x00",
            b"",
            b"'" * 9000,
        ],
    )
    @pytest.mark.parametrize("version", [1, 2, 3, 200])
    def test_hostile_headers(self, tmp_path: Path, header: bytes, version: int) -> None:
        length = len(header).to_bytes(2 if version == 1 else 4, "little")
        data = b"\x93NUMPY" + bytes([version, 0]) + length + header
        (tmp_path / "w.npy").write_bytes(data + W.tobytes())
        np.save(tmp_path / "b.npy", B)
        assert refused(tmp_path, "{w: w.npy, b: b.npy}")[0] in {"E303", "E305", "E306", "E307"}

    def test_bomb_is_not_unpacked(self, tmp_path: Path) -> None:
        """A header that claims the right shape before gigabytes of zeros: only its due is read."""
        with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("w.npy", "w", force_zip64=True) as member:
                member.write(npy(W))
                for _ in range(300):
                    member.write(bytes(1 << 20))
            archive.writestr("b.npy", npy(B))
        assert refused(tmp_path, "w.npz") == ["E303"]

    def test_folder_in_place_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "w.npz").mkdir()
        assert refused(tmp_path, "w.npz") == ["E301"]


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
