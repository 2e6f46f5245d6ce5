"""The HTTP client against servers that misbehave."""

import asyncio
import logging
import re
import socket
import ssl
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from fake_server import AT_ONCE_SECONDS, CLOSE, Answer, answer, fake_server, hang, slam, stream

from gleitzeit.errors import ConfigurationError, GleitzeitError
from gz_provider_llm.errors import (
    BadRequest,
    ContextOverflow,
    IdleTimeout,
    LlmError,
    ModelNotFound,
    QuotaExceeded,
    RateLimited,
    ServerError,
    StreamCut,
    Unauthorized,
    Unreachable,
)
from gz_provider_llm.transport.http import Event, Http

KEY = "sk-very-secret"


async def raised_by(script: Answer, **options: Any) -> GleitzeitError:
    async with fake_server(script) as server:
        http = Http(server.url, **options)
        try:
            with pytest.raises(GleitzeitError) as caught:
                await http.post_json("/x", {})
            return caught.value
        finally:
            await http.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_json_both_ways_on_one_connection() -> None:
    async with fake_server(answer(200, {"a": [1, "ü"]})) as server:
        http = Http(server.url + "/", headers={"x-api-key": KEY})
        assert await http.post_json("/v1/x", {"b": "\u2028"}) == {"a": [1, "ü"]}
        assert await http.get_json("/v1/y") == {"a": [1, "ü"]}
        await http.close()
        assert [(asked.method, asked.path, asked.body) for asked in server.asked] == [
            ("POST", "/v1/x", {"b": "\u2028"}),
            ("GET", "/v1/y", None),
        ]
        assert server.asked[0].headers["x-api-key"] == KEY
        assert server.connections == 1


async def test_headers_may_be_long_and_many() -> None:
    """As of proxies that say what they have done, and of servers that count limits by model."""
    many = {f"x_limit_{number}": "y" * 100 for number in range(300)}
    async with fake_server(answer(200, {"a": 1}, x_long="z" * 40_000, **many)) as server:
        http = Http(server.url)
        assert await http.get_json("/x") == {"a": 1}
        await http.close()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"message": "bad key", "code": "invalid_api_key"}}, Unauthorized),
        (403, {"error": "no"}, Unauthorized),
        (402, {"error": {"message": "pay"}}, QuotaExceeded),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, QuotaExceeded),
        (404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}, ModelNotFound),
        (404, {"error": "model 'x' not found"}, ModelNotFound),
        (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: x not found"}}, ModelNotFound),
        (400, {"error": {"message": "invalid model name"}}, ModelNotFound),
        (404, "404 page not found", BadRequest),
        (400, {"error": {"message": "This model's maximum context length is 8192 tokens"}}, ContextOverflow),
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, ContextOverflow),
        (400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 3 > 2"}}, ContextOverflow),
        (400, {"error": {"type": "exceed_context_size_error", "message": "request (9 tokens)"}}, ContextOverflow),
        (400, {"error": {"message": "temperature must be below 2"}}, BadRequest),
        (422, {"detail": "unknown field"}, BadRequest),
        (302, "", BadRequest),
        (408, "", ServerError),
        (500, {"error": {"message": "boom"}}, ServerError),
        (502, "<html>Bad gateway</html>", ServerError),
        (503, {"error": {"message": "overloaded"}}, ServerError),
        (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, ServerError),
    ],
)
async def test_statuses_have_names(status: int, body: object, kind: type[LlmError]) -> None:
    error = await raised_by(answer(status, body))
    assert type(error) is kind
    assert error.retryable is kind.may_pass
    assert error.name == kind.name
    assert error.name.startswith("LLM_")


async def test_what_the_server_said_is_told() -> None:
    error = await raised_by(answer(400, {"error": {"message": "temperature must be below 2"}}))
    assert error.message.startswith("http://127.0.0.1:")
    assert error.message.endswith("says: temperature must be below 2")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "250", "retry_after": "1"}, 0.25),
        ({"retry_after": "soon"}, 10),
        ({"retry_after": "-1"}, 10),
        ({"retry_after": "nan"}, 10),
        ({}, 10),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 1),  # what is past would be asked for without end
        ({"retry_after": "0"}, 1),
    ],
)
async def test_429_says_when_to_come_back(headers: dict[str, str], seconds: float) -> None:
    error = await raised_by(answer(429, {"error": {"message": "slow down"}}, **headers))
    assert isinstance(error, RateLimited)
    assert error.data == {"retryAfterSeconds": seconds}
    assert error.code == -30007


