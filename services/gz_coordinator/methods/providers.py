"""The coordinator's methods about providers and what they serve, and about itself."""

import asyncio
from collections.abc import Callable
from typing import Any

from gleitzeit import errors
from gleitzeit.engine.scheduling.pools import Provider
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.schemas import PIECE, MethodSchema, method_schema, near, verify_all
from gleitzeit.spec.urls import shown
from gz_coordinator.parts import Parts
from gz_coordinator.providers.descriptions import Registration
from gz_coordinator.providers.link import Link


class ProviderMethods:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._engine = parts.service.engine

    def table(self) -> dict[str, Callable[..., Any]]:
        return {
            "provider.list": self.providers,
            "provider.get": self.get,
            "provider.register": self.register,
            "provider.drain": self.drain,
            "protocol.list": self.protocols,
            "protocol.get": self.protocol,
            "system.status": self.status,
        }

    def providers(self, request: Request, /) -> dict[str, Any]:
        shared = self._parts.shared
        return {
            "providers": [self._view(link) for link in self._parts.links],
            "drained": self._parts.drains.names,
            "coordinators": 1 if shared is None else 1 + len(shared.holdings.others),
        }

    def _view(self, link: Link) -> dict[str, Any]:
        described = link.description
        known = self._engine.scheduler.roster.get(link.instance)
        methods = sorted(method.name for method in described.methods) if described else []
        return {
            "name": link.name,
            "instance": link.instance,
            "url": shown(link.url),
            "status": self._status(link, known),
            "problem": link.problem or (described.problem if described else ""),
            "protocols": sorted({method.protocol for method in described.methods}) if described else [],
            "methods": methods,
            "models": sorted(described.models) if described else [],
            "running": known.running if known else 0,
            "started": known.started if known else 0,
            "capacity": described.capacity if described else 0,
            "places": {"ours": known.share.places, "given_by": known.share.given_by} if known and known.share else None,
            "source": "nats" if link.registration is None else "registered",
            "calls": "v1" if described and described.durable_calls else None,
            "circuits": known.open_circuits(self._parts.service.clock()) if known else [],
        }

    def _status(self, link: Link, known: Provider | None) -> str:
        if link.status != "ready" or not self._parts.drains.holds(link.name, link.instance):
            return link.status
        return "draining" if known is not None and known.running else "drained"

    def get(self, request: Request, /, name: str) -> dict[str, Any]:
        links = self._named(name)
        described = {method.name: method for link in links if link.description for method in link.description.methods}
        return {
            "name": name,
            "draining": self._parts.drains.of(name).whole,
            "instances": [self._view(link) for link in links],
            "methods": [self._method(described[method]) for method in sorted(described)],
        }

    async def drain(
        self, request: Request, /, name: str, instance: str | None = None, undo: bool = False
    ) -> dict[str, Any]:
        drains = self._parts.drains
        before = drains.of(name)
        links = [] if undo and (before.whole or before.instances) else self._named(name)
        if instance is not None and instance not in {*before.instances, *(link.instance for link in links)}:
            there = ", ".join(link.instance for link in links) or "none"
            raise errors.ProviderNotFound(f"{name} has no instance {instance!r} (there are: {there})")
        await (drains.undo if undo else drains.drain)(name, instance)
        return {
            "name": name,
            "draining": drains.of(name).whole,
            "instances": [self._view(link) for link in self._parts.links if link.name == name],
        }

    def _named(self, name: str) -> list[Link]:
        """All of this name. Raises ProviderNotFound."""
        links = [link for link in self._parts.links if link.name == name]
        if not links:
            there = sorted({link.name for link in self._parts.links})
            suggestion = near(name, there)
            meant = f"; did you mean '{suggestion}'?" if suggestion else ""
            raise errors.ProviderNotFound(
                f"there is no provider {name!r} (there are: {', '.join(there) or 'none'}){meant}",
                {"providers": there, "suggestion": suggestion},
            )
        return links

    async def register(
        self,
        request: Request,
        /,
        url: str,
        name: str = "",
        methods: list[str] | None = None,
        schemas: dict[str, dict[str, Any]] | None = None,
        capacity: int | None = None,
    ) -> dict[str, Any]:
        await _check_schemas(schemas or {})
        registration = Registration(url, name, tuple(methods or ()), schemas or {}, capacity)
        link = await self._parts.links.register(registration)
        await self._parts.remember_registration(registration)
        described = self._view(link)
        return {key: described[key] for key in ("name", "instance", "methods", "capacity")}

    def protocols(self, request: Request, /) -> dict[str, Any]:
        catalogue = self._engine.catalogue
        return {
            "protocols": [
                {"protocol": p, "methods": catalogue.names(p), "providers": self._serving(catalogue.names(p))}
                for p in catalogue.protocols()
            ]
        }

    def protocol(self, request: Request, /, protocol: str) -> dict[str, Any]:
        catalogue = self._engine.catalogue
        names = catalogue.names(protocol)
        if not names:
            known = list(catalogue.protocols())
            found = near(protocol.removesuffix("/v1"), [one.removesuffix("/v1") for one in known])  # all end alike
            suggestion = f"{found}/v1" if found else ""
            meant = f"; did you mean '{suggestion}'?" if suggestion else ""
            raise errors.ProtocolNotFound(
                f"no protocol {protocol!r} is known (there are: {', '.join(known)}){meant}", {"suggestion": suggestion}
            )
        return {"protocol": protocol, "methods": [self._method(catalogue.methods[name]) for name in names]}

    def _method(self, method: MethodSchema) -> dict[str, Any]:
        return {
            "name": method.name,
            "aliases": list(method.aliases),
            "description": method.description,
            "params": method.params,
            "result": method.result,
            "idempotent": method.idempotent,
            "runs": method.runs,
            "providers": self._serving([method.name]),
        }

    def _serving(self, methods: list[str]) -> list[str]:
        """Names of the live providers that serve one of the methods."""
        wanted = frozenset(methods)
        return sorted({p.name for p in self._engine.scheduler.roster.values() if p.methods & wanted})

    async def status(self, request: Request, /) -> dict[str, Any]:
        return await self._parts.status()


async def _check_schemas(schemas: dict[str, dict[str, Any]]) -> None:
    """Others go on meanwhile. Raises InvalidParams, naming the method, for what is no JSON Schema."""
    names = list(schemas)
    for start in range(0, len(names), PIECE):
        try:
            verify_all([method_schema(name, schemas[name]) for name in names[start : start + PIECE]])
        except ValueError as error:
            raise errors.InvalidParams(str(error)) from error
        await asyncio.sleep(0)
