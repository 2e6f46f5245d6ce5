"""The spellings of mcp/v1, each reduced to one: `mcp/tool.<server>.<tool>`, or one of the fixed methods.

mcp/tool.fs.read · tool.fs.read · protocol: mcp/fs/v1, method: read · type: mcp, params: {tool: fs.read}
tools/call {name, arguments} · list_tools · resource.<uri> · prompt.<name> · ping · initialize · …
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gleitzeit.schemas import Catalogue, MethodSchema
from gleitzeit.spec.findings import Fields, Findings

PROTOCOL = "mcp/v1"
TOOL = "mcp/tool."
_OWN_WORDS = frozenset(
    {"tools/call", "tools/list", "resources/list", "resources/read", "resources/templates/list", "prompts/list",
     "prompts/get"}
)  # fmt: skip
"""MCP's own methods: no other protocol has any of these."""
_VERSION = re.compile(r"v\d+")


class McpCall(Struct, frozen=True):
    """`inside` are the params that stood one level deeper, in this one."""

    method: str
    params: dict[str, Any]
    inside: str = ""


def server_of(fields: Fields) -> str | None:
    """The server that `protocol: mcp/<server>/v1` names, "" if it is any; None for a task of another protocol."""
    method, protocol = fields.raw.get("method"), fields.raw.get("protocol")
    if isinstance(protocol, str) and protocol:
        family, _, rest = protocol.partition("/")
        if family != "mcp":
            return None
        rest = rest.removesuffix("/v1")
        return "" if rest in ("", "v1") else None if _VERSION.fullmatch(rest) else rest
    if isinstance(method, str) and "/" in method:
        return "" if method.startswith("mcp/") or method in _OWN_WORDS else None
    said = [fields.raw.get(key) for key in ("type", "provider")]
    kind = next((one.lower() for one in said if isinstance(one, str) and one), "")
    return "" if kind == "mcp" else None


def read_call(server: str, method: str, params: dict[str, Any], catalogue: Catalogue) -> McpCall:
    """`method` as written, "" where `params.tool` says it."""
    name = method.removeprefix("mcp/")
    if not name and isinstance(params.get("tool"), str):
        rest = {key: value for key, value in params.items() if key not in ("tool", "server")}
        return _tool(_server(params) or server, params["tool"], rest, catalogue)
    if name in ("tools/call", "call_tool") and isinstance(called := params.get("name"), str) and "${" not in called:
        arguments = params.get("arguments", {})
        if isinstance(arguments, dict) and params.keys() <= {"name", "arguments", "server"}:
            found = _tool(_server(params) or server, called, arguments, catalogue)
            return McpCall(found.method, found.params, "arguments")
    if name.startswith("tool."):
        return _tool(server, name.removeprefix("tool."), params, catalogue)
    if name.startswith("resource."):
        return _fixed(server, "mcp/resources/read", {"uri": name.removeprefix("resource."), **params})
    if name.startswith("prompt."):
        given = {key: value for key, value in params.items() if key != "server"}
        arguments = given["arguments"] if given.keys() == {"arguments"} else given
        about = {"name": name.removeprefix("prompt."), "arguments": arguments}
        return _fixed(server, "mcp/prompts/get", about | ({"server": params["server"]} if "server" in params else {}))
    if server and catalogue.get(f"mcp/{name}") is None and "/" not in name:
        return _tool(server, name, params, catalogue)
    return _fixed(server, f"mcp/{name}", params)


def _server(params: Mapping[str, Any]) -> str:
    return server if isinstance(server := params.get("server"), str) else ""


def _fixed(server: str, method: str, params: dict[str, Any]) -> McpCall:
    return McpCall(method, {"server": server, **params} if server and method != "mcp/servers" else params)


def _tool(server: str, tool: str, params: dict[str, Any], catalogue: Catalogue) -> McpCall:
    name = f"{TOOL}{tool}" if not server or tool.startswith(f"{server}.") else f"{TOOL}{server}.{tool}"
    schema = catalogue.get(name)
    arguments = arguments_of(params, schema) if schema is not None else None
    return McpCall(name, params) if arguments is None else McpCall(name, arguments, "arguments")


def arguments_of(params: Mapping[str, Any], schema: MethodSchema) -> dict[str, Any] | None:
    """What stands in `params.arguments`, if that is where the tool's params stand."""
    arguments = params.get("arguments")
    if params.keys() != {"arguments"} or not isinstance(arguments, dict) or "arguments" in schema.param_names:
        return None
    return arguments


def report_unknown(name: str, fields: Fields, catalogue: Catalogue, findings: Findings, *, strict: bool) -> bool:
    """Of a tool that nobody has described. False if `name` is no tool.

    Of a server whose tools are known it is an error; another one may come to be known when its provider is there.
    """
    if not name.startswith(TOOL):
        return False
    place = fields.at("method" if fields.raw.get("method") is not None else "type")
    known = [one for one in catalogue.names(PROTOCOL) if one.startswith(TOOL)]
    report = findings.error if strict else findings.warning
    tool = name.removeprefix(TOOL)
    same = [one for one in known if one.endswith(f".{tool}")]
    if len(same) > 1:
        report(place, f"several MCP servers have a tool '{tool}': {', '.join(same)}")
        return True
    suggestion = findings.near(name, known)
    server = next((one for one in _servers(known) if tool.startswith(f"{one}.")), "")
    if server:
        report(place, f"the MCP server '{server}' has no tool '{tool.removeprefix(server + '.')}'", suggestion)
    else:
        message = f"no MCP server that is known has a tool '{tool}'; the task waits until one does"
        findings.warning(place, message, suggestion)
    return True


def _servers(methods: list[str]) -> list[str]:
    """The servers of methods: what stands before the first dot, at least."""
    return [*dict.fromkeys(one.removeprefix(TOOL).rpartition(".")[0] for one in methods if one.count(".") > 1)]
