"""Requests about workflows that another coordinator has: they are passed on to it, and its answers come back.

Any client may talk to any coordinator. A request is passed on once: who gets it that way answers it, or says that the
workflow has moved, upon which the first one asks anew.
"""

import asyncio
import functools
import inspect
import ssl
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

from msgspec import Raw

from gleitzeit import errors
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.shards import SCHEDULES
from gleitzeit.transport import Connection, connect
from gz_coordinator.errands import Errands
from gz_coordinator.ids import workflow_id_for
from gz_coordinator.sharing.holdings import LOOK_AGAIN_SECONDS, Holdings
from gz_coordinator.sharing.passed_on import Arrived, PassedOn

PASSED_ON = "passed on"
"""In the data of our connection to another coordinator: what waits there for its answer."""
ARRIVED = "arrived"
"""In the data of a connection from another coordinator: the requests that have come by it."""
RELAYED = "relayed"
"""In the data of a connection that another coordinator watches with, for a client of its own."""
OPEN_SECONDS = 5.0
_MAKES = frozenset({"workflow.submit", "template.run"})
"""They make a workflow, whose id follows from the idempotency key, or is chosen where it is made."""
_AGAIN = frozenset(
    {
        *("workflow.get", "workflow.result", "workflow.history", "workflow.explain", "task.get", "workflow.watch"),
        *("workflow.cancel", "workflow.pause", "workflow.resume", "workflow.hold", "schedule.backfill"),
    }
)
"""What may be asked twice, when it is unknown whether the first time counted."""


_LOCAL = frozenset({"workflow.watch", "workflow.unwatch"})
"""About a connection, not only about a workflow."""


