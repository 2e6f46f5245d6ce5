from typing import Any

import pytest

from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check


def warnings(
    when: object, of_x: dict[str, Any] | None = None, of_y: dict[str, Any] | None = None, **more: Any
) -> list[str]:
    x = {"id": "x", "method": "python/execute", "params": {"code": "1"}, **(of_x or {})}
    y = {"id": "y", "method": "echo/echo", "params": {"message": "hi"}, "when": when, **(of_y or {})}
    checked = check({"name": "n", "tasks": [x, y], **more}, builtin())
    return [problem.message for problem in checked.problems]


@pytest.mark.parametrize(
    "when",
    [
        "x.status == 'failed'",
        "${x.status} != 'completed'",
        '${x.status == "failed"}',
        "x.error.code == 5",
        "x.error != null",
    ],
)
def test_a_condition_that_looks_at_a_failure_which_skips_its_task_is_pointed_out(when: str) -> None:
    [message] = warnings(when)
    assert message.startswith("'y' is skipped when 'x' fails, before its condition is looked at: add 'always: true'")


@pytest.mark.parametrize(
    "when",
    ["x.status == 'completed'", "${x.status} == 'skipped'", "x.status != 'failed'", "x.error == null", "x.result > 1"],
)
def test_a_condition_that_is_false_after_a_failure_anyway_is_not(when: str) -> None:
    assert warnings(when) == []


def test_where_the_failure_is_seen_there_is_nothing_to_say() -> None:
    failed = "x.status == 'failed'"
    assert warnings(failed, error_policy="continue") == []
    assert warnings(failed, of_x={"on_error": "skip"}) == []
    assert warnings(failed, of_y={"always": True}) == []
    assert warnings(failed, of_y={"on_failure": True}) == []
    assert len(warnings(["x.result > 1", failed])) == 1
