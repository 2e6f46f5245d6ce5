"""MCP over HTTP as a host sees it, byte by byte; the official SDK is the host in tests/acceptance/test_mcp.py."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import pytest

from gleitzeit.errors import ConfigurationError
from gleitzeit.mcp import eras, serving_http
from gleitzeit.mcp.serving import Serving, ToolCall
from gleitzeit.mcp.serving_http import HttpServing

META = {eras.VERSION_KEY: eras.STATELESS, eras.CAPABILITIES_KEY: {}}


class Tools:
    """`steps` tells how far it is and then what it was given; `wait` goes on until it is cancelled or let go."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()
        self.ended: list[str] = []
        self.over = asyncio.Event()

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        return [{"name": name, "inputSchema": {"type": "object"}} for name in ("steps", "wait")]

    async def call(self, call: ToolCall) -> Any:
        if call.name == "steps":
            for step in (1, 2):
                call.progress(step, 2)
            return call.arguments
        self.waiting.set()
        how = "cancelled"
        try:
            await self.go.wait()
            how = "whole"
        finally:
            self.ended.append(how)
            self.over.set()
        return {}


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest.fixture
async def client(tools: Tools) -> AsyncIterator[httpx.AsyncClient]:
    serving = HttpServing(Serving(tools, "test", "1"))
    await serving.start()
    async with httpx.AsyncClient(base_url=serving.url, timeout=30) as client:
        yield client
    await serving.close()


