"""`gz mcp list`, `tools`, `test` and `accept`: the configured servers, asked directly; no coordinator is needed."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.config import home_folder
from gleitzeit.errors import GleitzeitError
from gleitzeit.mcp.link import LinkFailed, opened
from gleitzeit.mcp.memory import Memory, digest
from gleitzeit.mcp.places import configured
from gleitzeit.mcp.servers import Configured, McpServer
from gleitzeit.mcp.session import ServerInfo
from gleitzeit.mcp.tools import tool_method, tool_name
from gleitzeit.schemas.words import near
from gz_cli import exits
from gz_cli.exits import UsageError
from gz_cli.formats import Format
from gz_cli.terminal.ink import first_line
from gz_cli.terminal.output import encode
from gz_cli.terminal.table import fitted
from gz_cli.terminal.talk import put, say

AT_ONCE = 8
NONE = "no MCP server is configured; `gz mcp add` adds one, `gz mcp import` takes those of other programs"


class Looked(Struct, frozen=True, omit_defaults=True):
    """What a server said when it was asked, or why it said nothing."""

    server: str
    info: ServerInfo | None = None
    tools: dict[str, Raw] = {}
    milliseconds: float = 0.0
    problem: str = ""


def all_servers(files: Sequence[Path]) -> Configured:
    """With what is wrong said on stderr."""
    found = configured(os.environ, home_folder(), files)
    for sentence in (*found.problems, *found.warnings):
        say(f"warning: {sentence}")
    return found


def chosen(names: Sequence[str], files: Sequence[Path]) -> list[McpServer]:
    """All, or those named. Raises UsageError."""
    servers = {server.name: server for server in all_servers(files).servers}
    for name in names:
        if name not in servers:
            suggestion = near(name, list(servers))
            hint = f"; did you mean {suggestion!r}?" if suggestion else ""
            raise UsageError(f"there is no MCP server {name!r} (there are: {', '.join(servers) or 'none'}){hint}")
    return [servers[name] for name in names] if names else list(servers.values())


def listed(files: Sequence[Path], memory: Memory, output: Format) -> int:
    """What is configured, with the exact command; nothing is started."""
    rows = [_row(server, memory) for server in all_servers(files).servers]
    if output in (Format.JSON, Format.YAML):
        put(encode(rows, output))
    elif output is Format.ID:
        put("\n".join(row["name"] for row in rows))
    elif rows:
        head = ("name", "transport", "tools", "changed", "pin", "command", "from")
        keys = ("name", "transport", "tools", "changed", "pin", "command", "source")
        put(fitted(head, [[row[key] for key in keys] for row in rows]))
    else:
        say(NONE)
    return exits.OK


def _row(server: McpServer, memory: Memory) -> dict[str, Any]:
    known = memory.tools(server.name)
    changed = sorted(name for name, one in known.items() if one.before)
    return {
        "name": server.name,
        "transport": server.kind,
        "command": server.shown,
        "tools": len(known) if known else None,
        "changed": ", ".join(changed),
        "pin": server.pin,
        "env": sorted(server.env),
        "cwd": str(server.cwd) if server.cwd is not None else None,
        "source": server.source,
    }


def tools(names: Sequence[str], files: Sequence[Path], memory: Memory, output: Format) -> int:
    found = asyncio.run(_look(chosen(names, files)))
    _say_problems(found)
    rows = [row for looked in found for row in _tool_rows(looked, memory)]
    if output in (Format.JSON, Format.YAML):
        put(encode(rows, output))
    elif output is Format.ID:
        put("\n".join(row["method"] for row in rows))
    elif not found:
        say(NONE)
    else:
        lines = [
            (row["method"], "yes" if row["idempotent"] else "no",
             row["sha256"][:12] + (" (changed)" if row["changed"] else ""), first_line(row["description"]),
             ", ".join(row["params"]))
            for row in rows
        ]  # fmt: skip
        put(fitted(("method", "idempotent", "sha256", "description", "params"), lines))
    return exits.FAILED if any(one.problem for one in found) else exits.OK


def _tool_rows(looked: Looked, memory: Memory) -> list[dict[str, Any]]:
    changed = {change.tool: change for change in memory.changes(looked.server, looked.tools)}
    rows = []
    for name, raw in looked.tools.items():
        method = tool_method(looked.server, raw)
        required = method.params.get("required", ())
        params = [one if one in required else f"[{one}]" for one in method.param_names]
        rows.append({
            "method": method.name, "server": looked.server, "tool": name, "params": params,
            "idempotent": method.idempotent, "sha256": digest(raw), "changed": name in changed,
            "description": method.description, "definition": raw,
        })  # fmt: skip
    return rows


def check(names: Sequence[str], files: Sequence[Path], output: Format) -> int:
    """Start or reach each, shake hands, and list its tools."""
    found = asyncio.run(_look(chosen(names, files)))
    if output in (Format.JSON, Format.YAML):
        put(encode([{**msgspec.to_builtins(one), "tools": sorted(one.tools)} for one in found], output))
    elif found:
        rows = [
            (one.server, "failed" if one.problem else "ok", one.info.version if one.info else None,
             f"{one.info.name} {one.info.server_version}" if one.info else None,
             len(one.tools) if one.info else None, f"{one.milliseconds:.0f} ms")
            for one in found
        ]  # fmt: skip
        put(fitted(("server", "", "protocol", "says it is", "tools", "took"), rows))
        _say_problems(found)
    if not found:
        say(NONE)
    return exits.FAILED if any(one.problem for one in found) else exits.OK


def accept(names: Sequence[str], files: Sequence[Path], memory: Memory) -> int:
    """Take the tools of servers for what they are now."""
    found = asyncio.run(_look(chosen(names, files)))
    _say_problems(found)
    for looked in found:
        if looked.problem:
            continue
        for change in memory.changes(looked.server, looked.tools):
            say(f"{looked.server}: {change.words}")
        memory.forget(looked.server)  # and with it what it was before
        memory.accept(looked.server, looked.tools)
        say(f"{looked.server}: {len(looked.tools)} tools are accepted as they are")
    memory.write()
    return exits.FAILED if any(one.problem for one in found) else exits.OK


def _say_problems(found: Sequence[Looked]) -> None:
    for one in found:
        if one.problem:
            say(f"{one.server}: {one.problem}")


async def _look(servers: Sequence[McpServer]) -> list[Looked]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(server: McpServer) -> Looked:
        async with gate:
            return await _look_at(server)

    return list(await asyncio.gather(*map(look, servers)))


async def _look_at(server: McpServer) -> Looked:
    began = time.perf_counter()
    try:
        async with opened(server, environ=os.environ) as link:
            found: dict[str, Raw] = {}
            if link.session.offers("tools"):
                async for raw in link.session.pages("tools/list", "tools"):
                    found[tool_name(raw)] = raw.copy()
            took = (time.perf_counter() - began) * 1000
            return Looked(server.name, link.session.info, found, round(took, 1))
    except (LinkFailed, GleitzeitError, TimeoutError, msgspec.MsgspecError) as error:
        return Looked(server.name, milliseconds=round((time.perf_counter() - began) * 1000, 1), problem=str(error))
