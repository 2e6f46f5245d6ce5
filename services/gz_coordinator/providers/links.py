"""The table of providers: whom discovery or a registration names, and the link that each of them has."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Raw

from gleitzeit import errors
from gleitzeit.discovery.base import ProviderChanged, ProviderLost, ProviderSeen, Report
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import COORDINATOR
from gleitzeit.schemas import MethodSchema
from gleitzeit.spec.urls import shown
from gleitzeit.transport import Connection
from gleitzeit.transport.base import GOING_AWAY, Methods
from gz_coordinator.providers.descriptions import Description, Registration
from gz_coordinator.providers.link import REDIAL, Link, SameProcess, Ties

log = logging.getLogger("gz.coordinator.providers")

LEFT = "left"
"""In a connection's data: it is being closed so that our calls end."""


class Links:
    """All providers. For what it is given see `Ties`; `on_methods` takes the methods of each that is ready."""

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
        self.ties = Ties(post, fence, on_notification, blob_methods, self._next_instance)
        self._owner = owner
        self.end_calls: Callable[[Connection, str], None] = lambda connection, reason: None
        """Tells a provider that no call on a connection is wanted any more."""
        self._post = post
        self._on_methods = on_methods
        self._links: dict[str, Link] = {}
        """By url."""
        self._by_instance: dict[str, Link] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

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
                    self._post(inp.ProviderDraining(instance))

    def _seen(self, seen: ProviderSeen) -> None:
        known = self._links.get(seen.url)
        if known is not None and (known.instance == seen.instance or known.connection is not None):
            return
        if known is not None:
            self._drop(known)
            self._post(inp.ProviderDown(known.instance, gone=True))
        self._post(inp.ProviderSeen(seen.instance))
        self._start(self._new(seen, known.registration if known is not None else None))

    async def register(self, registration: Registration) -> Link:
        """Connect to a provider that does not speak NATS, and keep it. Raises ProviderNotFound if that fails."""
        known = self._links.get(registration.url)
        if known is not None:
            known.problem = known.problem or "it was registered anew meanwhile"
            self._drop(known)
            self._post(inp.ProviderDown(known.instance, gone=known.is_foreign))
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
                    self._start(self._new(ProviderSeen(known.name, known.instance, known.url), known.registration))
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
        link = self._new(ProviderSeen(name, instance or self._next_instance(name), registration.url), registration)
        self._start(link)
        return link

    def _next_instance(self, name: str) -> str:
        return f"{name}-{self._owner}-{next(self._numbers)}"

    def _new(self, seen: ProviderSeen, registration: Registration | None, pause_seconds: float = 0) -> Link:
        return Link(self, self.ties, seen, registration, pause_seconds)

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
                self._start(self._new(seen, link.registration, REDIAL.max_seconds))
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
        self._post(
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
