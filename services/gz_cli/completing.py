"""What the shell's Tab key offers beyond the names of commands: of a coordinator that runs; none is started for it."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gleitzeit.client.coordinator import Coordinator

Offers = list[tuple[str, str]]
"""A word, and what a shell that shows it (zsh, fish) says of it."""
LIMIT = 50
SECONDS = 1.0
"""Longer than that nobody waits for a key."""


def workflows(context: typer.Context, incomplete: str) -> Offers:
    """The newest: their ids, and the names by which the newest of a name is meant."""

    async def ask(client: "Coordinator") -> Offers:
        rows = (await client.list(limit=LIMIT)).workflows
        names = {f"{row.name}@latest": f"the newest {row.name}" for row in rows if " " not in row.name}
        return [("@latest", "the newest"), *names.items(), *((r.workflow_id, f"{r.name}, {r.status}") for r in rows)]

    return _of_coordinator(context, incomplete, ask)


def templates(context: typer.Context, incomplete: str) -> Offers:
    async def ask(client: "Coordinator") -> Offers:
        return [(one.name, one.description) for one in await client.templates.list(prefix=incomplete)]

    return _of_coordinator(context, incomplete, ask)


def schedules(context: typer.Context, incomplete: str) -> Offers:
    async def ask(client: "Coordinator") -> Offers:
        return [(one.name, one.description) for one in await client.schedules.list()]

    return _of_coordinator(context, incomplete, ask)


def methods(incomplete: str) -> Offers:
    """Those that ship with us."""
    from gleitzeit.schemas import builtin

    return _fitting([(name, method.description) for name, method in builtin().methods.items()], incomplete)


def protocols(incomplete: str) -> Offers:
    from gleitzeit.schemas import builtin

    return _fitting([(name.partition("/")[0], "") for name in builtin().protocols()], incomplete) + methods(incomplete)


def _of_coordinator(
    context: typer.Context, incomplete: str, work: "Callable[[Coordinator], Awaitable[Offers]]"
) -> Offers:
    import asyncio

    from gleitzeit.errors import GleitzeitError
    from gz_cli import launch
    from gz_cli.configuration import settings
    from gz_cli.connect import connected

    async def ask() -> Offers:
        reach = launch.running(settings.target(context.params.get("url"), context.params.get("state")))
        async with asyncio.timeout(SECONDS), connected(reach) as client:
            return await work(client)

    try:
        return _fitting(asyncio.run(ask()), incomplete)
    except (GleitzeitError, OSError):  # TimeoutError is one
        return []


def _fitting(offers: Offers, incomplete: str) -> Offers:
    return [(word, about.partition("\n")[0]) for word, about in offers if word.startswith(incomplete)]
