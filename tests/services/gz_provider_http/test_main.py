"""http/v1 against a real server, over a real socket."""

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gleitzeit.errors import GleitzeitError, InvalidParams, PayloadTooLarge, ProviderBusy, TaskError, TaskTimeout
from gleitzeit.schemas import builtin
from gleitzeit.transport import Connection, connect
from gz_provider_http.main import build
from gz_provider_http.methods import Settings


class Answering(BaseHTTPRequestHandler):
    """`/echo` tells what it was asked; the others say in their path what they answer."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = urlsplit(self.path)
        words = parts.path.strip("/").split("/")
        match words[0]:
            case "echo":
                seen = {
                    "method": self.command,
                    "path": parts.path,
                    "query": parse_qs(parts.query),
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": body.decode(),
                }
                self._answer(
                    200, json.dumps(seen).encode(), ("Content-Type", "application/json"), ("Set-Cookie", "a=b")
                )
            case "status":
                more = [("Retry-After", words[2])] if len(words) > 2 else []
                self._answer(int(words[1]), b"no luck today", *more)
            case "to":
                self._answer(302, b"", ("Location", parts.query))
            case "round":
                self._answer(302, b"", ("Location", "/round"))
            case "large":
                self._answer(200, b"x" * int(words[1]), ("Content-Type", "text/plain"))
            case "bytes":
                self._answer(200, bytes(range(256)), ("Content-Type", "image/png"))
            case "json":
                kind = f"application/json{'; charset=' + words[2] if len(words) > 2 else ''}"
                self._answer(200, bytes.fromhex(words[1]), ("Content-Type", kind))
            case "slow":
                self.server.stop.wait(10)  # type: ignore[attr-defined]
                self._answer(200, b"late")
            case "orders":
                orders = {"orders": [{"id": 1, "total": 5}, {"id": 2, "total": 50}], "next": "p2"}
                self._answer(200, json.dumps(orders).encode(), ("Content-Type", "application/vnd.api+json"))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    server.stop = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    async with build(Settings()).serve() as service:
        connection = await connect(service.url)
        yield connection
        await connection.close()


def test_it_serves_all_of_http_v1() -> None:
    assert sorted(build(Settings()).methods) == builtin().names("http/v1")


@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete"])
async def test_each_verb(connection: Connection, url: str, verb: str) -> None:
    answer = await connection.call(f"http/{verb}", {"url": f"{url}/echo"})
    assert answer["status_code"] == 200
    assert answer["response"]["method"] == verb.upper()
    assert answer["result"] == answer["response"]
    assert answer["headers"]["content-type"] == "application/json"


async def test_a_request_of_any_method_and_get_by_itself(connection: Connection, url: str) -> None:
    asked = await connection.call("http/request", {"method": "options", "url": f"{url}/echo"})
    assert asked["response"]["method"] == "OPTIONS"
    assert (await connection.call("http/request", {"url": f"{url}/echo"}))["response"]["method"] == "GET"


async def test_query_and_headers(connection: Connection, url: str) -> None:
    params = {"tag": ["a", "b"], "n": 3, "on": True, "none": None}
    answer = await connection.call("http/get", {"url": f"{url}/echo?x=1", "params": params, "headers": {"X-N": 4}})
    assert answer["response"]["query"] == {"x": ["1"], "tag": ["a", "b"], "n": ["3"], "on": ["true"]}
    assert answer["response"]["headers"]["x-n"] == "4"
    assert answer["url"] == f"{url}/echo", "a query may hold keys, and is not told"


@pytest.mark.parametrize(
    ("params", "body", "kind"),
    [
        ({"json": {"a": [1]}}, '{"a":[1]}', "application/json"),
        ({"json": None}, "null", "application/json"),
        ({"data": {"a": 1, "b": ["x", "y"]}}, "a=1&b=x&b=y", "application/x-www-form-urlencoded"),
        ({"data": {"a": {"b": [True]}}}, "a=%7B%22b%22%3A%5Btrue%5D%7D", "application/x-www-form-urlencoded"),
        ({"data": "plain"}, "plain", None),
        ({"body": "plain"}, "plain", None),
    ],
)
async def test_bodies(connection: Connection, url: str, params: dict[str, Any], body: str, kind: str | None) -> None:
    seen = (await connection.call("http/post", {"url": f"{url}/echo", **params}))["response"]
    assert (seen["body"], seen["headers"].get("content-type")) == (body, kind)


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "bearer", "token": "t"}, "authorization", "Bearer t"),
        (
            {"type": "basic", "username": "u", "password": "p:ä"},
            "authorization",
            f"Basic {base64.b64encode('u:p:ä'.encode()).decode()}",
        ),
        ({"type": "api_key", "key": "k"}, "x-api-key", "k"),
        ({"type": "api_key", "key": "k", "name": "X-Mine"}, "x-mine", "k"),
    ],
)
async def test_auth(connection: Connection, url: str, auth: dict[str, Any], header: str, value: str) -> None:
    seen = (await connection.call("http/get", {"url": f"{url}/echo", "auth": auth}))["response"]
    assert seen["headers"][header] == value


async def test_a_key_in_the_query(connection: Connection, url: str) -> None:
    auth = {"type": "api_key", "key": "k", "name": "api_key", "in": "query"}
    seen = (await connection.call("http/get", {"url": f"{url}/echo", "auth": auth}))["response"]
    assert seen["query"] == {"api_key": ["k"]}


async def test_auth_that_lacks_its_secret_is_named(connection: Connection, url: str) -> None:
    with pytest.raises(InvalidParams, match="auth of type bearer needs 'token'"):
        await connection.call("http/get", {"url": url, "auth": {"type": "bearer"}})


@pytest.mark.parametrize(
    ("status", "again"), [(500, True), (503, True), (429, True), (408, True), (404, False), (401, False)]
)
async def test_an_error_says_whether_a_retry_is_worth_it(
    connection: Connection, url: str, status: int, again: bool
) -> None:
    with pytest.raises(TaskError, match=f"answered {status} .*no luck today") as caught:
        await connection.call("http/get", {"url": f"{url}/status/{status}"})
    assert caught.value.data is not None
    assert caught.value.data["retryable"] is again
    assert (caught.value.data["status_code"], caught.value.data["body"]) == (status, "no luck today")


async def test_a_server_may_say_when_to_come_again(connection: Connection, url: str) -> None:
    with pytest.raises(TaskError) as caught:
        await connection.call("http/get", {"url": f"{url}/status/429/7"})
    assert caught.value.data is not None
    assert caught.value.data["retryAfterSeconds"] == 7


@pytest.mark.parametrize(
    ("expected", "good"), [(404, True), ([200, 404], True), ("4xx", True), ("2xx", False), (200, False)]
)
async def test_the_author_says_what_is_expected(connection: Connection, url: str, expected: Any, good: bool) -> None:
    params = {"url": f"{url}/status/404", "expected_status": expected}
    if good:
        assert (await connection.call("http/get", params))["status_code"] == 404
    else:
        with pytest.raises(TaskError, match="404 Not Found, not "):
            await connection.call("http/get", params)


async def test_parts_are_extracted_by_json_path(connection: Connection, url: str) -> None:
    extract = {"next": "$.next", "large": "$.orders[?@.total > 10].id", "all": "$..id", "gone": "$.no.such"}
    answer = await connection.call("http/get", {"url": f"{url}/orders", "extract": extract})
    assert answer["result"] == answer["extracted"] == {"next": "p2", "large": [2], "all": [1, 2], "gone": None}
    assert answer["response"]["next"] == "p2"
    with pytest.raises(InvalidParams, match="is not a JSONPath"):
        await connection.call("http/get", {"url": f"{url}/orders", "extract": {"x": "$.["}})


async def test_what_a_response_is_read_as(connection: Connection, url: str) -> None:
    assert (await connection.call("http/get", {"url": f"{url}/large/3"}))["response"] == "xxx"
    binary = await connection.call("http/get", {"url": f"{url}/bytes"})
    assert base64.b64decode(binary["response"]) == bytes(range(256))
    as_text = await connection.call("http/get", {"url": f"{url}/orders", "response_type": "text"})
    assert json.loads(as_text["response"])["next"] == "p2"
    with pytest.raises(TaskError, match="what is no JSON"):
        await connection.call("http/get", {"url": f"{url}/large/3", "response_type": "json"})


async def test_a_large_answer_needs_permission(connection: Connection, url: str) -> None:
    with pytest.raises(PayloadTooLarge, match="max_size_bytes"):
        await connection.call("http/get", {"url": f"{url}/large/2000000"})
    params = {"url": f"{url}/large/2000000", "max_size_bytes": 3_000_000}
    assert (await connection.call("http/get", params))["size_bytes"] == 2_000_000


async def test_redirects(connection: Connection, url: str) -> None:
    answer = await connection.call("http/get", {"url": f"{url}/to?{url}/echo"})
    assert answer["url"] == f"{url}/echo"
    stays = await connection.call("http/get", {"url": f"{url}/to?{url}/echo", "follow_redirects": False})
    assert stays["status_code"] == 302
    with pytest.raises(TaskError, match="more than 10 times"):
        await connection.call("http/get", {"url": f"{url}/round"})
    with pytest.raises(GleitzeitError):
        await connection.call("http/get", {"url": f"{url}/to?ftp://127.0.0.1/x"})


async def test_credentials_stay_with_their_host(connection: Connection, url: str) -> None:
    elsewhere = url.replace("127.0.0.1", "localhost")
    params = {"url": f"{url}/to?{elsewhere}/echo", "auth": {"type": "bearer", "token": "t"}}
    assert "authorization" not in (await connection.call("http/get", params))["response"]["headers"]


async def test_what_the_author_says_of_themselves_stays_with_the_host_in_whatever_header(
    connection: Connection, url: str
) -> None:
    headers = {"Cookie": "a=b", "X-Token": "t", "Accept": "text/x", "If-None-Match": "e"}
    auth = {"type": "api_key", "key": "s3cret"}
    elsewhere = url.replace("127.0.0.1", "localhost")
    there = await connection.call("http/get", {"url": f"{url}/to?{elsewhere}/echo", "headers": headers, "auth": auth})
    seen = there["response"]["headers"]
    assert (seen["accept"], seen["if-none-match"], seen["host"]) == ("text/x", "e", elsewhere.removeprefix("http://"))
    assert not {"cookie", "x-token", "x-api-key"} & seen.keys()
    here = await connection.call("http/get", {"url": f"{url}/to?{url}/echo", "headers": headers, "auth": auth})
    assert {"cookie": "a=b", "x-token": "t", "x-api-key": "s3cret"}.items() <= here["response"]["headers"].items()
    back = f"{url}/to?{elsewhere}/to?{url}/echo"
    assert (
        "x-token" not in (await connection.call("http/get", {"url": back, "headers": headers}))["response"]["headers"]
    )


async def test_json_as_servers_write_it(connection: Connection, url: str) -> None:
    async def of(content: bytes, charset: str = "") -> Any:
        answer = await connection.call("http/get", {"url": f"{url}/json/{content.hex()}/{charset}".rstrip("/")})
        return answer["response"]

    assert await of('["é"]'.encode("latin-1"), "iso-8859-1") == ["é"]
    assert await of('\ufeff{"a": 1}'.encode()) == {"a": 1}
    with pytest.raises(TaskError, match=r"what is no JSON .*can't decode byte"):
        await of(b'["\xe9"]')


async def test_whoever_cannot_be_trusted_is_told_as_such(connection: Connection, url: str, certificate: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        target = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(
            TaskError, match="its certificate is not trusted: self-signed certificate; SSL_CERT_FILE"
        ) as caught:
            await connection.call("http/get", {"url": target})
        assert (caught.value.data or {})["retryable"] is False
    with pytest.raises(TaskError, match="no TLS connection can be made with it"):
        await connection.call("http/get", {"url": url.replace("http:", "https:")})


async def test_no_cookie_of_one_task_goes_along_with_another(connection: Connection, url: str) -> None:
    await connection.call("http/get", {"url": f"{url}/echo"})
    assert "cookie" not in (await connection.call("http/get", {"url": f"{url}/echo"}))["response"]["headers"]


async def test_the_credentials_of_a_cloud_are_not_asked(connection: Connection, url: str) -> None:
    for target in (
        "http://169.254.169.254/latest",
        "http://[::ffff:169.254.169.254]/",
        f"{url}/to?http://169.254.169.254/",
    ):
        with pytest.raises(TaskError, match="credentials"):
            await connection.call("http/get", {"url": target})


async def test_private_addresses_can_be_refused(url: str) -> None:
    async with build(Settings(private=False)).serve() as service:
        connection = await connect(service.url)
        with pytest.raises(TaskError, match="does not ask"):
            await connection.call("http/get", {"url": url})
        await connection.close()


@pytest.mark.parametrize("wrong", ["ftp://x/", "file:///etc/passwd", "no-url", "http://", "http://x:99999/"])
async def test_a_url_that_is_none(connection: Connection, wrong: str) -> None:
    with pytest.raises(InvalidParams, match="url"):
        await connection.call("http/get", {"url": wrong})


async def test_a_line_break_in_a_header_is_refused(connection: Connection, url: str) -> None:
    with pytest.raises(InvalidParams, match="line break"):
        await connection.call("http/get", {"url": url, "headers": {"a": "b\r\nc: d"}})


@pytest.mark.parametrize(
    ("headers", "message"), [({"X Y": "a"}, "a name is made of"), ({"": "a"}, "a name"), ({"X": "é"}, "beyond ASCII")]
)
async def test_what_can_be_no_header(connection: Connection, url: str, headers: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidParams, match=message):
        await connection.call("http/get", {"url": f"{url}/echo", "headers": headers})


async def test_the_body_says_how_long_it_is(connection: Connection, url: str) -> None:
    params = {"url": f"{url}/echo", "data": "whole", "headers": {"Content-Length": "2"}}
    assert (await connection.call("http/post", params))["response"]["body"] == "whole"


async def test_it_gives_up_in_time(connection: Connection, url: str) -> None:
    with pytest.raises(TaskTimeout, match=r"within 0\.1 s"):
        await connection.call("http/get", {"url": f"{url}/slow", "timeout": 0.1})


async def test_a_name_that_is_not_known_is_told_as_such(connection: Connection) -> None:
    with pytest.raises(TaskError, match="its name is not known here"):
        await connection.call("http/get", {"url": "http://nobody.invalid/"})


async def test_nobody_there_is_worth_a_retry(connection: Connection) -> None:
    with pytest.raises(TaskError, match="refused") as caught:
        await connection.call("http/get", {"url": "http://127.0.0.1:1/"})
    assert caught.value.data is None or caught.value.data.get("retryable") is not False


async def test_who_is_beyond_the_rate_comes_again_later(connection: Connection, url: str) -> None:
    params = {"url": f"{url}/echo", "rate_limit": "1/h", "rate_limit_key": "mine"}
    await connection.call("http/get", params)
    with pytest.raises(ProviderBusy) as caught:
        await connection.call("http/get", params)
    assert caught.value.data is not None
    assert 3500 < caught.value.data["retryAfterSeconds"] <= 3600
    await connection.call("http/get", {**params, "rate_limit_key": "other"})
    with pytest.raises(InvalidParams, match="rate_limit"):
        await connection.call("http/get", {**params, "rate_limit": "often"})
