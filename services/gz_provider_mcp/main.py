"""`gz-provider-mcp`: mcp/v1, by the MCP servers that are configured, and a small one of ours."""

import asyncio
import os
import shlex
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gleitzeit.config import default_folder, home_folder
from gleitzeit.errors import ConfigurationError
from gleitzeit.mcp.places import VARIABLE, configured, modified, read_file
from gleitzeit.mcp.servers import Configured, Variables, read_servers
from gleitzeit.process.logs import configure
from gleitzeit.provider import Provider
from gleitzeit.provider.process import give_up
from gleitzeit.provider.process import run as run_provider
from gz_provider_mcp.methods import McpMethods, ToolMethods
from gz_provider_mcp.questions import ANSWER_SECONDS, Questions
from gz_provider_mcp.servers import Servers

CAPACITY = 1_024
"""Of all servers together: each has a limit of its own, so that one that hangs takes no places from others."""
LOOK_AGAIN_SECONDS = 1.0


class Source:
    """Where the configuration is from, by the options of the process: it is read again when its files change."""

    def __init__(self, options: Namespace) -> None:
        self._files: list[Path] = options.config
        self._home = home_folder()
        self._only: Configured | None = _named(options, self._home)

    def read(self) -> Configured:
        if self._only is not None:
            return self._only
        return configured(os.environ, self._home, self._files)

    def stamp(self) -> tuple[int, ...]:
        return () if self._only is not None else modified(os.environ, self._home, self._files)

    def check(self) -> None:
        """Raises ConfigurationError for a file that was named and cannot be read: with that it will never work."""
        for file in self._files:
            found = read_file(file, os.environ, self._home)
            if found.problems and not found.servers:
                raise ConfigurationError("; ".join(found.problems))


def _named(options: Namespace, home: Path) -> Configured | None:
    """The one server of --command or --url; None if the configuration counts."""
    if options.command is None and options.url is None:
        return None
    entry: dict[str, object] = {}
    if options.command is not None:
        words = shlex.split(options.command)
        if not words:
            raise ConfigurationError("--command is empty")
        entry = {"command": words[0], "args": [*words[1:], *options.arg], "env": dict(options.env)}
    else:
        entry = {"url": options.url, "headers": dict(options.header)}
    entry["pin"] = options.pin
    # what was typed is meant as it stands
    found = read_servers({"mcpServers": {options.name: entry}}, "the command line", _AsTyped(home))
    if found.problems:
        raise ConfigurationError("; ".join(found.problems))
    return found


class _AsTyped(Variables):
    def __init__(self, home: Path) -> None:
        super().__init__({}, home=home, folder=Path.cwd())

    def expand(self, text: str) -> str:
        return text


def build(source: Source, state: Path, answer_seconds: float = ANSWER_SECONDS) -> Provider:
    """The provider, ready to be served: its servers live as long as it does."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        servers.start()
        servers.apply(source.read())
        watching = asyncio.create_task(_follow(source, servers.apply), name="follow the configuration")
        try:
            yield
        finally:
            watching.cancel()
            await servers.close()

    provider = Provider("mcp", protocols=["mcp/v1"], capacity=CAPACITY, lifespan=lifespan)
    servers = Servers(
        environ=os.environ,
        state=state,
        questions=Questions(answer_seconds),
        on_tools=lambda: tools.refresh(provider),
        on_status=lambda: _tell(provider, servers),
    )
    tools = ToolMethods(servers)
    McpMethods(servers).install(provider)
    return provider


def _tell(provider: Provider, servers: Servers) -> None:
    provider.problems = servers.problems


async def _follow(source: Source, apply: Callable[[Configured], None]) -> None:
    before = source.stamp()
    while True:
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        if (now := source.stamp()) != before:
            before = now
            apply(source.read())


def parser() -> ArgumentParser:
    described = Provider("mcp", protocols=["mcp/v1"], capacity=CAPACITY).parser()
    add = described.add_argument_group(
        "servers",
        f"Without these: ~/.gleitzeit/mcp.json (or {VARIABLE}), which `gz mcp add` writes, and config.yaml.",
    ).add_argument
    add("--config", metavar="FILE", type=Path, action="append", default=[], help="with the servers of this file too")
    add("--command", metavar="COMMAND", help="this one server alone, started by this command")
    add("--arg", metavar="WORD", action="append", default=[], help="a further word of --command; may be repeated")
    add("--env", metavar="NAME=VALUE", type=_pair, action="append", default=[], help="in its environment")
    add("--url", metavar="URL", help="this one server alone, at http://…, https://…, ws://… or wss://…")
    add("--header", metavar="NAME=VALUE", type=_pair, action="append", default=[], help="sent to --url")
    add("--name", metavar="NAME", default="server", help="what that one is called (default: server)")
    add("--pin", action="store_true", help="do not call tools whose definition has changed")
    add(
        "--answer-seconds", metavar="S", type=float, default=ANSWER_SECONDS,
        help="how long a question of a server waits for an answer (default %(default)g)",
    )  # fmt: skip
    return described


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def run() -> None:
    """The console script `gz-provider-mcp`."""
    options = parser().parse_args()
    configure(options.log_level, options.log_format, service="gz-provider-mcp")
    try:
        source = Source(options)
        source.check()
        provider = build(source, default_folder(os.environ), options.answer_seconds)
    except ConfigurationError as error:
        give_up("mcp", error.message, 2)
    run_provider(provider, options)


if __name__ == "__main__":
    run()
