"""``convgen explain``: a layer taken apart, from its spec to the tiles of its kernel."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from convgen.cli.options import (
    Compiler,
    Cut,
    Isa,
    Json,
    MaxCode,
    MaxRam,
    MaxWorkspace,
    MeasureIt,
    NetName,
    Quiet,
    Shapes,
    Specs,
    TargetName,
    Verbose,
)
from convgen.cli.output import Output, plain_table, screen_width, session, wrapped
from convgen.errors import ConvgenError

if TYPE_CHECKING:
    from convgen.cli.bounds import Measured
    from convgen.package.emit.files import Decided
    from convgen.plan.kernel import KernelPlan

RULE = 78


# Sections whose lines are a picture; the others are wrapped at the terminal's width.
DRAWN = ("Filter windows", "Register tile", "Winograd tile", "Output, cut", "Rows, taken apart")


def explain(
    specs: Specs,
    isa: Isa = None,
    target: TargetName = None,
    max_code_bytes: MaxCode = None,
    max_workspace_bytes: MaxWorkspace = None,
    max_ram_bytes: MaxRam = None,
    measure: MeasureIt = False,
    cc: Compiler = None,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show how sizes come about, and what the kernel will do.

    \b
    Example:  convgen explain layer.yaml
    """
    with session("explain", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.choose.limits import SizeLimits
        from convgen.cli import bounds
        from convgen.cli.networks import parted, reading
        from convgen.cli.sources import distinct, read_layers
        from convgen.package.emit.files import decide
        from convgen.target import resolve_target

        out.payload["layers"] = []
        machine = resolve_target(target, isa)
        limits = SizeLimits(max_code_bytes, max_workspace_bytes, max_ram_bytes)
        found = []
        kinds, how = parted(specs), reading(shape, cut, name)
        layers = read_layers(kinds.layers, out)
        for layer in distinct(layers, out) if measure else layers:
            try:
                found.append(decide(layer, machine, limits=limits))
            except ConvgenError as error:
                out.fail(error, layer.spec.name)
        measured = bounds.measure(found, machine, cc, out) if measure and found else {}
        for decided in found:
            took = measured.get(decided.layer.spec.name)
            out.payload["layers"].append(explain_facts(decided, took))
            _print(out, decided, took)
        if kinds.networks:
            from convgen.cli.network_tables import explain_networks

            out.payload["networks"] = []
            explain_networks(kinds.networks, how, machine, limits, out)


def _print(out: Output, decided: Decided, measured: Measured | None) -> None:
    layer, spec = decided.layer, decided.layer.spec
    title, width = f"{spec.name}  ({layer.source})", screen_width()
    out.data(f"{title}\n{'=' * min(RULE, len(title))}")
    for name, lines in sections(decided, everything=out.verbose, measured=measured):
        out.data()
        out.data(name)
        for line in lines:
            shown = [f"  {line}"] if name.startswith(DRAWN) else wrapped(f"  {line}", width)
            for part in shown:
                out.data(part.rstrip())
    out.data()


def sections(
    decided: Decided, everything: bool = False, measured: Measured | None = None
) -> list[tuple[str, list[str]]]:
    """(heading, lines) of the whole explanation, in the order in which one learns it."""
    from convgen.cli.bounds import bound_lines
    from convgen.cli.derive import byte_steps, cost_steps, size_steps
    from convgen.cli.draw import input_drawing
    from convgen.cli.resolved import resolved_yaml
    from convgen.kernels import cost

    layer, spec, plan = decided.layer, decided.layer.spec, decided.plan
    return [
        ("Spec, every default written out", resolved_yaml(layer).splitlines()),
        ("Sizes", [str(step) for step in size_steps(spec)]),
        ("Filter windows", input_drawing(spec)),
        ("Cost", [str(step) for step in cost_steps(spec)]),
        ("Bytes", [*map(str, byte_steps(spec)), *_kernel_bytes(plan)]),
        *_quantisation(decided),
        ("Target", _target_lines(plan)),
        ("Schedule", _schedule_lines(decided)),
        ("Bound of one call on one core", bound_lines(plan, cost(plan).cycles, measured)),
        *_kernel_sections(plan, everything),
    ]


def _quantisation(decided: Decided) -> list[tuple[str, list[str]]]:
    """Scales and zero points of an 8-bit layer, and what a calibration says of its error."""
    quant, findings = decided.layer.spec.quant, decided.settled.findings
    if quant is None:
        return []
    from convgen.cli.resolved import flow
    from convgen.spec.resolved import quant_mapping

    lines = [f"{key}: {flow(value)}" for key, value in quant_mapping(quant).items()]
    if findings is not None:
        each = ", ".join(f"{value:.1f}" for value in findings.sqnr)
        lines += [f"SQNR = {findings.cost.line()}", f"of each channel: {each}"]
    return [("Quantisation", lines)]


def _kernel_bytes(plan: KernelPlan) -> list[str]:
    return [
        f"packed = {plan.packed_bytes:,}    (weights and bias as the kernel reads them)",
        f"workspace = {plan.workspace_bytes:,}    (for each running part)",
        f"alignment = {plan.align}    (of packed and workspace)",
    ]


def _target_lines(plan: KernelPlan) -> list[str]:
    target, isa = plan.target, plan.target.isa
    needs = ", ".join(plan.body.isa.features) or "nothing beyond C99"
    if target.parts:
        parts = ", ".join(target.parts)
        needs = f"nothing beyond x86-64; float32 layers run the widest it can of {parts}"
    caches = f"L1 {target.l1 >> 10} KiB, L2 {target.l2 >> 10} KiB, L3 {target.l3 >> 20} MiB"
    return [
        f"{target.name}: {isa.name}, {isa.lanes} float32 lanes, {isa.registers} registers",
        f"needs of the CPU: {needs}",
        f"cache model: {caches}",
    ]


def _schedule_lines(decided: Decided) -> list[str]:
    from convgen.choose.alternatives import alternatives
    from convgen.kernels.core.lowering import step_words

    last = "(copy the first line into the spec to pin it)"
    if decided.layer.schedule is not None:
        last = "(remove the line from the spec to let convgen choose)"
    return [
        f"schedule: {decided.plan.schedule}",
        *(f"on {p.body.isa.name}: {p.schedule}" for p in decided.plan.narrower),
        f"why: {decided.reason}",
        *filter(None, [step_words(decided.plan)]),
        *map(str, alternatives(decided.plan)),
        last,
    ]


def _kernel_sections(plan: KernelPlan, everything: bool) -> list[tuple[str, list[str]]]:
    """The part that depends on the kernel: its tile in registers, and how it cuts the output."""
    from convgen.kernels import kind_of

    found = []
    for section in kind_of(plan.body).picture(plan, everything):
        lines = list(section.lines)
        if section.head:
            lines += plain_table(section.head, section.rows).splitlines()
        found.append((section.title, [*lines, *filter(None, [section.more])]))
    return found


def explain_facts(decided: Decided, measured: Measured | None = None) -> dict[str, Any]:
    """One layer under --json."""
    from convgen.choose.alternatives import alternatives
    from convgen.cli.bounds import bound_facts, predicted
    from convgen.cli.derive import byte_steps, cost_steps, size_steps
    from convgen.cli.draw import input_drawing
    from convgen.cli.resolved import layer_facts, quant_facts, resolved_yaml
    from convgen.kernels import cost, kind_of
    from convgen.kernels.tiled.picture import region_facts

    layer, spec, plan = decided.layer, decided.layer.spec, decided.plan
    steps = (*size_steps(spec), *cost_steps(spec), *byte_steps(spec))
    arrays = {step.name: step.value for step in byte_steps(spec)}
    isa = plan.target.isa
    return {
        **layer_facts(layer),
        **quant_facts(decided.settled),
        "resolved": resolved_yaml(layer),
        "derivation": [asdict(step) for step in steps],
        "bytes": {
            **arrays,
            "packed": plan.packed_bytes,
            "workspace": plan.workspace_bytes,
            "align": plan.align,
        },
        "target": {
            "name": plan.target.name,
            "isa": isa.name,
            "lanes": isa.lanes,
            "features": list(isa.features),
        },
        "schedule": plan.schedule.to_mapping(),
        "narrower": {p.body.isa.name: p.schedule.to_mapping() for p in plan.narrower},
        "pinned": layer.schedule is not None,
        "alternatives": [
            {"spec": a.words, "times": round(a.times, 2), "family": str(a.family)}
            for a in alternatives(plan)
        ],
        "reason": decided.reason,
        "bound": predicted(plan)[0].name,
        "roofline": bound_facts(plan, cost(plan).cycles, measured),
        "regions": region_facts(plan),
        "winograd": kind_of(plan.body).facts(plan),
        "drawing": "\n".join(input_drawing(spec)),
    }
