"""`config.handlers` in a document: circuit breakers and timeouts for the calls of a protocol, method or provider."""

from typing import Any

from gleitzeit.model.definition import BreakerPolicy
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check

ECHO = {"id": "e", "method": "echo/echo", "params": {"message": "hi"}}


def test_a_breaker_by_its_earlier_spelling() -> None:
    breaker = {"failure_threshold": 5, "success_threshold": 3, "reset_timeout": 60, "half_open_max_calls": 2}
    document = {"name": "d", "tasks": [ECHO], "config": {"handlers": {"echo": {"circuit_breaker": breaker}}}}
    found = check(document, builtin())
    assert found.definition is not None
    assert found.definition.breakers == {"echo": BreakerPolicy(5, 3, 60.0, 2)}
    assert found.problems == ()


def test_what_is_not_said_is_the_usual() -> None:
    document: dict[str, Any] = {"name": "d", "tasks": [ECHO]}
    document["config"] = {"handlers": {"echo/v1": {"circuit_breaker": {"reset_timeout": "1m"}}}}
    found = check(document, builtin())
    assert found.definition is not None
    assert found.definition.breakers == {"echo": BreakerPolicy(reset_timeout_seconds=60.0)}


def test_a_timeout_for_calls_that_have_none_of_their_own() -> None:
    tasks = [ECHO, {**ECHO, "id": "own", "timeout": 7}]
    found = check({"name": "d", "tasks": tasks, "config": {"handlers": {"echo": {"timeout": "30s"}}}}, builtin())
    assert found.definition is not None
    assert [task.timeout_seconds for task in found.definition.tasks] == [30.0, 7.0]


def test_an_address_has_no_effect_and_says_so() -> None:
    config = {"handlers": {"echo": {"base_url": "http://127.0.0.1:11434"}}}
    found = check({"name": "d", "tasks": [ECHO], "config": config}, builtin())
    assert found.definition is not None
    assert "has no effect" in found.problems[0].message
