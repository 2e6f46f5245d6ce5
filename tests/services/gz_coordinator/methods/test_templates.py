"""Templates: versions, what they say of themselves, and the workflows that are made of them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.services.gz_coordinator.room import Room, room

from gleitzeit import errors
from gleitzeit.client.templates import Templates
from gleitzeit.journal.memory import MemoryStore


def greeting(words: str = "Hello", **more: object) -> dict[str, object]:
    task = {"id": "greet", "method": "echo/echo", "params": {"message": words + ", ${parameters.name}!"}}
    return {"name": "A Greeting", "parameters": {"name": "world"}, "tasks": [task], **more}


@pytest.fixture
async def there() -> AsyncIterator[Room]:
    async with room() as there:
        yield there


@pytest.fixture
def templates(there: Room) -> Templates:
    return Templates(there.call)


async def test_a_change_is_a_new_version_and_no_change_is_none(templates: Templates) -> None:
    first = await templates.put(greeting())
    same = await templates.put(greeting())
    second = await templates.put(greeting("Hi", description="shorter"))
    assert (first.name, first.version, first.created) == ("a-greeting", 1, True)
    assert (same.version, same.created) == (1, False)
    assert (second.version, second.description, second.tasks_total) == (2, "shorter", 1)
    assert (await templates.get("a-greeting")).definition == greeting("Hi", description="shorter")
    old = await templates.get("a-greeting@1")
    assert (old.definition, old.version, old.versions) == (greeting(), 1, 2)


async def test_a_workflow_keeps_the_version_that_it_was_started_with(there: Room, templates: Templates) -> None:
    await templates.put(greeting(), name="greet")
    there.echo.busy = True
    run = await templates.run("greet", inputs={"name": "Ada"})
    await there.until(run.workflow_id, "running")
    await templates.put(greeting("Bye"), name="greet")
    there.echo.answer(there.echo.calls[0])
    there.echo.busy = False
    result = await there.result(run.workflow_id)
    assert result["results"]["greet"]["response"] == "Hello, Ada!"
    view = await there.call("workflow.get", {"workflow_id": run.workflow_id})
    assert view["origin"] == {"template": "greet@1"}
    newer = await there.result((await templates.run("greet")).workflow_id)
    assert newer["results"]["greet"]["response"] == "Bye, world!"
    older = await there.result((await templates.run("greet@1")).workflow_id)
    assert older["results"]["greet"]["response"] == "Hello, world!"


async def test_an_idempotency_key_makes_one_workflow_whatever_was_stored_meanwhile(templates: Templates) -> None:
    await templates.put(greeting(), name="greet")
    first = await templates.run("greet", idempotency_key="k")
    await templates.put(greeting("Bye"), name="greet")
    again = await templates.run("greet", idempotency_key="k")
    assert (again.workflow_id, again.created) == (first.workflow_id, False)
    with pytest.raises(errors.InvalidState):
        await templates.run("greet", inputs={"name": "other"}, idempotency_key="k")


async def test_a_list_shows_the_newest_of_each_page_by_page(there: Room, templates: Templates) -> None:
    for name in ("b", "a/x", "a/y", "a/x"):
        await templates.put(greeting(name), name=name)
    assert [(one.name, one.version) for one in await templates.list()] == [("a/x", 1), ("a/y", 1), ("b", 1)]
    assert [one.name for one in await templates.list(prefix="a/")] == ["a/x", "a/y"]
    page = await there.call("template.list", {"limit": 2})
    assert ([one["name"] for one in page["templates"]], page["next"]) == (["a/x", "a/y"], "a/y")
    rest = await there.call("template.list", {"limit": 2, "after": "a/y"})
    assert ([one["name"] for one in rest["templates"]], rest.get("next")) == (["b"], None)


async def test_what_is_deleted_is_gone_and_its_versions_are_not_used_again(templates: Templates) -> None:
    await templates.put(greeting(), name="greet")
    await templates.put(greeting("Hi"), name="greet")
    assert await templates.delete("greet") == 2
    assert await templates.list() == ()
    for attempt in (
        templates.get("greet"),
        templates.get("greet@1"),
        templates.run("greet"),
        templates.delete("greet"),
    ):
        with pytest.raises(errors.TemplateNotFound):
            await attempt
    assert (await templates.put(greeting("Hi"), name="greet")).version == 3


async def test_two_that_store_at_the_same_moment_get_two_versions(templates: Templates) -> None:
    stored = await asyncio.gather(*(templates.put(greeting(str(i)), name="greet") for i in range(8)))
    assert sorted(one.version for one in stored) == list(range(1, 9))


async def test_they_outlive_the_coordinator() -> None:
    store = MemoryStore()
    async with room(store) as there:
        await Templates(there.call).put(greeting(), name="greet")
    async with room(store) as there:
        result = await there.result((await Templates(there.call).run("greet")).workflow_id)
        assert result["results"]["greet"]["response"] == "Hello, world!"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gret", "there is no template 'gret' (did you mean 'greet'?)"),
        ("other", "there is no template 'other'; there is greet"),
        ("greet@9", "template 'greet' has no version 9; the newest is 1"),
        ("greet@one", "'greet@one' is no template: NAME, or NAME@VERSION with a version from 1"),
    ],
)
async def test_what_is_wrong_with_a_name_is_said(templates: Templates, name: str, words: str) -> None:
    await templates.put(greeting(), name="greet")
    with pytest.raises(errors.GleitzeitError) as caught:
        await templates.run(name)
    assert caught.value.message == words


@pytest.mark.parametrize("name", ["@x", "a b", "-x", "x/", "x" * 101, "a@1"])
async def test_not_everything_is_a_name(templates: Templates, name: str) -> None:
    with pytest.raises(errors.InvalidParams):
        await templates.put(greeting(), name=name)


@pytest.mark.parametrize(
    ("title", "name"), [("Nightly report!", "nightly-report"), ("Größe & mehr", "grosse-mehr"), ("日本 2", "2")]
)
async def test_a_name_is_made_of_the_title(templates: Templates, title: str, name: str) -> None:
    assert (await templates.put({**greeting(), "name": title})).name == name


async def test_of_some_titles_none_can_be_made(templates: Templates) -> None:
    with pytest.raises(errors.InvalidParams, match="no name can be made of the letters of '日本': give one"):
        await templates.put({**greeting(), "name": "日本"})


async def test_a_document_that_is_wrong_is_not_stored(templates: Templates) -> None:
    with pytest.raises(errors.DocumentError):
        await templates.put({"name": "x", "tasks": [{"id": "a", "method": "echo/ech"}]})
    assert await templates.list() == ()
