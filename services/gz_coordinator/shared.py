"""What a coordinator has beside the rest where several share a journal."""

from collections.abc import Callable
from typing import Any

from gleitzeit.engine import effects as fx
from gz_coordinator.holdings import Holdings
from gz_coordinator.peers import FORWARD, Peers
from gz_coordinator.permits import METHODS, PermitExchange
from gz_coordinator.relays import Relays
from gz_coordinator.signals import FIND, SignalExchange

BETWEEN_COORDINATORS = frozenset({FORWARD, FIND, *METHODS})


class Shared:
    def __init__(
        self, holdings: Holdings, peers: Peers, relays: Relays, permits: PermitExchange, signals: SignalExchange
    ) -> None:
        self.holdings = holdings
        self.peers = peers
        self.relays = relays
        self.permits = permits
        self.signals = signals

    def perform(self, effect: fx.ForOthers) -> None:
        match effect:
            case fx.FindTargets() | fx.SendSignal():
                self.signals.perform(effect)
            case _:
                self.permits.perform(effect)

    def table(self) -> dict[str, Callable[..., Any]]:
        """What other coordinators may ask."""
        return {FORWARD: self.peers.forwarded, **self.permits.table(), **self.signals.table()}

    def routed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The method `name` for clients, wherever its workflow is."""
        routed = self.peers.routed(name, function)
        match name:
            case "workflow.watch":
                return self.relays.watching(routed)
            case "workflow.unwatch":
                return self.relays.unwatching(routed)
        return routed

    async def close(self) -> None:
        await self.permits.close()
        await self.signals.close()
        await self.relays.close()
        await self.peers.close()
