"""One socket to a coordinator, opened when it is first needed, and again when it was lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any, Self, TypeVar
from uuid import uuid4

from msgspec import Raw

from gleitzeit.client.blobs import BlobChannel
from gleitzeit.client.connecting import SILENCE_SECONDS, OnWaiting, Place, gone, open_place, open_reach
from gleitzeit.client.schedules import Schedules
from gleitzeit.client.subscription import Subscription
from gleitzeit.client.templates import Templates
from gleitzeit.client.views import id_of, understood
from gleitzeit.client.watch import decode
from gleitzeit.errors import ConnectionLost, MethodNotFound
from gleitzeit.process.reach import Reach
from gleitzeit.process.restart import Backoff
from gleitzeit.spec.urls import shown
from gleitzeit.transport import Connection

View = TypeVar("View")
Find = Callable[[], Awaitable[Reach]]

RECONNECT_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between attempts to reach the coordinator again; the last one repeats."""
HUNG_UP_ON = Backoff(first_seconds=0.05, max_seconds=1.0, healthy_seconds=1.0)
"""Who is let in and hung up on at once waits, too, as where a proxy answers and nobody is behind it."""
PATIENCE_SECONDS = 60.0
"""How long we try to reach a coordinator that went away."""
PATIENT_SECONDS = 5.0
"""After them somebody is told that there is no answer yet."""
SENT_AGAIN = 3
"""So often, when the answer is lost."""
SUCCESSOR_SECONDS = 2.0
"""For another stack to take the place of one that has died."""


