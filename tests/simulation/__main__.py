"""python -m tests.simulation --seeds N --jobs N --start S: play many worlds, say which fail and how to see it again."""

import argparse
import logging
import multiprocessing
import sys
import time
import traceback
from collections import Counter

from tests.simulation.world import installed, run


def play(seed: int) -> tuple[int, str, dict[str, int]]:
    """(seed, what went wrong, what happened)."""
    with installed():
        try:
            world, violation = run(seed)
        except Exception:  # noqa: BLE001 - whatever code under test raises is the finding
            return seed, traceback.format_exc(), {}
    counts = {**world.laws.counts, "crashes": world.crashes, "steps": world.loop.steps}
    return seed, str(violation) if violation is not None else "", counts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the world fails all the time
    begin, failed, total = time.perf_counter(), 0, Counter[str]()
    seeds = range(chosen.start, chosen.start + chosen.seeds)
    with multiprocessing.get_context("fork").Pool(chosen.jobs) as pool:
        results = pool.imap_unordered(play, seeds, chunksize=8) if chosen.jobs > 1 else map(play, seeds)
        for seed, problem, counts in results:
            total.update(counts)
            if problem:
                failed += 1
                print(f"seed {seed}: {problem}\n    again: python -m tests.simulation --start {seed} --seeds 1")
    seconds = time.perf_counter() - begin
    print(
        f"{chosen.seeds} seeds, {failed} failed, {seconds:.1f} s, {chosen.seeds / seconds * 60:.0f} seeds/min;", end=" "
    )
    print(", ".join(f"{number} {what}" for what, number in sorted(total.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
