"""The tools of MCP servers that a document calls: whether somebody has them, and if not, why."""

import asyncio
from collections.abc import Set

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import ProviderView
from gleitzeit.errors import ProtocolNotFound
from gleitzeit.process.absent import NoTool
from gleitzeit.schemas import builtin
from gleitzeit.schemas.words import near
from gleitzeit.spec.tasks.mcp import PROTOCOL, TOOL

START_SECONDS = 60.0
"""A server that is downloaded by its own command takes its time."""
LOOK_AGAIN_SECONDS = 0.05
STARTING = "is starting"


async def require_tools(client: Coordinator, methods: Set[str]) -> None:
    """Until every tool among the methods is there. Raises NoTool for one that nobody has, or can have now."""
    wanted = {method for method in methods if method.startswith(TOOL) and builtin().get(method) is None}
    loop = asyncio.get_running_loop()
    give_up = loop.time() + START_SECONDS
    while wanted:
        # in this order: who is no longer starting has told of its tools before
        providers = [one for one in await client.providers() if PROTOCOL in one.protocols and one.status == "ready"]
        known = await _known(client)
        wanted -= known
        problems = [problem for one in providers for problem in _problems(one)]
        starting = not providers or any(STARTING in problem for problem in problems)
        for method in sorted(wanted):
            refuse(method, known, problems, starting=starting and loop.time() < give_up)
        if wanted:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


def refuse(method: str, known: Set[str], problems: list[str], *, starting: bool) -> None:
    """Raises NoTool if it will not come."""
    tool = method.removeprefix(TOOL)
    several = sorted(name for name in known if name.startswith(TOOL) and name.endswith(f".{tool}"))
    if len(several) > 1:
        raise NoTool(
            f"this calls {method}, which several MCP servers have: say which, as in {' or '.join(several[:5])}"
        )
    own = next((problem for problem in problems if f"'{tool.rpartition('.')[0]}'" in problem), "")
    if own and STARTING not in own:
        raise NoTool(f"this calls {method}, and {own}")
    if starting:
        return
    suggestion = near(method, [name for name in known if name.startswith(TOOL)])
    hint = f"; did you mean {suggestion}?" if suggestion else ""
    others = "".join(f"\n{problem}" for problem in problems)
    raise NoTool(f"this calls {method}, and no MCP server has such a tool{hint}{others}")


async def _known(client: Coordinator) -> set[str]:
    try:
        detail = await client.protocol(PROTOCOL)
    except ProtocolNotFound:
        return set()
    return {name for method in detail.methods if method.providers for name in (method.name, *method.aliases)}


def _problems(provider: ProviderView) -> list[str]:
    return provider.problem.split("; ") if provider.problem else []