async def test_429_with_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    error = await raised_by(answer(429, "", retry_after=date))
    assert isinstance(error, RateLimited)
    assert 25 < error.retry_after_seconds <= 30


async def test_a_busy_server() -> None:
    assert isinstance(await raised_by(answer(503, "", retry_after="2")), RateLimited)
    assert isinstance(await raised_by(answer(503, "full"), busy_statuses=(429, 503)), RateLimited)


async def test_nobody_listens() -> None:
    http = Http(f"http://user:{KEY}@127.0.0.1:{free_port()}/v1?key={KEY}", hint="Start it.")
    with pytest.raises(
        Unreachable, match=r"nobody answers at http://127.* \(connection refused\). Start it."
    ) as caught:
        await http.get_json("/models")
    await http.close()
    assert caught.value.retryable
    assert KEY not in f"{caught.value.message}{caught.value.data}"


async def test_a_certificate_that_nobody_trusts(certificate: Any) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.file, certificate.key)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=context)
    message = await refused_by(server)
    assert "certificate is not trusted: self-signed certificate; SSL_CERT_FILE" in message
    assert "start it" not in message, "it runs"


async def test_a_server_without_tls() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    assert "speaks no TLS, or another: is https right?" in await refused_by(
        await asyncio.start_server(plain, "127.0.0.1", 0)
    )


async def refused_by(server: asyncio.Server) -> str:
    http = Http(f"https://localhost:{server.sockets[0].getsockname()[1]}", hint="start it")
    with pytest.raises(Unreachable) as caught:
        await http.get_json("/models")
    await http.close()
    server.close()
    return caught.value.message


async def test_no_such_host() -> None:
    http = Http("http://no-such-host.invalid/")
    with pytest.raises(Unreachable):
        await http.get_json("/models")
    await http.close()


@pytest.mark.parametrize("script", [hang, stream("data: half", then="hang")])
async def test_a_server_that_hangs(script: Answer) -> None:
    began = time.perf_counter()
    error = await raised_by(script, idle_timeout_seconds=0.2)
    assert isinstance(error, IdleTimeout)
    assert "said nothing for 0.2 s" in error.message
    assert 0.15 < time.perf_counter() - began < 20, "not the minute that is usual"


async def test_answers_that_may_be_long_in_coming_are_waited_for() -> None:
    late = asyncio.Event()

    async def thinks(writer: asyncio.StreamWriter) -> str | None:
        await late.wait()
        return await stream("data: 1\n\n")(writer)

    async with fake_server(thinks) as server:
        http = Http(server.url, idle_timeout_seconds=0.05, long_silence_seconds=20)
        with pytest.raises(IdleTimeout):
            await first_events(http, 1)
        asyncio.get_running_loop().call_later(0.2, late.set)
        async with http.events("/x", {}, patient=True) as events:
            assert [event.data async for event in events] == ["1"]
        late.clear()
        asyncio.get_running_loop().call_later(0.2, late.set)
        with pytest.raises(ServerError, match="no JSON"):  # all at once, and not silent for too long
            await http.post_json("/x", {})
        await http.close()


async def test_until_the_answer_begins_a_server_may_be_silent_for_longer() -> None:
    async def loads_its_model(writer: asyncio.StreamWriter) -> str | None:
        await asyncio.sleep(0.5)
        return await stream("data: 1\n\n", then="hang")(writer)

    async def listen(http: Http, seen: list[str]) -> None:
        async with http.events("/x", {}) as events:
            async for event in events:
                seen.append(event.data)

    for first_sign_seconds, heard in ((0.0, []), (20.0, ["1"])):
        async with fake_server(loads_its_model) as server:
            http = Http(server.url, idle_timeout_seconds=0.1, first_sign_seconds=first_sign_seconds)
            seen: list[str] = []
            with pytest.raises(IdleTimeout, match=re.escape("said nothing for 0.1 s")):
                await listen(http, seen)
            await http.close()
        assert seen == heard


