"""The stack over services that only follow the process conventions, and a real nats-server."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec.structs import replace

from gleitzeit.errors import ConfigurationError
from gleitzeit.process.children import ChildExited
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.restart import Backoff
from gleitzeit.process.state import Address, StackRunning, cluster_id, find_running, model_settings
from gleitzeit.process.supervised import ChildEvent
from gleitzeit.stack import Stack, StackConfig, serve, url_from_here

FAKE = [sys.executable, "-S", str(Path(__file__).parent / "process" / "fake_service.py")]
COMMANDS = {"coordinator": FAKE, "echo": FAKE, "python": FAKE}


class Events:
    """What a stack told, to be awaited by child and kind."""

    def __init__(self) -> None:
        self.all: list[ChildEvent] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, event: ChildEvent) -> None:
        self.all.append(event)
        task = asyncio.ensure_future(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def of(self, child: str, kind: str) -> list[ChildEvent]:
        return [event for event in self.all if (event.child, event.kind) == (child, kind)]

    async def next(self, child: str, kind: str, number: int = 1) -> ChildEvent:
        """The `number`th event of this kind, past or to come."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: len(self.of(child, kind)) >= number)
        return self.of(child, kind)[number - 1]

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def make(tmp_path: Path, events: Events) -> AsyncIterator[Callable[..., Stack]]:
    stacks: list[Stack] = []

    def make(commands: dict[str, list[str]] | None = None, factor: float = 2.0, **settings: Any) -> Stack:
        config = StackConfig(**{"state": tmp_path / "state", "log_files": True, "drain_seconds": 5, **settings})
        backoff = Backoff(first_seconds=0.001, factor=factor)
        stacks.append(Stack(config, on_event=events.put, commands={**COMMANDS, **(commands or {})}, backoff=backoff))
        return stacks[-1]

    yield make
    for stack in stacks:
        await stack.stop()


async def ask(url: str, words: str) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    writer.write(words.encode())
    answer = await reader.read()
    writer.close()
    return msgspec.json.decode(answer) if answer else None


def option(facts: dict[str, Any], name: str) -> str:
    return str(facts["argv"][facts["argv"].index(name) + 1])


