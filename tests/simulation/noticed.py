"""The world in which each planted bug was noticed last: where it is looked for first, for most worlds do not notice.

That a bug is noticed at all does not depend on it: in other worlds it is looked for, too. When the worlds have changed,
and that takes long again: python -m tests.simulation.noticed
"""

import json
import logging
from pathlib import Path

from tests.simulation import (  # noqa: F401  # they register themselves
    flow_mutants,
    late_mutants,
    people_mutants,
    permit_mutants,
    place_mutants,
    schedule_mutants,
    sweep_mutants,
)
from tests.simulation.mutants import MUTANTS, OF_TWO, planted
from tests.simulation.world import installed, run

_FILE = Path(__file__).with_name("noticed.json")
LAST_TIME: dict[str, int] = json.loads(_FILE.read_text())
WORLDS = 400


def in_world(name: str, seed: int) -> bool:
    with planted(name):
        try:
            _, violation = run(seed, 2 if name in OF_TWO else 1)
        except Exception:  # noqa: BLE001 - the tables of states, the journal, or whatever it led into, noticed it
            return True
    return violation is not None


def first_world(name: str) -> int | None:
    return next((seed for seed in range(WORLDS) if in_world(name, seed)), None)


def main() -> None:
    """Bugs that are noticed where they were keep their world."""
    logging.disable(logging.CRITICAL)  # as of the planted bugs
    found: dict[str, int] = {}
    with installed():
        for name in sorted(MUTANTS):
            last = LAST_TIME.get(name, 0)
            seed = last if in_world(name, last) else first_world(name)
            if seed is None:
                print(f"{WORLDS} worlds, and nobody noticed that the code {name.replace('_', ' ')}")
            else:
                found[name] = seed
    _FILE.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
