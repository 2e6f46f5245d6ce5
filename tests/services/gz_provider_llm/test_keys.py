"""A key in a file, which is exchanged while the provider runs."""

import asyncio
from pathlib import Path
from types import ModuleType

import pytest
from fake_server import answer, fake_server, sse, stream
from samples import STOP, chunk, end, ending, text

from gleitzeit.errors import GleitzeitError
from gleitzeit.transport import connect
from gz_provider_llm import anthropic_main, openai_main

OLD, NEW = "sk-old-and-revoked", "sk-new-and-good"
REFUSED = answer(401, {"error": {"type": "authentication_error", "message": f"invalid key {NEW}"}})


def header(headers: dict[str, str]) -> str:
    return (headers.get("x-api-key") or headers["authorization"]).removeprefix("bearer ")


@pytest.mark.parametrize(
    ("main", "events"),
    [(openai_main, [chunk(content="a"), end("stop")]), (anthropic_main, [*text("a"), ending("end_turn"), STOP])],
)
async def test_a_key_that_is_no_longer_accepted_is_read_again(
    main: ModuleType, events: list[object], tmp_path: Path
) -> None:
    file, accepted = tmp_path / "key", [OLD]
    file.write_text(OLD, encoding="utf-8")

    async def by_key(writer: asyncio.StreamWriter) -> object:
        good = header(server.asked[-1].headers) in accepted
        return await (stream(sse(*events)) if good else REFUSED)(writer)

    async with fake_server(by_key) as server:
        options = main.parser().parse_args(["--url", server.url, "--api-key-file", str(file)])
        async with main.provider(options).serve() as service:
            connection = await connect(service.url)

            async def ask() -> list[str]:
                await connection.call("llm/chat", {"model": "m", "prompt": "hi"})
                keys = [header(one.headers) for one in server.asked if one.method == "POST"]
                server.asked.clear()
                return keys

            assert await ask() == [OLD]
            accepted[:] = [NEW]
            file.write_text(f"{NEW}\n", encoding="utf-8")
            assert await ask() == [OLD, NEW]
            assert await ask() == [NEW]
            accepted.clear()
            with pytest.raises(GleitzeitError) as caught:
                await ask()
            assert (caught.value.data or {})["name"] == "LLM_UNAUTHORIZED"
            assert NEW not in f"{caught.value} {caught.value.data}"
            assert str(file) in caught.value.message
            await connection.close()
