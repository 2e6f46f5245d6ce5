"""Discovery by NATS: providers are micro services (`nats micro ls` lists them) and announce themselves on our subject.

    gleitzeit.<cluster>.announce   {name, instance, url, protocols, again?}   at start and after each reconnect
    gleitzeit.<cluster>.changed    {instance}
    gleitzeit.<cluster>.withdraw   {instance}
    $SRV.INFO                      asked by directories at start, after each reconnect, and once in a while

The cluster is part of our subjects and of each service's metadata, so two stacks on one NATS never see each other.
Neither side ever gives NATS up: what starts before it, or outlives its restart, is connected half a second after it.

Importing this module costs about 70 ms, all of it nats-py: processes import it after their own socket listens.
"""

import asyncio
import contextlib
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from gleitzeit.discovery.base import ProviderChanged, ProviderLost, ProviderSeen, Report
from gleitzeit.discovery.nats_library import Client, Msg, Request, Service, ServiceConfig, add_service, with_websockets
from gleitzeit.discovery.nats_library import errors as nats_errors
from gleitzeit.errors import ConfigurationError
from gleitzeit.spec.urls import ESCAPES, is_address, shown

ROUND_SECONDS = 10.0  # between two questions to everybody
RETRY_SECONDS = 0.5  # between two attempts to reach NATS
GOODBYE_SECONDS = 1.0  # for a NATS that is there and does not answer
WITHDRAWN_REMEMBERED = 1000
MISSED_ROUNDS = 3  # unanswered questions after which a provider counts as lost

_CANCEL_AGAIN_SECONDS = 0.2
_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ANNOUNCE, _CHANGED, _WITHDRAW = "announce", "changed", "withdraw"
_INFO = "$SRV.INFO"
_T = TypeVar("_T")


class _Metadata(Struct):
    """What a micro service of ours says about itself. NATS wants strings: `protocols` is separated by commas."""

    cluster: str
    url: str
    instance: str
    protocols: str = ""
    name: str = ""


class _Service(Struct):
    """The part of an `$SRV.INFO` answer that we read."""

    name: str
    metadata: _Metadata


class _Announcement(Struct, omit_defaults=True):
    """A ProviderSeen; `again` after an outage, in which changes may have gone unheard."""

    name: str
    instance: str
    url: str
    protocols: tuple[str, ...] = ()
    again: bool = False


class _Instance(Struct):
    instance: str


class _Link:
    """One connection to NATS that is never given up.

    `on_connected(client, fresh)` is awaited after each connect: with `fresh` when subscriptions are to be made, without
    when the client has restored them. nats-py closes a client for good on some server errors (a refused login, a
    protocol error): then a new client is made.
    """

    def __init__(
        self, url: str, name: str, retry_seconds: float, on_connected: Callable[[Client, bool], Awaitable[None]]
    ) -> None:
        self._url = url
        self._name = name
        self._retry_seconds = retry_seconds
        self._on_connected = on_connected
        self._task: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._greeted = False
        self._complained = False

    @property
    def client(self) -> Client | None:
        """None unless there is a connection at this moment."""
        return self._client if self._client is not None and self._client.is_connected else None

    @property
    def ready(self) -> bool:
        """Connected, and all subscriptions are made."""
        return self._greeted and self.client is not None

    def open(self) -> None:
        """Start to connect, and return at once."""
        self._task = asyncio.create_task(self._run(), name=f"nats link {self._name}")

    async def close(self) -> None:
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()  # again and again: nats-py swallows a cancellation that meets it while it flushes
            await asyncio.wait({task}, timeout=_CANCEL_AGAIN_SECONDS)

    async def _run(self) -> None:
        while True:
            closed = asyncio.Event()
            self._client = client = Client()
            try:
                await self._connect(client, closed)
                await self._greet(client, fresh=True)
                self._greeted = True
                await closed.wait()
            except (OSError, TimeoutError, nats_errors.Error) as error:
                self._complain(error)
            finally:
                self._greeted = False
                await _close(client)
            await asyncio.sleep(self._retry_seconds)

    async def _connect(self, client: Client, closed: asyncio.Event) -> None:
        async def on_error(error: Exception) -> None:
            self._complain(error)

        async def on_disconnected() -> None:
            if self._task is not None:
                _log.warning("lost the connection to NATS at %s", shown(self._url))

        async def on_reconnected() -> None:
            await self._greet(client, fresh=False)

        async def on_closed() -> None:
            closed.set()

        if urlsplit(self._url).scheme in ("ws", "wss"):
            with_websockets()
        retry_seconds: Any = self._retry_seconds  # annotated as int there; a fraction is slept just as well
        await client.connect(
            self._url,
            name=self._name,
            error_cb=on_error,
            disconnected_cb=on_disconnected,
            reconnected_cb=on_reconnected,
            closed_cb=on_closed,
            max_reconnect_attempts=-1,
            reconnect_time_wait=retry_seconds,
        )

    async def _greet(self, client: Client, *, fresh: bool) -> None:
        self._complained = False
        _log.info("connected to NATS at %s", shown(self._url))
        await self._on_connected(client, fresh)

    def _complain(self, error: Exception) -> None:
        """The first failure of an outage is a warning, the attempts that follow are details."""
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        _log.log(level, "NATS at %s: %s", shown(self._url), error or type(error).__name__)


