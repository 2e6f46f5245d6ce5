"""Which MCP servers there are: the configuration that people have already, of whichever program it is.

    {"mcpServers": {name: {command, args, env, cwd} | {type, url, headers}}}      Claude Desktop, Claude Code, Cursor
    {"servers": {…}, "inputs": [{id, default?}]}                                  VS Code
    providers: {mcp: {servers: …}}                                                our config.yaml

Values may hold `${VAR}`, `${VAR:-default}`, `${env:VAR}`, `${input:id}`, `${userHome}`, `${workspaceFolder}`.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from gleitzeit.errors import ConfigurationError
from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.urls import shown

BUILTIN = "builtin"
IDLE_SECONDS = 300.0
CONCURRENCY = 64

Kind = Literal["stdio", "http", "sse", "websocket"]
"""`sse` is the HTTP of 2024-11-05, `http` that of all later versions."""

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KINDS: dict[str, Kind | None] = {
    "stdio": "stdio", "local": "stdio",
    "http": "http", "streamable-http": "http", "streamableHttp": "http", "streamable_http": "http", "sse": "sse",
    "remote": "http", "ws": "websocket", "websocket": "websocket",
}  # fmt: skip
_KNOWN = frozenset(
    [
        *("type", "transport", "command", "args", "env", "envFile", "cwd", "url", "serverUrl", "httpUrl", "headers"),
        *("disabled", "enabled", "description", "name", "provider_id", "models", "capabilities", "pin", "prefix"),
        *("tool_prefix", "idle_timeout", "roots", "gallery", "version", "autoApprove", "alwaysAllow", "timeout"),
        *("tools", "trust", "dev", "oauth", "auth", "note", "auto_restart", "concurrency"),
    ]
)
"""Ours and those of other programs, which may say nothing to us: an unknown key is a warning."""


class McpServer(Struct, frozen=True, kw_only=True):
    """`name` is what its tools are called by (`mcp/tool.<name>.<tool>`). `pin`: a tool whose definition has changed is
    not called. `idle_seconds`: how long a call may go on without a sign of life. `source` says where it is from."""

    name: str
    kind: Kind
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: Path | None = None
    url: str = ""
    headers: dict[str, str] = {}
    roots: tuple[Path, ...] = ()
    description: str = ""
    pin: bool = False
    idle_seconds: float = IDLE_SECONDS
    concurrency: int = CONCURRENCY
    """Calls of tools at once; further ones wait at the coordinator."""
    source: str = ""

    @property
    def shown(self) -> str:
        """Exactly what is run, as one would type it; or where it is."""
        return shlex.join(self.command) if self.kind == "stdio" else shown(self.url)


class Configured(Struct, frozen=True):
    """`problems` are sentences about servers that cannot be used: the others can. `warnings` are sentences too."""

    servers: tuple[McpServer, ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Variables:
    """What `${…}` stands for."""

    def __init__(self, environ: Mapping[str, str], *, home: Path, folder: Path) -> None:
        self._environ = environ
        self._inputs: Mapping[str, str] = {}
        self._places = {
            "userHome": str(home), "workspaceFolder": str(folder), "workspaceRoot": str(folder),
            "cwd": str(folder), "pathSeparator": "/", "/": "/", "workspaceFolderBasename": folder.name,
        }  # fmt: skip

    def with_inputs(self, document: Mapping[str, Any]) -> "Variables":
        """For one file: VS Code's `inputs` ask a person; their defaults, and MCP_INPUT_*, answer for him."""
        inputs = document.get("inputs")
        described = [one for one in inputs if isinstance(one, dict)] if isinstance(inputs, list) else []
        found = copy(self)
        found._inputs = {
            one["id"]: one["default"]
            for one in reversed(described)  # of two the first
            if isinstance(one.get("id"), str) and isinstance(one.get("default"), str)
        }
        return found

    def expand(self, text: str) -> str:
        """Raises ConfigurationError for what is not set and has no default."""
        return _VARIABLE.sub(lambda match: self._value(match[1], match[0]), text)

    def _value(self, inside: str, whole: str) -> str:
        if inside in self._places:
            return self._places[inside]
        kind, colon, rest = inside.partition(":")
        if colon and kind == "input":
            if rest in self._inputs:
                return self._inputs[rest]
            variable = input_variable(rest)
            if variable in self._environ:
                return self._environ[variable]
            raise ConfigurationError(f"{whole} has no value: set {variable}, or give the input a `default`")
        name, default = (rest, None) if colon and kind == "env" else (inside, None)
        if default is None and ":-" in name:
            name, _, default = name.partition(":-")
        if not _NAME.fullmatch(name):
            return whole  # nobody's variable: it stays as it is
        if self._environ.get(name) is not None:
            return self._environ[name]
        if default is None:
            raise ConfigurationError(f"the environment variable {name} is not set, and {whole} has no default")
        return default


