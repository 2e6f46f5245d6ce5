"""The documents that a coordinator keeps under names, as a Python program sees them: `client.templates`."""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from gleitzeit.client.views import Json, Submitted, understood


class Call(Protocol):
    async def __call__(self, method: str, params: object = None, *, timeout_seconds: float | None = None) -> Any: ...


class TemplateView(Struct, frozen=True, omit_defaults=True):
    """`inputs` is the JSON Schema of what a run may give it. `definition` is there where one template was asked for."""

    name: str
    version: int
    title: str = ""
    description: str = ""
    inputs: Json = None
    tasks_total: int = 0
    stored_at: str | None = None
    created: bool = True
    """False if the newest version said the same before."""
    warnings: tuple[str, ...] = ()
    versions: int = 0
    definition: Json = None


class TemplatePage(Struct, frozen=True):
    templates: tuple[TemplateView, ...]
    next: str | None = None


class Templates:
    """Where a `name` is wanted, `name@version` may be said, but to `put` and `delete`. Raises TemplateNotFound."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def put(self, definition: object, *, name: str | None = None) -> TemplateView:
        """Keep a document. Without a name it is called like its workflow. Raises DocumentError."""
        params = {"definition": definition} | ({"name": name} if name is not None else {})
        return understood(await self._call("template.put", params), TemplateView)

    async def get(self, name: str) -> TemplateView:
        """With its definition."""
        return understood(await self._call("template.get", {"name": name}), TemplateView)

    async def list(self, *, prefix: str = "") -> tuple[TemplateView, ...]:
        """All of them, by name."""
        found, after = list[TemplateView](), ""
        while True:
            answer = await self._call("template.list", {"prefix": prefix, "after": after})
            page = understood(answer, TemplatePage)
            found += page.templates
            if page.next is None:
                return tuple(found)
            after = page.next

    async def delete(self, name: str) -> int:
        """What its newest version was."""
        answer = await self._call("template.delete", {"name": name})
        return int(answer["version"])

    async def run(
        self,
        name: str,
        *,
        inputs: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        hold: bool = False,
    ) -> Submitted:
        """Durable when it returns."""
        params: dict[str, object] = {"name": name, "inputs": inputs, "hold": hold}
        if idempotency_key is not None:
            params["idempotency_key"] = idempotency_key
        return understood(await self._call("template.run", params), Submitted)
