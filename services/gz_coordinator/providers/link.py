"""A connection with one provider: who is said to exist becomes who is known to work.

A link lasts as long as one provider process is believed alive. It connects, asks `rpc.discover`, reports ProviderReady,
and when the socket closes ProviderDown, and tries again until the process is known to be gone.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.discovery.base import ProviderSeen
from gleitzeit.engine import inputs as inp
from gleitzeit.process.restart import Backoff
from gleitzeit.spec.urls import shown
from gleitzeit.transport import MESSAGE_TOO_BIG, PROTOCOL_ERROR, Connection, connect
from gleitzeit.transport.base import Methods
from gz_coordinator.performer import TAKES_BLOBS
from gz_coordinator.providers.descriptions import Description, Registration, describe, methods_in
from gz_coordinator.providers.lost_calls import close_when_calls_are_lost

log = logging.getLogger("gz.coordinator.providers")

DISCOVER_TIMEOUT_SECONDS = 5.0
REFUSALS_UNTIL_GONE = 3
REDIAL = Backoff(first_seconds=0.05, factor=1.5, max_seconds=5.0, healthy_seconds=5.0)
"""A connection that did not last was no success, whatever was said by it: else who hangs up at once would be dialled
twenty times a second."""
COALESCE = 64
STRAY_SECONDS = 5.0
"""In which a provider has answered what nobody asked, and nothing else, though calls wait: it gets them wrong."""


class SameProcess(Exception):
    """The address leads to a provider that another link is connected to."""

    def __init__(self, link: "Link") -> None:
        super().__init__(f"it is connected already, by {shown(link.url)}")
        self.link = link


Status = Literal["connecting", "ready", "lost", "draining"]


@dataclass
class Ties:
    """What every link has to do with the rest of the coordinator."""

    post: Callable[[inp.Input], None]
    """Takes what the engine has to know."""
    fence: Callable[[], dict[str, Any] | None]
    """With which a provider is greeted, if we hold anything."""
    on_notification: Callable[[str, Raw | None], None]
    """Takes what providers send out of band."""
    blob_methods: Methods | None
    """For providers that fetch and bring large values, each by a second connection."""
    next_instance: Callable[[str], str]
    """For a provider that has no name for its own start: one a connection."""
    under_way: Callable[[Connection], Iterable[str]] = lambda connection: ()
    """The ids of calls that wait for their answer on a connection."""


class Table(Protocol):
    """The port to the links beside this one."""

    def may_have(self, link: "Link") -> bool:
        """Whether another link may have its process."""

    def check_new(self, link: "Link", description: Description) -> None:
        """Raises SameProcess for a process that another link is connected to, ValueError for a name that is not
        free."""

    def linked(self, link: "Link") -> None:
        """It has a description now, or another one."""

    def unlink(self, link: "Link") -> None:
        """It is not the link of its instance, or will not be."""

    def close_soon(self, connection: Connection) -> None: ...


class Link:
    def __init__(
        self,
        table: Table,
        ties: Ties,
        seen: ProviderSeen,
        registration: Registration | None,
        pause_seconds: float,
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
        self._table = table
        self._ties = ties
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
            self._table.close_soon(connection)
            raise
        if description.splits_batches:
            connection.coalesce = COALESCE
            connection.split_batches = True
        if description.instance != self.instance:
            self.report_down(gone=True)
            self._table.unlink(self)
            self._ties.post(inp.ProviderSeen(description.instance))  # discovery need not say so any more
        self.name, self.instance, self.description = description.name, description.instance, description
        self.connection = connection
        connection.data[TAKES_BLOBS] = description.takes_blobs and self._ties.blob_methods is not None
        self._closed = False
        connection.add_close_callback(lambda _: self._has_closed())

    async def _greeted(self, connection: Connection) -> Description:
        """Who is there is asked before we say who we are, where that may be a process that another link has: it closes
        what it had from us for what is newer. Raises as `check_new`."""
        if self.description is None and self._table.may_have(self):
            description = await self._describe(connection, as_us=False)
            self._table.check_new(self, description)
            if not description.durable_calls:
                return description
        description = await self._describe(connection)
        self._table.check_new(self, description)
        return description

    async def _describe(self, connection: Connection, *, as_us: bool = True) -> Description:
        meta: dict[str, Any] = {"batch": "split"}
        if as_us and (fence := self._ties.fence()) is not None:
            meta["fence"] = fence
        if self._ties.blob_methods is not None:
            meta["blobs"] = "v1"
        wish = {"_meta": meta}
        document: Any = {}
        try:
            document = await connection.call("rpc.discover", wish, timeout_seconds=DISCOVER_TIMEOUT_SECONDS)
        except (errors.RemoteError, errors.MethodNotFound, errors.InvalidParams, TimeoutError):
            if self.registration is None or not self.registration.methods:
                raise
        methods = await methods_in(document)
        return describe(document, methods, self.name, self.registration, self._ties.next_instance)

    async def _serve(self) -> None:
        """Report ready, follow changes, return when the socket has closed."""
        self.status, self.problem = "ready", ""
        self._table.linked(self)
        if not self.first.done():
            self.first.set_result(True)
        beside = []
        if self.connection is not None and self.connection.data[TAKES_BLOBS]:
            beside.append(asyncio.create_task(self._serve_blobs(), name=f"blobs of {self.name}"))
        if self.connection is not None and self.description is not None and self.description.durable_calls:
            checking = close_when_calls_are_lost(self.connection, self._ties.under_way)
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
            self.url, methods=self._ties.blob_methods, open_timeout_seconds=DISCOVER_TIMEOUT_SECONDS
        )
        closed = asyncio.Event()
        connection.add_close_callback(partial(_set, closed))
        try:
            wish = {"_meta": {"fence": self._ties.fence()}}
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
            self._table.linked(self)

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
            self._ties.on_notification(method, params)

    @property
    def is_foreign(self) -> bool:
        """It keeps no table of calls: they end with its connection."""
        return self.description is not None and not self.description.durable_calls

    def report_down(self, *, gone: bool, reason: str = "", too_large: bool = False) -> None:
        self.status = "lost"
        self._ties.post(inp.ProviderDown(self.instance, gone, reason, too_large))


def _end_of(connection: Connection | None) -> tuple[int | None, str]:
    """The code, and why for people."""
    if connection is None:
        return None, ""
    return connection.close_code, connection.close_reason


def _set(event: asyncio.Event, _: Connection) -> None:
    event.set()
