"""All servers together: which there are, what tools they have, and what is remembered of these."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gleitzeit.errors import TaskError
from gleitzeit.mcp.memory import Change, Definition, Known, Memory, digest, memory_file
from gleitzeit.mcp.servers import BUILTIN, Configured, McpServer
from gleitzeit.schemas.words import near
from gz_provider_mcp.hosted import Hosted
from gz_provider_mcp.questions import Questions

logger = logging.getLogger("gz.provider.mcp")


class ToolChanged(TaskError):
    """The server is pinned, and the tool is not what it was when it was accepted."""

    name = "MCP_TOOL_CHANGED"

    def __init__(self, server: str, change: Change) -> None:
        hint = f"look at it with `gz mcp tools {server}`, and accept it with `gz mcp accept {server}`"
        data = {"server": server, "tool": change.tool, "sha256": change.now, "pinned_sha256": change.before}
        super().__init__(f"MCP server '{server}' is pinned, and {change.words}; {hint}", data, retryable=False)


class Servers:
    """`on_tools()` is called whenever the tools are, or may be, others than before."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        state: Path,
        on_tools: Callable[[], None],
        on_status: Callable[[], None] = lambda: None,
        questions: Questions,
    ) -> None:
        self.configured = Configured(())
        self.questions = questions
        self._environ = environ
        self._state = state
        self._on_tools = on_tools
        self._on_status = on_status
        self._memory = Memory(memory_file(state))
        self._hosted: dict[str, Hosted] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._blocked: dict[tuple[str, str], Change] = {}
        self.builtin: Hosted

    def start(self) -> None:
        """Within the event loop, once."""
        self.builtin = self._start(McpServer(name=BUILTIN, kind="stdio", command=builtin_command()), lazy=True)

    @property
    def all(self) -> list[Hosted]:
        return list(self._hosted.values())

    def apply(self, configured: Configured) -> None:
        """Start what is new, stop what is gone, start anew what is configured differently."""
        self.configured = configured
        wanted = {server.name: server for server in configured.servers}
        for name, hosted in list(self._hosted.items()):
            if name != BUILTIN and wanted.get(name) != hosted.config:
                self._stop(name)
        for name, server in wanted.items():
            if name not in self._hosted:
                self._start(server)
        self._on_tools()
        self._on_status()

    @property
    def problems(self) -> list[str]:
        """Sentences about what cannot be called at the moment."""
        return [*self.configured.problems, *filter(None, map(_problem, self.all)), *map(_blocked, self._blocked)]

    def _start(self, server: McpServer, *, lazy: bool = False) -> Hosted:
        hosted = Hosted(
            server,
            environ=self._environ,
            questions=self.questions,
            on_tools=self._listed,
            on_status=self._on_status,
            log=self._state / "logs" / f"mcp-{server.name.replace('/', '_')}.log",
            lazy=lazy,
        )
        self._hosted[server.name] = hosted
        self._tasks[server.name] = asyncio.create_task(hosted.run(), name=f"MCP server {server.name}")
        return hosted

    def _stop(self, name: str) -> None:
        self._hosted.pop(name)
        self._tasks.pop(name).cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Tools

    def known(self) -> dict[str, Known]:
        """The tools of each server but our own: those it has now, or as long as it has not said, had before."""
        return {hosted.name: self._known(hosted) for hosted in self.all if hosted is not self.builtin}

    def _known(self, hosted: Hosted) -> Known:
        if not hosted.listed:
            return self._memory.tools(hosted.name)
        return {name: Definition("", raw) for name, raw in hosted.tools.items()}

    def _listed(self, hosted: Hosted) -> None:
        """Compare with what is remembered; remember what is new, and what has changed unless that is pinned."""
        if hosted is self.builtin:
            return
        self._memory = Memory(memory_file(self._state))  # others write it too
        changes = self._memory.changes(hosted.name, hosted.tools)
        for key in [key for key in self._blocked if key[0] == hosted.name]:
            del self._blocked[key]
        for change in changes:
            logger.warning("MCP server %s: %s%s", hosted.name, change.words, "; blocked" if hosted.config.pin else "")
            if hosted.config.pin:
                self._blocked[hosted.name, change.tool] = change
        keep = [change.tool for change in changes] if hosted.config.pin else []
        if self._memory.accept(hosted.name, hosted.tools, keep=keep):
            try:
                self._memory.write()
            except OSError as error:
                logger.warning("the definitions of tools cannot be remembered: %s", error)
        self._on_tools()
        self._on_status()

    def changed(self, hosted: Hosted) -> list[str]:
        """Its tools that are not as they were first seen, or accepted."""
        known = self._memory.tools(hosted.name)
        return sorted(
            name
            for name, raw in hosted.tools.items()
            if name in known and (known[name].before or digest(raw) != known[name].sha256)
        )

    def check_pin(self, server: str, tool: str) -> None:
        """Raises ToolChanged. What was accepted since by `gz mcp accept` counts."""
        change = self._blocked.get((server, tool))
        if change is None:
            return
        accepted = Memory(memory_file(self._state)).tools(server).get(tool)
        if accepted is None or accepted.sha256 != change.now:
            raise ToolChanged(server, change)
        self._memory = Memory(memory_file(self._state))
        del self._blocked[server, tool]

    # Who is meant

    def get(self, name: str) -> Hosted:
        """Raises TaskError, with the names that there are."""
        hosted = self._hosted.get(name)
        if hosted is not None:
            return hosted
        names = sorted(self._hosted)
        suggestion = near(name, names)
        hint = f"; did you mean '{suggestion}'?" if suggestion else ""
        problems = [one for one in self.configured.problems if f"{name!r}" in one]
        why = f" ({problems[0]})" if problems else ""
        raise TaskError(f"there is no MCP server '{name}'{why}; there are {', '.join(names)}{hint}", retryable=False)

    def chosen(self, name: str | None, capability: str) -> list[Hosted]:
        """That one; without a name every one that offers it, or cannot be asked yet."""
        if name is not None:
            return [self.get(name)]
        offering = (h for h in self.all if h.link is None or h.link.session.offers(capability))
        return [hosted for hosted in offering if hosted is not self.builtin or capability == "tools"]

    def with_tool(self, name: str, server: str | None) -> tuple[Hosted, str]:
        """The server of a tool that is called by `TOOL` or `SERVER.TOOL`, and its name there. Raises TaskError."""
        if server is not None:
            hosted = self.get(server)
            return hosted, name.removeprefix(f"{server}.")
        for hosted in self.all:
            if name.startswith(f"{hosted.name}.") and self._has(hosted, name.removeprefix(f"{hosted.name}.")):
                return hosted, name.removeprefix(f"{hosted.name}.")
        if name in builtin_tools():
            return self.builtin, name
        owners = [hosted for hosted in self.all if self._has(hosted, name)]
        if len(owners) == 1:
            return owners[0], name
        if owners:
            both = ", ".join(f"{hosted.name}.{name}" for hosted in owners)
            raise TaskError(f"several MCP servers have a tool '{name}': say which, {both}", retryable=False)
        tools = [f"{hosted.name}.{tool}" for hosted in self.all for tool in self._known(hosted)]
        suggestion = near(name, [*tools, *(tool.partition(".")[2] for tool in tools), *builtin_tools()])
        hint = f"; did you mean '{suggestion}'?" if suggestion else ""
        raise TaskError(f"no MCP server has a tool '{name}'{hint}", retryable=False)

    def _has(self, hosted: Hosted, tool: str) -> bool:
        return tool in builtin_tools() if hosted is self.builtin else tool in self._known(hosted)


def _problem(hosted: Hosted) -> str:
    if hosted.status == "starting":
        return f"MCP server '{hosted.name}' is starting"
    return f"MCP server '{hosted.name}' cannot be had: {hosted.problem}" if hosted.problem else ""


def _blocked(key: tuple[str, str]) -> str:
    return f"MCP server '{key[0]}' is pinned, and its tool '{key[1]}' has changed"


def builtin_command() -> tuple[str, ...]:
    return sys.executable, "-m", "gz_mcp_builtin"


def builtin_tools() -> Iterable[str]:
    return "echo", "add", "multiply", "concat"
