"""One connection with a provider of every kind, over real sockets on the loopback."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from tests.services.gz_coordinator.providers.linking import DURABLE, World, document
from websockets.asyncio.server import ServerConnection, serve

from gleitzeit.discovery.base import ProviderSeen
from gleitzeit.engine import inputs as inp
from gleitzeit.errors import ProviderNotFound
from gz_coordinator.providers.descriptions import Registration
from gz_coordinator.providers.link import REDIAL


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


async def test_a_provider_without_the_sdk_stays_who_it_is_when_its_methods_change(world: World) -> None:
    server = await world.provider(lambda: document(name="p"))
    link = await world.links.register(Registration(server.url))
    (connection,) = server.connections
    connection.notify("notifications/methods/list_changed", {})
    await world.until(lambda: len(world.told(inp.ProviderReady)) == 2)
    first, second = world.told(inp.ProviderReady)
    assert first.instance == second.instance == link.instance
    assert world.links.connection(second.instance) is link.connection


async def test_nobody_is_said_to_exist_who_was_never_reached(world: World) -> None:
    """The engine remembers who exists until it is told that they are gone."""
    server = await world.provider(lambda: 5)
    for _ in range(3):
        with pytest.raises(ProviderNotFound):
            await world.links.register(Registration(server.url))
    assert not world.told(inp.ProviderSeen)


async def test_one_that_was_started_anew_where_another_had_been_is_known_to_exist(world: World) -> None:
    """Its link comes upon it before discovery names it. A namesake elsewhere is no reason to give its calls up."""
    instances = iter(["i1", "i2"])
    server = await world.provider(lambda: document(name="p", instance=next(instances), calls="v1"))
    world.links.report(ProviderSeen("p", "i1", server.url))
    await world.until(lambda: world.told(inp.ProviderReady))
    for connection in list(server.connections):
        await connection.close()
    await world.until(lambda: len(world.told(inp.ProviderReady)) == 2)
    world.links.report(ProviderSeen("p", "i2", server.url))
    changes = [item for item in world.posted if not isinstance(item, inp.ProviderDown) or item.gone]
    shown = [(type(item).__name__, getattr(item, "instance", "")) for item in changes]
    assert shown == [
        ("ProviderSeen", "i1"),
        ("ProviderReady", "i1"),
        ("ProviderDown", "i1"),
        ("ProviderSeen", "i2"),
        ("ProviderReady", "i2"),
    ]


async def test_a_registered_provider_that_is_dead_is_reported_gone_and_still_tried(world: World) -> None:
    server = await world.provider(lambda: DURABLE)
    link = await world.links.register(Registration(server.url))
    await server.close()
    await world.until(lambda: any(down.gone for down in world.told(inp.ProviderDown)))
    assert list(world.links) == [link]


async def test_a_provider_that_answers_with_wrong_ids_is_hung_up_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gz_coordinator.providers.link.STRAY_SECONDS", 0.05)

    async def answering(socket: ServerConnection) -> None:
        async for frame in socket:
            asked = json.loads(frame)
            wrong = {} if asked["method"] == "rpc.discover" else {"id": asked["id"] + 1_000}
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": document(name="p"), **wrong}))

    async with serve(answering, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        link = await world.links.register(Registration(url))
        assert link.connection is not None
        replies: list[object] = []
        link.connection.send_request("x/one", None, replies.append)
        reason = "the answers have ids that nobody asked for"
        await world.until(lambda: any(down.reason == reason and down.gone for down in world.told(inp.ProviderDown)))
        assert len(replies) == 1, "whoever waited has learnt that it was in vain"
        await world.links.close()


async def test_a_slow_provider_that_answered_what_was_given_up_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gz_coordinator.providers.link.STRAY_SECONDS", 0.05)
    late = asyncio.Event()

    async def slow(socket: ServerConnection) -> None:
        async for frame in socket:
            asked = json.loads(frame)
            if asked.get("method") == "x/slow":
                await late.wait()
            if asked.get("method") in ("x/slow", "rpc.discover"):
                await socket.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": document(name="p")}))

    async with serve(slow, "127.0.0.1", 0) as server:
        link = await world.links.register(Registration(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
        connection = link.connection
        assert connection is not None
        with pytest.raises(TimeoutError):
            await connection.call("x/slow", timeout_seconds=0.01)
        connection.send_request("x/never", None, lambda reply: None)
        late.set()
        await asyncio.sleep(0.2)
        assert not connection.closed
        await world.links.close()


@pytest.mark.parametrize("what", ["all of it", "the connection for large values"])
async def test_who_describes_itself_and_hangs_up_is_dialled_ever_more_rarely(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("gz_coordinator.providers.link.REDIAL", replace(REDIAL, healthy_seconds=1_000.0))
    loop = asyncio.get_running_loop()
    dialled: list[float] = []

    async def hanging_up(socket: ServerConnection) -> None:
        async for frame in socket:
            asked = json.loads(frame)
            about = document(name="p", instance="i1", calls="v1", blobs="v1")
            result = about if asked["method"] == "rpc.discover" else {}
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
            knows_us = "fence" in asked["params"]["_meta"]
            if knows_us and (what == "all of it" or asked["method"] == "blob.serve"):
                dialled.append(loop.time())
                return

    async with serve(hanging_up, "127.0.0.1", 0) as server:
        await world.links.register(Registration(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
        await world.until(lambda: len(dialled) == 8)
        assert dialled[-1] - dialled[-2] > 10 * REDIAL.first_seconds
        await world.links.close()
