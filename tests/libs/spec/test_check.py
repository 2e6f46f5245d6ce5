"""Whole documents and what becomes of them: every shape, every key of a workflow, and anything at all."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.libs.spec.checking import CATALOGUE, ECHO, checked, error, flow, good

from gleitzeit.model.definition import Definition, Priority, TaskDefinition
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import LIMIT_TASKS, WORKFLOW_KEYS, check
from gleitzeit.spec.foreign import OF_A_TASK, OF_A_WORKFLOW
from gleitzeit.spec.loading.load import load_text
from gleitzeit.spec.problems import render
from gleitzeit.spec.tasks.tasks import TASK_KEYS

# ---- shapes


def test_the_normal_shape() -> None:
    assert good(flow(ECHO)) == Definition(
        name="demo", tasks=(TaskDefinition(id="e", method="echo/echo", params=msgspec.Raw(b'{"message":"hi"}')),)
    )


def test_the_wrapped_shape_and_its_paths() -> None:
    assert good({"workflow": flow(ECHO)}) == good(flow(ECHO))
    [problem] = checked({"workflow": flow({"id": "a", "method": "echo/ecko"})})[1]
    assert problem.path == ("workflow", "tasks", 0, "method")


def test_tasks_as_a_map() -> None:
    assert good(
        {"name": "demo", "tasks": {"e": {"method": "echo/ping"}, "f": {"id": "own", "method": "echo/ping"}}}
    ).tasks == (
        TaskDefinition(id="e", method="echo/ping"),
        TaskDefinition(id="own", method="echo/ping"),
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "a workflow is a map"),
        ([], "a workflow is a map"),
        ("text", "a workflow is a map"),
        ({"workflow": None}, "a workflow is a map"),
        ({"name": "x"}, "needs a list of 'tasks'"),
        ({"name": "x", "tasks": 3}, "needs a list of 'tasks'"),
        ({"name": "x", "tasks": []}, "at least one task"),
        ({"name": "x", "tasks": {}}, "at least one task"),
        ({"name": "x", "tasks": [3]}, "a task must be a map"),
        ({"tasks": [ECHO]}, "needs a 'name'"),
        ({"name": "", "tasks": [ECHO]}, "needs a 'name'"),
    ],
)
def test_what_is_no_workflow(document: object, message: str) -> None:
    definition, problems = checked(document)
    assert definition is None
    assert message in problems[0].message


def test_the_keys_of_a_batch_are_of_no_other_document() -> None:
    _, problems = checked({"name": "b", "batch": {"directory": "d"}, "template": {}})
    found = {problem.path[-1] for problem in problems if "only in a document with 'type: batch'" in problem.message}
    assert found == {"batch", "template"}


def test_what_json_cannot_hold_or_is_too_deep() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    for value in ({"a": object()}, loop, {"x": "\ud800"}):
        assert "cannot be written as JSON" in checked(value)[1][0].message
    assert "nested deeper than 64" in error({**ECHO, "params": {"message": deep}})


# ---- workflow keys


def test_workflow_keys() -> None:
    definition = good(
        flow(
            ECHO,
            id="doc-1",
            description="about",
            version=1.0,
            metadata={"author": "me"},
            tags=["a", "b"],
            priority="high",
            timeout="2h",
            max_parallel=5,
            wait_for_completion=True,
            providers=["redis://x"],
            parameters={"lang": "de"},
            inputs={"lang": "en", "n": 1},
            env={"HOME": "/root"},
            config={"base": "http://x"},
            outputs={"greeting": "e.response", "text": "said ${e.response}"},
        )
    )
    assert (definition.description, definition.version, definition.tags) == ("about", "1.0", ("a", "b"))
    assert definition.metadata == {"author": "me", "id": "doc-1", "required_providers": ["redis://x"]}
    assert (definition.priority, definition.timeout_seconds, definition.max_parallel) == (Priority.HIGH, 7200.0, 5)
    assert definition.wait_for_completion
    assert json.loads(bytes(definition.parameters)) == {"lang": "de", "n": 1}
    assert json.loads(bytes(definition.config)) == {"base": "http://x"}
    assert definition.env == {"HOME": "/root"}
    assert definition.outputs == {"greeting": "${e.response}", "text": "said ${e.response}"}
    assert definition.tasks[0].priority is Priority.HIGH


def test_an_id_serves_as_name() -> None:
    assert good({"id": "doc", "tasks": [ECHO]}).name == "doc"


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ({"max_parallel_tasks": 7}, "max_parallel", 7),
        ({"execution_mode": "sequential"}, "max_parallel", 1),
        ({"execution_mode": "parallel"}, "max_parallel", None),
        ({"config": {"max_parallel": 3}}, "max_parallel", 3),
        ({"max_parallel": 4, "config": {"max_parallel": 3}}, "max_parallel", 4),
        ({"config": {"timeout": "5m"}}, "timeout_seconds", 300.0),
        ({"timeout": 60, "config": {"timeout": "5m"}}, "timeout_seconds", 60.0),
        ({}, "error_policy", "isolate"),
        ({"error_policy": "fail_fast"}, "error_policy", "fail_fast"),
        ({"error_policy": "continue"}, "error_policy", "continue"),
        ({"error_policy": "continue_on_error"}, "error_policy", "continue"),
        ({"error_policy": "retry"}, "error_policy", "isolate"),
        ({"error_policy": "retry_failed"}, "error_policy", "isolate"),
        ({"error_strategy": "stop"}, "error_policy", "fail_fast"),
        ({"error_strategy": "continue"}, "error_policy", "continue"),
        ({"config": {"continue_on_error": True}}, "error_policy", "continue"),
        ({"config": {"continue_on_error": False}}, "error_policy", "fail_fast"),
        ({"error_policy": "isolate", "config": {"continue_on_error": True}}, "error_policy", "isolate"),
    ],
)
def test_spellings_of_workflow_keys(keys: dict[str, Any], field: str, value: object) -> None:
    assert getattr(good(flow(ECHO, **keys)), field) == value


def test_a_policy_that_retries_gives_tasks_attempts() -> None:
    tasks = good(flow(ECHO, {**ECHO, "id": "f", "retry": 5}, error_policy="retry")).tasks
    assert [one.retry.max_attempts for one in tasks] == [3, 5]


def test_keys_for_the_author_have_no_meaning() -> None:
    good(flow({**ECHO, "x-note": 1}, **{"x-defaults": {}}))


def test_parameters_and_config_may_read_the_environment_only() -> None:
    definition = good(
        flow(ECHO, env={"A": "${b.c}"}, parameters={"p": ["${env.A}", "${B:-x}"]}, config={"c": "<${env.A}>"})
    )
    assert json.loads(bytes(definition.parameters)) == {"p": ["${b.c}", "x"]}
    assert json.loads(bytes(definition.config)) == {"c": "<${b.c}>"}
    assert "'NOPE' is not set where this is submitted" in error(ECHO, parameters={"p": "${env.NOPE}"})
    assert "only environment variables" in error(ECHO, config={"p": "${e.response}"})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"timeout": "x"}, "not a duration"),
        ({"max_parallel": 0}, "'max_parallel' must be a whole number"),
        ({"max_parallel": True}, "'max_parallel' must be a whole number"),
        ({"execution_mode": "both"}, "'execution_mode' must be one of"),
        ({"error_policy": "fail_fest"}, "'error_policy' must be one of"),
        ({"wait_for_completion": 1}, "must be true or false"),
        ({"config": []}, "'config' must be a map"),
        ({"config": {"handlers": []}}, "'handlers' must be a map"),
        ({"config": {"handlers": {"llm": {"circut_breaker": {}}}}}, "a handler has no key 'circut_breaker'"),
        ({"config": {"handlers": {"llm": {"circuit_breaker": {"treshold": 1}}}}}, "a circuit breaker has no key"),
        ({"config": {"handlers": {"llm": {"circuit_breaker": {"failure_threshold": 0}}}}}, "whole number from 1"),
        ({"config": {"handlers": {"llm": {"timeout": "soon"}}}}, "not a duration"),
        ({"config": {"continue_on_error": "x"}}, "must be true or false"),
        ({"outputs": {"x": None}}, "an output is a text"),
        ({"outputs": {"x": [1, {"y": "${e.respons}"}]}}, "the result of echo/echo has no 'respons'"),
        ({"outputs": {"x": "nobody.field"}}, "there is no task 'nobody'"),
        ({"outputs": {"x": "a b ${"}}, "not closed"),
        ({"parameters": 3}, "'parameters' must be a map"),
        ({"env": 3}, "'env' must be a map"),
        ({"descripton": "x"}, "a workflow has no key 'descripton'"),
        ({"on": {"schedule": "daily"}}, "a workflow has no key 'on': 'gz schedule put"),
    ],
)
def test_mistakes_in_workflow_keys(keys: dict[str, Any], message: str) -> None:
    assert message in error(ECHO, **keys)


# ---- many


@pytest.mark.parametrize("count", [10_000, pytest.param(LIMIT_TASKS, marks=pytest.mark.long)])
def test_very_many_tasks(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 are submitted and queued in the normal run, too: see test_overload.py."""
    assert LIMIT_TASKS == 100_000
    monkeypatch.setattr("gleitzeit.spec.check.LIMIT_TASKS", count)
    tasks = [
        {"id": f"t{n}", "method": "echo/echo", "params": {"message": f"${{t{n - 1}.response}}" if n else "x"}}
        for n in range(count)
    ]
    definition = good(flow(*tasks))
    assert definition.tasks[-1].dependencies == (f"t{count - 2}",)
    _, [problem] = checked(flow(*tasks, ECHO))
    assert f"{count + 1} tasks; a workflow has at most {count}" in problem.message