@pytest.mark.parametrize("script", [hang, stream(then="hang"), stream("data: 1\n\n", then="hang")])
async def test_a_server_that_is_known_to_work_is_waited_for(script: Answer) -> None:
    asked = 0

    async def works() -> bool:
        nonlocal asked
        asked += 1
        return asked < 3

    async with fake_server(script) as server:
        http = Http(server.url, idle_timeout_seconds=0.05)
        http.works_on = works
        with pytest.raises(IdleTimeout, match="--idle-timeout"):
            await first_events(http, 1)
        await http.close()
    assert asked == 3


async def test_the_connection_breaks() -> None:
    assert isinstance(await raised_by(slam), StreamCut)
    assert isinstance(await raised_by(stream("{", then="cut")), StreamCut)


async def test_what_is_no_http() -> None:
    async def greet(writer: asyncio.StreamWriter) -> str:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        return CLOSE

    error = await raised_by(greet)
    assert isinstance(error, ServerError)
    assert "is it a model server?" in error.message


@pytest.mark.parametrize("text", ["<html>hello</html>", "", "[" * 100_000])
async def test_an_answer_that_is_no_json(text: str) -> None:
    error = await raised_by(answer(200, text))
    assert isinstance(error, ServerError)
    assert len(error.message) < 400


async def test_a_secret_that_the_server_repeats_is_not_told() -> None:
    said = {"error": {"message": f"Incorrect API key provided: {KEY}."}}
    error = await raised_by(answer(401, said), headers={"authorization": f"Bearer {KEY}"}, secrets=[KEY])
    assert error.message.endswith("Incorrect API key provided: ***.")
    error = await raised_by(answer(200, f"no json {KEY}"), secrets=[KEY])
    assert KEY not in error.message


async def test_a_secret_is_in_no_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gz_provider_llm", "aiohttp"):  # which a service, started in this process, may have made silent
        caplog.set_level(logging.DEBUG, logger=name)
    async with fake_server(answer(200, {})) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        for url in (server.url, "http://models.invalid"):
            http = Http(url, headers={"authorization": f"Bearer {KEY}"}, secrets=[KEY])
            await http.post_json("/x", {})
            await http.close()
        assert [asked.path for asked in server.asked] == ["/x", "http://models.invalid/x"]
    assert caplog.records
    assert KEY not in caplog.text


async def test_who_stands_in_the_address_is_told_to_the_server_only() -> None:
    async with fake_server(answer(200, {})) as server:
        http = Http(server.url.replace("http://", f"http://user:{KEY}@"))
        await http.get_json("/x")
        await http.close()
        assert server.asked[0].headers["authorization"] == f"basic {b64encode(f'user:{KEY}'.encode()).decode().lower()}"
        assert KEY not in http.server.shown_url


async def test_a_redirection_says_where_to() -> None:
    error = await raised_by(answer(307, "", location=f"https://example.org/v1?key={KEY}"), secrets=[KEY])
    assert error.message.endswith("says: what is asked for is at https://example.org/v1: is the URL right?")


async def test_the_same_server_is_asked_where_it_says() -> None:
    async with fake_server(
        answer(307, "", location="/v1/x/"), answer(308, "", location="y?z=1"), answer(200, {})
    ) as made:
        http = Http(made.url, headers={"authorization": f"Bearer {KEY}"})
        assert await http.post_json("/v1/x", {"a": 1}) == {}
        await http.close()
        assert [asked.path for asked in made.asked] == ["/v1/x", "/v1/x/", "/v1/x/y?z=1"]
        assert {(asked.method, str(asked.body), asked.headers["authorization"]) for asked in made.asked} == {
            ("POST", "{'a': 1}", f"bearer {KEY}".lower())
        }