def input_variable(name: str) -> str:
    """The environment variable that answers for an input of VS Code, which would ask for it."""
    return "MCP_INPUT_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def parse_json(text: bytes, source: str) -> dict[str, Any]:
    """A configuration file; comments and trailing commas are forgiven, as editors forgive them. Raises
    ConfigurationError."""
    if not text.strip():
        return {}
    try:
        document = msgspec.json.decode(text)
    except msgspec.DecodeError:
        try:
            document = msgspec.json.decode(without_comments(text.decode("utf-8-sig", errors="replace")))
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"{source} is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{source}: expected an object with `mcpServers`")
    return document


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=\s*(?:(?://[^\n]*|/\*.*?\*/)\s*)*[}\]])', re.DOTALL)


def without_comments(text: str) -> str:
    """Strings stay as they are."""
    return _TOKEN.sub(lambda match: match[0] if match[0].startswith('"') else "", text)


def entries(document: Mapping[str, Any]) -> dict[str, Any]:
    """The servers of a document by name, as they stand there; what one has in several places, the first counts.

    A file of Claude Code has some of a project below `projects`; an editor's settings have all below `mcp`.
    """
    for key in ("mcpServers", "servers", "context_servers"):
        if isinstance(found := document.get(key), dict | list):
            return dict(_named(found))
    if isinstance(inner := document.get("mcp"), dict):
        return entries(inner)
    if document and all(isinstance(one, dict) and one.keys() & {"command", "url"} for one in document.values()):
        return dict(document)  # the inside of `mcpServers` alone
    return {}


def _named(found: Mapping[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    """A list is the form of earlier versions of ours: each has its `name` or `provider_id`."""
    if isinstance(found, dict):
        yield from ((str(name), one) for name, one in found.items())
        return
    for number, one in enumerate(found, 1):
        about = one if isinstance(one, dict) else {}
        yield str(about.get("name") or about.get("provider_id") or f"server-{number}"), one


def read_servers(document: Mapping[str, Any], source: str, variables: Variables) -> Configured:
    """All servers that can be used. Never raises: what is wrong is in `problems`."""
    servers, problems, warnings = list[McpServer](), list[str](), list[str]()
    variables = variables.with_inputs(document)
    for name, entry in entries(document).items():
        try:
            server = read_server(name, entry, source, variables)
        except ConfigurationError as error:
            problems.append(f"{source}: server {name!r}: {error.message}")
            continue
        if server is not None:
            servers.append(server)
            unknown = sorted(entry.keys() - _KNOWN)
            warnings += [f"{source}: server {name!r}: {', '.join(unknown)} means nothing to us"] if unknown else []
    return Configured(tuple(servers), tuple(problems), tuple(warnings))


def read_server(name: str, entry: object, source: str, variables: Variables) -> McpServer | None:
    """None for one that is switched off. Raises ConfigurationError."""
    if not isinstance(entry, dict):
        raise ConfigurationError("expected an object with `command` or `url`")
    if entry.get("disabled") is True or entry.get("enabled") is False:
        return None
    kind, url = _kind(entry, variables)
    public = str(entry.get("prefix") or entry.get("tool_prefix") or name).strip(". ")
    if not public or public == BUILTIN or any(not one.isprintable() for one in public):
        raise ConfigurationError(f"{public!r} cannot be the name of a server")
    return McpServer(
        name=public,
        kind=kind,
        command=_command(entry, variables) if kind == "stdio" else (),
        env={**_env_file(entry, variables), **_texts(entry, "env", variables)},
        cwd=_path(entry["cwd"], variables) if entry.get("cwd") else None,
        url=url,
        headers=_texts(entry, "headers", variables),
        roots=tuple(_path(root, variables) for root in _list(entry, "roots")),
        description=str(entry.get("description") or ""),
        pin=entry.get("pin") is True,
        idle_seconds=_seconds(entry),
        concurrency=_concurrency(entry),
        source=source,
    )


def _kind(entry: Mapping[str, Any], variables: Variables) -> tuple[Kind, str]:
    url = next((entry[key] for key in ("url", "serverUrl", "httpUrl") if isinstance(entry.get(key), str)), "")
    said = entry.get("type") or entry.get("transport")
    if said is not None and (not isinstance(said, str) or said not in _KINDS):
        raise ConfigurationError(f"there is no transport {said!r}; there are stdio, http, sse and websocket")
    url = variables.expand(url) if url else ""
    kind = _KINDS[said] if said else ("stdio" if "command" in entry else None)
    scheme = urlsplit(url).scheme
    if kind in (None, "http") and scheme in ("ws", "wss"):
        kind = "websocket"
    kind = kind or ("http" if url else None)
    if kind is None:
        raise ConfigurationError("it has neither a `command` nor a `url`")
    if kind != "stdio" and (scheme not in ("http", "https", "ws", "wss") or not urlsplit(url).hostname):
        raise ConfigurationError(f"its `url` is none: {shown(url)!r}")
    return kind, url


def _command(entry: Mapping[str, Any], variables: Variables) -> tuple[str, ...]:
    command = entry.get("command")
    if isinstance(command, list):
        words = [variables.expand(str(word)) for word in command]
    elif isinstance(command, str) and command.strip():
        words = [variables.expand(command.strip())]
    else:
        raise ConfigurationError("its `command` must be a text")
    words += [variables.expand(str(word)) for word in _list(entry, "args")]
    if any("\0" in word for word in words):
        raise ConfigurationError("its `command` has a zero byte in it")
    return tuple(words)


def _list(entry: Mapping[str, Any], key: str) -> list[Any]:
    found = entry.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, str | int | float) for one in found):
        raise ConfigurationError(f"its `{key}` must be a list of texts")
    return found


def _texts(entry: Mapping[str, Any], key: str, variables: Variables) -> dict[str, str]:
    found = entry.get(key) or {}
    if not isinstance(found, dict):
        raise ConfigurationError(f"its `{key}` must be an object")
    return {str(name): variables.expand(_text(value)) for name, value in found.items() if value is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _path(value: object, variables: Variables) -> Path:
    return Path(variables.expand(str(value))).expanduser()


def _env_file(entry: Mapping[str, Any], variables: Variables) -> dict[str, str]:
    """VS Code's `envFile`: NAME=value lines."""
    if not entry.get("envFile"):
        return {}
    path = _path(entry["envFile"], variables)
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise ConfigurationError(f"its `envFile` {path} cannot be read: {error.strerror}") from None
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, equals, value in pairs if equals and name.strip()}


def _seconds(entry: Mapping[str, Any]) -> float:
    said = entry.get("idle_timeout")
    if said is None:
        return IDLE_SECONDS
    try:
        return parse_duration(said)
    except ValueError as error:
        raise ConfigurationError(f"`idle_timeout`: {error}") from None


def _concurrency(entry: Mapping[str, Any]) -> int:
    said = entry.get("concurrency", CONCURRENCY)
    if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= 1_000:
        raise ConfigurationError("`concurrency` must be a whole number from 1 to 1000")
    return said
