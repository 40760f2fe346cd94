"""Sizes: `same`, remainders and their fixes, trimming, limits."""

from __future__ import annotations

import re

import pytest

from convgen.errors import SpecError
from convgen.spec import Layer, parse_text
from convgen.spec.geometry import BYTES_LIMIT, MACS_LIMIT
from convgen.spec.model import Padding


def layer(text: str) -> Layer:
    (only,) = parse_text(text.replace("; ", "\n"), "s.yaml")
    return only


def refused(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        layer(text)
    (found,) = caught.value.diagnostics
    return f"{found.code} {found.message}"


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("input: 32x32x3; k: 6; f: 5", (28, 28, 6)),
        ("input: 32x32x3; k: 10; f: 5; s: 1; p: 2", (32, 32, 10)),
        ("input: 5x5x1; k: 1; f: 3; p: 1", (5, 5, 1)),
        ("input: 5x5x1; k: 1; f: 7; p: 1", (1, 1, 1)),  # 7x7 after padding
        ("input: 5x5x1; k: 1; f: 3; s: 2", (2, 2, 1)),
        ("input: 224x224x3; k: 64; f: 7; s: 2; p: 3", (112, 112, 64)),
        ("input: 56x56x64; k: 128; f: 1; s: 2", (28, 28, 128)),
        ("input: 33x33x8; k: 8; f: 3; d: 2; p: 2", (33, 33, 8)),
        ("input: 1x1x8; k: 8; f: 3; p: 1", (1, 1, 8)),
    ],
)
def test_known_sizes(text: str, out: tuple[int, int, int]) -> None:
    spec = layer(text).spec
    assert (spec.oh, spec.ow, spec.oc) == out


def test_resnet_stem_is_trimmed_with_a_note() -> None:
    only = layer("input: 224x224x3; k: 64; f: 7; s: 2; p: 3")
    assert only.spec.padding == Padding(3, 3, 2, 2)
    assert only.notes == (
        "In height, (224 + 3 + 3 - 7) mod 2 = 1: the last row of padding is never reached and "
        "left out.",
        "In width, (224 + 3 + 3 - 7) mod 2 = 1: the last column of padding is never reached and "
        "left out.",
    )


def test_downsampling_by_a_pointwise_filter_is_accepted() -> None:
    """r = 1 <= 0 + max(0, 2 - 1): the gap between windows loses as much."""
    only = layer("input: 56x56x4; k: 8; f: 1; s: 2")
    assert only.spec.padding == Padding()
    assert len(only.notes) == 2
    assert "no more than each gap between windows skips (stride 2 > 1)" in only.notes[0]


def test_remainder_may_be_padding_and_gap_together() -> None:
    """r = 3 <= PB 1 + (4 - 2): one row is padding, two are real."""
    only = layer("input: [12, 2, 1]; k: 1; f: 2; s: 4; p: {bottom: 1, right: 0}")
    assert only.spec.oh == 3
    only = layer("input: [8, 2, 1]; k: 1; f: 2; s: [4, 1]; p: {bottom: 1}")
    assert (8 + 1 - 2) % 4 == 3
    assert only.spec.padding == Padding()
    assert "the last row of padding is never reached and left out and" in only.notes[0]
    assert "the last 2 rows of the input are not used" in only.notes[0]


def test_one_more_left_over_is_refused() -> None:
    """r = 3 > 0 + (4 - 2)."""
    text = refused("input: [9, 2, 1]; k: 1; f: 2; s: [4, 1]")
    assert text.startswith("E202 s: height: (9 + 0 + 0 - 2) mod 4 = 3, so the last 3 rows of the")


def test_fixes_are_listed_and_each_gives_its_size() -> None:
    """Every fix that the message lists is tried: it must be accepted, with the size it promises."""
    base = "input: 32x30x3; k: 6; f: [5, 4]; d: [1, 2]"
    text = refused(f"{base}; s: [2, 5]; p: {{top: 2, right: 1}}")
    fixes = re.findall(r"`([^`]+)` gives (\d+)x(\d+)", text)
    assert [fix.split(":")[0] for fix, _, _ in fixes] == [
        "stride",
        "stride",
        "padding",
        "padding",
        "remainder",
    ]
    for fix, oh, ow in fixes:
        key = fix.split(":")[0]
        rest = {"stride": "s: [2, 5]", "padding": "p: {top: 2, right: 1}"}
        rest.pop(key, None)
        spec = layer("; ".join([base, *rest.values(), fix])).spec
        assert (spec.oh, spec.ow) == (int(oh), int(ow)), fix


