"""Places at foreign providers between coordinators: who wants one reports to the one that has the shard of its url.

That is a departure from "only the owner of the shard calls it": everybody calls, with the owner's leave. What the owner
has given out is known to who has it, so that a shard moves without a call being cut, and what a killed owner had given
out goes on. Nothing is written, and where one is alone, nobody is asked.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.scheduling.keeper import Keeper
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.places import Answer, Report, stream_of
from gz_coordinator.errands import Errands
from gz_coordinator.service import Service
from gz_coordinator.sharing.holdings import LOOK_AGAIN_SECONDS
from gz_coordinator.sharing.peers import Peers

REPORT, REMIND = METHODS = "coordinator.report_places", "coordinator.places_wanted"
ANSWER_SECONDS = 3.0
_LATER = (errors.GleitzeitError, TimeoutError)
"""Whatever the other one says instead of an answer: it may be another one's business by now."""


class PlaceExchange:
    def __init__(self, peers: Peers, service: Service) -> None:
        self._peers = peers
        self._holdings = peers.holdings
        self._service = service
        self._keepers: dict[str, tuple[int, Keeper]] = {}
        """By url, with the epoch of its shard: when that has been away, nothing is known any more."""
        self._tickets: dict[str, str] = {}
        """Of the last answers that we had, by url."""
        self._pauses: dict[str, float] = {}
        """How long to wait before the next report, by url, where nobody answers."""
        self._reminding: set[tuple[str, str]] = set()
        self._errands = Errands()

    async def close(self) -> None:
        await self._errands.close()

    # What we ask

    def perform(self, effect: fx.AskPlaces) -> None:
        self._errands.start(self._ask(effect.report))

    async def _ask(self, report: Report) -> None:
        given = await self._given(report)
        if given.places is not None:
            self._pauses.pop(report.url, None)
        else:
            pause = self._pauses.get(report.url, LOOK_AGAIN_SECONDS)
            self._pauses[report.url] = await self._holdings.look_again(pause)
        self._service.post(given)

    async def _given(self, report: Report) -> inp.PlacesGiven:
        url = report.url
        for _ in range(2):  # the first answer may only be the ticket for the second
            ticketed = replace(report, ticket=self._tickets.get(url, ""))
            lease = self._holdings.holder(stream_of(url))
            try:
                if self._holdings.is_mine(stream_of(url)):
                    by, answer = self._holdings.url, self._decide(self._holdings.owner, ticketed)
                elif lease is not None:
                    by, answer = lease.url, await self._told(lease.url, ticketed)
                else:
                    break
            except _LATER:
                break
            self._tickets[url] = answer.ticket
            if answer.places is not None:
                return inp.PlacesGiven(url, answer.places, by)
        return inp.PlacesGiven(url)

    async def _told(self, keeper_url: str, report: Report) -> Answer:
        said = {"owner": self._holdings.owner, "report": msgspec.to_builtins(report)}
        return msgspec.convert(await self._peers.ask(keeper_url, REPORT, said, ANSWER_SECONDS), Answer)

    # What we are asked

    def table(self) -> dict[str, Callable[..., Any]]:
        return {REPORT: self.report, REMIND: self.wanted}

    def report(self, request: Request, /, owner: str, report: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = msgspec.to_builtins(self._decide(owner, msgspec.convert(report, Report)))
        return answer

    def wanted(self, request: Request, /, url: str) -> dict[str, Any]:
        self._service.post(inp.PlacesWanted(url))
        return {}

    def _decide(self, owner: str, report: Report) -> Answer:
        """Raises ShardElsewhere."""
        epoch = self._holdings.epoch(stream_of(report.url))
        known, keeper = self._keepers.get(report.url, (-1, None))
        if keeper is None or known != epoch:
            keeper = Keeper(f"{self._holdings.owner}.{epoch}")
            self._keepers[report.url] = epoch, keeper
        living = {lease.owner for lease in self._holdings.leases}
        outcome = keeper.report(self._service.clock(), owner, report, living)
        for other in outcome.remind:
            self._remind(other, report.url)
        return outcome.answer

    def _remind(self, owner: str, url: str) -> None:
        lease = next((lease for lease in self._holdings.others if lease.owner == owner), None)
        if owner == self._holdings.owner:
            self._service.post(inp.PlacesWanted(url))
        elif lease is not None and (owner, url) not in self._reminding:
            self._reminding.add((owner, url))
            self._errands.start(self._say_wanted(owner, lease.url, url))

    async def _say_wanted(self, owner: str, owner_url: str, url: str) -> None:
        """If it does not hear of it, it reports by itself a little later, or has nothing and wants nothing."""
        try:
            await self._peers.ask(owner_url, REMIND, {"url": url}, ANSWER_SECONDS)
        except _LATER:
            pass
        finally:
            self._reminding.discard((owner, url))
