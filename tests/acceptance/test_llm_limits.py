"""What a user waits for, and what not: rate limits, lists of models at several providers, budgets of seconds.

Inference is that of a real llama-server: one model of it is `tiny` at OpenAI's wire, others are at Ollama's, by a front
that refuses on request.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import support

from gleitzeit.client import Client, WorkflowResult

sys.path.insert(0, str(Path(__file__).parents[1] / "services" / "gz_provider_llm"))

import tiny_model
from llama import LlamaServer
from ollama_front import ALL, OllamaFront, Refuse

LONG = {"retry-after": "600"}
AT_ONCE_SECONDS = 30.0
"""For what must not wait for LONG, on a machine that is busy with other things."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    gguf = tiny_model.write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")
    server = LlamaServer(gguf, "--parallel", "4", "--context", "16384")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ollama(llama: LlamaServer) -> Iterator[OllamaFront]:
    front = OllamaFront(llama.url, models={f"{name}:latest": ALL for name in ("one", "two", "three", "four")})
    yield front
    front.stop()


@pytest.fixture(scope="module")
def stack(llama: LlamaServer, ollama: OllamaFront, tmp_path_factory: pytest.TempPathFactory) -> Iterator[support.Stack]:
    state = tmp_path_factory.mktemp("limits") / "state"
    environ = {"OLLAMA_HOST": ollama.url, "OPENAI_BASE_URL": llama.url, "OLLAMA_NUM_PARALLEL": "4"}
    made = support.Stack(state, "--provider", "ollama,openai", environ=environ)
    yield made
    assert made.stop() == 0


@pytest.fixture
async def client(stack: support.Stack) -> AsyncIterator[Client]:
    async with await Client.connect(stack.url) as made:

        async def models_are_known() -> bool:
            known = {model for provider in await made.providers() for model in provider.models}
            return {"one", "tiny"} <= known

        await support.eventually(models_are_known)
        yield made


def ask(model: object, **more: Any) -> dict[str, Any]:
    params = {"model": model, "prompt": "Hello", "max_tokens": 3, **more.pop("params", {})}
    return {"id": "ask", "method": "llm/chat", "params": params, **more}


async def run(client: Client, *tasks: dict[str, Any], **more: Any) -> WorkflowResult:
    async with asyncio.timeout(AT_ONCE_SECONDS):
        return await client.run_workflow({"name": "limits", "tasks": list(tasks), **more})


def error_of(result: WorkflowResult) -> tuple[str, str]:
    assert result.error is not None
    return result.error.name, result.error.message


async def test_who_names_another_model_does_not_wait_for_a_rate_limit(client: Client, ollama: OllamaFront) -> None:
    ollama.faults.append(Refuse(429, "slow down", LONG))
    result = await run(client, ask("one", fallback=["tiny"]))
    assert result.results["ask"]["provider"] == "openai"
    result = await run(client, ask(["one", "tiny"]))
    assert result.results["ask"]["provider"] == "openai"
    asked = [seen for seen in ollama.seen if seen.path == "/api/chat" and seen.body["model"] == "one"]
    assert len(asked) == 1, "the server wants to be left alone"


async def test_a_wait_for_a_rate_limit_ends_with_the_time_to_start_or_a_cancel(
    client: Client, ollama: OllamaFront
) -> None:
    ollama.faults.append(Refuse(429, "slow down", LONG))
    name, message = error_of(await run(client, ask("two", queue_timeout=0.5)))
    assert name == "TASK_TIMEOUT"
    assert message.startswith("not started within 500 ms (queue_timeout): ollama did not take it: ")
    assert "slow down" in message
    submitted = await client.submit({"name": "waits", "tasks": [ask("two")]})

    async def waits() -> bool:
        return (await client.get(submitted.workflow_id)).tasks[0].status == "retrying"

    await support.eventually(waits)
    why = await client.call("workflow.explain", {"workflow_id": submitted.workflow_id})
    assert "slow down" in str(why)
    assert (await client.cancel(submitted.workflow_id)).status == "cancelled"


async def test_a_list_of_models_goes_on_at_the_next_provider_without_a_retry(
    client: Client, ollama: OllamaFront
) -> None:
    ollama.faults.append(Refuse(500, "out of memory"))
    result = await run(client, ask(["three", "tiny"]))
    assert result.status == "completed"
    assert result.results["ask"]["model"] == "tiny"
    assert result.results["ask"]["provider"] == "openai"


@pytest.mark.parametrize("whose", ["task", "workflow"])
async def test_a_budget_of_seconds_ends_the_call_that_uses_it_up(
    client: Client, ollama: OllamaFront, whose: str
) -> None:
    ollama.pause_seconds = 0.2
    budget = {"budget": {"seconds": 1}}
    task = ask("four", params={"max_tokens": 2000}, **(budget if whose == "task" else {}))
    name, message = error_of(await run(client, task, **(budget if whose == "workflow" else {})))
    assert name == "BUDGET_EXCEEDED"
    assert "budget of 1 seconds is spent" in message
    ended = time.monotonic()
    assert await asyncio.to_thread(ollama.seen[-1].closed_early.wait, AT_ONCE_SECONDS)
    ollama.pause_seconds = 0.0
    assert ollama.seen[-1].closed_early_at - ended < AT_ONCE_SECONDS


@pytest.mark.parametrize("whose", ["task", "workflow"])
async def test_a_budget_of_calls_counts_the_requests_that_an_answer_takes(
    client: Client, ollama: OllamaFront, whose: str
) -> None:
    ollama.faults += [Refuse(500, "the model produced output that does not match")] * 3
    before = len(ollama.seen)
    budget = {"budget": {"calls": 2}}
    task = ask("three", params={"response_format": "json"}, **(budget if whose == "task" else {}))
    result = await run(client, task, **(budget if whose == "workflow" else {}))
    name, message = error_of(result)
    assert name == "BUDGET_EXCEEDED"
    assert "the budget leaves this call 2 requests, and it has made 2; no valid JSON: " in message
    assert [seen.path for seen in ollama.seen[before:]].count("/api/chat") == 2
    if whose == "workflow":
        view = await client.call("workflow.get", {"workflow_id": result.workflow_id})
        assert view["spent"]["calls"] == 2
    ollama.faults.clear()
