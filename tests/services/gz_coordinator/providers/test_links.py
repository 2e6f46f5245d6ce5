"""Who is connected to whom: discovery, registrations, two addresses of one provider."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from tests.services.gz_coordinator.providers.linking import DURABLE, FENCE, World, document

from gleitzeit.discovery.base import ProviderLost, ProviderSeen
from gleitzeit.engine import inputs as inp
from gleitzeit.errors import ProviderNotFound
from gleitzeit.jsonrpc.methods import Request
from gz_coordinator.providers.descriptions import Registration
from gz_coordinator.providers.link import REDIAL


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


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


async def test_a_mistake_of_ours_gives_nobody_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gz_coordinator.providers.links.REDIAL", replace(REDIAL, max_seconds=0.05))
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
