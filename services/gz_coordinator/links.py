"""Connections to providers: who discovery says exists becomes who is known to work.

A link lasts as long as one provider process is believed alive. It connects, asks `rpc.discover`, reports ProviderReady,
and when the socket closes ProviderDown, and tries again until the process is known to be gone.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.discovery.base import ProviderChanged, ProviderLost, ProviderSeen, Report
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.core import COORDINATOR
from gleitzeit.process.restart import Backoff
from gleitzeit.schemas import MethodSchema
from gleitzeit.spec.urls import shown
from gleitzeit.transport import MESSAGE_TOO_BIG, PROTOCOL_ERROR, Connection, connect
from gleitzeit.transport.base import GOING_AWAY, Methods
from gz_coordinator.descriptions import Description, Registration, describe, methods_in
from gz_coordinator.lost_calls import close_when_calls_are_lost
from gz_coordinator.performer import TAKES_BLOBS

log = logging.getLogger("gz.coordinator.providers")

DISCOVER_TIMEOUT_SECONDS = 5.0
REFUSALS_UNTIL_GONE = 3
REDIAL = Backoff(first_seconds=0.05, factor=1.5, max_seconds=5.0, healthy_seconds=5.0)
"""A connection that did not last was no success, whatever was said by it: else who hangs up at once would be dialled
twenty times a second."""
COALESCE = 64
LEFT = "left"
"""In a connection's data: it is being closed so that our calls end."""
STRAY_SECONDS = 5.0
"""In which a provider has answered what nobody asked, and nothing else, though calls wait: it gets them wrong."""


class SameProcess(Exception):
    """The address leads to a provider that another link is connected to."""

    def __init__(self, link: "Link") -> None:
        super().__init__(f"it is connected already, by {shown(link.url)}")
        self.link = link


Status = Literal["connecting", "ready", "lost", "draining"]