@pytest.mark.parametrize("word", ["same", "same_lower"])
@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 16])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same(word: str, size: int, taps: int, stride: int, dilation: int) -> None:
    text = f"input: [{size}, {size}, 1]; k: 1; f: {taps}; s: {stride}; d: {dilation}; p: {word}"
    only = layer(text)
    spec, p = only.spec, only.spec.padding
    assert spec.oh == spec.ow == -(-size // stride)
    before, after = (p.top, p.bottom) if word == "same" else (p.bottom, p.top)
    assert after - before in (0, 1)
    extent = (taps - 1) * dilation + 1
    assert before + after == max(0, (spec.oh - 1) * stride + extent - size)
    assert only.notes[0].startswith(f"Padding `{word}` makes the output ceil({size}/{stride})")


def test_valid_and_floor_say_what_is_lost() -> None:
    valid = layer("input: 32x32x3; k: 6; f: 5; s: 2; p: valid")
    assert "the last row of the input is not used, as `padding: valid` defines." in valid.notes[0]
    floor = layer("input: 32x32x3; k: 6; f: 5; s: 2; remainder: floor")
    assert "the last row of the input is not used, as `remainder: floor` says." in floor.notes[0]
    assert floor.spec == valid.spec


def test_floor_trims_what_padding_there_is() -> None:
    only = layer("input: [10, 1, 1]; k: 1; f: [5, 1]; s: [4, 1]; p: {bottom: 2}; remainder: floor")
    assert (10 + 2 - 5) % 4 == 3
    assert only.spec.padding == Padding()
    assert only.spec.oh == 2
    assert "the last 2 rows of padding are never reached" in only.notes[0]
    assert "the last row of the input is not used" in only.notes[0]


def test_no_window_is_an_error_not_a_size() -> None:
    """-1 // 2 + 1 would be 0 and (-2) / 2 truncated 1: neither is a size."""
    text = refused("input: 4x4x1; k: 1; f: 6; s: 2")
    assert text.startswith("E201 f: no window fits; height: the filter spans 6 rows")
    assert "`kernel: 4`, or" in text
    assert layer("input: 4x4x1; k: 1; f: 4; s: 2").spec.oh == 1


def test_no_window_names_a_dilation_that_fits() -> None:
    text = refused("input: 7x7x1; k: 1; f: 3; d: 4")
    assert "`dilation: 3` or less" in text
    assert layer("input: 7x7x1; k: 1; f: 3; d: 3").spec.oh == 1


def test_padding_wider_than_the_filter_is_fine() -> None:
    assert layer("input: 2x2x1; k: 1; f: 3; p: 5").spec.oh == 10


def test_limits_of_each_array() -> None:
    """(2^31 - 4) / 4 elements pass, 2^29 do not."""
    assert BYTES_LIMIT == 2**31
    assert layer("input: [8192, 65535, 1]; k: 1; f: 1").spec.oh == 8192
    assert "E205" in refused("input: [8192, 65536, 1]; k: 1; f: 1; s: 64; remainder: floor")
    many = refused("input: [1, 1, 65536]; k: 8192; f: 1")
    assert many.startswith("E205 k: the weights, 1x1x65536x8192 float32, would take 2,147,483,648")
    assert layer("input: [1, 1, 65536]; k: 8191; f: 1").spec.params == 65536 * 8191 + 8191


def test_padded_size_is_limited_too() -> None:
    assert "a padded image, 65537x8192x1 float32" in refused(
        "input: [1, 8192, 1]; k: 1; f: 1; s: 65536; p: [32768, 0]"
    )


def test_batch_counts() -> None:
    text = "input: 128x128x64; k: 64; f: 3; p: 1"
    assert layer(f"{text}; batch: 511").spec.batch == 511
    with pytest.raises(SpecError) as caught:
        layer(f"{text}; batch: 512")
    assert [d.code for d in caught.value.diagnostics] == ["E205", "E205"]


def test_macs_limit() -> None:
    base = "input: 512x512x256; k: 1024; p: same"
    assert layer(f"{base}; f: 15").spec.macs < MACS_LIMIT
    assert refused(f"{base}; f: 17").startswith("E206")


def test_far_search_for_a_stride_is_short() -> None:
    """A prime room offers no divisor nearby; the message still comes at once, without one."""
    text = refused("input: [1048576, 1, 1]; k: 1; f: [65533, 1]; s: [3, 1]; p: {top: 2}")
    assert "`remainder: floor` gives" in text


def test_groups_that_fit_are_named() -> None:
    with pytest.raises(SpecError) as caught:
        layer("input: 8x8x48; k: 36; f: 3; g: 5")
    assert [d.code for d in caught.value.diagnostics] == ["E203", "E204"]
    assert "groups that fit both: 1, 2, 3, 4, 6, 12" in caught.value.diagnostics[0].message


def test_depthwise_with_a_multiplier() -> None:
    spec = layer("input: 8x8x6; k: 12; f: 3; g: depthwise").spec
    assert (spec.groups, spec.icg, spec.ocg) == (6, 1, 2)


def test_a_filter_that_fits_nowhere_is_told_beside_a_bad_stride() -> None:
    with pytest.raises(SpecError) as caught:
        parse_text("input: 5x5x1\nk: 2\nf: 9\ns: 0\n", "s.yaml")
    assert [d.code for d in caught.value.diagnostics] == ["E201", "E113"]
    with pytest.raises(SpecError) as caught:
        parse_text("input: 5x5x1\nk: 2\nf: 3\ns: 0\n", "s.yaml")
    assert [d.code for d in caught.value.diagnostics] == ["E113"]
