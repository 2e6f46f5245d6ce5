import asyncio
import multiprocessing
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.services.gz_coordinator.room import room

from gleitzeit.errors import DocumentError, ResourceExhausted
from gleitzeit.model.definition import Definition
from gleitzeit.schemas import builtin
from gz_coordinator.submitting.documents import LARGE_BYTES, Documents

GREETING: dict[str, Any] = {
    "name": "n",
    "tasks": [{"id": "a", "method": "echo/echo", "params": {"message": "${env.GREETING} ${env.NAME}"}}],
}


async def checked(documents: Documents, document: dict[str, Any], size_bytes: int = 100) -> Definition:
    verdict = await documents.definition(document, {}, size_bytes, builtin())
    assert verdict.definition is not None
    return verdict.definition


async def test_what_is_allowed_is_read_here_and_what_was_sent_counts_first() -> None:
    documents = Documents({"GREETING": "Hello", "NAME": "coordinator", "OTHER": "x"})
    assert (await checked(documents, GREETING)).env == {"GREETING": "Hello", "NAME": "coordinator"}
    sent = {**GREETING, "env": {"NAME": "client"}}
    assert (await checked(documents, sent)).env == {"GREETING": "Hello", "NAME": "client"}


async def test_large_documents_have_it_too() -> None:
    documents = Documents({"GREETING": "Hello", "NAME": "Ada"})
    try:
        assert (await checked(documents, GREETING, LARGE_BYTES + 1)).env == {"GREETING": "Hello", "NAME": "Ada"}
    finally:
        documents.close()


async def test_nothing_is_allowed_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREETING", "Hello")
    monkeypatch.setenv("NAME", "Ada")
    with pytest.raises(DocumentError) as refusal:
        await checked(Documents(), GREETING)
    assert "GREETING" in msgspec.json.encode(refusal.value.data).decode()


@pytest.mark.parametrize("filling", ["x", "x" * LARGE_BYTES], ids=["small", "large"])
@pytest.mark.parametrize("method", ["workflow.submit", "workflow.validate", "template.put", "schedule.put"])
async def test_a_key_that_is_there_twice_is_refused_wherever_definitions_come_in(method: str, filling: str) -> None:
    more = {"schedule.put": {"every": "1h", "name": "n"}}.get(method, {})
    params = msgspec.json.encode({"definition": {**GREETING, "description": filling}, **more})
    twice = params.replace(b'"method":', b'"method":"echo/ping","method":')
    async with room() as there:
        answer = asyncio.create_task(there.call(method, Raw(twice)))
        try:
            if method == "workflow.validate":
                assert (await answer)["problems"][0]["message"].startswith("key 'method' is there twice")
            else:
                with pytest.raises(DocumentError, match=r"tasks\[0\]\.method: key 'method' is there twice") as refused:
                    await answer
                (problem,) = (refused.value.data or {})["problems"]
                assert problem["path"] == ["tasks", 0, "method"]
                assert "line" not in problem
        finally:
            there.parts.documents.close()


async def test_what_is_no_document_is_left_to_the_check() -> None:
    verdict = await Documents({"GREETING": "Hello"}).check(["${env.GREETING}"], None, 100, builtin())
    assert verdict.definition is None


async def test_the_other_process_dies_and_the_next_document_is_checked_all_the_same() -> None:
    documents = Documents({"GREETING": "Hello", "NAME": "Ada"})
    before = {child.pid for child in multiprocessing.active_children()}
    try:
        documents.warm_up()
        await checked(documents, GREETING, LARGE_BYTES + 1)
        (worker,) = (child for child in multiprocessing.active_children() if child.pid not in before)
        worker.kill()
        worker.join()
        with pytest.raises(ResourceExhausted, match="has died"):
            await checked(documents, GREETING, LARGE_BYTES + 1)
        assert (await checked(documents, GREETING, LARGE_BYTES + 1)).env["NAME"] == "Ada"
    finally:
        documents.close()