class Link:
    def __init__(
        self, links: "Links", seen: ProviderSeen, registration: Registration | None = None, *, pause_seconds: float = 0
    ) -> None:
        """It begins with a pause of so many seconds."""
        self.name = seen.name
        self.url = seen.url
        self.instance = seen.instance
        self.registration = registration
        self.status: Status = "connecting"
        self.description: Description | None = None
        self.connection: Connection | None = None
        self.problem = ""
        """Why it is not ready."""
        self.same_as: Link | None = None
        """The link that has this provider already, by another spelling of its address."""
        self.asked = False
        """Somebody waits for its first connection, and does without it if that fails."""
        self._links = links
        self._pause_seconds = pause_seconds
        self._changed = self._closed = False
        self._stirred = asyncio.Event()
        """One of both has become true."""
        self.first = asyncio.get_running_loop().create_future()
        """Done when the first connection attempt has succeeded or failed."""

    async def run(self) -> None:
        """Until the provider is gone for good."""
        refusals = failures = 0
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._pause_seconds)
        while True:
            lasted = 0.0
            try:
                await self._connect()
            except (errors.GleitzeitError, TimeoutError, ValueError) as error:
                refusals = refusals + 1 if isinstance(error.__cause__, ConnectionRefusedError) else 0
                self.problem = str(error)
            except SameProcess as same:
                self.problem = str(same)
                self.same_as = same.link
                return
            else:
                refusals, began = 0, clock()
                await self._serve()
                lasted = clock() - began
            if not self.first.done():
                self.first.set_result(self.status == "ready" or not self.problem)
            if refusals == REFUSALS_UNTIL_GONE:
                self.report_down(gone=True)
                if self.registration is None:
                    return
            failures, pause_seconds = REDIAL.after(failures, lasted)
            await asyncio.sleep(pause_seconds)

    async def _connect(self) -> None:
        connection = await connect(
            self.url, on_notification=self._notified, open_timeout_seconds=DISCOVER_TIMEOUT_SECONDS
        )
        connection.data["link"] = self
        try:
            description = await self._greeted(connection)
        except (errors.GleitzeitError, TimeoutError, ValueError, SameProcess):
            await connection.close()
            raise
        except asyncio.CancelledError:
            self._links.close_soon(connection)
            raise
        if description.splits_batches:
            connection.coalesce = COALESCE
            connection.split_batches = True
        if description.instance != self.instance:
            self.report_down(gone=True)
            self._links.unlink(self)
            self._links.post(inp.ProviderSeen(description.instance))  # discovery need not say so any more
        self.name, self.instance, self.description = description.name, description.instance, description
        self.connection = connection
        connection.data[TAKES_BLOBS] = description.takes_blobs and self._links.blob_methods is not None
        self._closed = False
        connection.add_close_callback(lambda _: self._has_closed())

    async def _greeted(self, connection: Connection) -> Description:
        """Who is there is asked before we say who we are, where that may be a process that another link has: it closes
        what it had from us for what is newer. Raises as `check_new`."""
        if self.description is None and self._links.may_have(self):
            description = await self._describe(connection, as_us=False)
            self._links.check_new(self, description)
            if not description.durable_calls:
                return description
        description = await self._describe(connection)
        self._links.check_new(self, description)
        return description

    async def _describe(self, connection: Connection, *, as_us: bool = True) -> Description:
        meta: dict[str, Any] = {"batch": "split"}
        if as_us and (fence := self._links.fence()) is not None:
            meta["fence"] = fence
        if self._links.blob_methods is not None:
            meta["blobs"] = "v1"
        wish = {"_meta": meta}
        document: Any = {}
        try:
            document = await connection.call("rpc.discover", wish, timeout_seconds=DISCOVER_TIMEOUT_SECONDS)
        except (errors.RemoteError, errors.MethodNotFound, errors.InvalidParams, TimeoutError):
            if self.registration is None or not self.registration.methods:
                raise
        methods = await methods_in(document)
        return describe(document, methods, self.name, self.registration, self._links.next_instance)

    async def _serve(self) -> None:
        """Report ready, follow changes, return when the socket has closed."""
        self.status, self.problem = "ready", ""
        self._links.linked(self)
        if not self.first.done():
            self.first.set_result(True)
        beside = []
        if self.connection is not None and self.connection.data[TAKES_BLOBS]:
            beside.append(asyncio.create_task(self._serve_blobs(), name=f"blobs of {self.name}"))
        if self.connection is not None and self.description is not None and self.description.durable_calls:
            checking = close_when_calls_are_lost(self.connection, self._links.under_way)
            beside.append(asyncio.create_task(checking, name=f"lost calls of {self.name}"))
        try:
            await self._serve_until_closed()
        finally:
            for task in beside:
                task.cancel()

    async def _serve_blobs(self) -> None:
        """Large values go by a connection of their own, so that nothing small waits behind them. For ever."""
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._serve_blobs_once()
            except (errors.GleitzeitError, TimeoutError) as error:
                log.debug("%s takes no large values from us: %s", self.name, error)
            failures, pause_seconds = REDIAL.after(failures, asyncio.get_running_loop().time() - began)
            await asyncio.sleep(pause_seconds)

    async def _serve_blobs_once(self) -> None:
        connection = await connect(
            self.url, methods=self._links.blob_methods, open_timeout_seconds=DISCOVER_TIMEOUT_SECONDS
        )
        closed = asyncio.Event()
        connection.add_close_callback(partial(_set, closed))
        try:
            wish = {"_meta": {"fence": self._links.fence()}}
            await connection.call("blob.serve", wish, timeout_seconds=DISCOVER_TIMEOUT_SECONDS)
            await closed.wait()
        finally:
            await connection.close()

    async def _serve_until_closed(self) -> None:
        while not self._closed:
            before = self.connection
            answers, strays = (before.answers, before.unmatched) if before is not None else (0, 0)
            look = asyncio.get_running_loop().call_later(STRAY_SECONDS, self._stirred.set)
            await self._stirred.wait()
            look.cancel()
            self._stirred.clear()
            if before is not None and before.outstanding and before.answers == answers and before.unmatched > strays:
                await before.close(PROTOCOL_ERROR, "the answers have ids that nobody asked for")
            if self._changed and self.connection is not None and not self._closed:
                self._changed = False
                await self._refresh(self.connection)
        code, reason = _end_of(self.connection)
        log.info("lost the connection to provider %s (%s) %s", self.name, shown(self.url), reason)
        self.connection = None
        self.report_down(gone=self.is_foreign, reason=reason, too_large=code == MESSAGE_TOO_BIG)

    async def _refresh(self, connection: Connection) -> None:
        try:
            described = await self._describe(connection)
        except (errors.GleitzeitError, TimeoutError, ValueError) as error:
            log.warning("provider %s could not say what it serves now: %s", self.name, error)
        else:
            self.description = msgspec.structs.replace(described, instance=self.instance)
            self._links.linked(self)

    def changed(self) -> None:
        self._changed = True
        self._stirred.set()

    def _has_closed(self) -> None:
        self._closed = True
        self._stirred.set()

    def _notified(self, connection: Connection, method: str, params: Raw | None) -> None:
        if method == "notifications/methods/list_changed":
            self.changed()
        else:
            self._links.on_notification(method, params)

    @property
    def is_foreign(self) -> bool:
        """It keeps no table of calls: they end with its connection."""
        return self.description is not None and not self.description.durable_calls

    def report_down(self, *, gone: bool, reason: str = "", too_large: bool = False) -> None:
        self.status = "lost"
        self._links.post(inp.ProviderDown(self.instance, gone, reason, too_large))


