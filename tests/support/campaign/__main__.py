"""``PYTHONPATH=tests/support python -m campaign``: run, resume or look at a campaign."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import platformdirs

from campaign.session import Order, start, tried, work
from campaign.store import Store

SECONDS = 30  # between lines of progress


def main() -> int:
    options = _options()
    order = Order(options.state, options.seed, options.count, options.first)
    if options.only is not None:
        return _again(options.seed, options.only)
    if options.worker is not None:
        worker, workers = map(int, options.worker.split("/"))
        work(order, worker, workers, fail_fast=options.fail_fast)
        return 0
    store = order.open()
    if not options.status:
        _run(order, store, options)
    _report(order, store)
    return 1 if store.failures() else 0 if not _left(order, store) or options.status else 3


def _options() -> argparse.Namespace:
    parse = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    cache = platformdirs.user_cache_path("convgen") / "campaign"
    parse.add_argument("--count", type=int, default=20_000, help="layers in all (%(default)s)")
    parse.add_argument("--first", type=int, default=0, help="number of the first (%(default)s)")
    parse.add_argument("--seed", type=int, default=1, help="of the layers (%(default)s)")
    parse.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    parse.add_argument(
        "--state", type=Path, default=cache, help="folder to resume from: %(default)s"
    )
    parse.add_argument("--fail-fast", action="store_true", help="stop after the first failure")
    parse.add_argument("--status", action="store_true", help="say how far it is, run nothing")
    parse.add_argument("--only", type=int, help="try this one layer again, print all")
    parse.add_argument("--worker", help=argparse.SUPPRESS)
    return parse.parse_args()


def _run(order: Order, store: Store, options: argparse.Namespace) -> None:
    """Progress on stderr; whatever ends this process, the next one goes on from here."""
    before, begin, said = len(store.tried()), time.monotonic(), time.monotonic()
    workers = start(order, options.jobs, fail_fast=options.fail_fast)
    try:
        while any(worker.poll() is None for worker in workers):
            time.sleep(0.2)
            if time.monotonic() - said >= SECONDS:
                said = time.monotonic()
                done = len(store.tried())
                speed = (done - before) / (said - begin)
                left = (order.count - done) / speed / 60 if speed else float("inf")
                print(
                    f"campaign: seed {order.seed}: {done} of {order.count} layers, "
                    f"{len(store.failures())} failed, {speed:.1f} a second, {left:.0f} min left",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
    except KeyboardInterrupt:
        for worker in workers:
            worker.terminate()


def _report(order: Order, store: Store) -> None:
    done, failures = len(order.numbers) - _left(order, store), store.failures()
    print(
        f"campaign: seed {order.seed}, code {order.campaign.code}: {done} of {order.count} layers "
        f"tried, {len(failures)} failed"
    )
    for column in ("family", "target", "dtype", "body", "compiler"):
        counts = ", ".join(f"{value or 'own'} {count}" for value, count in store.table(column))
        print(f"  {column}: {counts}")
    for number, check, detail in failures:
        first = (detail.strip().splitlines() or [""])[0]
        print(f"failed: --seed {order.seed} --only {number}: {check}: {first[:200]}")
        for file in sorted((order.folder / "failures" / f"{order.seed}-{number}").glob("*.yaml")):
            print(f"  shrunk: {file}")


def _left(order: Order, store: Store) -> int:
    return len(set(order.numbers) - store.tried())


def _again(seed: int, number: int) -> int:
    with tempfile.TemporaryDirectory(prefix="convgen-campaign-") as scratch:
        (outcome,) = tried(seed, [number], Path(scratch))
    print(outcome.case)
    print(f"{outcome.check}: {outcome.detail}" if outcome.check else "passed")
    return int(not outcome.passed)


if __name__ == "__main__":
    sys.exit(main())