class NatsDirectory:
    """The coordinator's side."""

    def __init__(
        self, url: str, cluster: str, *, round_seconds: float = ROUND_SECONDS, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._cluster = _checked(url, cluster)
        self._round_seconds = round_seconds
        self._link = _Link(url, f"gleitzeit-coordinator-{cluster}", retry_seconds, self._connected)
        self._rounds: asyncio.Task[None] | None = None
        self._inbox = ""
        self._providers: dict[str, ProviderSeen] = {}
        self._missed: dict[str, int] = {}
        self._unheard: set[str] = set()  # known from before an outage of ours: what they told meanwhile we have missed
        # An instance never comes back from its goodbye. Remembered, because an answer to a question from before may be
        # handled after it: each subscription has a queue of its own.
        self._withdrawn: deque[str] = deque(maxlen=WITHDRAWN_REMEMBERED)
        self._report: Callable[[Report], None] = _ignore

    async def watch(self, report: Callable[[Report], None]) -> None:
        self._report = report
        self._link.open()
        self._rounds = asyncio.create_task(self._ask_for_ever(), name="discovery rounds")

    @property
    def connected(self) -> bool:
        return self._link.ready

    async def close(self) -> None:
        self._report = _ignore
        if self._rounds is not None:
            self._rounds.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rounds
            self._rounds = None
        await self._link.close()

    async def _connected(self, client: Client, fresh: bool) -> None:
        self._unheard.update(self._providers)
        if fresh:
            prefix = f"gleitzeit.{self._cluster}"
            self._inbox = client.new_inbox()
            await client.subscribe(f"{prefix}.{_ANNOUNCE}", cb=self._on_announce)
            await client.subscribe(f"{prefix}.{_CHANGED}", cb=self._on_changed)
            await client.subscribe(f"{prefix}.{_WITHDRAW}", cb=self._on_withdraw)
            await client.subscribe(self._inbox, cb=self._on_info)
            await _flush(client)
        await client.publish(_INFO, reply=self._inbox)

    async def _ask_for_ever(self) -> None:
        """Whoever misses several rounds in a row is lost. Time without a connection counts for nobody's absence."""
        while True:
            await asyncio.sleep(self._round_seconds)
            client = self._link.client
            if client is None:
                continue
            for instance in [i for i, missed in self._missed.items() if missed >= MISSED_ROUNDS]:
                self._lose(instance, f"did not answer {MISSED_ROUNDS} times", withdrawn=False)
            for instance in self._missed:
                self._missed[instance] += 1
            with contextlib.suppress(nats_errors.Error):  # the connection went in this moment; its return asks again
                await client.publish(_INFO, reply=self._inbox)

    async def _on_announce(self, message: Msg) -> None:
        said = _decoded(message, _Announcement)
        if said is not None:
            if said.again:
                self._unheard.add(said.instance)
            self._see(ProviderSeen(said.name, said.instance, said.url, said.protocols))

    async def _on_info(self, message: Msg) -> None:
        """An answer to `$SRV.INFO`: from a provider of ours, of another cluster, or from a stranger's service."""
        try:
            service = msgspec.json.decode(message.data, type=_Service)
        except msgspec.DecodeError:  # covers ValidationError: no service of ours, or "nobody is there"
            return
        metadata = service.metadata
        if metadata.cluster == self._cluster:
            protocols = tuple(metadata.protocols.split(",")) if metadata.protocols else ()
            self._see(ProviderSeen(metadata.name or service.name, metadata.instance, metadata.url, protocols))

    async def _on_changed(self, message: Msg) -> None:
        changed = _decoded(message, _Instance)
        if changed is not None and changed.instance in self._providers:
            self._report(ProviderChanged(changed.instance))

    async def _on_withdraw(self, message: Msg) -> None:
        withdrawn = _decoded(message, _Instance)
        if withdrawn is not None:
            self._withdrawn.append(withdrawn.instance)
            self._lose(withdrawn.instance, "withdrawn", withdrawn=True)

    def _see(self, seen: ProviderSeen) -> None:
        if seen.instance in self._withdrawn:
            return
        self._missed[seen.instance] = 0
        if self._providers.get(seen.instance) != seen:
            self._providers[seen.instance] = seen
            self._report(seen)
        elif seen.instance in self._unheard:
            self._report(ProviderChanged(seen.instance))
        self._unheard.discard(seen.instance)

    def _lose(self, instance: str, reason: str, *, withdrawn: bool) -> None:
        self._missed.pop(instance, None)
        if self._providers.pop(instance, None) is not None:
            self._report(ProviderLost(instance, reason, withdrawn))


class NatsAnnouncer:
    """The provider's side."""

    def __init__(self, url: str, cluster: str, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._url = url
        self._cluster = _checked(url, cluster)
        self._retry_seconds = retry_seconds
        self._link: _Link | None = None
        self._service: Service | None = None
        self._provider = ProviderSeen("", "", "")
        self._announced = False
        self._on_stats: Callable[[], dict[str, object]] = dict

    async def announce(self, provider: ProviderSeen, on_stats: Callable[[], dict[str, object]]) -> None:
        if _NAME.fullmatch(provider.instance) is None:
            raise ConfigurationError(f"an instance is made of letters, digits, - and _, not {provider.instance!r}")
        self._provider = provider
        self._on_stats = on_stats
        self._link = _Link(self._url, f"gleitzeit-provider-{provider.name}", self._retry_seconds, self._connected)
        self._link.open()

    @property
    def connected(self) -> bool:
        return self._link is not None and self._link.ready

    async def changed(self) -> None:
        """Without a connection nothing need be said: who hears an announcement anew reads everything again."""
        await self._say(_CHANGED, msgspec.json.encode(_Instance(self._provider.instance)))

    async def withdraw(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._unregister()  # first: nobody is to find it once it has said goodbye
                await self._say(_WITHDRAW, msgspec.json.encode(_Instance(self._provider.instance)))
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _connected(self, client: Client, fresh: bool) -> None:
        if fresh:
            await self._register(client)
            await _flush(client)  # first reachable, then announced: whoever misses the word finds the service
        seen = self._provider
        said = _Announcement(seen.name, seen.instance, seen.url, seen.protocols, again=self._announced)
        self._announced = True
        await client.publish(f"gleitzeit.{self._cluster}.{_ANNOUNCE}", msgspec.json.encode(said))

    async def _register(self, client: Client) -> None:
        provider = self._provider
        protocols = ",".join(provider.protocols)
        metadata = _Metadata(self._cluster, provider.url, provider.instance, protocols, provider.name)
        self._service = service = await add_service(
            client,
            ServiceConfig(
                name=re.sub(r"[^A-Za-z0-9_-]", "-", provider.name),
                version="1.0.0",
                description="a Gleitzeit provider; its methods are described by rpc.discover at its url",
                metadata=msgspec.to_builtins(metadata),
                stats_handler=lambda endpoint: self._on_stats(),
            ),
        )
        # NATS shows statistics by endpoint, so there is one: it says where the provider is.
        subject = f"gleitzeit.{self._cluster}.provider.{provider.instance}"
        await service.add_endpoint(name="where", subject=subject, handler=self._where)

    async def _unregister(self) -> None:
        service, self._service = self._service, None
        if service is not None and self._link is not None and self._link.client is not None:
            with contextlib.suppress(nats_errors.Error, OSError):
                await service.stop()

    async def _where(self, request: Request) -> None:
        await request.respond(msgspec.json.encode(self._provider))

    async def _say(self, what: str, payload: bytes) -> None:
        client = self._link.client if self._link is not None else None
        if client is not None:
            with contextlib.suppress(nats_errors.Error, OSError):
                await client.publish(f"gleitzeit.{self._cluster}.{what}", payload)
                await _flush(client)


def _checked(url: str, cluster: str) -> str:
    if not is_address(url, ("nats", "tls", "ws", "wss")):
        raise ConfigurationError(
            f"not the URL of a NATS server: {shown(url)!r}; expected nats://HOST:PORT, and {ESCAPES}"
        )
    if _NAME.fullmatch(cluster) is None:
        raise ConfigurationError(f"a cluster is made of letters, digits, - and _, not {cluster!r}")
    return cluster


def _decoded(message: Msg, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(message.data, type=kind)
    except msgspec.DecodeError as error:
        _log.warning("ignored what came on %s: %s", message.subject, error)
        return None


def _ignore(report: Report) -> None:
    """Where reports go while nobody watches."""


async def _flush(client: Client) -> None:
    """Twice, because flush() sends its PING before what is still pending: only the second answer covers it all."""
    await client.flush()
    await client.flush()


async def _close(client: Client) -> None:
    with contextlib.suppress(OSError, TimeoutError, nats_errors.Error):
        await client.close()
