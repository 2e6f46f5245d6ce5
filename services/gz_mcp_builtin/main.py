"""`gz-mcp-builtin`: the tools of earlier versions, as a small MCP server. It doubles as an example of one."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gleitzeit.errors import InvalidParams
from gleitzeit.mcp.serving import Serving, ToolCall, UnknownTool
from gleitzeit.mcp.serving_stdio import stdio_connection
from gleitzeit.schemas import builtin

HARMLESS = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}


def echo(message: str) -> dict[str, Any]:
    return {"response": message, "echoed": message, "length": len(message)}


def add(a: float, b: float) -> dict[str, Any]:
    return _calculated(a + b, f"{a} + {b}")


def multiply(a: float, b: float) -> dict[str, Any]:
    return _calculated(a * b, f"{a} × {b}")


def _calculated(result: float, calculation: str) -> dict[str, Any]:
    return {"result": result, "response": str(result), "calculation": f"{calculation} = {result}"}


def concat(strings: Sequence[object], separator: str = "") -> dict[str, Any]:
    joined = separator.join(_text(one) for one in strings)
    return {"response": joined, "result": joined, "joined": joined, "count": len(strings)}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


TOOLS: Mapping[str, Callable[..., dict[str, Any]]] = {"echo": echo, "add": add, "multiply": multiply, "concat": concat}


class BuiltinTools:
    """See `gleitzeit.mcp.serving.Toolbox`. Their schemas are those of `mcp/tool.echo` and so on."""

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        return [self._definition(name) for name in TOOLS]

    def _definition(self, name: str) -> Mapping[str, Any]:
        method = builtin().methods[f"mcp/tool.{name}"]
        about = {"name": name, "description": method.description, "annotations": HARMLESS}
        return about | {"inputSchema": method.params, "outputSchema": method.result}

    async def call(self, call: ToolCall) -> dict[str, Any]:
        if call.name not in TOOLS:
            raise UnknownTool(f"Unknown tool: {call.name}")
        problems = builtin().methods[f"mcp/tool.{call.name}"].check_params(call.arguments)
        if problems:
            raise InvalidParams("; ".join(".".join(map(str, [*one.path, one.message])) for one in problems))
        return TOOLS[call.name](**call.arguments)


async def serve() -> None:
    """Until the host closes our input."""
    connection = await stdio_connection(Serving(BuiltinTools(), "gleitzeit-builtin", "1.0.0"))
    try:
        await connection.run()
    finally:
        await connection.close()


def run() -> None:
    """The console script."""
    asyncio.run(serve())
