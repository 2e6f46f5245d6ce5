"""Planted bugs in what coordinators agree on about foreign providers: played where there are two."""

from tests.simulation.mutants import OF_TWO, Patch, _nothing, mutant

from gleitzeit.engine import effects as fx
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.scheduler import Share

OF_TWO |= {
    "calls_foreign_providers_without_leave", "gives_back_places_that_it_uses",
    "leaves_calls_behind_that_nobody_can_attach_to",
}  # fmt: skip


@mutant
def calls_foreign_providers_without_leave() -> list[Patch]:
    return [(Engine, "_take_part", _nothing)]


@mutant
def gives_back_places_that_it_uses() -> list[Patch]:
    demand = Engine._demand

    def unused(self: Engine, share: Share) -> tuple[int, int]:
        return 0, demand(self, share)[1]

    return [(Engine, "_demand", unused)]


@mutant
def leaves_calls_behind_that_nobody_can_attach_to() -> list[Patch]:
    def silently(self: Engine, call: fx.Call) -> None:
        """It runs on, and nobody knows."""

    return [(Engine, "_end_foreign", silently)]