@pytest.mark.parametrize(
    "where", ["/x", "http://[::1", "http://127.0.0.2:1/x", "http://127.0.0.1:1/x", "ftp://127.0.0.1/x"]
)
async def test_a_redirection_that_leads_nowhere_is_told(where: str) -> None:
    async with fake_server(answer(307, "", location=where)) as made:
        http = Http(made.url)
        with pytest.raises(BadRequest, match=f"what is asked for is at {re.escape(where)}: is the URL right"):
            await http.post_json("/x", {})
        await http.close()
        assert len(made.asked) == (4 if where == "/x" else 1)


async def test_a_proxy_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_server(answer(200, {})) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url.replace("://", "://user:word@"))
        monkeypatch.setenv("NO_PROXY", "others.invalid")
        http = Http("http://models.invalid")
        assert await http.get_json("/x") == {}
        await http.close()
        (asked,) = proxy.asked
        assert asked.path == "http://models.invalid/x"
        assert asked.headers["proxy-authorization"] == f"basic {b64encode(b'user:word').decode().lower()}"
        http = Http("http://others.invalid")
        with pytest.raises(Unreachable):
            await http.get_json("/x")
        await http.close()
        assert len(proxy.asked) == 1


async def test_a_proxy_that_does_not_let_through_is_told_of_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def raised(url: str) -> Unreachable:
        http = Http(url, hint="Is the server running?")
        with pytest.raises(Unreachable) as caught:
            await http.get_json("/x")
        await http.close()
        return caught.value

    async with fake_server(answer(407, "")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", f"://user:{KEY}@"))
        error = await raised("https://models.invalid")
        assert error.message.endswith(" (the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names says: 407 X)")
        assert "hint" not in (error.data or {})
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    error = await raised("http://models.invalid")
    assert error.message.endswith(" (the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names: connection refused)")


async def test_the_query_of_an_address_follows_the_path_and_is_told_to_nobody() -> None:
    said = {"error": {"message": f"unknown api-version for subscription {KEY}-of-mine"}}
    async with fake_server(answer(200, {}), answer(400, said)) as server:
        http = Http(f"{server.url}/openai/deployments/d/?api-version=1&subscription={KEY}-of-mine")
        await http.get_json("/models?limit=3")
        with pytest.raises(
            BadRequest, match=r"/openai/deployments/d says: unknown api-version for subscription \*\*\*$"
        ):
            await http.post_json("/chat/completions", {})
        await http.close()
        models, chat = (asked.path for asked in server.asked)
        assert models == f"/openai/deployments/d/models?limit=3&api-version=1&subscription={KEY}-of-mine"
        assert chat == f"/openai/deployments/d/chat/completions?api-version=1&subscription={KEY}-of-mine"
        assert KEY not in http.server.shown_url


async def lines_of(script: Answer) -> list[bytes]:
    async with fake_server(script) as server:
        http = Http(server.url)
        try:
            async with http.lines("/x", {}) as lines:
                return [line async for line in lines]
        finally:
            await http.close()


async def test_lines_end_at_line_feeds_only() -> None:
    pieces = ('{"a":"\u2028\x85', '"}\r', "\n\n{", '"b":1}', "\n{}\n{}")
    assert await lines_of(stream(*pieces)) == ['{"a":"\u2028\x85"}'.encode(), b'{"b":1}', b"{}", b"{}"]


async def test_a_last_line_may_lack_its_end_or_be_cut() -> None:
    """Where HTTP cannot tell: a server that closes the connection to say that it has said all."""
    async with fake_server(stream('{"a": 1}\n{"b": 2}'), stream('{"a": 1}\n{"b')) as server:
        http = Http(server.url)
        async with http.lines("/x", {}) as lines:
            assert [line async for line in lines] == [b'{"a": 1}', b'{"b": 2}']
        with pytest.raises(StreamCut):
            async with http.lines("/x", {}) as lines:
                _ = [line async for line in lines]
        await http.close()
    async with fake_server(stream('data: {"a": 1}\n\ndata: [DONE]'), stream('data: {"a": 1}\n\ndata: {"b')) as server:
        http = Http(server.url)
        async with http.events("/x", {}) as events:
            assert [event.data async for event in events] == ['{"a": 1}', "[DONE]"]
        with pytest.raises(StreamCut):
            async with http.events("/x", {}) as events:
                _ = [event async for event in events]
        await http.close()


async def test_characters_may_be_cut_anywhere() -> None:
    content = '"ü€🙂"\n'.encode()
    assert await lines_of(stream(*(content[at : at + 1] for at in range(len(content))))) == [content.strip()]


async def test_a_line_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gz_provider_llm.transport.lines.LINE_LIMIT_BYTES", 1000)
    with pytest.raises(ServerError, match="a line of more than"):
        await lines_of(stream("x" * 600, "x" * 600))


async def test_a_body_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gz_provider_llm.transport.http.BODY_LIMIT_BYTES", 1 << 20)
    assert "larger than 1 MiB" in (await raised_by(answer(200, "1" * (1 << 20) + "1"))).message


async def test_events() -> None:
    text = (
        ": a comment\n\nevent: one\ndata: 1\nid: 7\n\n"
        "data: two\ndata:  lines\n\n"
        "event: nothing\n\n"
        'error: {"code": 500}\n\n'
        "data: last"
    )
    async with fake_server(stream(*text)) as server:
        http = Http(server.url)
        async with http.events("/x", {}) as events:
            found = [event async for event in events]
        await http.close()
    assert found == [Event("one", "1"), Event("", "two\n lines"), Event("error", ' {"code": 500}'), Event("", "last")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 1000])