class Links:
    """All providers. `post` takes what the engine has to know, `on_notification` what providers send out of band."""

    def __init__(
        self,
        owner: str,
        fence: Callable[[], dict[str, Any] | None],
        post: Callable[[inp.Input], None],
        on_methods: Callable[[str, Sequence[MethodSchema]], None],
        on_notification: Callable[[str, Raw | None], None],
        *,
        blob_methods: Methods | None = None,
    ) -> None:
        """`blob_methods` are for providers that fetch and bring large values, each by a second connection."""
        self.blob_methods = blob_methods
        self._owner = owner
        self.under_way: Callable[[Connection], Iterable[str]] = lambda connection: ()
        """The ids of calls that wait for their answer on a connection."""
        self.end_calls: Callable[[Connection, str], None] = lambda connection, reason: None
        """Tells a provider that no call on a connection is wanted any more."""
        self.fence = fence
        """With which a provider is greeted, if we hold anything."""
        self.post = post
        self.on_notification = on_notification
        self._on_methods = on_methods
        self._links: dict[str, Link] = {}
        """By url."""
        self._by_instance: dict[str, Link] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

    def next_instance(self, name: str) -> str:
        """For a provider that has no name for its own start: one a connection."""
        return f"{name}-{self._owner}-{next(self._numbers)}"

    def knows(self, url: str) -> bool:
        return url in self._links

    def connection(self, instance: str) -> Connection | None:
        link = self._by_instance.get(instance)
        return link.connection if link is not None and link.instance == instance else None

    def report(self, report: Report) -> None:
        """What discovery says."""
        match report:
            case ProviderSeen():
                self._seen(report)
            case ProviderChanged(instance=instance):
                if (link := self._by_instance.get(instance)) is not None:
                    link.changed()
            case ProviderLost(instance=instance, withdrawn=True):
                link = self._by_instance.get(instance)
                if link is not None and link.connection is not None:
                    link.status = "draining"
                    self.post(inp.ProviderDraining(instance))

    def _seen(self, seen: ProviderSeen) -> None:
        known = self._links.get(seen.url)
        if known is not None and (known.instance == seen.instance or known.connection is not None):
            return
        if known is not None:
            self._drop(known)
            self.post(inp.ProviderDown(known.instance, gone=True))
        self.post(inp.ProviderSeen(seen.instance))
        self._start(Link(self, seen, known.registration if known is not None else None))

    async def register(self, registration: Registration) -> Link:
        """Connect to a provider that does not speak NATS, and keep it. Raises ProviderNotFound if that fails."""
        known = self._links.get(registration.url)
        if known is not None:
            known.problem = known.problem or "it was registered anew meanwhile"
            self._drop(known)
            self.post(inp.ProviderDown(known.instance, gone=known.is_foreign))
        link = self._registered(registration, known.instance if known is not None else "")
        link.asked = True
        await link.first
        while link.status != "ready" and (other := self._links.get(link.url)) is not None and other is not link:
            if other.registration is not registration:
                break
            link = other  # discovery has said meanwhile who is there
            await link.first
        if link.same_as is not None:
            return link.same_as
        if link.status != "ready":
            if self._links.get(link.url) is link:
                self._drop(link)
                if known is not None:  # it goes on trying as before
                    self._start(Link(self, ProviderSeen(known.name, known.instance, known.url), known.registration))
            raise errors.ProviderNotFound(f"no provider answers: {link.problem}", {"url": shown(registration.url)})
        return link

    def may_have(self, link: Link) -> bool:
        """Whether another link may have its process: of one that was registered nobody knows before it is asked."""
        other = self._by_instance.get(link.instance)
        return link.registration is not None or (other is not None and other is not link)

    def check_new(self, link: Link, description: Description) -> None:
        """Raises SameProcess for a process that another link is connected to: with two links each would close the
        other's socket, again and again. Raises ValueError for a name that is not free."""
        if description.instance == COORDINATOR:
            raise ValueError(f"no provider may call its instance {COORDINATOR!r}")
        other = self._by_instance.get(description.instance)
        if other is not None and other is not link and other.connection is not None:
            raise SameProcess(other)

    def restore(self, registration: Registration) -> None:
        """Take up a registration from the journal; it is tried for ever. Where there is one, it is changed."""
        known = self._links.get(registration.url)
        if known is not None:
            if known.registration != registration:
                known.registration = registration
                known.changed()
            return
        self._registered(registration)

    def _registered(self, registration: Registration, instance: str = "") -> Link:
        """`instance` is the one that was there before, if any: who is there now, the first connection tells."""
        name = registration.name or shown(registration.url)
        link = Link(self, ProviderSeen(name, instance or self.next_instance(name), registration.url), registration)
        self._start(link)
        return link

    def _start(self, link: Link) -> None:
        self._links[link.url] = link
        task = asyncio.get_running_loop().create_task(link.run())
        self._tasks[link.url] = task
        task.add_done_callback(lambda done: self._ended(link, done))

    def _ended(self, link: Link, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        is_known = self._links.get(link.url) is link
        if is_known:
            self._drop(link)
        if error is not None:  # a mistake of ours, which is no reason to forget who is there
            log.error("the link to %s broke", shown(link.url), exc_info=error)
            link.report_down(gone=link.is_foreign, reason="the link to it broke")
            if is_known and (link.first.done() or not link.asked):
                seen = ProviderSeen(link.name, link.instance, link.url)
                self._start(Link(self, seen, link.registration, pause_seconds=REDIAL.max_seconds))
        if not link.first.done():
            link.first.set_result(False)

    def _drop(self, link: Link) -> None:
        self._links.pop(link.url, None)
        self.unlink(link)
        task = self._tasks.pop(link.url, None)
        if task is not None:
            task.cancel()
        if link.connection is not None:
            self.close_soon(link.connection)

    def unlink(self, link: Link) -> None:
        """It is not the link of its instance, or will not be."""
        if self._by_instance.get(link.instance) is link:
            del self._by_instance[link.instance]

    def linked(self, link: Link) -> None:
        description = link.description
        assert description is not None
        self._by_instance[link.instance] = link
        self._on_methods(description.name, description.methods)
        self.post(
            inp.ProviderReady(
                description.name,
                description.instance,
                frozenset(name for method in description.methods for name in (method.name, *method.aliases)),
                description.capacity,
                description.models,
                "" if description.durable_calls else link.url,
            )
        )

    def leave_foreign(self, reason: str) -> bool:
        """End our calls at providers that keep no table of them: say so, and close the connections, which is what ends
        them if the provider knows no such word. Whether there were any connections."""
        connections = [link.connection for link in self if link.is_foreign and link.connection is not None]
        for connection in connections:
            if not connection.data.get(LEFT):
                connection.data[LEFT] = True
                self.end_calls(connection, reason)
                self.close_soon(connection, GOING_AWAY, reason)
        return bool(connections)

    def close_soon(self, connection: Connection, code: int = 1000, reason: str = "") -> None:
        closing = asyncio.ensure_future(connection.close(code, reason))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for link in self:
            self._drop(link)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._closing, return_exceptions=True)


def _end_of(connection: Connection | None) -> tuple[int | None, str]:
    """The code, and why for people."""
    if connection is None:
        return None, ""
    return connection.close_code, connection.close_reason


def _set(event: asyncio.Event, _: Connection) -> None:
    event.set()
