"""Kind: what the pipeline asks of one type of body. Each room has one; the registry finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from convgen.kernels.work import Work
from convgen.plan.kernel import KernelPlan


@dataclass(frozen=True)
class Section:
    """One part of a kernel's picture: lines, and a table behind them where there is a ``head``."""

    title: str
    lines: tuple[str, ...]
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    more: str = ""


def bare_work(plan: KernelPlan, body: Any, ways: int) -> Work:
    """The least that any kernel would do: every multiply-add once, whole vectors."""
    return Work(fmas=plan.spec.macs / body.isa.lanes)


def no_picture(plan: KernelPlan, everything: bool) -> list[Section]:
    return []


def nothing(plan: KernelPlan) -> None:
    return None


def no_lines(plan: KernelPlan) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Kind:
    """The functions of a room, by what they answer.

    ``template``: the file with the macros ``file_scope``, ``body`` and ``pack``, or, where
    ``whole``, the whole C file. ``words``: (plan, body) to what it prints. ``head``: words of the
    whole file that only this template reads. ``story``: lines of the file's head. ``work``: (plan,
    body, ways of the first cache) to what a call asks of a core. ``picture``: (plan, everything) to
    what ``explain`` shows of it. ``facts``: plain data for ``--json``, by the room's name.
    ``modelled``: any other compiler takes the vectors' plain C model, and the file says so.
    ``scattered``: channels that lie apart in y are stored lane by lane, by one macro.
    ``strips``: the most parts that a call is worth dealing out to, 0 for the units of regions.
    ``scales``: plan to the names of the tables that hold its scales, where the room prints those
    of several layers (``KernelPlan.alike``) side by side.
    """

    template: str
    words: Callable[[KernelPlan, Any], Any]
    whole: bool = False
    head: Callable[[KernelPlan], SimpleNamespace | None] = nothing
    story: Callable[[KernelPlan], tuple[str, ...]] = no_lines
    work: Callable[[KernelPlan, Any, int], Work] = bare_work
    picture: Callable[[KernelPlan, bool], list[Section]] = no_picture
    facts: Callable[[KernelPlan], Mapping[str, Any] | None] = nothing
    modelled: bool = False
    scattered: bool = False
    strips: Callable[[KernelPlan], int] = lambda plan: 0
    scales: Callable[[KernelPlan], tuple[str, ...]] = no_lines
