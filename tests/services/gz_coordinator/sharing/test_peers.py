"""Coordinators that do not answer: dead, or standing still."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.errors import ConnectionLost
from gleitzeit.journal.base import Lease
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model.shards import SHARDS
from gleitzeit.schemas import builtin
from gleitzeit.transport.server import Server
from gz_coordinator.service import Service
from gz_coordinator.sharing.holdings import Holdings
from gz_coordinator.sharing.peers import Peers


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    journal, epochs = MemoryJournal(MemoryStore(shards=SHARDS)), dict[int, int]()
    service = Service(Engine(builtin(), Identity("c", 0, "me", shards=SHARDS, epochs=epochs)), journal, lambda: 1)
    holdings = Holdings(journal, service, "me", epochs, lease_seconds=10, on_deposed=lambda reason: None)
    peers = Peers(holdings, None, None)
    yield peers
    await peers.close()


async def test_who_waits_for_one_whose_lease_runs_out_waits_no_longer(peers: Peers) -> None:
    methods, asked = Methods(), asyncio.Event()

    def stand_still(request: Request) -> None:
        request.defer()
        asked.set()

    methods.add("x", stand_still, bind=False)
    server = Server(methods)
    await server.start()
    peers.holdings.leases = [Lease("other", server.url, {0: 1})]
    answer = asyncio.create_task(peers.ask(server.url, "x", {}, 60))
    await asyncio.wait_for(asked.wait(), 30)
    peers.leave_the_gone()
    own = await peers.open(server.url)
    assert not answer.done()
    peers.holdings.leases = []
    peers.leave_the_gone()
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(answer, 30)
    gone = asyncio.Event()
    own.add_close_callback(lambda _: gone.set())
    await asyncio.wait_for(gone.wait(), 30)
    await server.close()


async def test_all_who_ask_at_once_share_one_attempt_to_connect(peers: Peers) -> None:
    writers, enough = list[asyncio.StreamWriter](), asyncio.Event()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        enough.set()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    asking = [asyncio.create_task(peers.ask(url, "x", {}, 60)) for _ in range(10)]
    await asyncio.wait_for(enough.wait(), 30)
    writers[0].close()
    answers = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 30)
    assert all(isinstance(answer, ConnectionLost) for answer in answers)
    assert len(writers) == 1
    server.close()
