"""What a provider author writes: a name, protocols, and functions for methods.

provider = Provider("words", protocols=["words/v1"], capacity=8)

@provider.method("words/count")
def count(text: str) -> int:
    return len(text.split())

provider.main()
"""

import argparse
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import getdoc
from typing import Any, TypeVar

from msgspec.structs import replace

from gleitzeit.errors import ConfigurationError
from gleitzeit.provider.method import Method, params_schema, typed_params
from gleitzeit.provider.pages import pages
from gleitzeit.provider.service import Service
from gleitzeit.schemas import builtin, method_schema, openrpc, verify
from gleitzeit.schemas.catalogue import MethodSchema
from gleitzeit.transport.server import Server

RESTARTING = 1012  # the close code: come back

_F = TypeVar("_F", bound=Callable[..., Any])
Lifespan = Callable[[], AbstractAsyncContextManager[Any]]


class Provider:
    """Methods of one or more protocols, and how many calls may run at once (`capacity`).

    `lifespan()` is an async context manager around the time in which calls can arrive, for what the methods need.
    """

    def __init__(
        self,
        name: str,
        *,
        protocols: Sequence[str],
        capacity: int = 8,
        version: str = "1.0.0",
        lifespan: Lifespan | None = None,
    ) -> None:
        if capacity < 1:
            raise ConfigurationError(f"the capacity of provider {name} must be at least 1, not {capacity}")
        self.name = name
        self.protocols = tuple(protocols)
        self._capacity = capacity
        self.version = version
        self.methods: dict[str, Method] = {}
        self._models: tuple[str, ...] = ()
        self._problems: tuple[str, ...] = ()
        self._lifespan = lifespan
        self._services: list[Service] = []

    def method(
        self,
        name: str,
        *,
        params: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
        description: str = "",
        idempotent: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> Callable[[_F], _F]:
        """The decorated function serves `name`, which is `<protocol>/<method>`.

        A plain `def` runs at once in the event loop and must not block: it is for what takes less than a millisecond.
        An `async def` may take its time and is cancelled when the call is. Params come by name; a first parameter that
        is declared as a `Call` gets one. It returns what JSON can hold, raises `TaskError` for what
        the author of the task should read, and anything else for what should be looked up in the log.

        Params and result are held to the method's JSON Schemas: those given here, else those that ship with Gleitzeit,
        else, for params, what the signature says: then what is declared as a dataclass, a Struct, an Enum, a date and
        the like comes as such, everything else as the JSON value. Raises ConfigurationError if function and schema do
        not fit.
        """

        def declare(function: _F) -> _F:
            schema = _schema(name, function, params, result)
            by_signature = params is None and builtin().get(name) is None
            self._add(
                Method(
                    function,
                    replace(
                        schema,
                        description=description or schema.description or (getdoc(function) or "").partition("\n")[0],
                        idempotent=schema.idempotent if idempotent is None else idempotent,
                        timeout_seconds=timeout_seconds or schema.timeout_seconds,
                    ),
                    types=typed_params(function) if by_signature else None,
                )
            )
            return function

        return declare

    @property
    def capacity(self) -> int:
        """How many calls may run at once, from 1. Assign it when that changes; coordinators are told."""
        return self._capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        if capacity != self._capacity:
            self._capacity = capacity
            for service in self._services:
                service.table.capacity = capacity
                service.changed()

    @property
    def models(self) -> tuple[str, ...]:
        """What a call's `model` may name here. Where several providers serve a method, those that hold it are asked.

        Empty: not known, and nobody is kept away. Assign it whenever it changes; coordinators are told.
        """
        return self._models

    @models.setter
    def models(self, models: Sequence[str]) -> None:
        if tuple(models) != self._models:
            self._models = tuple(models)
            for service in self._services:
                service.changed()

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about what is not well here, for people. Assign them when they change; coordinators are told."""
        return self._problems

    @problems.setter
    def problems(self, problems: Sequence[str]) -> None:
        if tuple(problems) != self._problems:
            self._problems = tuple(problems)
            for service in self._services:
                service.changed()

    def replace(self, methods: Iterable[Method], without: Iterable[str] = ()) -> None:
        """Serve these from now on, and no longer those named; coordinators are told once."""
        for name in without:
            self.methods.pop(name, None)
            for service in self._services:
                service.remove(name)
        for method in methods:
            self._check_protocol(method)
            self.methods[method.schema.name] = method
            for service in self._services:
                service.add(method)
        for service in self._services:
            service.changed()

    def _check_protocol(self, method: Method) -> None:
        protocol = method.schema.protocol
        if protocol not in self.protocols:
            raise ConfigurationError(f"{method.schema.name} belongs to {protocol}; {self.name} serves {self.protocols}")

    def _add(self, method: Method) -> None:
        self._check_protocol(method)
        self.methods[method.schema.name] = method
        for service in self._services:
            service.add(method)
            service.changed()

    def describe(self, service: Service) -> dict[str, Any]:
        """The answer to `rpc.discover`."""
        extension = {
            "name": self.name,
            "instance": service.instance,
            "version": self.version,
            "capacity": service.table.capacity,
            "protocols": list(self.protocols),
            "calls": "v1",
            "batch": "split",
            "blobs": "v1",
            **({"models": list(self._models)} if self._models else {}),
            **({"problems": list(self._problems)} if self._problems else {}),
        }
        schemas = [method.schema for method in self.methods.values()]
        return openrpc(f"provider {self.name}", self.version, schemas, extension)

    @asynccontextmanager
    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        capacity: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[Service]:
        """Serve in this event loop, as one instance; `url` of what it yields says where. Ends at once."""
        service = Service(capacity or self.capacity, self.describe, clock)
        for method in self.methods.values():
            service.add(method)
        server = Server(
            service.methods,
            host=host,
            port=port,
            on_connect=service.on_connect,
            on_close=service.on_close,
            http=pages(self.name, service),
        )
        self._services.append(service)
        try:
            async with self._lifespan() if self._lifespan is not None else contextlib.nullcontext():
                await server.start()
                service.url = server.url
                try:
                    yield service
                finally:
                    await server.close(RESTARTING, "the provider stops")
                    await service.close()
        finally:
            self._services.remove(service)

    def parser(self, *, capacity_default: str = "%(default)s") -> argparse.ArgumentParser:
        """The options that every provider has. Add your own, parse, and pass the outcome to `main`.

        `capacity_default` is for those whose `--capacity` has no number for its default, but some words.
        """
        from gleitzeit.provider.process import parser  # who embeds a provider has no command line

        return parser(self, capacity_default)

    def main(self, options: argparse.Namespace | None = None) -> None:
        """The whole process: listen, announce, serve until SIGTERM, finish what runs, and return."""
        from gleitzeit.provider.process import run  # as above

        run(self, options or self.parser().parse_args())


def _schema(
    name: str, function: Callable[..., Any], params: dict[str, Any] | None, result: dict[str, Any] | None
) -> MethodSchema:
    known = builtin().get(name)
    try:
        if known is None:
            shape = params_schema(function, name) if params is None else params
            return verify(method_schema(name, {"params": shape, "result": result}))
        if params is None and result is None:
            return known  # compiled at the first call
        return verify(
            replace(known, params=dict(params or known.params), result=dict(result) if result else known.result)
        )
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None
