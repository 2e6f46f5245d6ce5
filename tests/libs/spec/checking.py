"""Documents in short, and what the check says of them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gleitzeit.model.definition import Definition, TaskDefinition
from gleitzeit.schemas import Catalogue, method_schema
from gleitzeit.spec.check import check
from gleitzeit.spec.problems import Problem


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


TEXT = {"type": "string"}
CATALOGUE = Catalogue(
    [
        method_schema(
            "echo/echo",
            {"params": closed(message={}, times={"type": "integer"}), "result": closed(response={}, echoed={})},
        ),
        method_schema("echo/ping", {"params": closed(), "x-aliases": ["echo/pong"]}),
        method_schema(
            "python/execute",
            {
                "x-aliases": ["python/exec"],
                "params": {
                    **closed(
                        code={**TEXT, "x-code": "python"}, file=TEXT, args={"type": ["array", "object"]}, timeout={}
                    ),
                    "oneOf": [{"required": ["code"]}, {"required": ["file"]}],
                },
            },
        ),
        method_schema("timer/sleep", {"params": closed(seconds={"type": "number"}), "x-runs": "coordinator"}),
        method_schema("signal/wait", {"params": {**closed(signal_name=TEXT, timeout={}), "required": ["signal_name"]}}),
        method_schema("workflow.submit", {"params": closed()}),
    ]
)


def checked(document: object, **options: Any) -> tuple[Definition | None, list[Problem]]:
    found = check(document, CATALOGUE, **options)
    assert (found.definition is None) == any(problem.severity == "error" for problem in found.problems)
    return found.definition, list(found.problems)


def good(document: object, **options: Any) -> Definition:
    definition, problems = checked(document, **options)
    assert problems == []
    assert definition is not None
    return definition


def flow(*tasks: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    return {"name": "demo", "tasks": list(tasks), **keys}


def task(**keys: Any) -> TaskDefinition:
    return good(flow({"id": "t", "method": "echo/ping", **keys})).tasks[0]


def errors(*tasks: Mapping[str, Any], **keys: Any) -> list[str]:
    definition, problems = checked(flow(*tasks, **keys))
    assert definition is None
    return [problem.message for problem in problems if problem.severity == "error"]


def error(*tasks: Mapping[str, Any], **keys: Any) -> str:
    [message] = errors(*tasks, **keys)
    return message


def params(definition: TaskDefinition) -> Any:
    return msgspec.json.decode(definition.params)


ECHO = {"id": "e", "method": "echo/echo", "params": {"message": "hi"}}
