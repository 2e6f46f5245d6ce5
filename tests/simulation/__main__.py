"""python -m tests.simulation --seeds N --jobs N --start S --seconds T: play many worlds, say which fail and how to see
it again. `--start today` begins with a number that no day before had; `--seconds` ends it then, or after N."""

import argparse
import logging
import multiprocessing
import sys
import time
import traceback
from collections import Counter

from tests.simulation.world import installed, run

PROGRESS_SECONDS = 10.0
DAY_SECONDS = 86_400


def play(seed: int) -> tuple[int, str, dict[str, int]]:
    """(seed, what went wrong, what happened)."""
    try:
        world, violation = run(seed)
    except Exception:  # noqa: BLE001 - whatever code under test raises is the finding
        return seed, traceback.format_exc(), {}
    counts = {**world.laws.counts, "crashes": world.crashes, "steps": world.loop.steps}
    return seed, str(violation) if violation is not None else "", counts


def first_seed(text: str) -> int:
    return int(time.time() // DAY_SECONDS) * 1_000_000 if text == "today" else int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--start", type=first_seed, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the world fails all the time
    begin = said = time.perf_counter()
    played, failed, total = 0, 0, Counter[str]()
    seeds = range(chosen.start, chosen.start + chosen.seeds)
    with installed(), multiprocessing.get_context("fork").Pool(chosen.jobs) as pool:
        results = pool.imap_unordered(play, seeds, chunksize=8) if chosen.jobs > 1 else map(play, seeds)
        for seed, problem, counts in results:
            played += 1
            total.update(counts)
            now = time.perf_counter()
            if problem:
                failed += 1
                print(
                    f"seed {seed}: {problem}\n    again: python -m tests.simulation --start {seed} --seeds 1",
                    flush=True,
                )
            if now - said > PROGRESS_SECONDS:
                said = now
                print(f"{played} of {chosen.seeds} worlds from {chosen.start} on, {failed} failed", file=sys.stderr)
            if now - begin > chosen.seconds:
                break
    seconds = time.perf_counter() - begin
    print(f"{played} seeds, {failed} failed, {seconds:.1f} s, {played / seconds * 60:.0f} seeds/min;", end=" ")
    print(", ".join(f"{number} {what}" for what, number in sorted(total.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
