"""mcp/v1 as a provider serves it: the fixed methods, and one for every tool of every server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit.errors import GleitzeitError, TaskError
from gleitzeit.jsonrpc.codec import decode_members
from gleitzeit.jsonrpc.messages import ABSENT
from gleitzeit.mcp.link import LinkFailed
from gleitzeit.mcp.tools import as_mcp_has_it, methods_of_servers, task_result, text_of
from gleitzeit.provider import Call, Provider
from gleitzeit.provider.method import Method
from gleitzeit.schemas import MethodSchema
from gleitzeit.spec.tasks.mcp import arguments_of
from gz_provider_mcp.hosted import Hosted
from gz_provider_mcp.servers import Servers, builtin_tools

Json = dict[str, Any]
PING_SECONDS = 20.0


class McpMethods:
    """The methods that are always there; `provider` gets them by `install`."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def install(self, provider: Provider) -> None:
        for name, function in self._table().items():
            provider.method(f"mcp/{name}")(function)
        for tool in builtin_tools():
            provider.method(f"mcp/tool.{tool}")(self._builtin(tool))

    def _table(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        return {
            "tools/call": self.call_tool,
            "tools/list": self.tools,
            "resources/list": self.resources,
            "resources/templates/list": self.templates,
            "resources/read": self.read_resource,
            "prompts/list": self.prompts,
            "prompts/get": self.get_prompt,
            "servers": self.servers,
            "server_info": self.server_info,
            "ping": self.ping,
            "elicitation/list": self.questions,
            "elicitation/answer": self.answer,
        }

    def _builtin(self, tool: str) -> Callable[..., Awaitable[Raw]]:
        async def run(call: Call, /, **arguments: Any) -> Raw:
            return await called(self._servers, self._servers.builtin, call, tool, arguments)

        return run

    async def call_tool(self, call: Call, name: str, arguments: Json | None = None, server: str | None = None) -> Raw:
        hosted, tool = self._servers.with_tool(name, server)
        return await called(self._servers, hosted, call, tool, arguments or {})

    # Lists

    async def tools(self, server: str | None = None) -> Json:
        return await self._listed("tools", "tools/list", "tools", server)

    async def resources(self, server: str | None = None) -> Json:
        return await self._listed("resources", "resources/list", "resources", server)

    async def templates(self, server: str | None = None) -> Json:
        return await self._listed("resourceTemplates", "resources/templates/list", "resources", server)

    async def prompts(self, server: str | None = None) -> Json:
        return await self._listed("prompts", "prompts/list", "prompts", server)

    async def _listed(self, key: str, method: str, capability: str, server: str | None) -> Json:
        """Of one server, whatever goes wrong; or of all that can be asked, each item with its server."""
        chosen = self._servers.chosen(server, capability)
        found = await asyncio.gather(
            *(_items(hosted, method, key, capability) for hosted in chosen), return_exceptions=server is None
        )
        items: list[dict[str, Any]] = []
        problems: dict[str, str] = {}
        for hosted, listed in zip(chosen, found, strict=True):
            if isinstance(listed, GleitzeitError | TimeoutError):
                problems[hosted.name] = str(listed)
            elif isinstance(listed, BaseException):
                raise listed
            else:
                items += [{"server": hosted.name, **decode_members(raw)} for raw in listed]
        names = [msgspec.json.decode(one.get("name", one.get("uri", Raw(b'""')))) for one in items]
        answer = {key: items, "count": len(items), "response": "\n".join(map(str, names))}
        return answer | ({"problems": problems} if problems else {})

    # Resources and prompts

    async def read_resource(self, call: Call, uri: str, server: str | None = None) -> Json:
        raw = await self._first(call, "resources/read", {"uri": uri}, "resources", server)
        with as_mcp_has_it("resources/read"):
            answer = msgspec.json.decode(raw, type=_Contents)
            texts = [msgspec.json.decode(one, type=_Text).text for one in answer.contents]
        return {"contents": answer.contents, "response": "\n".join(text for text in texts if text)}

    async def get_prompt(self, call: Call, name: str, arguments: Json | None = None, server: str | None = None) -> Json:
        texts = {key: value if isinstance(value, str) else _json(value) for key, value in (arguments or {}).items()}
        params = {"name": name, "arguments": texts}
        raw = await self._first(call, "prompts/get", params, "prompts", server)
        with as_mcp_has_it("prompts/get"):
            answer = msgspec.json.decode(raw, type=_Messages)
            text, _ = text_of([one for message in answer.messages for one in _as_list(message.content)])
        about = {"description": answer.description} if answer.description else {}
        return {"messages": answer.messages, "response": text, **about}

    async def _first(
        self, call: Call, method: str, params: Mapping[str, object], capability: str, server: str | None
    ) -> Raw:
        """The answer of that server, or of the first one that has it."""
        chosen = self._servers.chosen(server, capability)
        refusals: list[str] = []
        for hosted in chosen:
            try:
                return await hosted.request(call, method, params)
            except (TaskError, LinkFailed) as error:
                if server is not None or isinstance(error, TimeoutError):
                    raise
                refusals.append(f"{hosted.name}: {error.message}")
        said = "; ".join(refusals) or f"no MCP server offers {capability}"
        raise TaskError(f"{method}: {said}", retryable=False)

    # The servers themselves

    async def servers(self) -> Json:
        about = [_about(self._servers, hosted) for hosted in self._servers.all]
        names = "\n".join(hosted.name for hosted in self._servers.all)
        problems = list(self._servers.configured.problems)
        return {"servers": about, "count": len(about), "problems": problems, "response": names}

    async def server_info(self, server: str | None = None) -> Json:
        hosted = self._servers.get(server) if server is not None else self._only()
        await hosted.session()
        about = _about(self._servers, hosted)
        return about | {"response": f"{about['server_name']} {about['server_version']}".strip()}

    def _only(self) -> Hosted:
        others = [hosted for hosted in self._servers.all if hosted is not self._servers.builtin]
        if len(others) > 1:
            names = ", ".join(hosted.name for hosted in others)
            raise TaskError(f"which server? say it with `server`: {names}", retryable=False)
        return others[0] if others else self._servers.builtin

    async def ping(self, server: str | None = None) -> Json:
        chosen = [self._servers.get(server)] if server is not None else self._servers.all
        took = await asyncio.gather(*(_pinged(hosted) for hosted in chosen))
        return {"response": "pong", "servers": dict(zip((hosted.name for hosted in chosen), took, strict=True))}

    # What servers ask people

    async def questions(self) -> Json:
        found = [msgspec.to_builtins(question) for question in self._servers.questions.open]
        words = "\n".join(f"{question['id']}: {question['message']}" for question in found)
        return {"questions": found, "count": len(found), "response": words}

    async def answer(self, id: str, action: str = "accept", content: Json | None = None) -> Json:
        question = self._servers.questions.answer(id, action, content)
        return {"id": question.id, "action": action, "response": f"{question.server} has its answer"}


class ToolMethods:
    """The methods that come and go with the tools of servers."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._served: dict[str, MethodSchema] = {}

    def refresh(self, provider: Provider) -> None:
        """Have the provider serve what there is now; nobody is told of what is as it was."""
        wanted = {schema.name: (server, schema) for server, schema in self._schemas()}
        old = self._served
        changed = {
            name: Method(self._function(server, schema), schema, checks=False)
            for name, (server, schema) in wanted.items()
            if name not in old or msgspec.structs.astuple(old[name]) != msgspec.structs.astuple(schema)
        }
        gone = [name for name in old if name not in wanted or name in changed]
        self._served = {name: schema for name, (_, schema) in wanted.items()}
        if changed or gone:
            provider.replace(changed.values(), gone)

    def _schemas(self) -> list[tuple[str, MethodSchema]]:
        known = self._servers.known()
        owners = [server for server, tools in known.items() for _ in tools]
        return list(zip(owners, methods_of_servers(known), strict=True))

    def _function(self, server: str, schema: MethodSchema) -> Callable[..., Awaitable[Raw]]:
        tool = schema.name.removeprefix(f"mcp/tool.{server}.")

        async def run(call: Call, /, **params: Any) -> Raw:
            arguments = arguments_of(params, schema)
            return await called(self._servers, self._servers.get(server), call, tool, arguments or params)

        return run


async def called(servers: Servers, hosted: Hosted, call: Call, tool: str, arguments: Json) -> Raw:
    """Forward one call of a tool. Whether the arguments are right the server says, who knows best."""
    servers.check_pin(hosted.name, tool)
    answer = await hosted.call(call, tool, arguments)
    return task_result(answer, hosted.tools.get(tool, ABSENT))


class _Contents(msgspec.Struct, frozen=True):
    contents: list[Raw] = []


class _Text(msgspec.Struct, frozen=True):
    text: str = ""


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: Raw


class _Messages(msgspec.Struct, frozen=True):
    messages: list[_Message] = []
    description: str | None = None


def _as_list(raw: Raw) -> list[Raw]:
    return msgspec.json.decode(raw, type=list[Raw]) if bytes(raw).lstrip().startswith(b"[") else [raw]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def _items(hosted: Hosted, method: str, key: str, capability: str) -> list[Raw]:
    session = await hosted.session()
    return [raw async for raw in session.pages(method, key)] if session.offers(capability) else []


async def _pinged(hosted: Hosted) -> float | str:
    """Milliseconds, or why not."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PING_SECONDS):
            session = await hosted.session()
            began = time.perf_counter()
            await session.ping()
    except (GleitzeitError, TimeoutError) as error:
        return str(error) or f"no answer within {PING_SECONDS:g} s"
    return round((time.perf_counter() - began) * 1000, 3)


def _about(servers: Servers, hosted: Hosted) -> Json:
    link = hosted.link
    info = link.session.info if link is not None else None
    return {
        "name": hosted.name,
        "status": hosted.status,
        "problem": hosted.problem,
        "transport": hosted.config.kind,
        "command": hosted.config.shown,
        "pid": link.pid or None if link is not None else None,
        "era": info.era if info else "",
        "version": info.version if info else "",
        "server_name": info.name if info else "",
        "server_version": info.server_version if info else "",
        "instructions": info.instructions if info else "",
        "capabilities": info.capabilities if info else {},
        "tools": sorted(builtin_tools()) if hosted is servers.builtin else sorted(hosted.tools),
        "changed": servers.changed(hosted),
        "restarts": hosted.restarts,
        "running": len(hosted.running),
    }
