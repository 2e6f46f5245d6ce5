"""A tool as a method, its answer as the result of a task, and what is remembered of it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from gleitzeit.errors import ResultInvalid, TaskError
from gleitzeit.mcp.memory import Definition, Memory, digest
from gleitzeit.mcp.tools import methods_of_servers, task_result, tool_method
from gleitzeit.schemas import SchemaProblem


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def result(**answer: Any) -> Any:
    return msgspec.json.decode(task_result(raw(answer)))


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


IMAGE = {"type": "image", "data": "aGk=", "mimeType": "image/png"}


def test_results() -> None:
    assert result(content=[text("a"), text("b")]) == {"response": "a\nb"}
    assert result(content=[]) == {"response": ""}
    assert result(content=[text("a"), IMAGE]) == {"response": "a", "content": [text("a"), IMAGE]}
    both = result(content=[text("{}")], structuredContent={"x": 1})
    assert both == {"x": 1, "result": {"x": 1}, "response": "{}"}
    own = result(content=[text("t"), IMAGE], structuredContent={"response": 1, "result": 2, "content": 3})
    assert own == {"response": 1, "result": 2, "content": 3}, "the tool's own keys are not touched"
    assert result(content=[text("7")], structuredContent=[7]) == {"response": "7", "result": [7]}
    assert result(content=[text("x")], structuredContent=None, resultType="complete") == {"response": "x"}


COUNT = {
    "name": "count",
    "outputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"structuredContent": {"n": "seven"}}, "n: must be a whole number, not"),
        ({"structuredContent": {}}, "'n' is missing"),
        ({"structuredContent": [7]}, "must be a map, not a list"),
        ({}, "it has no structuredContent"),
    ],
)
def test_a_tool_that_does_not_keep_to_its_output_schema(answer: dict[str, Any], words: str) -> None:
    with pytest.raises(ResultInvalid, match=words) as caught:
        task_result(raw({"content": [text("7")], **answer}), raw(COUNT))
    assert not caught.value.retryable
    assert (caught.value.data or {})["response"] == "7"


def test_what_is_not_promised_is_not_checked() -> None:
    def answered(definition: dict[str, Any], **answer: Any) -> Any:
        return msgspec.json.decode(task_result(raw({"content": [], **answer}), raw(definition)))

    assert answered(COUNT, structuredContent={"n": 7})["n"] == 7
    assert answered({"name": "t"}, structuredContent={"n": "x"})["n"] == "x"
    assert answered({"name": "t", "outputSchema": {"type": "nonsense"}}, structuredContent={"n": 1})["n"] == 1
    assert answered({"name": "t", "outputSchema": {"type": "array"}}, structuredContent=[1])["result"] == [1]
    with pytest.raises(TaskError, match="out of order"):
        answered(COUNT, content=[text("out of order")], isError=True)


def test_a_tool_s_failure_is_the_task_s() -> None:
    with pytest.raises(TaskError, match="no such file"):
        result(content=[text("no such file")], isError=True)
    with pytest.raises(TaskError, match="does not say why"):
        result(content=[], isError=True)


@pytest.mark.parametrize("answer", [None, [], "x", {"content": "text"}, {"content": [None]}, {"isError": "yes"}])
def test_an_answer_of_another_shape_is_told_as_such(answer: Any) -> None:
    with pytest.raises(ResultInvalid, match="answer to tools/call is not what MCP asks for: "):
        task_result(raw(answer))


def test_methods() -> None:
    definition = {
        "name": "read",
        "description": "Reads.",
        "inputSchema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                        "properties": {"path": {"type": "string"}}, "required": ["path"]},
        "outputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"],
                         "additionalProperties": False},
        "annotations": {"readOnlyHint": True},
    }  # fmt: skip
    method = tool_method("fs", raw(definition), ["mcp/tool.read"])
    assert (method.name, method.protocol, method.idempotent) == ("mcp/tool.fs.read", "mcp/v1", True)
    assert method.aliases == ("mcp/tool.read",)
    assert [type(one) for one in method.check_params({"path": 7})] == [SchemaProblem]
    assert method.check_result({"text": "x", "response": "x", "result": {"text": "x"}}) == []
    assert method.check_result({"txet": "x"}) != []


DEEP: Any = 1
for _ in range(60):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "https://example.com/schema.json"},
        {"properties": 7},
        7,
        {
            "a": [
                [
                    [
                        [
                            [
                                [
                                    [
                                        [
                                            [
                                                [
                                                    [
                                                        [
                                                            [
                                                                [
                                                                    [
                                                                        [
                                                                            [
                                                                                [
                                                                                    [
                                                                                        [
                                                                                            [
                                                                                                [
                                                                                                    [
                                                                                                        [
                                                                                                            [
                                                                                                                [
                                                                                                                    [
                                                                                                                        [
                                                                                                                            [
                                                                                                                                [
                                                                                                                                    [
                                                                                                                                        [
                                                                                                                                            [
                                                                                                                                                [
                                                                                                                                                    [
                                                                                                                                                        [
                                                                                                                                                            [
                                                                                                                                                                [
                                                                                                                                                                    [
                                                                                                                                                                        [
                                                                                                                                                                            [
                                                                                                                                                                                [
                                                                                                                                                                                    [
                                                                                                                                                                                        [
                                                                                                                                                                                            [
                                                                                                                                                                                                [
                                                                                                                                                                                                    [
                                                                                                                                                                                                        [
                                                                                                                                                                                                            [
                                                                                                                                                                                                                [
                                                                                                                                                                                                                    [
                                                                                                                                                                                                                        [
                                                                                                                                                                                                                            [
                                                                                                                                                                                                                                [
                                                                                                                                                                                                                                    [
                                                                                                                                                                                                                                        [
                                                                                                                                                                                                                                            [
                                                                                                                                                                                                                                                1
                                                                                                                                                                                                                                            ]
                                                                                                                                                                                                                                        ]
                                                                                                                                                                                                                                    ]
                                                                                                                                                                                                                                ]
                                                                                                                                                                                                                            ]
                                                                                                                                                                                                                        ]
                                                                                                                                                                                                                    ]
                                                                                                                                                                                                                ]
                                                                                                                                                                                                            ]
                                                                                                                                                                                                        ]
                                                                                                                                                                                                    ]
                                                                                                                                                                                                ]
                                                                                                                                                                                            ]
                                                                                                                                                                                        ]
                                                                                                                                                                                    ]
                                                                                                                                                                                ]
                                                                                                                                                                            ]
                                                                                                                                                                        ]
                                                                                                                                                                    ]
                                                                                                                                                                ]
                                                                                                                                                            ]
                                                                                                                                                        ]
                                                                                                                                                    ]
                                                                                                                                                ]
                                                                                                                                            ]
                                                                                                                                        ]
                                                                                                                                    ]
                                                                                                                                ]
                                                                                                                            ]
                                                                                                                        ]
                                                                                                                    ]
                                                                                                                ]
                                                                                                            ]
                                                                                                        ]
                                                                                                    ]
                                                                                                ]
                                                                                            ]
                                                                                        ]
                                                                                    ]
                                                                                ]
                                                                            ]
                                                                        ]
                                                                    ]
                                                                ]
                                                            ]
                                                        ]
                                                    ]
                                                ]
                                            ]
                                        ]
                                    ]
                                ]
                            ]
                        ]
                    ]
                ]
            ]
        },
    ],
)
def test_a_schema_that_cannot_be_used_allows_everything(schema: Any) -> None:
    method = tool_method("s", raw({"name": "t", "inputSchema": schema, "annotations": 7}))
    assert method.check_params({"anything": 1}) == []
    assert method.idempotent is False


def test_bare_names_where_they_are_unique_and_not_ours() -> None:
    def known(*names: str) -> dict[str, Definition]:
        return {name: Definition("", raw({"name": name, "inputSchema": {}})) for name in names}

    methods = methods_of_servers({"a": known("read", "twin", "echo"), "b": known("twin")})
    assert {method.name: method.aliases for method in methods} == {
        "mcp/tool.a.read": ("mcp/tool.read",),
        "mcp/tool.a.twin": (),
        "mcp/tool.a.echo": (),
        "mcp/tool.b.twin": (),
    }


def test_memory(tmp_path: Path) -> None:
    file = tmp_path / "mcp" / "tools.json"
    memory = Memory(file)
    one, other = raw({"name": "t", "description": "a"}), raw({"description": "b", "name": "t"})
    assert digest(one) == digest(raw({"description": "a", "name": "t"})) != digest(other)
    assert memory.changes("s", {"t": one}) == [], "what is new has not changed"
    assert memory.accept("s", {"t": one}) is True
    memory.write()
    memory = Memory(file)
    assert memory.accept("s", {"t": one}) is False
    [change] = memory.changes("s", {"t": other})
    assert (change.before, change.now) == (digest(one), digest(other))
    memory.accept("s", {"t": other}, keep=["t"])
    assert memory.changes("s", {"t": other}) == [change], "kept: still another than what is remembered"
    memory.accept("s", {"t": other})
    assert memory.tools("s")["t"].before == digest(one)
    file.write_text("nonsense")
    assert dict(Memory(file).servers) == {}
