"""Planted bugs in what coordinators agree on about foreign providers: played where there are two."""

from tests.simulation.mutants import OF_TWO, Patch, _nothing, mutant

from gleitzeit.engine.engine import Engine
from gleitzeit.engine.underway import Call

OF_TWO |= {"calls_foreign_providers_without_leave", "leaves_calls_behind_that_nobody_can_attach_to"}


@mutant
def calls_foreign_providers_without_leave() -> list[Patch]:
    return [(Engine, "_take_part", _nothing)]


@mutant
def leaves_calls_behind_that_nobody_can_attach_to() -> list[Patch]:
    def silently(self: Engine, call: Call) -> None:
        """It runs on, and nobody knows."""

    return [(Engine, "_end_foreign", silently)]