class Session:
    """Calls may run side by side. A call raises ConnectionLost if the socket closes before the answer: it is unknown
    then whether it was carried out. The next call connects again."""

    def __init__(self, place: Place | None, find: Find | None = None) -> None:
        """Without a place it is looked for with `find`, each time that nobody answers at the one that was known."""
        self._place = place
        self._find = find
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._opened_at = self._hung_up_since = 0.0
        self._hung_up = 0
        """So many connections in a row, of which at most the first one lasted, have been lost; …"""
        self._pause_seconds = 0.0
        """… before the next one."""
        self._closed = False
        self._subscriptions: dict[str, Subscription] = {}
        self.on_waiting: OnWaiting = lambda words: None
        """Told when something waits for a coordinator that has gone."""
        self.templates = Templates(self.call)
        self.blobs = BlobChannel(self._open_second)
        self.schedules = Schedules(self.call, self._call_once, self._call_again)

    @property
    def url(self) -> str:
        """Of the coordinator; "" as long as none was looked for."""
        return self._place.url if self._place is not None else ""

    async def __aenter__(self) -> Self:
        self._require_open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Workflows go on without us. Watchers get ConnectionLost, later calls a RuntimeError. Idempotent."""
        self._closed = True
        await self.blobs.close()
        if self._connection is not None:
            await self._connection.close()

    async def call(self, method: str, params: object = None, *, timeout_seconds: float | None = None) -> Any:
        """Call any method of the coordinator; the decoded result. Raises TimeoutError after `timeout_seconds`."""
        connection = await self._connected()
        try:
            with self._patient(method):
                return await connection.call(method, params, timeout_seconds=timeout_seconds)
        except MethodNotFound as error:
            if "/" not in method:
                raise
            raise MethodNotFound(f"{error.message}: methods with a '/' are for tasks, as of `run_task`") from None

    async def _call_once(self, method: str, params: Mapping[str, Any], idempotency_key: str | None) -> Any:
        """A call that its key makes one that counts once. Raises as `_call_again`."""
        return await self._call_again(method, {**params, "idempotency_key": idempotency_key or uuid4().hex})

    async def _call_again(self, method: str, asked: Mapping[str, Any]) -> Any:
        """A call that counts once however often it is sent: when the answer is lost it is sent again. What is None is
        not given. Raises ConnectionLost if the coordinator stays away."""
        asked = _given(asked)
        for _ in range(SENT_AGAIN):
            connection = await self._connected()
            try:
                return await connection.call(method, asked)
            except ConnectionLost:
                await self._come_back()
        return await self.call(method, asked)

    async def patiently(self, read: Callable[[], Awaitable[View]]) -> View:
        """The answer to what only reads, also if the coordinator has gone and comes back. Raises ConnectionLost if it
        stays away."""
        while True:
            try:
                return await read()
            except ConnectionLost:
                await self._come_back()

    async def _come_back(self) -> None:
        if self._closed:
            raise ConnectionLost("the client is closed")
        telling = asyncio.get_running_loop().call_later(SILENCE_SECONDS, self.on_waiting, gone(self.url))
        try:
            await self._reconnect(PATIENCE_SECONDS)
        finally:
            telling.cancel()

    async def _view(self, cls: type[View], method: str, /, **params: object) -> View:
        connection = await self._connected()
        with self._patient(method):
            answer = await connection.call_raw(method, _given(params))
        return understood(answer, cls)

    @contextmanager
    def _patient(self, method: str) -> Iterator[None]:
        """Who waits for long is told for what."""
        words = f"the coordinator at {shown(self.url)} has not answered {method} yet"
        telling = asyncio.get_running_loop().call_later(PATIENT_SECONDS, self.on_waiting, words)
        try:
            yield
        finally:
            telling.cancel()

    async def _connected(self) -> Connection:
        """Raises RuntimeError if this client was closed, be it while it connects."""
        self._require_open()
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                self._connection = await self._kept(await self._open())
                self._opened_at = asyncio.get_running_loop().time()
                self._connection.add_close_callback(self._lost)
            return self._connection

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    async def _kept(self, opened: Connection) -> Connection:
        if self._closed:
            await opened.close()
        self._require_open()
        return opened

    async def _open_second(self) -> Connection:
        """For what is large: nothing small has to wait behind it."""
        await self._connected()
        assert self._place is not None, "who is connected knows where"
        return await self._kept(await open_place(self._place, None))

    async def _open(self) -> Connection:
        if self._place is None:
            assert self._find is not None, "a session has a place, or somebody who finds one"
            self._place, connection = await open_reach(await self._find(), self._notified, self.on_waiting)
            return connection
        try:
            return await open_place(self._place, self._notified)
        except ConnectionLost:
            if self._find is not None:
                self._place = None
            raise

    async def _reconnect(self, patience_seconds: float) -> None:
        """Raises ConnectionLost when patience is at an end, soon when nobody is left who starts the coordinator."""
        place = self._place
        now = asyncio.get_running_loop().time
        deadline, hopeless_since = now() + patience_seconds, None
        if self._hung_up > 1:
            deadline = self._hung_up_since + patience_seconds
            if now() + self._pause_seconds > deadline:
                raise ConnectionLost(f"whoever answers at {shown(self.url)} hangs up at once, each time")
            await asyncio.sleep(self._pause_seconds)
        for pause in chain(RECONNECT_PAUSES_SECONDS, repeat(RECONNECT_PAUSES_SECONDS[-1])):
            try:
                await self._connected()
                return
            except ConnectionLost as lost:
                if now() + pause > deadline:
                    raise
                if place is None or self._find is not None or place.may_return():
                    hopeless_since = None
                elif hopeless_since is None:
                    hopeless_since = now()
                elif now() - hopeless_since > SUCCESSOR_SECONDS:
                    raise ConnectionLost("the stack has died; `gz up` goes on with what was under way") from lost
            await asyncio.sleep(pause)

    def _notified(self, _connection: Connection, method: str, params: Raw | None) -> None:
        item = decode(method, params)
        if item is not None and (inbox := self._subscriptions.get(item.workflow_id)) is not None:
            inbox.put(item)

    def _lost(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        self._hung_up, self._pause_seconds = HUNG_UP_ON.after(self._hung_up, now - self._opened_at)
        if self._hung_up == 1:
            self._hung_up_since = now
        reason = connection.close_reason or f"the connection to {shown(self.url)} was closed"
        for inbox in self._subscriptions.values():
            inbox.lose(reason)


def _given(params: Mapping[str, Any]) -> dict[str, object]:
    """Without what is None; a workflow by its id."""
    given = {name: value for name, value in params.items() if value is not None}
    return {**given, "workflow_id": id_of(given["workflow_id"])} if "workflow_id" in given else given
