from typing import Any

import pytest

from gz_provider_llm.errors import BadRequest
from gz_provider_llm.shapes.structured import Format, ask_again, instruction

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '  {"a": 1}\n',
        '```json\n{"a": 1}\n```',
        '```\n{"a": 1}\n```\nThere you are.',
        'Sure! Here it is: {"a": 1}. Anything else?',
    ],
)
def test_json_in_its_wrappings(text: str) -> None:
    parsed = Format(SCHEMA).parse(text)
    assert (parsed.value, parsed.problems) == ({"a": 1}, ())


@pytest.mark.parametrize(("text", "value"), [("[1, 2]", [1, 2]), ("3", 3), ("null", None), ("it is [1]", [1])])
def test_without_a_schema_any_json_will_do(text: str, value: Any) -> None:
    parsed = Format(None).parse(text)
    assert (parsed.value, parsed.problems) == (value, ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the answer is empty"),
        ("I cannot", "it is no JSON"),
        ('{"a": ', "it is no JSON"),
        ('{"a": "x"}', "a: must be a whole number, not 'x'"),
        ("{}", "the value: 'a' is missing"),
        ('{"a": 1, "b": 2}', "b: unknown key 'b'"),
        ("[" * 5000, "it is no JSON"),
    ],
)
def test_what_is_wrong_is_said(text: str, problem: str) -> None:
    assert Format(SCHEMA).parse(text).problems[0].startswith(problem)


def test_a_schema_that_is_none() -> None:
    with pytest.raises(BadRequest, match="no JSON Schema"):
        Format({"type": "strange"})
    with pytest.raises(BadRequest, match="no JSON Schema"):
        Format({"$ref": "https://example.org/schema.json"})


def test_what_the_model_reads() -> None:
    assert "only" in instruction(None)
    assert '"required":["a"]' in instruction(SCHEMA)
    wrong, again = ask_again('{"a": "x"}', ("a: must be a whole number, not 'x'",))
    assert (wrong.role, wrong.content) == ("assistant", '{"a": "x"}')
    assert again.role == "user"
    assert "- a: must be a whole number, not 'x'" in again.content
    assert ask_again("", ())[0].content  # no API takes an empty message
