"""The least case that still fails in the same way, and the spec file that says it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import yaml

from campaign.grid import Case
from campaign.trial import Outcome
from convgen.errors import ConvgenError, ScheduleError
from convgen.spec import parse_mapping
from convgen.spec.model import Activation, ConvSpec, DType, Layout, Padding, WeightLayout
from convgen.spec.quant import Affine, Quant
from convgen.spec.resolved import resolved_mapping
from convgen.spec.schedule import Schedule

AT_ONCE = 12  # candidates tried in one compiler call
Attempt = Callable[[Sequence[Case]], Sequence[Outcome]]


def shrunk(failure: Outcome, attempt: Attempt, seconds: float) -> Outcome:
    """Greedily, one number at a time, until nothing smaller fails the same check or time is up."""
    stop = time.monotonic() + seconds
    found = failure
    going = True
    while going and time.monotonic() < stop:
        going = False
        smaller = _smaller(found.case)
        while tried := list(islice(smaller, AT_ONCE)):
            same = [o for o in attempt(tried) if o.check == failure.check]
            if same:
                found, going = same[0], True
                break
            if time.monotonic() >= stop:
                break
    return found


def spec_text(case: Case) -> str:
    """The YAML of the case, with its schedule pinned, and nothing that could be left out."""
    data = resolved_mapping(case.layer)
    whole = parse_mapping(data)
    for key in list(data):
        less = {k: v for k, v in data.items() if k != key}
        try:
            if parse_mapping(less) == whole:
                data = less
        except ConvgenError:
            continue
    return str(yaml.safe_dump(data, sort_keys=False, default_flow_style=None))


def _smaller(case: Case) -> Iterator[Case]:
    """Cases that are simpler in one respect, the greatest steps first."""
    yield from _plainer(case)
    for spec in _smaller_specs(case.spec):
        yield _with(case, spec)
    for schedule in _smaller_schedules(case.schedule):
        yield replace(case, layer=replace(case.layer, schedule=schedule))


def _plainer(case: Case) -> Iterator[Case]:
    if (case.cc, case.flag) != ("gcc", "-O2"):
        yield replace(case, cc="gcc", flag="-O2")
    if case.part:
        yield replace(case, part="")
    if case.layer.weights is not None:
        yield replace(case, layer=replace(case.layer, weights=None))
    spec = case.spec
    plain = ConvSpec(
        name=spec.name, h=spec.h, w=spec.w, c=spec.c, oc=spec.oc, kh=spec.kh, kw=spec.kw,
        sh=spec.sh, sw=spec.sw, dh=spec.dh, dw=spec.dw, padding=spec.padding, groups=spec.groups,
        dtype=spec.dtype, accuracy=spec.accuracy, bias=False, quant=_plain_quant(spec.quant),
    )  # fmt: skip
    for one in (
        plain,
        replace(spec, batch=1, batch_any=False),
        replace(spec, bias=False),
        replace(spec, activation=Activation(), quant=_plain_quant(spec.quant)),
        replace(spec, quant=_plain_quant(spec.quant)),
        replace(spec, layout=Layout.NHWC),
        replace(spec, weight_layout=WeightLayout.HWIO),
        replace(spec, padding=Padding()) if _fits(spec, Padding()) else spec,
    ):
        if one != spec:
            yield _with(case, one)
    if not spec.quantized and spec.dtype is not DType.FLOAT32:
        yield _with(case, replace(spec, dtype=DType.FLOAT32))


def _plain_quant(quant: Quant | None) -> Quant | None:
    if quant is None:
        return None
    weight = Affine(quant.weight.scale[:1], quant.weight.zero_point[:1])
    return replace(quant, weight=weight)


def _smaller_specs(spec: ConvSpec) -> Iterator[ConvSpec]:
    """One size less, by much before by little; a group's channels go together."""
    for groups in _less(spec.groups):
        yield _cut(spec, groups=groups, c=groups * spec.icg, oc=groups * spec.ocg)
    for key in ("h", "w", "kh", "kw", "sh", "sw", "dh", "dw"):
        for value in _less(getattr(spec, key)):
            try:
                yield replace(spec, **{key: value})
            except AssertionError:  # no window fits any more
                continue
    for key, each in (("c", spec.icg), ("oc", spec.ocg)):
        for value in _less(each):
            yield _cut(spec, **{key: spec.groups * value})
    for side in ("top", "left", "bottom", "right"):
        for value in _less(getattr(spec.padding, side), least=0):
            padding = replace(spec.padding, **{side: value})
            if _fits(spec, padding):
                yield replace(spec, padding=padding)


def _smaller_schedules(schedule: Schedule) -> Iterator[Schedule]:
    for key in ("tile_h", "tile_w", "vectors", "rows", "strips", "lanes"):
        for value in _less(getattr(schedule, key)):
            try:
                yield replace(schedule, **{key: value})
            except ScheduleError:
                continue


def _less(value: int, least: int = 1) -> Iterator[int]:
    yield from dict.fromkeys(v for v in (least, value // 2, value - 1) if least <= v < value)


def _cut(spec: ConvSpec, **sizes: int) -> ConvSpec:
    """With fewer channels, and so fewer scales and zero points."""
    quant, oc = spec.quant, sizes.get("oc", spec.oc)
    if quant is not None:
        weight = Affine(quant.weight.scale[:oc], quant.weight.zero_point[:oc])
        quant = replace(quant, weight=weight)
    return replace(spec, quant=quant, **sizes)


def _fits(spec: ConvSpec, padding: Padding) -> bool:
    high, wide = spec.receptive_field
    down, across = padding.top + padding.bottom, padding.left + padding.right
    return spec.h + down >= high and spec.w + across >= wide


def _with(case: Case, spec: ConvSpec) -> Case:
    """The case of another spec, as a file can say it: no padding at an end that none reaches."""
    p, (high, wide) = spec.padding, spec.receptive_field
    down = (spec.h + p.top + p.bottom - high) % spec.sh
    across = (spec.w + p.left + p.right - wide) % spec.sw
    ends = {"bottom": p.bottom - min(down, p.bottom), "right": p.right - min(across, p.right)}
    spec = replace(spec, padding=replace(p, **ends))
    return replace(case, layer=replace(case.layer, spec=spec))
