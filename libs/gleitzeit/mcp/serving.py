"""Our side of MCP where we are the server: tools, for hosts of both eras, on any connection.

A toolbox says which tools there are and calls them; everything that the protocol wants around that is here.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from gleitzeit.errors import GleitzeitError, InvalidParams, RemoteError
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.request import Request
from gleitzeit.mcp import eras

PAGE = 100
"""Tools on one page of `tools/list`."""
Answer = Callable[[Request], Awaitable[dict[str, Any]]]


class ToolCall:
    """One call of a tool: what it was given, and how to say how far it is."""

    def __init__(self, request: Request, name: str, arguments: dict[str, Any], token: str | int | None) -> None:
        self.request = request
        self.name = name
        self.arguments = arguments
        self._token = token
        self._said = -1.0

    def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """Only what is more than before is said: the protocol wants it to grow."""
        if self._token is None or progress <= self._said:
            return
        self._said = progress
        said: dict[str, Any] = {"progressToken": self._token, "progress": progress}
        said |= {"total": total} if total is not None else {}
        said |= {"message": message} if message else {}
        self.request.connection.notify("notifications/progress", said)


class UnknownTool(GleitzeitError):
    code = -32602
    name = "UNKNOWN_TOOL"


class Toolbox(Protocol):
    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """Their definitions: name, description, inputSchema, outputSchema, annotations."""

    async def call(self, call: ToolCall) -> Any:
        """The result, any value that JSON can hold. Raises UnknownTool, and what a model should read of as ours."""


class Serving:
    """The methods of an MCP server; `Methods` of a transport as it is, or its `table` among other methods."""

    def __init__(self, toolbox: Toolbox, name: str, version: str, *, title: str = "", instructions: str = "") -> None:
        self._toolbox = toolbox
        self._info = {"name": name, "version": version} | ({"title": title} if title else {})
        self._instructions = instructions
        self.table: dict[str, Answer] = {
            "initialize": self._initialize,
            "notifications/initialized": self._nothing,
            "server/discover": self._discover,
            "logging/setLevel": self._nothing,
            "tools/list": self._list,
            "tools/call": self._call,
        }

    def knows(self, name: str) -> bool:
        return name in self.table or name == "ping"

    def dispatch(self, request: Request) -> Any:
        return self._answer(request)

    async def _answer(self, request: Request) -> None:
        answer = self._nothing if request.method == "ping" else self.table.get(request.method)
        try:
            if answer is None:
                raise RemoteError(-32601, "Method not found", {"method": request.method})
            request.answer(await answer(request))
        except GleitzeitError as error:
            request.fail(error)
        except Exception as error:  # noqa: BLE001 - a stranger's toolbox; it is logged, and the host told that it failed
            request.fail(failure_of(error))

    async def _nothing(self, request: Request) -> dict[str, Any]:
        return self._dressed(request, {})

    async def _initialize(self, request: Request) -> dict[str, Any]:
        asked = _params(request).get("protocolVersion")
        return self._with_instructions(
            {
                "protocolVersion": asked if asked in eras.HANDSHAKE else eras.NEWEST_HANDSHAKE,
                "capabilities": {"tools": {"listChanged": False}, "logging": {}},
                "serverInfo": self._info,
            }
        )

    async def _discover(self, request: Request) -> dict[str, Any]:
        about = {
            "supportedVersions": [eras.STATELESS],
            "capabilities": {"tools": {"listChanged": False}},
            "ttlMs": 0,
            "cacheScope": "private",
        }
        return self._dressed(request, self._with_instructions(about))

    def _with_instructions(self, about: dict[str, Any]) -> dict[str, Any]:
        return about | ({"instructions": self._instructions} if self._instructions else {})

    async def _list(self, request: Request) -> dict[str, Any]:
        cursor = _params(request).get("cursor", "0")
        if not isinstance(cursor, str) or not cursor.isdecimal():
            raise InvalidParams(f"not one of our cursors: {cursor!r}")
        tools, begin = await self._toolbox.tools(), int(cursor)
        page: dict[str, Any] = {"tools": list(tools[begin : begin + PAGE])}
        if begin + PAGE < len(tools):
            page["nextCursor"] = str(begin + PAGE)
        if _is_stateless(request):
            page |= {"ttlMs": 0, "cacheScope": "private"}
        return self._dressed(request, page)

    async def _call(self, request: Request) -> dict[str, Any]:
        params = _params(request)
        name, arguments = params.get("name"), params.get("arguments") or {}
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise InvalidParams("tools/call wants `name`, a text, and `arguments`, an object")
        token = _meta(params).get("progressToken")
        call = ToolCall(request, name, arguments, token if isinstance(token, str | int) else None)
        try:
            result = await self._toolbox.call(call)
        except UnknownTool:
            raise
        except GleitzeitError as error:
            return self._dressed(request, {"content": [text_block(_words(error))], "isError": True})
        return self._dressed(request, tool_result(result))

    def _dressed(self, request: Request, result: dict[str, Any]) -> dict[str, Any]:
        """As the request's era wants it. Raises RemoteError for a version that we do not speak."""
        meta = _meta(_params(request))
        version = meta.get(eras.VERSION_KEY)
        if version is None:
            return result
        if version != eras.STATELESS:
            data = {"supported": [eras.STATELESS], "requested": version}
            raise RemoteError(eras.UNSUPPORTED_VERSION, f"version {version!r} of MCP is not spoken here", data)
        return {"resultType": "complete", **result, "_meta": {eras.SERVER_KEY: self._info}}


def tool_result(value: Any) -> dict[str, Any]:
    """As `tools/call` answers: the value as it is, and as text for those who read nothing else."""
    if isinstance(value, str):
        return {"content": [text_block(value)]}
    text = value["response"] if isinstance(value, dict) and isinstance(value.get("response"), str) else _as_json(value)
    return {"content": [text_block(text)], "structuredContent": value}


def _words(error: GleitzeitError) -> str:
    """The message, and every problem of a document with its place. Of one alone the message may say all."""
    problems = (error.data or {}).get("problems")
    told = [one for one in problems if isinstance(one, dict) and "message" in one] if isinstance(problems, list) else []
    if len(told) == 1 and told[0]["message"] in error.message:
        return error.message
    return "\n".join([error.message, *map(_problem, told)])


def _problem(one: Mapping[str, Any]) -> str:
    meant = f" (did you mean '{one['suggestion']}'?)" if one.get("suggestion") else ""
    return f"- {'.'.join(map(str, one.get('path', ())))}: {one['message']}{meant}"


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _as_json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _params(request: Request) -> dict[str, Any]:
    return request.params if isinstance(request.params, dict) else {}


def _meta(params: Mapping[str, Any]) -> dict[str, Any]:
    meta = params.get("_meta")
    return meta if isinstance(meta, dict) else {}


def _is_stateless(request: Request) -> bool:
    return eras.VERSION_KEY in _meta(_params(request))
