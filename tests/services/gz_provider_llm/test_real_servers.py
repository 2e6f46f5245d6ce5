"""What the tests of this folder stand on: a real server over a model of random weights."""

import os
import signal
from pathlib import Path

import httpx
import tiny_model
from llama import API_KEY, LlamaServer

QUESTION = [{"role": "user", "content": "Who are you?"}]


def said(server: LlamaServer, **more: object) -> str:
    answer = httpx.post(
        f"{server.url}/v1/chat/completions", json={"messages": QUESTION, "max_tokens": 8, "seed": 1, **more}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_the_model_is_the_same_at_every_writing(tiny_gguf: Path, tmp_path: Path) -> None:
    again = tiny_model.write_model(tmp_path / "again.gguf")
    assert again.read_bytes() == tiny_gguf.read_bytes()
    assert again.stat().st_size < 1_000_000


def test_inference_is_real_and_reproducible(llama_server: LlamaServer) -> None:
    words = said(llama_server)
    assert len(words.split()) == 8
    assert words == said(llama_server)
    assert words != said(llama_server, seed=2)


def test_embeddings(embedding_server: LlamaServer) -> None:
    answer = httpx.post(f"{embedding_server.url}/v1/embeddings", json={"input": ["sea", "a red house"]}).json()
    assert [len(one["embedding"]) for one in answer["data"]] == [64, 64]


def test_a_key_is_asked_for(guarded_server: LlamaServer) -> None:
    body = {"messages": QUESTION, "max_tokens": 1}
    url = f"{guarded_server.url}/v1/chat/completions"
    assert httpx.post(url, json=body).status_code == 401
    assert httpx.post(url, json=body, headers={"authorization": f"Bearer {API_KEY}"}).status_code == 200


def test_it_ends_with_its_parent_and_at_once_when_told(tiny_gguf: Path) -> None:
    orphan = LlamaServer(tiny_gguf)
    orphan.stop()
    assert orphan.process.returncode == 0
    told = LlamaServer(tiny_gguf)
    os.kill(told.process.pid, signal.SIGTERM)
    assert told.process.wait(5) == 0
    told.stop()
