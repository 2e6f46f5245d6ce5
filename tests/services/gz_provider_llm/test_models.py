"""A provider says which models it has, and says it again when that has changed."""

import asyncio
from pathlib import Path

from llama import LlamaServer

from gleitzeit.transport import Connection, connect
from gz_provider_llm.backends.openai import OpenAI
from gz_provider_llm.methods import Settings, build
from gz_provider_llm.shapes.results import known_as
from gz_provider_llm.transport.http import Http


async def announced(connection: Connection) -> list[str]:
    document = await connection.call("rpc.discover")
    return list(document["x-gleitzeit"].get("models", []))


async def test_the_models_of_a_real_server_are_announced(llama_server: LlamaServer, tmp_path: Path) -> None:
    backend = OpenAI(Http(f"{llama_server.url}/v1"), is_openai=False)
    provider = build(backend, Settings(directory=tmp_path, list_models=True))
    changed = asyncio.Event()

    def notified(_connection: Connection, method: str, _params: object) -> None:
        if method == "notifications/methods/list_changed":
            changed.set()

    async with provider.serve() as service:
        connection = await connect(service.url, on_notification=notified)
        if not await announced(connection):
            await asyncio.wait_for(changed.wait(), 30)
        assert await announced(connection) == [llama_server.model]
        changed.clear()
        provider.models = ["another"]
        await asyncio.wait_for(changed.wait(), 30)
        assert await announced(connection) == ["another"]
        await connection.close()


async def test_without_being_asked_to_nothing_is_listed(llama_server: LlamaServer, tmp_path: Path) -> None:
    provider = build(OpenAI(Http(f"{llama_server.url}/v1"), is_openai=False), Settings(directory=tmp_path))
    async with provider.serve() as service:
        connection = await connect(service.url)
        assert await announced(connection) == []
        await connection.close()


def test_a_model_is_known_by_the_names_that_its_server_understands() -> None:
    assert "llama3.2" in known_as("llama3.2:latest")
    assert "claude-haiku-4-5" in known_as("claude-haiku-4-5-20251001")
    assert "claude-3-5-haiku-latest" in known_as("claude-3-5-haiku-20241022")
    assert set(known_as("gpt-4o-2024-08-06")) == {"gpt-4o-2024-08-06"}
