"""Where a planted bug takes the place of a part. Without one, the parts are the real ones."""

from typing import Any

from gleitzeit.engine.engine import Engine
from gleitzeit.engine.params import Identity
from gleitzeit.provider.calls import CallTable
from gleitzeit.schemas import Catalogue
from gz_coordinator.performer import CallPerformer
from gz_coordinator.service import Service


class Mutations:
    """The parts of the world that a mutant may replace."""

    def engine(self, catalogue: Catalogue, identity: Identity) -> Engine:
        return Engine(catalogue, identity)

    def service(self, engine: Engine, journal: Any, clock: Any) -> Service:
        return Service(engine, journal, clock)

    def performer(self, performer: CallPerformer) -> Any:
        return performer

    def fence(self, identity: Identity) -> dict[str, Any]:
        return identity.fence

    def disk(self, coordinator: Any) -> Any:
        # the coordinator's module needs this one
        from tests.simulation.coordinator import Disk

        return Disk(coordinator)

    def call_table(self, instance: str, capacity: int) -> CallTable:
        return CallTable(instance, capacity)
