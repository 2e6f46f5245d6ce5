"""The file of MCP servers that `gz mcp add`, `remove` and `import` edit, and those of other programs."""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gleitzeit.config import home_folder, read_text
from gleitzeit.mcp.memory import Memory, memory_file
from gleitzeit.mcp.places import own_file
from gleitzeit.mcp.servers import Variables, entries, parse_json, read_server
from gleitzeit.process.state import find_running
from gz_cli import exits
from gz_cli.exits import UsageError
from gz_cli.formats import Format
from gz_cli.terminal.output import encode
from gz_cli.terminal.talk import put, say

Json = dict[str, Any]

PROVIDER = "mcp"
"""What a stack must have been started with."""
_HEADER = re.compile(r"(=|: )")
HOSTS = ("claude-desktop", "claude-code", "cursor", "vscode", "windsurf")


def our_file() -> Path:
    return own_file(os.environ, home_folder())


def read(file: Path) -> Json:
    """Raises ConfigurationError."""
    return parse_json(read_text(file, must_exist=False), str(file))


def write(file: Path, document: Json) -> None:
    """The whole file at once: whoever reads it meanwhile sees the old one. It may hold keys: only for its owner."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = file.resolve()  # a link stays one
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as content:
        content.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    draft.replace(target)


def _variables() -> Variables:
    return Variables(os.environ, home=home_folder(), folder=Path.cwd())


def tell_running(state: Path) -> None:
    """What becomes of a change in the stack that runs here, if one does."""
    found = find_running(state)
    if found is None:
        return
    if PROVIDER in found.providers:
        say("the stack that runs here takes that up by itself, within a few seconds")
        return
    names = ",".join((*found.providers, PROVIDER))
    again = f"then `gz up --provider {names}`" if not found.embedded else "or wait until it has ended"
    say(f"the stack that runs here (process {found.pid}) was started without MCP: `gz down`, {again}")


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://", "ws://", "wss://"))


def headers(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE`, or `NAME: VALUE` as it goes over the wire. Raises UsageError."""
    found = {}
    for text in texts:
        name, sign, value = _HEADER.split(text, maxsplit=1) if _HEADER.search(text) else (text, "", "")
        if not name or not sign:
            raise UsageError(f"a header is NAME=VALUE, not {text!r}")
        found[name] = value
    return found


def add(name: str, entry: Json, state: Path, *, force: bool) -> int:
    """Raises ConfigurationError for what could not be used."""
    server = read_server(name, entry, "the command line", _variables())
    file = our_file()
    document = read(file)
    servers = dict(entries(document))
    if name in servers and not force:
        raise UsageError(f"there is a server {name!r} in {file} already; --force replaces it")
    write(file, _with_servers(document, {**servers, name: entry}))
    shown = server.shown if server is not None else "(switched off)"
    say(f"{name} is in {file}; it {'is at' if is_url(shown) else 'runs'}: {shown}")
    say(f"`gz mcp test {name}` tries it")
    tell_running(state)
    return exits.OK


def _with_servers(document: Json, servers: Json) -> Json:
    rest = {key: value for key, value in document.items() if key not in ("mcpServers", "servers", *servers)}
    return {"mcpServers": servers, **rest}


def remove(name: str, state: Path) -> int:
    file = our_file()
    document = read(file)
    servers = dict(entries(document))
    if name not in servers:
        there = ", ".join(servers) or "none"
        raise UsageError(f"there is no server {name!r} in {file} (there are: {there})")
    del servers[name]
    write(file, _with_servers({key: value for key, value in document.items() if key != name}, servers))
    memory = Memory(memory_file(state))
    if name in memory.servers:
        memory.forget(name)
        memory.write()
    say(f"{name} is no longer in {file}")
    tell_running(state)
    return exits.OK


def places(home: Path, folder: Path, environ: Mapping[str, str]) -> dict[str, list[Path]]:
    """Where other programs keep theirs, on this system or, after that, another."""
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    mac = home / "Library" / "Application Support"
    applications = [*((mac, config) if sys.platform == "darwin" else (config, mac)), home / "AppData" / "Roaming"]
    return {
        "claude-desktop": [place / "Claude" / "claude_desktop_config.json" for place in applications],
        "claude-code": [folder / ".mcp.json", home / ".claude.json"],
        "cursor": [folder / ".cursor" / "mcp.json", home / ".cursor" / "mcp.json"],
        "vscode": [folder / ".vscode" / "mcp.json", *(place / "Code" / "User" / "mcp.json" for place in applications)],
        "windsurf": [home / ".codeium" / "windsurf" / "mcp_config.json"],
    }


def _found(source: str | None) -> Iterator[tuple[str, Path]]:
    known = places(home_folder(), Path.cwd(), os.environ)
    if source is not None and source not in known:
        yield "a file", Path(source)
        return
    for host, files in known.items():
        if source in (None, host):
            yield from ((host, file) for file in files if file.exists())


def take(source: str | None, only: Sequence[str], state: Path, *, force: bool) -> int:
    """Copy servers of another program's configuration into ours, as they stand there."""
    found = list(_found(source))
    if not found:
        raise UsageError(f"no MCP servers found in the configuration of {', '.join(HOSTS)}; a file can be named, too")
    file = our_file()
    document = read(file)
    ours = dict(entries(document))
    inputs = list(document.get("inputs") or [])
    taken = 0
    for host, place in found:
        theirs = parse_json(read_text(place, must_exist=True), str(place))
        for name, entry in _entries_of(theirs, Path.cwd()).items():
            if only and name not in only:
                continue
            if name in ours and ours[name] != entry and not force:
                say(f"{name} of {place} is left out: there is another one already (--force replaces it)")
                continue
            if name not in ours or ours[name] != entry:
                taken += 1
                say(f"{name} is taken from {host}, {place}")
            ours[name] = entry
        inputs += [one for one in theirs.get("inputs") or [] if one not in inputs]
    if taken:
        with_inputs = {**document, "inputs": inputs} if inputs else document
        write(file, _with_servers(with_inputs, ours))
    say(f"{taken} taken; {len(ours)} in {file}")
    if taken:
        tell_running(state)
    return exits.OK


def _entries_of(document: Json, folder: Path) -> Json:
    """Claude Code keeps those of a project below `projects`, by folder."""
    projects = document.get("projects")
    project = projects.get(str(folder)) if isinstance(projects, dict) else None
    return {**(entries(project) if isinstance(project, dict) else {}), **entries(document)}


def install(host: str | None, command: Sequence[str], name: str, output: Format) -> int:
    """The JSON to paste, on stdout; where to, on stderr."""
    entry: Json = {"command": command[0], "args": list(command[1:])}
    key = "servers" if host == "vscode" else "mcpServers"
    if host == "vscode":
        entry = {"type": "stdio", **entry}
    put(encode({key: {name: entry}}, output if output is Format.YAML else Format.JSON))
    known = places(home_folder(), Path.cwd(), os.environ)
    if host is not None:
        there = [file for file in known[host] if file.exists()] or known[host]
        say(f"to go into {there[0]}")
    if host == "claude-code":
        say(f"or: claude mcp add {name} -- {' '.join(command)}")
    return exits.OK
