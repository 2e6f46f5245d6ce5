"""PDFs by URL: what is fetched for a server that takes contents only, and from where never."""

from base64 import b64decode
from typing import Any

import pytest
from fake_server import Answer, answer, fake_server, hang, sse, stream
from samples import chunk, end

from gz_provider_llm.backends.openai import OpenAI
from gz_provider_llm.errors import BadRequest, LlmError, Unreachable
from gz_provider_llm.shapes.files import Image
from gz_provider_llm.shapes.requests import ChatRequest, Message
from gz_provider_llm.transport import fetching
from gz_provider_llm.transport.fetching import fetched_pdf
from gz_provider_llm.transport.http import Http

PDF = "%PDF-1.7 all text"


async def fetch(*script: Answer, path: str = "/a.pdf?key=secret-of-mine", **how: Any) -> bytes:
    async with fake_server(*script) as server:
        return await fetched_pdf(f"{server.url}{path}", private=True, **how)


async def test_its_content_also_where_it_has_moved() -> None:
    assert await fetch(answer(200, PDF)) == PDF.encode()
    assert await fetch(answer(302, "", location="/b.pdf"), answer(200, PDF)) == PDF.encode()
    assert await fetch(stream("%PDF-1.7 ", "all text")) == PDF.encode()


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        (answer(404, ""), BadRequest, "status 404"),
        (answer(503, ""), Unreachable, "status 503"),
        (answer(429, ""), Unreachable, "status 429"),
        (answer(200, "<html>"), BadRequest, "is no PDF"),
        (answer(302, "", location="/again"), BadRequest, "leads on more than 5 times"),
        (answer(302, "", location="file:///etc/passwd"), BadRequest, "no address in the web"),
        (stream(PDF, then="cut"), Unreachable, "cannot be fetched"),
        (hang, Unreachable, "within 0.2 s"),
    ],
)
async def test_what_cannot_be_had(script: Answer, kind: type[LlmError], words: str) -> None:
    with pytest.raises(kind) as caught:
        await fetch(script, limit_seconds=0.2 if script is hang else 20.0)
    assert words in caught.value.message
    assert "secret-of-mine" not in caught.value.message


async def test_it_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "IMAGE_LIMIT_BYTES", 1 << 20)
    with pytest.raises(BadRequest, match="larger than 1 MiB"):
        await fetch(answer(200, PDF + "x" * (1 << 20)))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.7", "[::1]", "[::ffff:192.168.1.1]", "169.254.169.254", "0.0.0.0"]
)
async def test_nothing_is_fetched_from_this_machine_or_network(host: str) -> None:
    async with fake_server(answer(200, PDF)) as server:
        port = server.url.rpartition(":")[2]
        with pytest.raises(BadRequest, match="no PDF is fetched from there"):
            await fetched_pdf(f"http://{host}:{port}/a.pdf")
        assert server.connections == 0


async def test_a_name_is_asked_at_the_address_that_was_looked_at() -> None:
    with pytest.raises(OSError, match="no PDF is fetched from there"):
        await fetching._Outside().resolve("localhost", 80)
    (found,) = await fetching._Outside().resolve("93.184.216.34", 80)
    assert found["host"] == "93.184.216.34"


@pytest.mark.parametrize("url", ["ftp://x.example/a.pdf", "http:///a.pdf", "http://x.example:99999/a.pdf"])
async def test_what_is_no_url(url: str) -> None:
    with pytest.raises(BadRequest):
        await fetched_pdf(url)


async def test_openai_is_given_the_content() -> None:
    asked: list[str] = []

    async def fetch(url: str) -> bytes:
        asked.append(url)
        return PDF.encode()

    paper = Image("application/pdf", "", "https://x.example/a.pdf")
    picture = Image("", "", "https://x.example/a.png")
    async with fake_server(stream(sse(chunk(content="x"), end("stop")))) as server:
        backend = OpenAI(Http(server.url), is_openai=True, fetch=fetch)
        question = Message(role="user", content="what", images=(paper, picture, paper))
        await backend.chat(ChatRequest(model="m", messages=(question,)), lambda text: None)
        await backend.close()
        parts = server.asked[0].body["messages"][0]["content"]
    assert asked == [paper.url]
    assert [part["type"] for part in parts] == ["text", "file", "image_url", "file"]
    assert b64decode(parts[1]["file"]["file_data"].partition(",")[2]) == PDF.encode()
    assert parts[2]["image_url"] == {"url": picture.url}