async def test_all_services_get_what_they_need_and_others_find_the_stack(
    make: Callable[..., Stack], events: Events, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    stack = make(
        providers=("echo", "python", "echo"), embedded=True, journal="memory:", resume="none", log_level="debug"
    )
    address = await stack.start()
    await stack.providers_ready()
    known = Address(stack.url, os.getpid(), True, address.version, providers=("echo", "python", "echo"))
    assert address == find_running(state) == replace(known, settings=model_settings(os.environ))

    coordinator = await ask(stack.url, "args")
    assert option(coordinator, "--state") == str(state)
    assert option(coordinator, "--journal") == "memory:"
    assert option(coordinator, "--resume") == "none"
    assert "--embedded" in coordinator["argv"]
    names = ["provider-echo", "provider-python", "provider-echo-2"]
    providers = [await ask((await events.next(name, "ready")).url, "args") for name in names]
    for facts in (coordinator, *providers):
        assert option(facts, "--nats") == stack.nats_url
        assert option(facts, "--cluster") == cluster_id(state)
        assert option(facts, "--log-level") == "debug"
        assert facts["state"] == str(state)
    assert sorted(path.stem for path in (state / "logs").iterdir()) == sorted([*names, "coordinator", "nats-server"])


async def test_stop_goes_from_the_coordinator_to_nats_and_leaves_the_folder(
    make: Callable[..., Stack], events: Events, tmp_path: Path
) -> None:
    stack = make()
    await stack.start()
    await stack.providers_ready()
    await stack.stop()
    stopped = [event.child for event in events.all if event.kind == "stopped"]
    assert stopped[0] == "coordinator"
    assert set(stopped[1:3]) == {"provider-echo", "provider-python"}
    assert stopped[3:] == ["nats-server"]
    assert find_running(tmp_path / "state") is None
    assert not (tmp_path / "state" / "stack.json").exists()
    again = make()
    await again.start()


async def test_a_second_stack_is_refused_and_the_first_is_not_disturbed(
    make: Callable[..., Stack], tmp_path: Path
) -> None:
    first = make()
    await first.start()
    second = make()
    with pytest.raises(StackRunning, match=rf"process {os.getpid()}.*{first.url}"):
        await second.start()
    await second.stop()
    running = find_running(tmp_path / "state")
    assert running is not None
    assert running.url == first.url


async def test_a_provider_that_dies_is_started_again(make: Callable[..., Stack], events: Events) -> None:
    stack = make()
    await stack.start()
    first = await events.next("provider-echo", "ready")
    os.kill(first.pid, signal.SIGKILL)
    second = await events.next("provider-echo", "ready", 2)
    assert second.pid != first.pid
    assert events.of("provider-echo", "died")[0].exit_code == -signal.SIGKILL
    assert not events.of("coordinator", "died")


async def test_why_a_provider_cannot_start_stands_where_others_find_the_stack(
    make: Callable[..., Stack], events: Events, tmp_path: Path
) -> None:
    late = [sys.executable, "-S", "-c", "import time; time.sleep(0.3); raise SystemExit(2)"]
    stack = make({"python": [*FAKE, "--fail", "2"], "late": late}, providers=("echo", "python", "late"))
    await stack.start()
    await events.next("provider-python", "stopped")
    await events.next("provider-late", "stopped")
    running = find_running(tmp_path / "state")
    assert running is not None
    assert running.failures == (
        "provider-python exited with status 2 before it was ready:\ncannot start: the reason",
        "provider-late exited with status 2 before it was ready",
    )
    await stack.stop()
    assert not (tmp_path / "state" / "stack.json").exists()


async def test_a_provider_that_was_stopped_before_it_was_ready_leaves_nothing_behind(
    make: Callable[..., Stack], events: Events, tmp_path: Path
) -> None:
    stack = make({"python": [*FAKE, "--mute"]})
    await stack.start()
    await events.next("provider-python", "started")
    await stack.stop()
    await asyncio.sleep(0)
    assert not (tmp_path / "state" / "stack.json").exists()


async def test_a_coordinator_that_dies_comes_back_at_its_address(make: Callable[..., Stack], events: Events) -> None:
    stack = make(embedded=True)
    await stack.start()
    os.kill((await events.next("coordinator", "ready")).pid, signal.SIGKILL)
    again = await events.next("coordinator", "ready", 2)
    assert again.url == stack.url


async def test_nats_that_dies_comes_back_at_its_address(make: Callable[..., Stack], events: Events) -> None:
    stack = make()
    await stack.start()
    os.kill((await events.next("nats-server", "ready")).pid, signal.SIGKILL)
    assert (await events.next("nats-server", "ready", 2)).url == stack.nats_url


async def test_an_embedded_stack_ends_with_its_coordinator(make: Callable[..., Stack], tmp_path: Path) -> None:
    stack = make(embedded=True)
    ready: asyncio.Future[Address] = asyncio.get_running_loop().create_future()

    async def leave_when_ready() -> None:
        await ask((await ready).url, "exit 0")

    with Lifetime() as lifetime:
        leaving = asyncio.create_task(leave_when_ready())
        async with asyncio.timeout(30):
            assert await serve(stack, lifetime, ready.set_result) == 0
        await leaving
        assert not lifetime.drain.is_set()
    assert not (tmp_path / "state" / "stack.json").exists()


async def test_in_the_foreground_a_coordinator_that_ends_is_started_again(
    make: Callable[..., Stack], events: Events
) -> None:
    stack = make(embedded=False)
    await stack.start()
    await ask(stack.url, "exit 0")
    await events.next("coordinator", "ready", 2)


async def test_a_drain_stops_all_also_in_the_middle_of_the_start(make: Callable[..., Stack], events: Events) -> None:
    stack = make(commands={"coordinator": [*FAKE, "--mute"]})
    with Lifetime() as lifetime:
        serving = asyncio.create_task(serve(stack, lifetime, lambda address: None))
        await events.next("coordinator", "started")
        lifetime.end("enough")
        assert await serving == 0
    assert {event.child for event in events.all if event.kind == "started"} == {
        event.child for event in events.all if event.kind == "stopped"
    }


@pytest.mark.parametrize("status", ["1", "2"])
async def test_a_coordinator_that_cannot_run_fails_the_start_with_its_reason(
    make: Callable[..., Stack], status: str
) -> None:
    stack = make(commands={"coordinator": [*FAKE, "--fail", status]})
    with pytest.raises(
        ChildExited, match=f"coordinator exited with status {status} before it was ready:\ncannot start: the reason"
    ):
        await stack.start()


async def test_the_reason_that_a_coordinator_gives_is_the_error(make: Callable[..., Stack], tmp_path: Path) -> None:
    stack = make(commands={"coordinator": [*FAKE, "--cannot", "the address is in use"]}, log_files=False)
    with pytest.raises(ChildExited, match=r"^coordinator cannot start: the address is in use$"):
        await stack.start()
    assert (tmp_path / "state" / "logs" / "nats-server.log").exists()  # and not on our stderr


async def test_a_coordinator_that_asks_for_it_is_tried_again(make: Callable[..., Stack], tmp_path: Path) -> None:
    """As one whose predecessor still drains and holds the journal."""
    marker = tmp_path / "tried"
    program = tmp_path / "second-time-lucky"
    program.write_text(f'#!/bin/sh\n[ -e {marker} ] || {{ touch {marker}; exit 75; }}\nexec {" ".join(FAKE)} "$@"\n')
    program.chmod(0o755)
    await make(commands={"coordinator": [str(program)]}).start()
    assert marker.exists()


async def test_a_provider_that_cannot_run_does_not_stop_the_others(make: Callable[..., Stack], events: Events) -> None:
    stack = make(commands={"python": [*FAKE, "--fail", "2"]})
    await stack.start()
    with pytest.raises(ChildExited, match="provider-python"):
        await stack.providers_ready()
    await events.next("provider-echo", "ready")


async def test_an_unknown_provider_is_named_before_anything_is_started(
    make: Callable[..., Stack], tmp_path: Path
) -> None:
    for name in ("ecko", "../echo", ""):
        with pytest.raises(ConfigurationError, match="built in are echo, python"):
            await make(providers=(name,)).start()
    assert not (tmp_path / "state").exists()


async def test_any_other_provider_is_a_program_on_the_path(tmp_path: Path, events: Events) -> None:
    program = tmp_path / "bin" / "gz-provider-mine"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(FAKE)} "$@"\n')
    program.chmod(0o755)
    environ = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    config = StackConfig(state=tmp_path / "state", providers=("mine",), log_files=True)
    stack = Stack(config, on_event=events.put, commands={"coordinator": FAKE}, environ=environ)
    await stack.start()
    await stack.providers_ready()
    await events.next("provider-mine", "ready")
    await stack.stop()


