"""Links with nothing around them, and providers over real sockets that answer as they are told to."""

import asyncio
from collections.abc import Callable
from typing import Any

from gleitzeit.engine import inputs as inp
from gleitzeit.jsonrpc.methods import Methods
from gleitzeit.transport.server import Server
from gz_coordinator.providers.links import Links

FENCE = {"cluster": "c", "shard": 0, "epoch": 1, "owner": "me"}


def document(**about: Any) -> dict[str, Any]:
    return {"openrpc": "1.4.1", "methods": [{"name": "x/one", "params": []}], "x-gleitzeit": about}


DURABLE = document(name="p", instance="i1", calls="v1")


class World:
    """Links, what they told the engine, and providers that answer as they are told to."""

    def __init__(self) -> None:
        self.posted: list[inp.Input] = []
        self.mistakes = 0
        """So many times what we do with the methods of a provider goes wrong."""
        self.links = Links(
            "me",
            lambda: FENCE,
            self.posted.append,
            lambda provider, methods: self._take_methods(),
            lambda method, params: None,
            blob_methods=Methods(),
        )
        self.servers: list[Server] = []

    def _take_methods(self) -> None:
        if self.mistakes:
            self.mistakes -= 1
            raise RuntimeError("a mistake of ours")

    async def provider(self, describe: Callable[..., object]) -> Server:
        """`describe` may be asynchronous, and takes the request then."""
        methods = Methods()
        function = describe if asyncio.iscoroutinefunction(describe) else lambda request, /: describe()
        methods.add("rpc.discover", function, bind=False)
        server = Server(methods)
        await server.start()
        self.servers.append(server)
        return server

    def told(self, kind: type[inp.Input]) -> list[Any]:
        return [item for item in self.posted if isinstance(item, kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self.links.close()
        for server in self.servers:
            await server.close()