async def test_events_end_as_the_specification_allows(end: str, size: int) -> None:
    text = "event: one\ndata: 1\n\ndata: two\ndata: lines\n\ndata: [DONE]\n\n".replace("\n", end)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    async with fake_server(stream(*pieces, then="hang")) as server:
        http = Http(server.url)
        assert await first_events(http, 1) == [Event("one", "1"), Event("", "two\nlines"), Event("", "[DONE]")]
        await http.close()


async def test_what_is_no_stream_of_events_is_one_event() -> None:
    async with fake_server(answer(200, '{"choices": [1]}'), stream("<html>\n", "log in: now\n\n", "</html>")) as server:
        http = Http(server.url)
        assert await first_events(http, 1) == [Event("", '{"choices": [1]}')]
        assert await first_events(http, 1) == [Event("", "<html>\nlog in: now\n\n</html>")]
        await http.close()


@pytest.mark.parametrize("script", [hang, stream("data: {}\n\n", then="hang")])
async def test_a_cancelled_request_is_closed_at_once(script: Answer) -> None:
    async with fake_server(script) as server:
        http = Http(server.url)

        async def ask() -> None:
            async with http.events("/x", {}) as events:
                async for _ in events:
                    pass

        task = asyncio.create_task(ask())
        async with asyncio.timeout(30):
            while not server.asked:  # noqa: ASYNC110 - the request comes over a socket
                await asyncio.sleep(0)
        cancelled_at = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gone_at = await asyncio.wait_for(server.gone.get(), 30)
        assert gone_at - cancelled_at < AT_ONCE_SECONDS
        await http.close()


async def first_events(http: Http, times: int) -> list[Event]:
    seen = []
    for _ in range(times):
        async with http.events("/x", {}) as events:
            async for event in events:
                seen.append(event)
                if event.data == "[DONE]":
                    break
    return seen


@pytest.mark.parametrize(("name", "connections"), [("uvicorn", 2), ("llama.cpp", 3)])
async def test_a_connection_after_its_stream(name: str, connections: int) -> None:
    """llama.cpp closes it, without saying so: what goes out in this moment would be lost. The first one tells what
    server it is."""
    async with fake_server(stream("data: 1\n\n", "data: [DONE]\n\n", server=name)) as server:
        http = Http(server.url)
        await first_events(http, 3)
        await http.close()
        assert (len(server.asked), server.connections) == (3, connections)


async def test_a_stream_that_does_not_end_after_its_last_event_is_left() -> None:
    async with fake_server(stream("data: [DONE]\n\n", then="hang")) as server:
        http = Http(server.url)
        async with asyncio.timeout(20):  # it would hang for a minute
            await first_events(http, 2)
        await http.close()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/", "http://", "", "http://[::1", "http://x:port/"])
def test_urls_are_checked(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Http(url)


async def test_no_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    async with fake_server(answer(200, {})) as server:
        http = Http(server.url)
        assert await http.get_json("/x") == {}
        await http.close()