async def test_a_shared_nats_is_not_started_and_not_stopped(make: Callable[..., Stack], events: Events) -> None:
    stack = make(nats="nats://example.invalid:4222", cluster="shared")
    await stack.start()
    facts = await ask(stack.url, "args")
    assert option(facts, "--nats") == "nats://example.invalid:4222"
    assert option(facts, "--cluster") == "shared"
    await stack.stop()
    assert not [event for event in events.all if event.child == "nats-server"]


async def test_the_address_asked_for_is_the_address_used(make: Callable[..., Stack]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    stack = make(listen=f"127.0.0.1:{port}")
    await stack.start()
    assert stack.url == f"ws://127.0.0.1:{port}/"


async def test_what_guards_the_coordinator_is_passed_on_and_told_to_those_on_this_machine(
    make: Callable[..., Stack], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("secret\n")
    files = {"token_file": tmp_path / "token", "tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}
    stack = make(allow_env=("LANG", "TZ"), **files)
    address = await stack.start()
    assert (address.token, address.certificate) == ("secret", str(files["tls_cert"]))
    assert find_running(tmp_path / "state") == address
    assert (tmp_path / "state" / "stack.json").stat().st_mode & 0o077 == 0
    facts = await ask(stack.url, "args")
    assert option(facts, "--token-file") == str(files["token_file"])
    assert option(facts, "--tls-cert") == str(files["tls_cert"])
    assert option(facts, "--tls-key") == str(files["tls_key"])
    assert option(facts, "--allow-env") == "LANG,TZ"
    assert "secret" not in facts["argv"]


async def test_without_its_token_nothing_is_started(make: Callable[..., Stack], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="token"):
        await make(token_file=tmp_path / "none").start()
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("url", "from_here"),
    [
        ("wss://0.0.0.0:8765/", "wss://127.0.0.1:8765/"),
        ("wss://[::]:8765/", "wss://[::1]:8765/"),
        ("wss://192.0.2.1:8765/", "wss://192.0.2.1:8765/"),
        ("ws://127.0.0.1:8765/", "ws://127.0.0.1:8765/"),
    ],
)
def test_all_addresses_are_reached_at_the_one_that_stays_here(url: str, from_here: str) -> None:
    assert url_from_here(url) == from_here


async def test_a_coordinator_that_dies_again_is_back_while_others_still_wait_for_it(
    make: Callable[..., Stack], events: Events
) -> None:
    await make(factor=1e6).start()
    for number, delay_seconds in enumerate((0.001, 5.0), 1):
        os.kill((await events.next("coordinator", "ready", number)).pid, signal.SIGKILL)
        assert (await events.next("coordinator", "restarting", number)).delay_seconds == delay_seconds


async def test_kill_takes_all_down_at_once(make: Callable[..., Stack], events: Events) -> None:
    stack = make(commands={name: [*FAKE, "--stubborn"] for name in COMMANDS})
    await stack.start()
    await stack.providers_ready()
    stack.kill()
    assert await stack.wait() == -signal.SIGKILL
    async with asyncio.timeout(30):
        await stack.stop()
