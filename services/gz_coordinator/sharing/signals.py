"""Signals of tasks between coordinators: whom they are for is asked of all, and each goes to the one that has its
target, again and again until that has answered: a target knows by the signal's key what it has."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.signals import targets_in
from gleitzeit.engine.underway import Search, Sending
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.targets import Target
from gz_coordinator.errands import Errands
from gz_coordinator.service import Service
from gz_coordinator.sharing.holdings import LOOK_AGAIN_SECONDS
from gz_coordinator.sharing.peers import Peers

FIND = "coordinator.find_targets"
RECEIVE = "coordinator.signal"
"""Passed on as a request of a client would be."""
ANSWER_SECONDS = 5.0
AT_ONCE = 64
"""Signals on their way at the same time, of one task."""
_LATER = (errors.ShardElsewhere, errors.ConnectionLost, errors.JournalError, errors.Overloaded, errors.Unauthorized,
          TimeoutError)  # fmt: skip


class SignalExchange:
    def __init__(self, peers: Peers, service: Service) -> None:
        self._peers = peers
        self._holdings = peers.holdings
        self._service = service
        self._deliver = peers.routed(RECEIVE, self.receive)
        self._errands = Errands()

    async def close(self) -> None:
        await self._errands.close()

    def perform(self, effect: fx.FindTargets | fx.SendSignal) -> None:
        match effect:
            case fx.FindTargets(search):
                self._errands.start(self._find(search))
            case fx.SendSignal(sending, targets):
                left = iter(targets)
                for _ in range(min(AT_ONCE, len(targets))):
                    self._errands.start(self._send(sending, left))

    # Whom it is for

    async def _find(self, search: Search) -> None:
        found: list[Target] | None = None
        while found is None and search.current:
            found = await self._asked(search.name, list(search.targets))
            if found is None:
                await self._holdings.changed(LOOK_AGAIN_SECONDS)
        self._service.post(inp.TargetsFound(search, tuple(found or ())))

    async def _asked(self, name: str, targets: list[str]) -> list[Target] | None:
        """None if some shard has nobody who answers for it."""
        urls = [lease.url for lease in self._holdings.others if lease.shards]
        shards, found = set[int](), list[Target]()
        there = (self._known_there(url, name, targets) for url in urls)
        for answered_for, some in await asyncio.gather(self._known_here(name, targets), *there):
            shards |= answered_for
            found += some
        return found if len(shards) == self._service.engine.shards else None

    async def _known_there(self, url: str, name: str, targets: list[str]) -> tuple[frozenset[int], list[Target]]:
        try:
            answer = await self._peers.ask(url, FIND, {"name": name, "targets": targets}, ANSWER_SECONDS)
        except (errors.GleitzeitError, TimeoutError):  # others will answer for its shards, or it will
            return frozenset(), []
        return frozenset(answer["shards"]), msgspec.convert(answer["found"], list[Target])

    async def _known_here(self, name: str, targets: list[str]) -> tuple[frozenset[int], list[Target]]:
        try:
            return await self._known(name, targets)
        except errors.ResourceExhausted:  # the journal is full
            return frozenset(), []

    async def _known(self, name: str, targets: list[str]) -> tuple[frozenset[int], list[Target]]:
        def look() -> tuple[frozenset[int], list[Target]]:
            return self._holdings.mine, targets_in(self._service.engine.workflows, name, targets)

        return await self._service.between_turns(look)

    # To them

    async def _send(self, sending: Sending, left: Any) -> None:
        for target in left:
            error = await self._sent(sending, target)
            self._service.post(inp.SignalSent(sending, target, error))

    async def _sent(self, sending: Sending, target: str) -> errors.GleitzeitError | None:
        """Why it will not have it, or None when it has it."""
        signal = sending.signal
        params = {"workflow_id": target, "name": signal.name, "payload": signal.payload, "sender": signal.sender}
        while sending.current:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._deliver(None, **params, idempotency_key=signal.idempotency_key)
                return None
            except _LATER as error:
                if isinstance(error, errors.JournalCorrupt):
                    return error
            except errors.GleitzeitError as error:
                if not (isinstance(error.data, dict) and "retryAfterSeconds" in error.data):  # a full journal may empty
                    return error
            await self._holdings.changed(LOOK_AGAIN_SECONDS)
        return None

    # What we are asked

    def table(self) -> dict[str, Callable[..., Any]]:
        return {FIND: self.find}

    async def find(self, request: Request, /, name: str, targets: list[str]) -> dict[str, Any]:
        shards, found = await self._known(name, targets)
        return {"shards": sorted(shards), "found": msgspec.to_builtins(found)}

    async def receive(
        self, request: Request, /, workflow_id: str, name: str, payload: Any, sender: str, idempotency_key: str
    ) -> dict[str, Any]:
        encoded = Raw(msgspec.json.encode(payload))
        await self._service.ended.bring_back(workflow_id)
        await self._service.ask(lambda token: inp.Signal(token, workflow_id, name, encoded, sender, idempotency_key))
        return {}
