"""The resolution rule, form by form."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.errors import ParameterError
from gleitzeit.spec.references.paths import look_up
from gleitzeit.spec.references.references import Reference, parse, substitute
from gleitzeit.spec.references.resolution import Scope, resolve

LLM = {"response": "hi", "model": "m", "usage": {"total_tokens": 7}}
PYTHON = {"result": {"items": [{"name": "a"}, {"name": "b"}], "prompt": "p"}, "output": "printed"}

RESULTS: dict[str, Any] = {
    "llm": LLM,
    "gen": {"text": "generated", "done": True},
    "embed": {"embedding": [0.1, 0.2]},
    "shell": {"output": "out", "exit_code": 0},
    "py": PYTHON,
    "listing": {"result": [10, {"x": 20}]},
    "number": {"result": 5},
    "script": {"result": {"total": 3, "rows": [1]}, "stdout": "", "stderr": ""},
    "plain": "just text",
    "listed": [1, [2, 3]],
    "Load Data": {"result": "by name"},
    "dotted.id": {"a": 1},
    "skipped": None,
    "nothing": {"result": None, "output": "said", "success": True},
    "nested": {"result": {"result": {"prompt": "deep"}}},
    "odd": {"0": "key zero", "items": "the key", "keys": "k", "a b": {"c.d": 1}},
    "rich": {"content": "exact", "response": "other", "result": "own"},
}


def reference(text: str) -> Reference:
    [part] = parse(text)
    assert isinstance(part, Reference)
    return part


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # the path as it stands
        ("${llm.response}", "hi"),
        ("${llm.usage.total_tokens}", 7),
        ("${py.result.items[0].name}", "a"),
        ("${py.result.items.1.name}", "b"),
        ("${listing.result[1].x}", 20),
        ("${listed[1][0]}", 2),
        ("${Load Data.result}", "by name"),
        # keys before attributes and indexes
        ("${odd.items}", "the key"),
        ("${odd.keys}", "k"),
        ("${odd.0}", "key zero"),
        ("${odd[0]}", "key zero"),
        ('${odd["a b"]["c.d"]}', 1),
        # aliases, and an exact key always wins
        ("${llm.content}", "hi"),
        ("${llm.text}", "hi"),
        ("${gen.response}", "generated"),
        ("${llm.result}", "hi"),
        ("${embed.result}", [0.1, 0.2]),
        ("${shell.result}", "out"),
        ("${rich.content}", "exact"),
        ("${rich.text}", "other"),
        ("${rich.result}", "own"),
        # the envelope hop, also twice
        ("${llm.result.content}", "hi"),
        ("${llm.result.response}", "hi"),
        ("${llm.result.model}", "m"),
        ("${llm.result.result.model}", "m"),
        ("${py.result.result.prompt}", "p"),
        ("${nested.result.result.prompt}", "deep"),
        ("${plain.result}", "just text"),
        ("${listed.result[0]}", 1),
        ("${number.result}", 5),
        # the payload hop
        ("${py.items[1].name}", "b"),
        ("${py.prompt}", "p"),
        ("${listing[0]}", 10),
        ("${listing.1.x}", 20),
        # the task alone
        ("${py}", PYTHON["result"]),
        ("${llm}", LLM),
        ("${plain}", "just text"),
        ("${number}", 5),
        # no result at all
        ("${nothing}", None),
        ("${nothing.result}", None),
        ("${skipped}", None),
        ("${skipped.result.x}", None),
        # a dot in the id
        ("${dotted.id.a}", 1),
        ("${dotted.id}", {"a": 1}),
    ],
)
def test_the_rule(text: str, value: object) -> None:
    assert resolve(reference(text), RESULTS) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${llm.nope}", "there is no 'nope' (there are: response, model, usage)"),
        ("${llm.usage.nope}", "there is no 'nope' (there are: total_tokens)"),
        ("${listed[7]}", "there is no '7' (it is a list of 2)"),
        ("${listed.-1}", "there is no '-1' (it is a list of 2)"),
        ("${number.result.x}", "there is no 'x' (it is a number)"),
        ("${plain.upper}", "there is no 'upper' (it is a text)"),
        ("${nobody.x}", "no result of a task 'nobody'"),
        ("${script.totl}", "there is no 'totl' (there are: total, rows); did you mean 'total'?"),
        ("${script.result.totl}", "there is no 'totl' (there are: total, rows); did you mean 'total'?"),
        ("${script.total-2}", "there is no 'total-2' (there are: total, rows); a '-' with spaces around it subtracts"),
        ("${script.rows[2]}", "there is no '2' (it is a list of 1)"),
        ("${script.stdot}", "there is no 'stdot' (there are: total, rows); did you mean 'stdout'?"),
    ],
)
def test_what_is_missing_is_said_with_what_there_is(text: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        resolve(reference(text), RESULTS)
    assert message in caught.value.message
    assert text in caught.value.message
    assert caught.value.code == -29006


def test_of_many_keys_some_are_named() -> None:
    with pytest.raises(ParameterError) as caught:
        resolve(reference("${t.x}"), {"t": {f"key{n}": n for n in range(1000)}})
    assert "key19, …" in caught.value.message
    assert len(caught.value.message) < 300


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "result", "response", "0"]), st.integers() | st.lists(st.integers()), min_size=1
    ),
    st.data(),
)
def test_an_exact_key_always_wins(result: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(result)))
    assert look_up(result, (key,)) == result[key]


def scope(**changes: Any) -> Scope:
    given_parts: dict[str, Any] = {
        "results": RESULTS,
        "tasks": {**dict.fromkeys(RESULTS), "pending": "pending"},
        "workflow": {"id": "w-1", "name": "demo", "timestamp": "2026-11-20T13:46:00.123Z"},
        "parameters": {"lang": "de", "deep": {"x": [1, 2]}},
        "config": {"base": "http://x"},
        "env": {"HOME": "/root"},
        "facts": lambda _: {"status": "completed", "duration": 1.5, "timestamp": "T", "metadata": {"provider": "p"}},
    }
    return Scope(**{**given_parts, **changes})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${llm.result.content}", "hi"),
        ("${workflow.id}", "w-1"),
        ("${workflow.name}", "demo"),
        ("${workflow.timestamp}", "2026-11-20T13:46:00.123Z"),
        ("${workflow.variables.lang}", "de"),
        ("${WORKFLOW_ID}", "w-1"),
        ("${TIMESTAMP}", "2026-11-20T13:46:00.123Z"),
        ("${date}", "2026-11-20"),
        ("${parameters.lang}", "de"),
        ("${parameters.deep.x[1]}", 2),
        ("${inputs.lang}", "de"),
        ("${input.lang}", "de"),
        ("${lang}", "de"),
        ("${deep.x[0]}", 1),
        ("${inputs}", {"lang": "de", "deep": {"x": [1, 2]}}),
        ("${config.base}", "http://x"),
        ("${env.HOME}", "/root"),
        ("${HOME:-x}", "/root"),
        ("${OTHER:-x}", "x"),
        ("${env.OTHER:-x}", "x"),
        ("{{ inputs.llm.response }}", "hi"),
        ("${inputs.py.items[0].name}", "a"),
        ("{{ nobody.x }}", "{{ nobody.x }}"),
        ("${llm.status}", "completed"),
        ("${llm.duration}", 1.5),
        ("${llm.timestamp}", "T"),
        ("${llm.metadata.duration}", 1.5),
        ("${llm.metadata.provider}", "p"),
        ("${llm.metadata.model}", "m"),
        ("${llm.metadata.usage.total_tokens}", 7),
        ("${gen.done} on ${date}", "true on 2026-11-20"),
    ],
)
def test_what_a_workflow_can_read(text: str, value: object) -> None:
    assert substitute(text, scope().resolve) == value


def test_what_the_result_says_itself_goes_before_facts() -> None:
    own = scope(results={"llm": {"status": "mine"}})
    assert substitute("${llm.status}", own.resolve) == "mine"


def test_an_input_goes_before_a_task_of_the_same_name() -> None:
    assert substitute("${inputs.llm}", scope(parameters={"llm": "input"}).resolve) == "input"


def test_a_task_may_be_called_input() -> None:
    own = scope(results={"input": {"a": 1}}, tasks={"input": "input"}, parameters={"a": 2})
    assert substitute("${input.a}", own.resolve) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${nobody.x}", "there is no task 'nobody'"),
        ("${pending.x}", "task 'pending' has no result"),
        ("${llm.metadata.nope}", "there is no 'metadata'"),
        ("${parameters.nope}", "there is no 'nope' (there are: lang, deep)"),
        ("${config.nope}", "there is no 'nope' (there are: base)"),
        ("${workflow.nope}", "there is no 'nope' (there are: id, name, timestamp)"),
        ("${env.NOPE}", "the environment variable 'NOPE' was not set"),
    ],
)
def test_what_a_workflow_cannot_read(text: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        substitute(text, scope().resolve)
    assert message in caught.value.message


def test_what_failed_is_null_but_says_how() -> None:
    failed = {"status": "failed", "error": {"code": -29002, "message": "no truck"}}
    resolve = scope(results={"ship": None}, tasks={"ship": "ship"}, facts=lambda _: failed).resolve
    assert substitute("${ship}", resolve) is None
    assert substitute("${ship.response}", resolve) is None
    assert substitute("${ship.status}: ${ship.error.message}", resolve) == "failed: no truck"
    assert substitute("${ship.error.line}", resolve) is None


def test_without_facts_only_results_are_read() -> None:
    with pytest.raises(ParameterError):
        substitute("${llm.status}", scope(facts=None).resolve)
