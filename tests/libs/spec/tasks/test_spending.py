"""`budget`, `cache`, `fallback` and `provider` in a document."""

from typing import Any

import msgspec
import pytest

from gleitzeit.model.definition import Budget, CachePolicy, Definition, TaskDefinition, with_alternative
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check

ECHO = {"id": "e", "method": "echo/echo", "params": {"message": "hi"}}


def checked(*tasks: dict[str, Any], **keys: Any) -> tuple[Definition | None, list[str]]:
    found = check({"name": "demo", "tasks": list(tasks), **keys}, builtin())
    return found.definition, [problem.message for problem in found.problems]


def good(*tasks: dict[str, Any], **keys: Any) -> Definition:
    definition, problems = checked(*tasks, **keys)
    assert problems == []
    assert definition is not None
    return definition


def task(**keys: Any) -> TaskDefinition:
    return good({**ECHO, **keys}).tasks[0]


def wrong(**keys: Any) -> str:
    definition, [problem] = checked({**ECHO, **keys})
    assert definition is None
    return problem


def test_budgets_of_a_workflow_and_of_a_task() -> None:
    assert task(budget={"tokens": 10, "seconds": "5m"}).budget == Budget(10, None, 300.0)
    assert good(ECHO, budget={"calls": 3}).budget == Budget(calls=3)
    assert good(ECHO).budget is None


@pytest.mark.parametrize(
    ("budget", "complaint"),
    [
        ({}, "'tokens', 'calls' or 'seconds'"),
        ({"token": 1}, "no key 'token'"),
        ({"calls": 0}, "'calls' must be a whole number"),
        ({"seconds": "soon"}, "not a duration"),
        (5, "'budget' must be a map"),
    ],
)
def test_wrong_budgets(budget: object, complaint: str) -> None:
    assert complaint in wrong(budget=budget)


def test_the_cache_in_both_spellings() -> None:
    assert task(cache="1h").cache == CachePolicy(3600.0)
    assert task(cache=90).cache == CachePolicy(90.0)
    assert task(cache={"ttl": "1h", "key": 7}).cache == CachePolicy(3600.0, "7")
    assert task(cache=False).cache is None


@pytest.mark.parametrize(
    ("cache", "complaint"),
    [
        (True, "like 'cache: 1h'"),
        ({"key": "k"}, "needs a 'ttl'"),
        ({"ttl": 1, "size": 2}, "no key 'size'"),
        ("0s", "longer than 0"),
        ({"ttl": 1, "key": "${nobody.x}"}, "there is no task 'nobody'"),
    ],
)
def test_wrong_caches(cache: object, complaint: str) -> None:
    assert complaint in wrong(cache=cache)


def test_a_key_may_read_a_task_which_is_then_waited_for() -> None:
    keyed = {**ECHO, "cache": {"ttl": 5, "key": "k ${other.response}"}}
    assert good(keyed, {**ECHO, "id": "other"}).tasks[0].dependencies == ("other",)


def test_what_calls_no_provider_has_no_cache_and_no_fallback() -> None:
    sleep = {"id": "s", "method": "timer/sleep", "params": {"seconds": 1}}
    for key, value in (("cache", "1h"), ("fallback", [{"params": {"seconds": 2}}])):
        _, [problem] = checked({**sleep, key: value})
        assert f"'{key}' has no meaning for timer/sleep" in problem


def params(definition: TaskDefinition, number: int) -> Any:
    return msgspec.json.decode(with_alternative(definition, number).params)


def test_alternatives_stand_whole_in_the_normal_form() -> None:
    chat = {
        "id": "c",
        "method": "llm/chat",
        "params": {"prompt": "p", "model": "big", "seed": 1},
        "provider": "ollama",
        "fallback": [
            "small",
            {"model": "m", "params": {"seed": 2}, "provider": "openai"},
            {"method": "generate"},
            {"method": "echo/echo", "params": {"message": "${e.response}"}},
        ],
    }
    definition = good(chat, ECHO).tasks[0]
    assert [one.label for one in definition.fallback] == ["small", "m at openai", "llm/generate", "echo/echo"]
    assert [with_alternative(definition, n).method for n in range(5)] == [
        "llm/chat", "llm/chat", "llm/chat", "llm/generate", "echo/echo"
    ]  # fmt: skip
    assert [with_alternative(definition, n).provider for n in range(5)] == ["ollama", "ollama", "openai", "", ""]
    assert params(definition, 1) == {"prompt": "p", "model": "small", "seed": 1}
    assert params(definition, 2) == {"prompt": "p", "model": "m", "seed": 2}
    assert params(definition, 3) == {"prompt": "p", "model": "big", "seed": 1}
    assert params(definition, 4) == {"message": "${e.response}"}
    assert definition.dependencies == ("e",)
    assert with_alternative(definition, 4).references


def test_one_alternative_needs_no_list() -> None:
    assert len(task(fallback={"params": {"message": 2}}).fallback) == 1


@pytest.mark.parametrize(
    ("fallback", "complaint"),
    [
        ([], "1 to 20 alternatives"),
        ([3], "the name of a model, or a map"),
        ([{}], "the name of a model, or a map"),
        ([{"modell": "x"}], "no key 'modell'"),
        ([{"method": "echo/ecko"}], "no method 'echo/ecko'"),
        (["small"], "no parameter 'model'"),
    ],
)
def test_wrong_alternatives(fallback: object, complaint: str) -> None:
    assert complaint in wrong(fallback=fallback)


def test_a_mistake_in_the_shared_params_is_told_once() -> None:
    assert "'bogus'" in wrong(params={"bogus": 1}, fallback=[{"provider": "x"}, {"provider": "y"}])


def test_a_provider_restricts_a_task_but_mcp_is_a_family() -> None:
    assert task(provider="mine").provider == "mine"
    assert good({"id": "m", "provider": "echo", "method": "echo", "params": {"message": 1}}).tasks[0].provider == "echo"
    definition, _ = checked({"id": "m", "provider": "mcp", "params": {"tool": "fs.add"}})
    assert definition is not None
    assert definition.tasks[0].provider == ""


def test_files_in_one_task_are_a_matter_of_the_model_s_provider() -> None:
    batch = {"prompt": "sum up", "files": ["a.txt"], "batch_mode": True}
    good({"id": "b", "method": "llm/chat", "params": batch})
    assert any("'batch_mode' is for methods of llm/v1" in problem for problem in checked({**ECHO, "params": batch})[1])