def test_a_long_cycle_is_cut() -> None:
    tasks = [{"id": f"t{n}", "method": "echo/ping", "dependencies": [f"t{(n + 1) % 5000}"]} for n in range(5000)]
    message = error(*tasks)
    assert "(4901 more)" in message
    assert message.startswith("these tasks wait for each other: t0 → t1 → ")
    assert message.endswith(" → t4999 → t0")


def test_very_many_problems_are_counted() -> None:
    _, problems = checked(flow(*({"id": f"t{n}", "metod": "echo/ping"} for n in range(2000))))
    assert len(problems) == 1001
    assert (problems[-1].message, problems[-1].more) == ("2800 more problems are not listed", 2800)
    assert problems[-1].severity == "error"


def test_very_many_warnings_are_no_error() -> None:
    tasks = [{"id": f"t{n}", "method": "echo/echo", "params": {"message": "${parameters.x}"}} for n in range(1100)]
    definition, problems = checked(flow(*tasks))
    assert definition is not None
    assert (problems[-1].severity, problems[-1].more) == ("warning", 100)


# ---- anything


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
scraps = st.sampled_from(
    ["a", "b", "${a.b}", "${", "$${", "{{ a.b }}", "echo/echo", "python/execute", "echo", "x = ${a}"]
)
values = json_values | scraps
tasks = st.dictionaries(st.sampled_from(sorted(TASK_KEYS | OF_A_TASK.keys())), values, max_size=6)
documents = st.dictionaries(st.sampled_from(sorted(WORKFLOW_KEYS | OF_A_WORKFLOW.keys())), values, max_size=5)