class Peers:
    """Connections to the other coordinators, by url. `token` and `tls` are what they want, as we do."""

    def __init__(self, holdings: Holdings, token: str | None, tls: ssl.SSLContext | None) -> None:
        self.holdings = holdings
        self._token = token
        self._tls = tls
        self._connections: dict[str, Connection] = {}
        self._opening: dict[str, asyncio.Task[Connection]] = {}
        self._open: dict[Connection, str] = {}
        """All that there are, each with where it leads."""
        self._errands = Errands()
        self._functions: dict[str, Callable[..., Any]] = {}

    async def open(self, url: str, on_notification: Any = None) -> Connection:
        """A connection of one's own. Raises ConnectionLost."""
        connection = await connect(
            url,
            token=self._token,
            tls=self._tls,
            on_notification=on_notification,
            open_timeout_seconds=min(OPEN_SECONDS, self.holdings.lease_seconds),
        )
        self._open[connection] = url
        connection.add_close_callback(self._open.pop)
        return connection

    def leave_the_gone(self) -> None:
        """Who waits for an answer of a coordinator that is none any more, as it died or stands still, learns that now,
        and not when the pings of its socket find out."""
        there = {lease.url for lease in self.holdings.others}
        for connection in [connection for connection, url in self._open.items() if url not in there]:
            self._errands.start(connection.close(reason="its lease has run out"))

    async def close(self) -> None:
        for opening in self._opening.values():
            opening.cancel()
        await self._errands.close()
        await asyncio.gather(*(connection.close() for connection in list(self._open)))

    # Requests of clients

    def routed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The method `name` for clients: answered by `function` here, or by the coordinator that has the workflow."""
        self._functions[name] = function
        parameters = _parameters(getattr(function, "__func__", function), isinstance(function, MethodType))
        if name in _LOCAL or ("workflow_id" not in parameters and name not in _MAKES and not _of_schedules(name)):
            return function

        @functools.wraps(function)
        async def route(request: Request, /, *values: Any, **params: Any) -> Any:
            params |= dict(zip(parameters, values, strict=False))
            return await self._answered(request, name, params)

        return route

    async def _answered(self, request: Request, name: str, params: dict[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + 2 * self.holdings.lease_seconds
        why, pause = "", LOOK_AGAIN_SECONDS
        while True:
            workflow_id = _subject(name, params)
            holder = self._holder(workflow_id)
            try:
                if self._is_here(workflow_id):
                    return await self._here(request, name, params, workflow_id)
                if holder is not None:
                    return await self._there(holder, name, params, workflow_id)
            except errors.ShardElsewhere as error:
                why = f": {error}"
            left = give_up - loop.time()
            if left <= 0 and not self._is_here(workflow_id):
                raise errors.ShardElsewhere(f"nobody answers for {workflow_id or 'a shard'} at the moment{why}")
            if holder is None and left > 0:  # nobody has it: until somebody takes it there is nothing to try
                await self.holdings.changed(left)
            else:
                pause = await self.holdings.look_again(pause)

    def _is_here(self, workflow_id: str) -> bool:
        return self.holdings.is_mine(workflow_id) if workflow_id else bool(self.holdings.mine)

    def _holder(self, workflow_id: str) -> str | None:
        """The url of another coordinator; without an id that of any that has something."""
        if workflow_id:
            lease = self.holdings.holder(workflow_id)
        else:
            lease = next((lease for lease in self.holdings.others if lease.shards), None)
        return lease.url if lease is not None else None

    async def _here(self, request: Request, name: str, params: Mapping[str, Any], workflow_id: str) -> Any:
        try:
            answer = self._functions[name](request, **params)
            return await answer if inspect.isawaitable(answer) else answer
        except errors.WorkflowNotFound:
            if workflow_id and not self.holdings.is_mine(workflow_id):  # it has just been given away
                raise errors.ShardElsewhere(f"{workflow_id} has moved") from None
            raise

    async def _there(self, url: str, name: str, params: Mapping[str, Any], workflow_id: str) -> Raw:
        try:
            connection = await self._connection(url)
        except errors.ConnectionLost as error:  # nothing was sent
            raise errors.ShardElsewhere(str(error)) from error
        try:
            passed_on: PassedOn = connection.data[PASSED_ON]
            return await passed_on.ask(name, params, workflow_id)
        except errors.ConnectionLost as error:
            if name in _AGAIN or params.get("idempotency_key"):
                raise errors.ShardElsewhere(str(error)) from error
            message = f"the coordinator at {url} was lost while it answered: whether {name} was done is unknown"
            raise errors.ConnectionLost(message) from error

    async def _connection(self, url: str) -> Connection:
        connection = self._connections.get(url)
        if connection is not None and not connection.closed:
            return connection
        opening = self._opening.get(url)
        if opening is None:  # for all who ask meanwhile: if there is no answer, none of them tries once more
            opening = self._opening[url] = asyncio.create_task(self._open_to_ask(url))
            opening.add_done_callback(functools.partial(self._opened, url))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.cancelled():
                raise errors.ConnectionLost("this coordinator stops") from None
            raise

    async def _open_to_ask(self, url: str) -> Connection:
        connection = await self.open(url)
        connection.data[PASSED_ON] = passed_on = PassedOn(connection, self.holdings.lease_seconds)
        self._errands.start(passed_on.look_after())
        return connection

    def _opened(self, url: str, opening: "asyncio.Task[Connection]") -> None:
        del self._opening[url]
        if not opening.cancelled() and opening.exception() is None:
            self._connections[url] = opening.result()

    async def ask(self, url: str, method: str, params: Mapping[str, Any], timeout_seconds: float) -> Any:
        """What no client has asked for. Raises ConnectionLost, TimeoutError, and whatever the other one answers."""
        async with asyncio.timeout(timeout_seconds):
            connection = await self._connection(url)
            return await connection.call(method, params)

    # Requests of other coordinators

    async def _watched(self, function: Callable[..., Any], request: Request, params: Mapping[str, Any]) -> None:
        """It is for a client of the other coordinator, which wants to know when the workflow moves."""
        request.connection.data[RELAYED] = True
        await function(request, **params)

    async def forwarded(
        self, request: Request, /, method: str, params: dict[str, Any], workflow_id: str = "", number: int = 0
    ) -> Any:
        """Its number is that of the connection's requests; 0 for one that is not asked about."""
        arrived = _arrived(request.connection)
        arrived.begin(number)
        try:
            return await self._forwarded(request, method, params, workflow_id)
        finally:
            arrived.end(number)

    def check_requests(self, request: Request, /, numbers: list[int]) -> dict[str, Any]:
        return _arrived(request.connection).check(numbers)

    async def _forwarded(self, request: Request, method: str, params: dict[str, Any], workflow_id: str) -> Any:
        function = self._functions.get(method)
        if function is None:
            raise errors.MethodNotFound(f"{method} cannot be passed on")
        if method == "workflow.watch" and (not workflow_id or self._is_here(workflow_id)):
            return await self._watched(function, request, params)
        if not self._is_here(workflow_id):
            raise errors.ShardElsewhere(f"{workflow_id or 'no shard'} is not here")
        return await self._here(request, method, params, workflow_id)


def _arrived(connection: Connection) -> Arrived:
    arrived: Arrived = connection.data.setdefault(ARRIVED, Arrived())
    return arrived


@functools.cache
def _parameters(function: Callable[..., Any], bound: bool) -> list[str]:
    """Names of the params: what follows the request, and before it self."""
    return list(inspect.signature(function).parameters)[2 if bound else 1 :]


def _of_schedules(name: str) -> bool:
    """Whether it is for the coordinator that has the schedules: also what changes templates that they follow."""
    return name.startswith("schedule.") or name in ("template.put", "template.delete")


def _subject(name: str, params: Mapping[str, Any]) -> str:
    """The stream that a request is about, mostly a workflow; empty if it makes one whose id can be chosen."""
    if _of_schedules(name):
        return SCHEDULES
    if name in _MAKES:
        key = params.get("idempotency_key")
        return workflow_id_for("default", key) if key else ""
    return str(params["workflow_id"])
