"""What a coordinator has beside the rest where several share a journal."""

from collections.abc import Callable
from typing import Any

from gleitzeit.engine import effects as fx
from gz_coordinator.service import Service
from gz_coordinator.sharing import permits, places
from gz_coordinator.sharing.passed_on import CHECK, FORWARD
from gz_coordinator.sharing.peers import Peers
from gz_coordinator.sharing.permits import PermitExchange
from gz_coordinator.sharing.places import PlaceExchange
from gz_coordinator.sharing.relays import Relays
from gz_coordinator.sharing.signals import FIND, SignalExchange
from gz_coordinator.watching.watchers import Watchers

BETWEEN_COORDINATORS = frozenset({FORWARD, CHECK, FIND, *permits.METHODS, *places.METHODS})


class Shared:
    def __init__(self, peers: Peers, watchers: Watchers, service: Service) -> None:
        self.holdings = peers.holdings
        self.peers = peers
        self.relays = Relays(peers, watchers)
        self.permits = PermitExchange(peers, service)
        self.places = PlaceExchange(peers, service)
        self.signals = SignalExchange(peers, service)

    def perform(self, effect: fx.ForOthers) -> None:
        match effect:
            case fx.FindTargets() | fx.SendSignal():
                self.signals.perform(effect)
            case fx.AskPlaces():
                self.places.perform(effect)
            case _:
                self.permits.perform(effect)

    def table(self) -> dict[str, Callable[..., Any]]:
        """What other coordinators may ask."""
        exchanges = (self.permits, self.places, self.signals)
        table: dict[str, Callable[..., Any]] = {FORWARD: self.peers.forwarded, CHECK: self.peers.check_requests}
        for exchange in exchanges:
            table |= exchange.table()
        return table

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
        await self.places.close()
        await self.signals.close()
        await self.relays.close()
        await self.peers.close()
