"""An MCP server by the official SDK, of the stateless era: on stdio, or over HTTP at a port."""

import sys
from typing import Annotated

import anyio
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from pydantic import BaseModel, Field

app = MCPServer("sdk")


class Name(BaseModel):
    name: str


async def ask() -> Elicit[Name]:
    return Elicit("Who are you?", Name)


@app.tool()
async def slow(ctx: Context) -> str:
    for step in range(3):
        await ctx.report_progress(step + 1, 3)
        await anyio.sleep(0.02)
    return "done"


@app.tool()
def region(place: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    return f"in {place}"


@app.tool()
async def greet(who: Annotated[Name, Resolve(ask)]) -> str:
    return f"Hello {who.name}"


@app.tool()
async def grow(ctx: Context) -> str:
    app.add_tool(lambda: "new", name="new", description="was not there before")
    await ctx.notify_tools_changed()
    return "grown"


@app.tool()
async def hang() -> str:
    try:
        await anyio.sleep(3600)
    finally:
        print("hang was cancelled", file=sys.stderr, flush=True)
    return "never"


if len(sys.argv) > 1:
    app.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    app.run("stdio")
