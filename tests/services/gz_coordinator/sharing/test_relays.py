"""A watch at another coordinator: when that one cannot read what is watched, and when it came to have it meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.errors import GleitzeitError, JournalCorrupt, JournalError, ShardElsewhere
from gleitzeit.journal.base import Lease
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model.shards import SHARDS, shard_of
from gleitzeit.schemas import builtin
from gleitzeit.transport import Connection
from gleitzeit.transport.memory import connect_memory
from gleitzeit.transport.server import Server
from gz_coordinator.service import Service
from gz_coordinator.sharing.holdings import Holdings
from gz_coordinator.sharing.passed_on import FORWARD
from gz_coordinator.sharing.peers import Peers
from gz_coordinator.sharing.relays import Relays
from gz_coordinator.watching.watchers import RESYNC, Watchers


@pytest.fixture
async def relays() -> AsyncIterator[Relays]:
    journal, epochs = MemoryJournal(MemoryStore(shards=SHARDS)), dict[int, int]()
    service = Service(Engine(builtin(), Identity("c", 0, "me", shards=SHARDS, epochs=epochs)), journal, lambda: 1)
    holdings = Holdings(journal, service, "me", epochs, lease_seconds=10, on_deposed=lambda reason: None)
    peers = Peers(holdings, None, None)
    relays = Relays(peers, Watchers(journal, service.read))
    yield relays
    await relays.close()
    await peers.close()


async def test_a_watch_outlives_a_journal_that_is_away_and_is_told_of_damage(relays: Relays) -> None:
    """It has begun, and its connection to the owner breaks."""
    answers: list[GleitzeitError | None] = [None, JournalError("away"), JournalError("away"), JournalCorrupt("damaged")]

    async def forward(request: Request, **params: Any) -> dict[str, Any]:
        error = answers.pop(0)
        if error is not None:
            raise error
        asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(request.connection.close()))
        return {"workflow_id": "w"}

    methods, told = Methods(), asyncio.Queue[Any]()
    methods.add(FORWARD, forward)
    server = Server(methods)
    await server.start()
    relays.peers.holdings.leases = [Lease("other", server.url, {shard_of("w", SHARDS): 1})]

    def notified(connection: Connection, method: str, params: Raw | None) -> None:
        assert method == RESYNC
        told.put_nowait(msgspec.json.decode(params or b"{}"))

    near, client = await connect_memory(on_notification=notified)
    relay = relays._start(client, "w", 3, True)
    assert await asyncio.wait_for(relay.first, 30) == {"workflow_id": "w"}
    said = await asyncio.wait_for(told.get(), 30)
    assert (said["workflow_id"], said["seq"], said["error"]["data"]["name"]) == ("w", 3, "JOURNAL_CORRUPT")
    assert (answers, relays._running) == ([], {})
    await near.close()
    await server.close()


async def test_a_watch_whose_workflow_is_given_away_meanwhile_is_taken_to_where_that_is(relays: Relays) -> None:
    holdings, shard = relays.peers.holdings, shard_of("w", SHARDS) or 0
    methods = Methods()
    methods.add(FORWARD, lambda request, **params: {"workflow_id": "w", "at": "the other one"})
    server = Server(methods)
    await server.start()
    holdings.leases = [Lease("other", server.url, {shard: 1})]
    holdings._mine.add(shard)

    async def local(request: Request, **params: Any) -> None:
        holdings._mine.discard(shard)
        raise ShardElsewhere("w was given away while it was read")

    ours = Methods()
    ours.add("workflow.watch", relays.watching(local))
    near, _ = await connect_memory(server_methods=ours)
    assert (await near.call("workflow.watch", {"workflow_id": "w"}, timeout_seconds=30))["at"] == "the other one"
    await near.close()
    await server.close()
