"""`gz mcp serve`: MCP on stdin and stdout, or over HTTP, answered by the coordinator, which understands it on its own
socket.

Messages are handed on as they are. When the coordinator goes away, what waits there is answered with an error, and the
next request finds it again, or starts one.
"""

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Raw

from gleitzeit.client.connecting import open_reach
from gleitzeit.client.models import with_what_is_at_hand
from gleitzeit.errors import ConnectionLost, GleitzeitError
from gleitzeit.jsonrpc.codec import decode_members, decode_value, encode
from gleitzeit.jsonrpc.messages import NULL, Failure, Reply, Result
from gleitzeit.jsonrpc.request import Request
from gleitzeit.mcp.serving_stdio import stdio_connection
from gleitzeit.process.reach import Reach, Target, running_or_started
from gleitzeit.transport import Connection

SERVED = frozenset(
    {"initialize", "server/discover", "tools/list", "tools/call", "ping", "logging/setLevel"}
    | {"notifications/initialized"}
)
"""What a host may ask. The coordinator's other methods are not its business."""
PATIENCE_SECONDS = 15.0
LOOK_AGAIN_SECONDS = 0.2
WENT_AWAY = "the coordinator went away before it answered; what was submitted goes on, and list_workflows shows it"
log = logging.getLogger("gz.mcp")


class Bridge:
    """`transport.base.Methods` for the side of one host or of many. `reach()` says where the coordinator is, each time
    it is needed."""

    def __init__(self, reach: Callable[[], Reach]) -> None:
        self._reach = reach
        self._listening: dict[int, tuple[Connection, Raw]] = {}
        """By the progress token that the coordinator is given: the host's connection, and the token that it chose."""
        self._tokens = itertools.count(1)
        self._coordinator: Connection | None = None
        self._connecting = asyncio.Lock()

    def knows(self, name: str) -> bool:
        return name in SERVED

    def dispatch(self, request: Request) -> Coroutine[Any, Any, None]:
        return self._forward(request)

    async def close(self) -> None:
        if self._coordinator is not None:
            await self._coordinator.close()

    async def _forward(self, request: Request) -> None:
        if request.method not in SERVED:
            request.fail(Failure(-32601, "Method not found"))
            return
        try:
            connection = await self._connected()
        except (GleitzeitError, OSError, TimeoutError) as error:
            log.error("the coordinator cannot be reached: %s", error)
            request.fail(Failure(-32603, f"the coordinator cannot be reached: {error}"))
            return
        if request.is_notification:
            return  # it has no state to be told of
        request.defer()
        params, token = self._with_own_token(request)

        def answered(reply: Reply) -> None:
            self._listening.pop(token, None)
            _answered(request, reply)

        request_id = connection.send_request(request.method, params, answered)
        request.on_cancel(lambda reason: connection.cancel(request_id, reason))

    def _with_own_token(self, request: Request) -> tuple[Raw | None, int]:
        """The params with a progress token of ours in place of the host's, as several hosts may choose the same; 0 is
        none."""
        params = decode_members(request.raw_params)
        meta = decode_members(params.get("_meta"))
        if "progressToken" not in meta:
            return request.raw_params, 0
        token = next(self._tokens)
        self._listening[token] = request.connection, meta["progressToken"].copy()
        own = Raw(encode({**meta, "progressToken": token}))
        return Raw(encode({**params, "_meta": own})), token

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._coordinator is None or self._coordinator.closed:
                self._coordinator = await self._found()
            return self._coordinator

    async def _found(self) -> Connection:
        """One that is being started again is waited for."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE_SECONDS
        while True:
            try:
                _, connection = await open_reach(self._reach(), self._notified)
                return connection
            except ConnectionLost:
                if loop.time() > give_up:
                    raise
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    def _notified(self, connection: Connection, method: str, params: Raw | None) -> None:
        said = decode_members(params) if method == "notifications/progress" else {}
        host, token = self._listening.get(decode_value(said.get("progressToken", NULL)), (None, NULL))
        if host is not None:
            host.notify(method, Raw(encode({**said, "progressToken": token})))


def _answered(request: Request, reply: Reply) -> None:
    match reply:
        case Result():
            request.answer(reply.raw)
        case Failure():
            request.fail(reply)
        case _:
            request.fail(Failure(-32603, WENT_AWAY))


def reach_of(target: Target) -> Callable[[], Reach]:
    """The coordinator that is configured or runs, else a stack of ours with all that a workflow may want here."""

    def reach() -> Reach:
        full = with_what_is_at_hand(target, os.environ)
        more = [name for name in ("http", "mcp") if name not in full.providers]
        return running_or_started(full.with_providers((*full.providers, *more)))

    return reach


def serve(reach: Callable[[], Reach]) -> int:
    """Until the host closes our input; the exit code."""
    asyncio.run(_serve(reach))
    return 0


async def _serve(reach: Callable[[], Reach]) -> None:
    bridge = Bridge(reach)
    host = await stdio_connection(bridge)
    try:
        await host.run()
    finally:
        await host.close()
        await bridge.close()
