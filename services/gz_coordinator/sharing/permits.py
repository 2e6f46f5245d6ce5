"""Permits of keys between coordinators: the one that has the shard of a key keeps its permits, the others ask it.

Every question may be asked again, and is, until it is answered: what is said twice counts once.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal

import msgspec

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.limits import ASK_AGAIN_MS
from gleitzeit.engine.underway import Permit
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.permits import Ask, HeldPermit, Holder, parts_of, stream_of
from gz_coordinator.errands import Errands
from gz_coordinator.service import Service
from gz_coordinator.sharing.holdings import LOOK_AGAIN_SECONDS
from gz_coordinator.sharing.peers import Peers

TAKE, GIVE_BACK, CHECK, HOLDERS = METHODS = (
    "coordinator.take_permit", "coordinator.return_permits", "coordinator.check_permits",
    "coordinator.permit_holders",
)  # fmt: skip
ANSWER_SECONDS = 5.0
TELL_SECONDS = 2.0
"""For who only wants to know."""
_PAGE = 1_000
_MOST_ASKED = 20
_LATER = (errors.GleitzeitError, TimeoutError)
"""Whatever the other one says instead of an answer: it may be another one's business by now."""


class PermitExchange:
    def __init__(self, peers: Peers, service: Service) -> None:
        self._peers = peers
        self._holdings = peers.holdings
        self._service = service
        self._returning: list[HeldPermit] = []
        self._errands = Errands()

    async def close(self) -> None:
        await self._errands.close()

    # What we ask

    def perform(self, effect: fx.AskPermit | fx.ReturnPermit | fx.AskAfterPermits) -> None:
        match effect:
            case fx.AskPermit(permit):
                self._errands.start(self._ask(permit))
            case fx.ReturnPermit(permit):
                self._returning.append(permit)
                if len(self._returning) == 1:
                    self._errands.start(self._give_back())
            case fx.AskAfterPermits(permits):
                self._errands.start(self._look_after(permits))

    async def _ask(self, permit: Permit) -> None:
        self._service.post(inp.PermitAnswered(permit, await self._verdict(permit)))

    async def _verdict(self, permit: Permit) -> Literal["granted", "reached", "replaced", "here", "dropped"]:
        stream = stream_of(permit.ask.limit)
        params = {"ask": msgspec.to_builtins(permit.ask)}
        while not permit.dropped:
            if self._holdings.is_mine(stream):
                return "here"
            keeper = self._holdings.holder(stream)
            try:
                if keeper is not None:
                    answer = await self._peers.ask(keeper.url, TAKE, params, ASK_AGAIN_MS / 1000)
                    verdict: object = answer["verdict"]
                    match verdict:
                        case "granted" | "reached" | "replaced":
                            return verdict
            except TimeoutError:  # it is not our turn yet
                continue
            except errors.GleitzeitError:
                pass
            await self._holdings.changed(LOOK_AGAIN_SECONDS)
        return "dropped"

    async def _give_back(self) -> None:
        while self._returning:
            permits, self._returning[:] = list(self._returning), self._returning[:0]
            left: list[HeldPermit] = []
            for url, some in self._by_place(permits, lambda permit: stream_of(permit.limit)).items():
                if url is None:
                    left += some
                elif not url:
                    self._service.post(inp.ReturnPermits(None, tuple(some)))
                else:
                    left += await self._say_back(url, some)
            self._returning[:0] = left
            if left:
                await self._holdings.changed(LOOK_AGAIN_SECONDS)

    async def _say_back(self, url: str, permits: list[HeldPermit]) -> list[HeldPermit]:
        """Returns what has to be said again."""
        for at in range(0, len(permits), _PAGE):
            params = {"permits": msgspec.to_builtins(permits[at : at + _PAGE])}
            try:
                await self._peers.ask(url, GIVE_BACK, params, ANSWER_SECONDS)
            except _LATER:
                return permits[at:]
        return []

    async def _look_after(self, permits: Iterable[HeldPermit]) -> None:
        for url, some in self._by_place(permits, lambda permit: parts_of(permit.holder)[0]).items():
            for at in range(0, len(some) if url else 0, _PAGE):
                params = {"permits": msgspec.to_builtins(some[at : at + _PAGE])}
                try:
                    answer = await self._peers.ask(str(url), CHECK, params, ANSWER_SECONDS)
                except _LATER:
                    break
                self._service.post(inp.PermitsGone(msgspec.convert(answer["permits"], tuple[HeldPermit, ...])))

    async def holders(self, limits: Collection[str]) -> dict[str, list[Holder]]:
        """Who has the permits of limits that others keep; those of which nobody tells are left out."""
        told = await asyncio.gather(*map(self._holders, list(limits)[:_MOST_ASKED]))
        return {limit: holders for limit, holders in zip(limits, told, strict=False) if holders is not None}

    async def _holders(self, limit: str) -> list[Holder] | None:
        keeper = self._holdings.holder(stream_of(limit))
        if keeper is None or self._holdings.is_mine(stream_of(limit)):
            return None
        try:
            answer = await self._peers.ask(keeper.url, HOLDERS, {"limit": limit}, TELL_SECONDS)
        except _LATER:
            return None
        return msgspec.convert(answer["holders"], list[Holder])

    def _by_place(
        self, permits: Iterable[HeldPermit], stream: Callable[[HeldPermit], str]
    ) -> dict[str | None, list[HeldPermit]]:
        """By the url of the coordinator that has the stream: "" for us, None if nobody is known to have it."""
        places: dict[str | None, list[HeldPermit]] = {}
        for permit in permits:
            name = stream(permit)
            lease = self._holdings.holder(name)
            url = "" if self._holdings.is_mine(name) else lease.url if lease is not None else None
            places.setdefault(url, []).append(permit)
        return places

    # What we are asked

    def table(self) -> dict[str, Callable[..., Any]]:
        return {TAKE: self.take, GIVE_BACK: self.give_back, CHECK: self.check, HOLDERS: self.tell}

    async def take(self, request: Request, /, ask: dict[str, Any]) -> dict[str, Any]:
        wish = msgspec.convert(ask, Ask)
        answer = await self._service.ask(lambda token: inp.TakePermit(token, wish))
        return {"verdict": answer.verdict}

    async def give_back(self, request: Request, /, permits: list[Any]) -> dict[str, Any]:
        said = msgspec.convert(permits, tuple[HeldPermit, ...])
        await self._service.ask(lambda token: inp.ReturnPermits(token, said))
        return {}

    async def check(self, request: Request, /, permits: list[Any]) -> dict[str, Any]:
        said = msgspec.convert(permits, tuple[HeldPermit, ...])
        answer = await self._service.ask(lambda token: inp.CheckPermits(token, said))
        return {"permits": msgspec.to_builtins(answer.permits)}

    def tell(self, request: Request, /, limit: str) -> dict[str, Any]:
        """Those first that wait to be let go on."""
        found = sorted(self._service.engine.holders(limit), key=lambda holder: not holder.state)
        return {"holders": msgspec.to_builtins(found[:_PAGE])}
