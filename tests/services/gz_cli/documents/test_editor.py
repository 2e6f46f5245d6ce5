"""What an editor is given: a schema of draft 07 that knows methods and their params, and refuses no good document."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from gleitzeit.schemas import builtin, method_schema
from gleitzeit.spec.loading.load import load_file
from gz_cli.documents import editor

EXAMPLES = Path(__file__).parents[4] / "examples"
SCHEMA = editor.schema(
    [
        method_schema(
            "words/count",
            {
                "params": {
                    "type": "object",
                    "properties": {"n": {"$ref": "#/$defs/n"}},
                    "$defs": {"n": {"type": "integer"}},
                }
            },
        ),
        method_schema(
            "mcp/tool.sum", {"params": {"properties": {"a": {"type": "integer"}}, "additionalProperties": False}}
        ),
    ]
)
VALIDATOR = jsonschema_rs.Draft7Validator(SCHEMA, offline=True)


def document(**task: Any) -> dict[str, Any]:
    return {"name": "n", "tasks": [{"id": "a", **task}]}


def test_it_is_draft_07_and_keeps_no_word_that_editors_do_not_know() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"

    def words(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(words, value)) if value else set()
        if not isinstance(value, dict):
            return set()
        return set(value).union(*map(words, value.values()))

    assert words(SCHEMA).isdisjoint({"$defs", "prefixItems", "unevaluatedProperties", "x-code", "x-runs"})


def test_it_offers_every_method_with_a_description() -> None:
    offered = {
        one["const"]: one["description"] for one in SCHEMA["definitions"]["task"]["properties"]["method"]["anyOf"][:-1]
    }
    assert {*builtin().names(), "words/count", "mcp/tool.sum"} == set(offered)
    assert all(offered[name] for name in builtin().names())


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_it_likes_every_example(file: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(load_file(file).value)] == []


@pytest.mark.parametrize(
    "task",
    [
        {"method": "echo/delay", "params": {"seconds": "${b.x}"}},
        {"method": "echo/delay", "parameters": {"seconds": 1}},
        {"method": "python/execute", "code": "result = 1", "params": {"timeout": 5}},
        {"method": "mine/method", "params": {"anything": 1}},
        {"method": "words/count", "params": {"n": 3}},
        {"method": "llm/complete", "params": {"prompt": "x", "temperature": 0.5}},
        {"method": "workflow/execute", "params": {"workflow_ref": "./child.yaml", "inputs": {}}},
        {"method": "mcp/tool.sum", "params": {"a": 1}},
        {"method": "mcp/tool.sum", "params": {"arguments": {"a": 1}}},
    ],
)
def test_good_tasks(task: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(document(**task))] == []


@pytest.mark.parametrize(
    "task",
    [
        {"method": "echo/delay", "params": {"seconds": "soon"}},
        {"method": "echo/delay", "params": {"secnds": 1}},
        {"method": "llm/complete", "params": {"temperature": "hot"}},
        {"method": "words/count", "params": {"n": "x"}},
        {"method": "mcp/tool.sum", "params": {"arguments": {"a": "x"}}},
        {"method": "http/get", "params": {"url": "http://x", "expected_status": [99]}},
    ],
)
def test_wrong_params_are_found_as_they_are_typed(task: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(document(**task))


def test_it_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "s" / editor.FILE
    editor.write(SCHEMA, file)
    assert load_file(file).value == SCHEMA
    assert [one.name for one in file.parent.iterdir()] == [editor.FILE]
