"""What is NATS's own: the services protocol, outages, strangers, silent deaths. (The rest is in the contract.)"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import nats
import pytest
from nats.micro import add_service

from gleitzeit.discovery.base import ProviderChanged, ProviderLost, ProviderSeen, Report
from gleitzeit.discovery.nats import NatsAnnouncer, NatsDirectory
from gleitzeit.errors import ConfigurationError
from gleitzeit.process.children import Child
from gleitzeit.process.nats_server import find_nats_server, port_of, start_nats_server

ECHO = ProviderSeen("my.echo", "e1", "ws://127.0.0.1:1/", ("echo/v1", "time/v1"))
RETRY = 0.02


class Server:
    """A nats-server that a test can stop and start again on its port."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = folder
        self._port = port
        self._child: Child | None = None

    async def start(self) -> str:
        log = self._folder / "log"
        self._child = await start_nats_server(self._folder / "nats", environ=os.environ, port=self._port, log=log)
        url = await self._child.ready
        self._port = port_of(url)
        return url

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(5)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    yield server
    await server.stop()


async def next_of(reports: asyncio.Queue[Report]) -> Report:
    async with asyncio.timeout(30):
        return await reports.get()


async def until(condition: Callable[[], bool]) -> None:
    """For what no callback tells: whether a connection is there."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a property has nothing to wait on
            await asyncio.sleep(0.002)


async def watching(directory: NatsDirectory) -> asyncio.Queue[Report]:
    reports: asyncio.Queue[Report] = asyncio.Queue()
    await directory.watch(reports.put_nowait)
    return reports


async def test_a_provider_is_a_micro_service_that_anybody_can_list(server: Server) -> None:
    url = await server.start()
    announcer, directory = NatsAnnouncer(url, "c1"), NatsDirectory(url, "c1")
    reports = await watching(directory)
    await announcer.announce(ECHO, lambda: {"running": 3})
    assert await next_of(reports) == ECHO

    client = await nats.connect(url)
    info = msgspec.json.decode((await client.request("$SRV.INFO.my-echo")).data)
    assert info["name"] == "my-echo"
    assert info["metadata"] == {
        "cluster": "c1",
        "url": "ws://127.0.0.1:1/",
        "instance": "e1",
        "protocols": "echo/v1,time/v1",
        "name": "my.echo",
    }
    assert msgspec.json.decode((await client.request("$SRV.PING")).data)["name"] == "my-echo"
    stats = msgspec.json.decode((await client.request("$SRV.STATS.my-echo")).data)
    assert stats["endpoints"][0]["data"] == {"running": 3}
    where = await client.request("gleitzeit.c1.provider.e1")
    assert msgspec.json.decode(where.data, type=ProviderSeen) == ECHO
    await client.close()
    await announcer.withdraw()
    await directory.close()


async def test_both_sides_survive_a_restart_of_nats(server: Server) -> None:
    url = await server.start()
    directory = NatsDirectory(url, "c1", retry_seconds=RETRY)
    announcer = NatsAnnouncer(url, "c1", retry_seconds=RETRY)
    reports = await watching(directory)
    await announcer.announce(ECHO, dict)
    assert await next_of(reports) == ECHO

    await server.stop()
    await until(lambda: not directory.connected and not announcer.connected)
    await server.start()
    await until(lambda: directory.connected and announcer.connected)

    other = NatsAnnouncer(url, "c1")
    await other.announce(ProviderSeen("other", "o1", "ws://127.0.0.1:2/"), dict)
    after = [await next_of(reports)]
    while after[-1].instance != "o1":
        after.append(await next_of(reports))
    assert set(after[:-1]) == {ProviderChanged("e1")}  # it was never lost
    late = NatsDirectory(url, "c1")
    assert {(await next_of(late_reports)).instance for late_reports in [await watching(late)] * 2} == {"e1", "o1"}
    await announcer.withdraw()
    assert await next_of(reports) == ProviderLost("e1", "withdrawn")
    await other.withdraw()
    await directory.close()
    await late.close()


@pytest.mark.parametrize("later", ["directory", "announcer"])
async def test_whoever_was_unheard_counts_as_changed(server: Server, later: str) -> None:
    """Whichever side comes back first: what was told during the outage is made good."""
    url = await server.start()
    directory = NatsDirectory(url, "c1", retry_seconds=0.1 if later == "directory" else 0.01)
    announcer = NatsAnnouncer(url, "c1", retry_seconds=0.1 if later == "announcer" else 0.01)
    reports = await watching(directory)
    await announcer.announce(ECHO, dict)
    assert await next_of(reports) == ECHO
    await until(lambda: directory.connected and announcer.connected)
    await server.stop()
    await until(lambda: not directory.connected and not announcer.connected)
    await announcer.changed()
    await server.start()
    assert await next_of(reports) == ProviderChanged("e1")
    await announcer.withdraw()
    await directory.close()


async def test_one_can_leave_in_the_middle_of_its_arrival(server: Server) -> None:
    """Cancelled at every moment of connecting and registering, a link still comes to its end."""
    url = await server.start()
    for turns in range(60):
        announcer, directory = NatsAnnouncer(url, "c1"), NatsDirectory(url, "c1")
        await announcer.announce(ECHO, dict)
        await watching(directory)
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await directory.close()
            await announcer.withdraw()


async def test_both_sides_can_be_there_before_nats(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    url = f"nats://127.0.0.1:{port}"
    directory = NatsDirectory(url, "c1", retry_seconds=RETRY)
    announcer = NatsAnnouncer(url, "c1", retry_seconds=RETRY)
    reports = await watching(directory)
    await announcer.announce(ECHO, dict)
    assert not directory.connected
    assert not announcer.connected
    server = Server(tmp_path, port)
    await server.start()
    assert await next_of(reports) == ECHO
    await until(lambda: directory.connected and announcer.connected)
    await announcer.withdraw()
    await directory.close()
    await server.stop()


async def test_both_sides_can_be_closed_while_nats_is_away(server: Server) -> None:
    url = await server.start()
    connected = NatsDirectory(url, "c1", retry_seconds=RETRY), NatsAnnouncer(url, "c1", retry_seconds=RETRY)
    await watching(connected[0])
    await connected[1].announce(ECHO, dict)
    await until(lambda: all(side.connected for side in connected))
    await server.stop()
    await until(lambda: not any(side.connected for side in connected))
    never = NatsDirectory(url, "c1", retry_seconds=RETRY), NatsAnnouncer(url, "c1", retry_seconds=RETRY)
    await watching(never[0])
    await never[1].announce(ECHO, dict)
    async with asyncio.timeout(20):  # what it would wait for in vain has no end
        for directory, announcer in (connected, never):
            await directory.close()
            await announcer.withdraw()


async def test_one_that_never_announces_is_found_by_asking_and_lost_when_it_stops_answering(server: Server) -> None:
    """A provider without our SDK; and what is left of one of ours after a kill -9."""
    url = await server.start()
    client = await nats.connect(url)
    metadata = {"cluster": "c1", "url": "ws://127.0.0.1:7/", "instance": "f1", "protocols": "echo/v1"}
    await add_service(client, name="foreign", version="1.0.0", metadata=metadata)
    await client.flush()
    directory = NatsDirectory(url, "c1", round_seconds=0.02)
    reports = await watching(directory)
    assert await next_of(reports) == ProviderSeen("foreign", "f1", "ws://127.0.0.1:7/", ("echo/v1",))
    await client.close()
    assert await next_of(reports) == ProviderLost("f1", "did not answer 3 times", withdrawn=False)
    await directory.close()


async def test_one_that_answers_is_never_lost(server: Server) -> None:
    url = await server.start()
    directory, announcer = NatsDirectory(url, "c1", round_seconds=0.01), NatsAnnouncer(url, "c1")
    reports = await watching(directory)
    await announcer.announce(ECHO, dict)
    assert await next_of(reports) == ECHO
    client = await nats.connect(url)
    questions = await client.subscribe("$SRV.INFO")
    for _ in range(8):
        await questions.next_msg(5)
    assert reports.empty()
    await client.close()
    await announcer.withdraw()
    await directory.close()


async def test_one_that_comes_back_after_it_was_lost_is_seen_again(server: Server) -> None:
    url = await server.start()
    directory = NatsDirectory(url, "c1", round_seconds=0.02)
    reports = await watching(directory)
    for _ in range(2):
        client = await nats.connect(url)
        metadata = {"cluster": "c1", "url": "ws://127.0.0.1:7/", "instance": "f1"}
        await add_service(client, name="foreign", version="1.0.0", metadata=metadata)
        assert await next_of(reports) == ProviderSeen("foreign", "f1", "ws://127.0.0.1:7/")
        await client.close()
        assert isinstance(await next_of(reports), ProviderLost)
    await directory.close()


async def test_what_arrives_late_does_not_bring_back_one_that_has_said_goodbye(server: Server) -> None:
    url = await server.start()
    client = await nats.connect(url)
    directory = NatsDirectory(url, "c1")
    reports = await watching(directory)
    await until(lambda: directory.connected)
    await client.publish("gleitzeit.c1.announce", msgspec.json.encode(ECHO))
    assert await next_of(reports) == ECHO
    await client.publish("gleitzeit.c1.withdraw", b'{"instance":"e1"}')
    assert await next_of(reports) == ProviderLost("e1", "withdrawn")
    other = ProviderSeen("other", "o1", "ws://127.0.0.1:2/")
    for late in (ECHO, other):
        await client.publish("gleitzeit.c1.announce", msgspec.json.encode(late))
    assert await next_of(reports) == other
    await client.close()
    await directory.close()


async def test_strangers_on_the_same_nats_do_no_harm(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    url = await server.start()
    client = await nats.connect(url)
    await add_service(client, name="stranger", version="1.0.0", metadata={"cluster": "c1"})
    await add_service(client, name="bare", version="1.0.0")
    await client.flush()
    directory, announcer = NatsDirectory(url, "c1"), NatsAnnouncer(url, "c1")
    reports = await watching(directory)
    await until(lambda: directory.connected)
    for subject in ("announce", "changed", "withdraw"):
        for payload in (b"", b"\xff", b"[]", b'{"instance": 7}', b'{"instance": "nobody"}'):
            await client.publish(f"gleitzeit.c1.{subject}", payload)
    await client.flush()
    await announcer.announce(ECHO, dict)
    assert await next_of(reports) == ECHO
    assert "ignored what came on gleitzeit.c1.announce" in caplog.text
    await client.close()
    await announcer.withdraw()
    await directory.close()


async def test_an_outage_is_one_warning_and_passwords_are_not_in_it(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    directory = NatsDirectory(f"nats://user:secret@127.0.0.1:{port}", "c1", retry_seconds=0.005)
    with caplog.at_level(logging.DEBUG, "gleitzeit"):
        await watching(directory)
        await until(lambda: len(caplog.records) >= 4)
        await directory.close()
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert f"NATS at nats://***@127.0.0.1:{port}" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("url", "cluster"), [("http://h:1", "c"), ("nats://", "c"), ("nats://h", "a.b"), ("nats://h", "")]
)
def test_an_address_or_a_cluster_that_cannot_be_is_refused(url: str, cluster: str) -> None:
    for side in (NatsDirectory, NatsAnnouncer):
        with pytest.raises(ConfigurationError):
            side(url, cluster)


async def test_an_instance_that_cannot_be_a_subject_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'a\.b'"):
        await NatsAnnouncer("nats://127.0.0.1:1", "c").announce(ProviderSeen("n", "a.b", "ws://x/"), dict)


def test_no_http_client_is_imported_for_it() -> None:
    program = "import sys, gleitzeit.discovery.nats; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_over_a_websocket(tmp_path: Path) -> None:
    """In a process that has imported no HTTP client, as most of ours have not."""
    config = tmp_path / "nats.conf"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    websocket = f"websocket {{ host: 127.0.0.1, port: {port}, no_tls: true }}"
    config.write_text(f"host: 127.0.0.1\nport: -1\n{websocket}\n", encoding="utf-8")
    server = await asyncio.create_subprocess_exec(find_nats_server(), "-c", config, stderr=asyncio.subprocess.DEVNULL)
    program = (
        "import asyncio, sys\n"
        "from gleitzeit.discovery.nats import NatsDirectory\n"
        "async def main():\n"
        "    directory = NatsDirectory(sys.argv[1], 'c1')\n"
        "    await directory.watch(lambda report: None)\n"
        "    async with asyncio.timeout(30):\n"
        "        while not directory.connected:\n"
        "            await asyncio.sleep(0.01)\n"
        "    await directory.close()\n"
        "asyncio.run(main())"
    )
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", program, f"ws://127.0.0.1:{port}")
    try:
        assert await client.wait() == 0
    finally:
        server.terminate()
        await server.wait()