@given(json_values)
def test_any_value_has_problems_and_no_crash(value: object) -> None:
    assert checked(value)[0] is None


@given(documents, st.lists(tasks | json_values, max_size=4))
def test_any_document_is_a_definition_or_has_problems(document: dict[str, Any], listed: list[Any]) -> None:
    definition, problems = checked({**document, "tasks": listed})
    if definition is not None:
        again = msgspec.json.decode(msgspec.json.encode(definition), type=Definition)
        assert msgspec.json.encode(again) == msgspec.json.encode(definition)
    text = json.dumps({**document, "tasks": listed})
    assert render(problems, load_text(text, name="x.json")) or not problems


@given(st.text(), st.text())
def test_any_text_can_be_a_program(code: str, message: str) -> None:
    check(
        flow(ECHO, {"id": "p", "type": "python", "code": code}, {**ECHO, "id": "f", "params": {"message": message}}),
        CATALOGUE,
    )


# ---- as an author sees it

MISTAKES = """\
name: demo
descripton: two words
tasks:
  - id: fetch
    method: echo/ecko
  - id: fetch
    method: echo/echo
    params:
      mesage: hi ${fetchh.response} and ${env.NOPE}
  - name: Load Data
    method: python/execute
    depends_on: [fetc]
    params:
      code: |
        x = ${Load Dat.result}
        y.${fetch.response} = 1
  - id: a
    method: echo/echo
    dependencies: b
    params: {message: "${b.respnse}"}
    timeout: 2x
  - id: b
    method: echo/echo
    params: {message: "${a.response}"}
    for_each: [1]
"""

