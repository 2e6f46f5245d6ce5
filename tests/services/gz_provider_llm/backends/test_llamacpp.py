"""A GGUF file as a provider: llama.cpp in a child process, and what happens to that child."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gleitzeit.errors import ConfigurationError
from gz_provider_llm import llamacpp_main
from gz_provider_llm.backends import llamacpp
from gz_provider_llm.backends.llamacpp import LlamaCpp, Settings
from gz_provider_llm.errors import BadRequest, ContextOverflow, ModelNotFound, StreamCut
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest, Message

COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}


def ask(text: str = "Who are you?", **more: Any) -> ChatRequest:
    messages = (Message(role="user", content=text),)
    return ChatRequest(**{"model": "tiny", "messages": messages, "seed": 1, "max_tokens": 6, **more})


def ignore(delta: str) -> None:
    pass


@pytest.fixture
async def backend(tiny_gguf: Path) -> AsyncIterator[LlamaCpp]:
    made = LlamaCpp(Settings(file=tiny_gguf, alias="tiny", parallel=2, context=2048, threads=1))
    yield made
    await made.close()


def child_of(backend: LlamaCpp) -> int:
    assert backend._chat._child is not None
    return backend._chat._child.pid


async def test_it_answers(backend: LlamaCpp) -> None:
    (model,) = await backend.models()
    assert (model.name, model.loaded, model.context_tokens) == ("tiny", False, 2048)
    deltas: list[str] = []
    result = await backend.chat(ask(), deltas.append)
    assert (len(deltas), result.content, result.model) == (6, "".join(deltas), "tiny")
    assert result.usage is not None
    assert result.usage.output_tokens == 6
    answers = await asyncio.gather(*(backend.chat(ask(seed=seed), ignore) for seed in (1, 2)))
    assert answers[0].content == result.content != answers[1].content
    shaped = await backend.chat(ask(json=True, json_schema=COLOUR, max_tokens=300), ignore)
    assert '"colour"' in shaped.content
    with pytest.raises(ContextOverflow):
        await backend.chat(ask("sea " * 3000), ignore)
    with pytest.raises(ModelNotFound, match="only tiny") as caught:
        await backend.chat(ask(model="llama3.2"), ignore)
    assert caught.value.data is not None
    assert caught.value.data["models"] == ["tiny"]
    (model,) = await backend.models()
    assert model.loaded


async def test_embeddings_have_a_child_of_their_own(backend: LlamaCpp) -> None:
    result = await backend.embed(EmbedRequest(model="tiny", inputs=("sea", "a red house")))
    assert [len(vector) for vector in result.embeddings] == [64, 64]
    assert not backend._chat.running


async def test_cancelling_ends_the_inference(backend: LlamaCpp) -> None:
    begun = asyncio.Event()
    running = asyncio.create_task(backend.chat(ask(max_tokens=1900), lambda delta: begun.set()))
    async with asyncio.timeout(30):
        await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert backend._chat._http is not None
    async with asyncio.timeout(30):
        while True:  # as long as a request takes
            slots = await backend._chat._http.get_json("/../slots")
            if not any(slot["is_processing"] for slot in slots):
                break


async def test_a_child_that_died_is_started_again(backend: LlamaCpp) -> None:
    before = (await backend.chat(ask(), ignore)).content
    pid = child_of(backend)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        try:
            after = await backend.chat(ask(), ignore)
        except StreamCut:  # of a connection that was open
            after = await backend.chat(ask(), ignore)
    assert after.content == before
    assert child_of(backend) != pid


async def test_the_child_ends_with_us(tiny_gguf: Path) -> None:
    backend = LlamaCpp(Settings(file=tiny_gguf, alias="tiny", threads=1))
    await backend.chat(ask(), ignore)
    pid = child_of(backend)
    await backend.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_who_gives_up_waiting_does_not_stop_the_start(backend: LlamaCpp) -> None:
    impatient = asyncio.create_task(backend.chat(ask(), ignore))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert (await backend.chat(ask(), ignore)).content


async def test_a_broken_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and nothing more")
    backend = LlamaCpp(Settings(file=broken, alias="broken"))
    with pytest.raises(BadRequest, match=r"cannot load .*broken\.gguf") as caught:
        await backend.chat(ask(model="broken"), ignore)
    assert not caught.value.retryable
    await backend.close()


def test_options(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLEITZEIT_GGUF", raising=False)
    with pytest.raises(ConfigurationError, match=r"--model FILE\.gguf, or name the file by GLEITZEIT_GGUF"):
        llamacpp_main.provider(llamacpp_main.parser().parse_args([]))
    monkeypatch.setenv("GLEITZEIT_GGUF", str(tiny_gguf))
    assert llamacpp_main.provider(llamacpp_main.parser().parse_args([])).capacity == llamacpp.PARALLEL
    assert llamacpp_main.provider(llamacpp_main.parser().parse_args(["--capacity", "2"])).capacity == 2


def test_what_can_never_work_is_said_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(name: str, **more: Any) -> None:
        llamacpp.check(Settings(file=tmp_path / name, alias="x", **more))

    with pytest.raises(ConfigurationError, match=r"cannot read the model .*: No such file"):
        check("none.gguf")
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(ConfigurationError, match="is no GGUF file"):
        check("text.gguf")
    monkeypatch.setattr("gz_provider_llm.backends.llamacpp.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install xllamacpp"):
        check("text.gguf")
