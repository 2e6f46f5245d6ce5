"""validation/v1 over a real socket."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gleitzeit.errors import TaskValidation
from gleitzeit.schemas import builtin
from gleitzeit.transport import Connection, connect
from gz_provider_validation.main import provider


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    async with provider.serve() as service:
        connection = await connect(service.url)
        yield connection
        await connection.close()


def test_it_serves_all_of_validation_v1() -> None:
    assert sorted(provider.methods) == builtin().names("validation/v1")


CONDITIONS = [
    {"name": "many", "expression": "${count} > 3"},
    {"name": "bound", "expression": "${a.result.x} == 'y'"},
    "${context.count} < 10",
    {"name": "missing", "expression": "${nothing.x} > 1"},
]
VALUES = {"context": {"count": 5}, "bindings": {"a.result.x": "y"}}


async def test_each_condition_gets_a_verdict(connection: Connection) -> None:
    result = await connection.call("validation/evaluate", {"conditions": CONDITIONS, "on_failure": "skip", **VALUES})
    assert (result["valid"], result["passed"], result["failed"]) == (False, False, ["missing"])
    assert [one["valid"] for one in result["results"]] == [True, True, True, False]
    assert "nothing" in result["results"][3]["error"]
    one_is_enough = await connection.call("validation/evaluate", {"conditions": CONDITIONS, "mode": "any", **VALUES})
    assert one_is_enough["valid"]


async def test_what_does_not_hold_fails_the_task_for_good(connection: Connection) -> None:
    for method, params in (
        ("validation/evaluate", {"conditions": CONDITIONS}),
        ("validation/evaluate", {"conditions": CONDITIONS, "on_failure": "block"}),
        ("validation/assert", {"assertions": CONDITIONS}),
    ):
        with pytest.raises(TaskValidation, match="missing") as caught:
            await connection.call(method, {**params, **VALUES})
        assert caught.value.code == -29001
        assert caught.value.data is not None
        assert (caught.value.data["retryable"], caught.value.data["failed"]) == (False, ["missing"])


async def test_an_assertion_says_its_own_message(connection: Connection) -> None:
    params: dict[str, Any] = {"assertions": [{"assertion": "${n} > 5", "message": "too few"}], "context": {"n": 1}}
    with pytest.raises(TaskValidation, match="condition 1: too few"):
        await connection.call("validation/assert", params)
    params["context"]["n"] = 6
    assert (await connection.call("validation/assert", params))["valid"]


async def test_a_gate(connection: Connection) -> None:
    rules = [
        {"name": "good", "condition": "${score} > 0.5", "enable_tasks": ["a", "b"], "disable_tasks": ["c"]},
        {"name": "large", "condition": "${size} > 10", "enable_tasks": ["b"]},
    ]
    result = await connection.call("validation/gate", {"rules": rules, "context": {"score": 0.9, "size": 1}})
    assert result["rules"] == {"good": True, "large": False}
    assert result["allowed"] == {"a": True, "b": False, "c": False}
    assert (result["enabled"], result["disabled"], result["valid"]) == (["a"], ["b", "c"], False)


async def test_a_condition_that_cannot_be_read_does_not_hold(connection: Connection) -> None:
    params = {"conditions": ["1 +", "${n}.x.y", True], "on_failure": "skip", "context": {"n": 1}}
    result = await connection.call("validation/evaluate", params)
    assert [one["valid"] for one in result["results"]] == [False, False, True]
