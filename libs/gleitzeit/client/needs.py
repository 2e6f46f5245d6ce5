"""The providers that a document needs beside echo, python and a model, and the leave to run commands.

Light: looked into before anything is started.
"""

import asyncio
from collections.abc import Iterator

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.tools import require_tools
from gleitzeit.model.definition import Definition
from gleitzeit.process.absent import NoProvider, NotAllowed
from gleitzeit.process.reach import Reach, Target

PROVIDERS = {"http": "http", "shell": "shell", "mcp": "mcp", "validation": "validation"}
"""Protocol -> the provider of ours that serves it, started when a document asks for it."""
SHELL = "shell"
LOOK_SECONDS = 0.8
"""How long a stack that runs may take to find its providers before it counts as one without."""
LOOK_AGAIN_SECONDS = 0.05


def methods_of(definition: Definition) -> Iterator[str]:
    """Everything that its tasks may call."""
    for task in definition.tasks:
        yield task.method
        for other in task.fallback:
            yield other.method


def _protocols(definition: Definition) -> list[str]:
    found = {method.partition("/")[0] for method in methods_of(definition)}
    return [name for name in PROVIDERS if name in found]


def with_providers(target: Target, definition: Definition) -> Target:
    """What a stack of ours must have for this document. Raises NotAllowed for commands that nobody has allowed."""
    needed = [PROVIDERS[name] for name in _protocols(definition)]
    if SHELL in needed and not (target.allow_shell or SHELL in target.providers):
        raise NotAllowed(_commands(definition))
    more = [name for name in needed if name not in target.providers]
    return target.with_providers((*target.providers, *more)) if more else target


def _commands(definition: Definition) -> str:
    tasks = [task.id for task in definition.tasks if task.method.startswith(f"{SHELL}/")]
    return f"this runs commands on your machine (task{'s' * (len(tasks) > 1)} {', '.join(tasks[:5]) or '…'})"


async def require(client: Coordinator, definition: Definition, reach: Reach) -> None:
    """Until what a document needs is served by a stack that ran before. Raises NoProvider if it is not.

    A stack of our own is still starting them; a task of it waits as long. For tools of MCP servers see `tools.py`.
    """
    await _require_providers(client, definition, reach)
    await require_tools(client, set(methods_of(definition)))


async def _require_providers(client: Coordinator, definition: Definition, reach: Reach) -> None:
    needed = set(_protocols(definition))
    if not needed or reach.address is None or reach.address.url != client.url:
        return
    deadline = asyncio.get_running_loop().time() + LOOK_SECONDS
    while missing := needed - {method.partition("/")[0] for one in await client.providers() for method in one.methods}:
        if asyncio.get_running_loop().time() > deadline:
            names = sorted(missing)
            raise NoProvider(f"nobody at {client.url} serves {', '.join(f'{name}/v1' for name in names)}", names)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