SEEN = """\
flow.yaml:2:1: error: a workflow has no key 'descripton' (did you mean 'description'?)
    2 | descripton: two words
      | ^
flow.yaml:5:13: error: protocol 'echo/v1' has no method 'echo/ecko' (did you mean 'echo/echo'?)
    5 |     method: echo/ecko
      |             ^
flow.yaml:6:9: error: task id 'fetch' is there twice; the first is tasks[0] in line 4
    6 |   - id: fetch
      |         ^
flow.yaml:9:7: error: echo/echo has no parameter 'mesage' (did you mean 'message'?)
    9 |       mesage: hi ${fetchh.response} and ${env.NOPE}
      |       ^
flow.yaml:9:18: error: ${fetchh.response}: there is no task 'fetchh' (did you mean 'fetch'?)
    9 |       mesage: hi ${fetchh.response} and ${env.NOPE}
      |                  ^
flow.yaml:9:41: error: ${env.NOPE}: environment variable 'NOPE' is not set where this is submitted
    9 |       mesage: hi ${fetchh.response} and ${env.NOPE}
      |                                         ^
flow.yaml:12:18: error: there is no task 'fetc' to depend on (did you mean 'fetch'?)
   12 |     depends_on: [fetc]
      |                  ^
flow.yaml:15:13: error: ${Load Dat.result}: there is no task 'Load Dat' (did you mean 'Load Data'?)
   15 |         x = ${Load Dat.result}
      |             ^
flow.yaml:16:9: error: a reference is a value, and cannot be the name of an attribute; use getattr()
   16 |         y.${fetch.response} = 1
      |         ^
flow.yaml:17:5: error: these tasks wait for each other: a → b → a
   17 |   - id: a
      |     ^
flow.yaml:20:24: error: ${b.respnse}: the result of echo/echo has no 'respnse', only response, echoed \
(did you mean 'response'?)
   20 |     params: {message: "${b.respnse}"}
      |                        ^
flow.yaml:21:14: error: 'timeout': '2x' is not a duration like '30s', '5m', '2h' or '1h30m'
   21 |     timeout: 2x
      |              ^"""


def test_all_mistakes_at_once_each_with_its_place() -> None:
    document = load_text(MISTAKES, name="flow.yaml")
    assert render(check(document.value, CATALOGUE).problems, document) == SEEN


def test_of_several_mistakes_in_one_text_none_hides_the_others() -> None:
    text = "${aa.x} ${a.} ${b ${a.respnse} ${a[0}"
    tasks = f"- {{id: a, method: echo/echo}}\n- {{id: b, method: echo/echo, params: {{message: '{text}'}}}}"
    document = load_text(f"name: x\ntasks:\n{tasks}")
    found = render(check(document.value, CATALOGUE).problems, document)
    assert [found.count(mistake) for mistake in ("task 'aa'", "'${a.}' is not", "not closed", "'${a[0}' is not")] == [
        1
    ] * 4


def test_a_child_needs_its_workflow() -> None:
    found = check(flow({"id": "t", "type": "workflow"}), builtin())
    assert ["workflow/run needs a 'workflow'" in one.message for one in found.problems] == [True]


def test_a_name_in_the_quotes_of_a_word_processor_is_warned_of() -> None:
    definition, [problem] = checked({**flow({"id": "a", "method": "echo/echo"}), "name": "“report”"})
    assert definition is not None
    assert (problem.severity, problem.path) == ("warning", ("name",))
    assert problem.message.startswith("the name has “ and ” around it, which are letters of it")
