"""Connections to providers of every kind, over real sockets on the loopback."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from websockets.asyncio.server import ServerConnection, serve

from gleitzeit.discovery.base import ProviderLost, ProviderSeen
from gleitzeit.engine import inputs as inp
from gleitzeit.errors import ProviderNotFound
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.schemas import PIECE
from gleitzeit.transport import Server
from gz_coordinator.descriptions import Registration, methods_in
from gz_coordinator.links import REDIAL, Links

FENCE = {"cluster": "c", "shard": 0, "epoch": 1, "owner": "me"}


def document(**about: Any) -> dict[str, Any]:
    return {"openrpc": "1.4.1", "methods": [{"name": "x/one", "params": []}], "x-gleitzeit": about}


DURABLE = document(name="p", instance="i1", calls="v1")


class World:
    """Links, what they told the engine, and providers that answer as they are told to."""

    def __init__(self) -> None:
        self.posted: list[inp.Input] = []
        self.mistakes = 0
        """So many times what we do with the methods of a provider goes wrong."""
        self.links = Links(
            "me",
            lambda: FENCE,
            self.posted.append,
            lambda provider, methods: self._take_methods(),
            lambda method, params: None,
            blob_methods=Methods(),
        )
        self.servers: list[Server] = []

    def _take_methods(self) -> None:
        if self.mistakes:
            self.mistakes -= 1
            raise RuntimeError("a mistake of ours")

    async def provider(self, describe: Callable[..., object]) -> Server:
        """`describe` may be asynchronous, and takes the request then."""
        methods = Methods()
        function = describe if asyncio.iscoroutinefunction(describe) else lambda request, /: describe()
        methods.add("rpc.discover", function, bind=False)
        server = Server(methods)
        await server.start()
        self.servers.append(server)
        return server

    def told(self, kind: type[inp.Input]) -> list[Any]:
        return [item for item in self.posted if isinstance(item, kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self.links.close()
        for server in self.servers:
            await server.close()


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


async def test_a_provider_that_is_registered_again_keeps_its_calls(world: World) -> None:
    server = await world.provider(lambda: DURABLE)
    await world.links.register(Registration(server.url))
    again = await world.links.register(Registration(server.url))
    assert (again.status, again.instance) == ("ready", "i1")
    assert [down.gone for down in world.told(inp.ProviderDown) if down.instance == "i1"] == [False]
    assert list(world.links) == [again]


async def test_a_registration_that_was_changed_elsewhere_counts_without_a_new_connection(world: World) -> None:
    server = await world.provider(lambda: document(name="p"))
    await world.links.register(Registration(server.url, capacity=1))
    before = world.told(inp.ProviderDown)
    for capacity in (1, 3):
        world.links.restore(Registration(server.url, capacity=capacity))
    await world.until(lambda: len(world.told(inp.ProviderReady)) == 2)
    assert [ready.capacity for ready in world.told(inp.ProviderReady)] == [1, 3]
    assert world.told(inp.ProviderDown) == before


async def test_who_may_not_call_any_more_leaves_those_that_keep_no_table_of_calls(world: World) -> None:
    ours, foreign = await world.provider(lambda: DURABLE), await world.provider(lambda: document(name="p"))
    for server in (ours, foreign):
        await world.links.register(Registration(server.url))
    instances = {ready.foreign: ready.instance for ready in world.told(inp.ProviderReady)}
    assert instances.keys() == {"", foreign.url}
    assert world.links.leave_foreign("over")
    left = instances[foreign.url]
    await world.until(lambda: [down.gone for down in world.told(inp.ProviderDown) if down.instance == left] == [True])
    assert ours.connections
    assert world.links.connection(instances[""]) is not None


async def test_one_provider_by_two_addresses_is_one_link(world: World) -> None:
    server = await world.provider(lambda: DURABLE)
    first = await world.links.register(Registration(server.url))
    second = await world.links.register(Registration(server.url.replace("127.0.0.1", "localhost")))
    assert second is first
    await world.until(lambda: list(world.links) == [first])


async def test_a_provider_that_another_link_has_is_not_greeted(world: World) -> None:
    """It would close the connection of that link, for one that is newer."""
    fences: list[object] = []

    async def describe(request: Request, /) -> None:
        fences.append(request.params["_meta"].get("fence"))
        request.answer(DURABLE)

    server = await world.provider(describe)
    link = await world.links.register(Registration(server.url))
    assert fences == [None, FENCE]
    assert await world.links.register(Registration(server.url.replace("127.0.0.1", "localhost"))) is link
    world.links.report(ProviderSeen("p", "i1", server.url.rstrip("/")))
    await world.until(lambda: len(fences) == 4)
    assert fences == [None, FENCE, None, None]
    assert link.connection is not None
    assert all(down.instance != "i1" for down in world.told(inp.ProviderDown))


async def test_another_address_counts_when_the_first_has_lost_its_connection(world: World) -> None:
    servers = [await world.provider(lambda: DURABLE) for _ in range(2)]
    first = await world.links.register(Registration(servers[0].url))
    await servers[0].close()
    await world.until(lambda: first.status == "lost")
    second = await world.links.register(Registration(servers[1].url))
    assert (second.url, second.status) == (servers[1].url, "ready")
    assert world.links.connection("i1") is second.connection


async def test_nobody_stays_connected_who_is_replaced_before_it_has_described_itself(world: World) -> None:
    release = asyncio.Event()

    async def slow(request: Request, /) -> object:
        await release.wait()
        return DURABLE

    server = await world.provider(slow)
    first = asyncio.create_task(world.links.register(Registration(server.url)))
    await world.until(lambda: server.connections)
    (connection,) = server.connections
    second = asyncio.create_task(world.links.register(Registration(server.url)))
    await world.until(lambda: connection.closed)
    release.set()
    async with asyncio.timeout(30):
        with pytest.raises(ProviderNotFound):
            await first
        assert (await second).status == "ready"


async def test_nothing_is_left_of_links_that_were_replaced(world: World) -> None:
    server = await world.provider(lambda: DURABLE)
    await world.links.register(Registration(server.url))
    for _ in range(3):
        await world.links.register(Registration(server.url))
    await world.until(lambda: len(server.connections) == 1)
    waiting = [task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "Event.wait"]  # type: ignore[union-attr]
    assert not waiting


async def test_a_registration_stays_when_discovery_comes_upon_its_address(world: World) -> None:
    server = await world.provider(lambda: DURABLE)
    await world.links.register(Registration(server.url, name="mine"))
    await server.close()
    await world.until(lambda: any(down.gone for down in world.told(inp.ProviderDown)))
    world.links.report(ProviderSeen("p", "i2", server.url))
    assert [link.registration for link in world.links] == [Registration(server.url, name="mine")]


async def test_who_registers_while_discovery_names_who_is_there_has_what_was_asked_for(world: World) -> None:
    release = asyncio.Event()

    async def slow(request: Request, /) -> object:
        await release.wait()
        return DURABLE

    server = await world.provider(slow)
    registering = asyncio.create_task(world.links.register(Registration(server.url, name="mine")))
    await world.until(lambda: server.connections)
    world.links.report(ProviderSeen("p", "i1", server.url))
    release.set()
    async with asyncio.timeout(30):
        link = await registering
    assert (link.name, link.instance, link.status) == ("p", "i1", "ready")
    assert list(world.links) == [link]


async def test_a_registration_from_elsewhere_counts_for_one_that_discovery_found(world: World) -> None:
    server = await world.provider(lambda: document(name="p", instance="i1", calls="v1"))
    world.links.report(ProviderSeen("p", "i1", server.url))
    await world.until(lambda: world.told(inp.ProviderReady))
    world.links.restore(Registration(server.url, methods=("x/two",)))
    await world.until(lambda: len(world.told(inp.ProviderReady)) == 2)
    assert world.told(inp.ProviderReady)[1].methods == {"x/one", "x/two"}


async def test_nobody_is_said_to_exist_who_was_never_reached(world: World) -> None:
    """The engine remembers who exists until it is told that they are gone."""
    server = await world.provider(lambda: 5)
    for _ in range(3):
        with pytest.raises(ProviderNotFound):
            await world.links.register(Registration(server.url))
    assert not world.told(inp.ProviderSeen)


async def test_registered_many_times_at_once_all_are_answered(world: World) -> None:
    server = await world.provider(lambda: DURABLE)
    many = (world.links.register(Registration(server.url)) for _ in range(4))
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*many, return_exceptions=True)
    assert [getattr(outcome, "status", "refused") for outcome in outcomes][-1] == "ready"
    assert all(isinstance(outcome, ProviderNotFound) for outcome in outcomes[:-1])
    assert [link.status for link in world.links] == ["ready"]


@pytest.mark.parametrize("withdrawn", [True, False])
async def test_one_that_discovery_hears_no_more_goes_on_while_its_socket_is_open(world: World, withdrawn: bool) -> None:
    server = await world.provider(lambda: DURABLE)
    link = await world.links.register(Registration(server.url))
    world.links.report(ProviderLost("i1", withdrawn=withdrawn))
    assert link.status == ("draining" if withdrawn else "ready")
    assert len(world.told(inp.ProviderDraining)) == withdrawn


async def test_no_provider_may_pass_itself_off_as_the_coordinator(world: World) -> None:
    server = await world.provider(lambda: document(name="p", instance="coordinator", calls="v1"))
    with pytest.raises(ProviderNotFound, match="may call its instance"):
        await world.links.register(Registration(server.url))
    assert not world.told(inp.ProviderReady)


async def test_a_registration_that_fails_leaves_the_one_before(world: World) -> None:
    answers: list[object] = [DURABLE, DURABLE, 5, DURABLE, DURABLE]
    server = await world.provider(lambda: answers.pop(0))
    await world.links.register(Registration(server.url))
    with pytest.raises(ProviderNotFound):
        await world.links.register(Registration(server.url, name="renamed"))
    await world.until(lambda: [link.status for link in world.links] == ["ready"])
    assert next(iter(world.links)).name == "p"


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
    monkeypatch.setattr("gz_coordinator.links.STRAY_SECONDS", 0.05)

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
    monkeypatch.setattr("gz_coordinator.links.STRAY_SECONDS", 0.05)
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
    monkeypatch.setattr("gz_coordinator.links.REDIAL", replace(REDIAL, healthy_seconds=1_000.0))
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


async def test_a_mistake_of_ours_gives_nobody_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gz_coordinator.links.REDIAL", replace(REDIAL, max_seconds=0.05))
    server = await world.provider(lambda: document(name="p"))
    link = await world.links.register(Registration(server.url))
    world.mistakes = 1
    link.changed()
    await world.until(lambda: len(world.told(inp.ProviderReady)) == 2)
    assert {down.gone for down in world.told(inp.ProviderDown) if down.instance == link.instance} == {True}
    assert [(again.status, again.registration) for again in world.links] == [("ready", link.registration)]
    await world.until(lambda: len(server.connections) == 1)


async def test_who_cannot_be_registered_for_a_mistake_of_ours_is_not_tried_any_more(world: World) -> None:
    server = await world.provider(lambda: DURABLE)
    world.mistakes = 1
    with pytest.raises(ProviderNotFound):
        await world.links.register(Registration(server.url))
    assert not list(world.links)
    await world.until(lambda: not server.connections)


def test_others_have_their_turns_while_many_methods_are_read() -> None:
    """Those of one that has 20,000 would stop the coordinator for seconds."""
    many = [{"name": f"x/m{number}", "params": []} for number in range(40 * PIECE)]
    reading = methods_in({"methods": many})
    for _ in range(40):
        reading.send(None)
    with pytest.raises(StopIteration) as end:
        reading.send(None)
    assert len(end.value.value) == len(many)