def message(method: str, request_id: object = 1, /, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


async def post(client: httpx.AsyncClient, body: object, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("", json=body, headers={"accept": "application/json, text/event-stream", **named})


async def begin(client: httpx.AsyncClient) -> dict[str, str]:
    """A session of the old era: the header that names it."""
    response = await post(client, message("initialize", protocolVersion="2025-06-18", capabilities={}))
    assert response.json()["result"]["protocolVersion"] == "2025-06-18"
    headers = {"mcp_session_id": response.headers["mcp-session-id"], "mcp_protocol_version": "2025-06-18"}
    said = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await post(client, said, **headers)).status_code == 202
    return headers


def stateless(method: str, **params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    headers = {"mcp_protocol_version": eras.STATELESS, "mcp_method": method}
    headers |= {"mcp_name": params["name"]} if "name" in params else {}
    return message(method, **params, _meta={**META, **params.pop("meta", {})}), headers


async def test_a_session_begins_and_ends(client: httpx.AsyncClient) -> None:
    session = await begin(client)
    listed = await post(client, message("tools/list"), **session)
    assert [tool["name"] for tool in listed.json()["result"]["tools"]] == ["steps", "wait"]
    assert (await client.get("", headers={"accept": "text/event-stream"})).status_code == 405
    name = {"mcp-session-id": session["mcp_session_id"]}
    assert (await client.delete("", headers=name)).status_code == 204
    assert (await post(client, message("tools/list"), **session)).status_code == 404
    assert (await client.delete("", headers=name)).status_code == 404


async def test_without_a_session_and_without_headers_it_answers_curl_too(client: httpx.AsyncClient) -> None:
    response = await client.post("", json=message("tools/call", name="steps", arguments={"a": 1}))
    assert response.headers["content-type"] == "application/json"
    assert response.json()["result"]["structuredContent"] == {"a": 1}
    both = [message("ping", "x"), message("ping", "y"), {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    assert {one["id"] for one in (await post(client, both)).json()} == {"x", "y"}


async def test_what_is_said_before_the_answer_comes_as_events(client: httpx.AsyncClient) -> None:
    call = message("tools/call", "a", name="steps", arguments={}, _meta={"progressToken": "t"})
    response = await post(client, call)
    assert response.headers["content-type"] == "text/event-stream"
    said = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    assert [one.get("params", {}).get("progress") for one in said] == [1, 2, None]
    assert said[-1]["id"] == "a"
    only_json = await client.post("", json=call, headers={"accept": "application/json"})
    assert only_json.json()["id"] == "a"


async def test_a_silent_call_says_that_it_is_there(
    client: httpx.AsyncClient, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_http, "QUIET_SECONDS", 0.01)
    headers = {"accept": "text/event-stream"}
    async with client.stream("POST", "", json=message("tools/call", name="wait"), headers=headers) as response:
        lines = response.aiter_lines()
        assert await anext(lines) == ": still there"
        tools.go.set()
        assert any([line.startswith("data: ") async for line in lines])


async def test_one_post_cancels_what_another_one_waits_for_within_its_session(
    client: httpx.AsyncClient, tools: Tools
) -> None:
    one, other = await begin(client), await begin(client)
    call = asyncio.create_task(post(client, message("tools/call", 7, name="wait"), **one))
    await tools.waiting.wait()
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7, "reason": "enough"}}
    assert (await post(client, cancel, **other)).status_code == 202
    assert (await post(client, cancel)).status_code == 202
    assert tools.ended == [], "the same number means another request elsewhere"
    assert (await post(client, cancel, **one)).status_code == 202
    assert "error" in (await call).json()
    assert tools.ended == ["cancelled"]


@pytest.mark.parametrize(("era", "end"), [("old", "whole"), ("stateless", "cancelled")])
async def test_who_hangs_up_has_cancelled_only_in_the_stateless_era(
    client: httpx.AsyncClient, tools: Tools, era: str, end: str
) -> None:
    if era == "old":
        body, headers = message("tools/call", name="wait"), await begin(client)
    else:
        body, headers = stateless("tools/call", name="wait")
    call = asyncio.create_task(post(client, body, **headers))
    await tools.waiting.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    if era == "old":
        tools.go.set()
    await asyncio.wait_for(tools.over.wait(), 30)
    assert tools.ended == [end]


async def test_the_stateless_era_says_in_headers_what_the_body_says(client: httpx.AsyncClient) -> None:
    body, headers = stateless("tools/call", name="steps", arguments={"a": 1})
    found = (await post(client, body, **headers)).json()["result"]
    assert (found["resultType"], found["structuredContent"]) == ("complete", {"a": 1})
    in_base64 = {**headers, "mcp_name": "=?base64?c3RlcHM=?="}
    assert (await post(client, body, **in_base64)).status_code == 200
    for wrong in (
        {**headers, "mcp_name": "wait"},
        {**headers, "mcp_name": "=?base64?%%?="},
        {**headers, "mcp_method": "tools/list"},
        {**headers, "mcp_protocol_version": "2025-06-18"},
        {"mcp_method": "tools/call", "mcp_name": "steps"},
    ):
        refused = await post(client, body, **wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, eras.HEADER_MISMATCH)
        assert refused.json()["id"] == 1
    unknown = await post(client, *stateless("tools/lst")[:1], **stateless("tools/lst")[1])
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, -32601)
    future = await post(client, message("tools/list"), mcp_protocol_version="2099-01-01")
    assert (future.status_code, future.json()["error"]["code"]) == (400, eras.UNSUPPORTED_VERSION)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"\xff\xfe", {}, 400),
        (b'"x"', {}, 400),
        (b"[" * 10_000, {}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"accept": "text/html"}, 406),
        (b"{}", {"mcp-session-id": "made up"}, 404),
        (b"{}", {"origin": "https://elsewhere.example"}, 403),
        (b"{}", {"host": "rebound.example"}, 403),
        (b" " * (17 << 20), {}, 413),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    about = {"content-type": "application/json", **headers}
    assert (await client.post("", content=content, headers=about)).status_code == status
    assert (await client.post("", json=message("ping"))).json()["result"] == {}


async def test_who_has_no_token_stays_outside_and_far_addresses_want_more(tools: Tools) -> None:
    serving = HttpServing(Serving(tools, "test", "1"), token="sesame")
    await serving.start()
    async with httpx.AsyncClient(base_url=serving.url) as client:
        for headers in ({}, {"authorization": "Bearer sesam"}, {"authorization": "Basic sesame"}):
            refused = await client.post("", json=message("ping"), headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        taken = await client.post("", json=message("ping"), headers={"authorization": "Bearer sesame"})
        assert taken.status_code == 200
    await serving.close()
    with pytest.raises(ConfigurationError, match="a token and TLS are needed"):
        HttpServing(Serving(tools, "test", "1"), host="0.0.0.0", token="sesame")


async def test_the_oldest_session_goes_first(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_http, "MAX_SESSIONS", 2)
    first, second = await begin(client), await begin(client)
    assert (await post(client, message("ping"), **first)).status_code == 200
    third = await begin(client)
    states = [(await post(client, message("ping"), **one)).status_code for one in (first, second, third)]
    assert states == [200, 404, 200]
