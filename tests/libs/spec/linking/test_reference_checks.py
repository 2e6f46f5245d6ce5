"""What references may read, and the dependencies that follow from them."""

from typing import Any

import msgspec
import pytest
from tests.libs.spec.checking import ECHO, checked, error, errors, flow, good

from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.loading.load import load_text
from gleitzeit.spec.references.resolution import Scope


def pings(*ids: str) -> list[dict[str, Any]]:
    return [{"id": one, "method": "echo/ping"} for one in ids]


@pytest.mark.parametrize(
    "keys",
    [
        {"dependencies": ["a", "b"]},
        {"depends_on": ["a", "b"]},
        {"dependencies": ["a"], "depends_on": ["b", "a"]},
        {"dependencies": ["Task A", "b"]},
        {"dependencies": "a", "params": {"message": "${b}"}},
        {"params": {"message": {"x": ["${a.x}", "and ${b.y} and ${a.z}"]}}},
        {"params": {"message": "${Task A.x} {{ b.y }}"}},
        {"params": {"message": "${inputs.a.x} {{ inputs.b.y }}"}},
    ],
)
def test_dependencies_are_declared_or_inferred(keys: dict[str, Any]) -> None:
    first, second = pings("a", "b")
    definition = good(flow({**first, "name": "Task A"}, second, {"id": "c", "method": "echo/echo", **keys}))
    assert definition.tasks[2].dependencies == ("a", "b")
    assert definition.tasks[2].references == ("params" in keys)


def test_a_reference_may_point_forward() -> None:
    definition = good(flow({"id": "a", "method": "echo/echo", "params": {"message": "${b}"}}, *pings("b")))
    assert definition.tasks[0].dependencies == ("b",)


def test_an_input_of_the_name_of_a_task_is_no_dependency() -> None:
    reader = {"id": "c", "method": "echo/echo", "params": {"message": "${inputs.a}"}}
    assert good(flow(*pings("a"), reader, parameters={"a": 1})).tasks[1].dependencies == ()


@pytest.mark.parametrize(
    "text",
    [
        "${workflow.id} ${workflow.name} ${workflow.timestamp} ${WORKFLOW_ID} ${TIMESTAMP} ${date}",
        "${parameters.lang} ${inputs.lang} ${input.lang} ${lang} ${workflow.variables.lang}",
        "${config.base} ${env.HOME} ${OTHER:-x} ${OTHER:x} ${env.OTHER:-x}",
        "$${nobody.x} {{ nobody.x }} {{nothing}}",
    ],
)
def test_what_references_may_read(text: str) -> None:
    keys: dict[str, Any] = {"parameters": {"lang": "de"}, "config": {"base": 1}, "env": {"HOME": "/"}}
    reader = {"id": "c", "method": "echo/echo", "params": {"message": text}}
    definition = good(flow(reader, **keys))
    assert definition.tasks[0].dependencies == ()
    assert definition.tasks[0].references


@pytest.mark.parametrize("name", ["a:b", "a:b.c", "prüfung", "日本", "🎉", "a-b", "a b", "a~b"])
def test_a_task_is_known_by_any_name_that_it_may_have(name: str) -> None:
    text = f"${{{name}.response}} {{{{ {name}.response }}}} ${{{name}.response || 'none'}}"
    tasks = [
        {"id": name, "method": "echo/echo"},
        {"id": "t", "method": "echo/echo", "params": {"message": text}, "when": f"${{{name}.response}} != 1"},
        *([] if ":" in name else [{"id": "u", "method": "echo/echo", "when": f"{name}.response != 1"}]),
    ]
    for task in good(flow(*tasks)).tasks[1:]:
        assert task.dependencies == (name,)
    results = {name: {"response": 7}}
    scope = Scope(results=results, tasks={name: name}, workflow={}, parameters={})
    assert scope.filled(f"${{{name}.response}}") == 7
    assert scope.holds(f"${{{name}.response}} == 7")


@pytest.mark.parametrize(
    "text", ["inputs.x || 'd'", "parameters.x || 'd'", "env.NOPE || 'd'", "config.x || 'd'", "inputs.x.y || env.Z || 1"]
)
def test_what_has_a_default_may_be_missing(text: str) -> None:
    for inputs in (None, {}):
        found, problems = checked(
            flow({"id": "t", "method": "echo/echo", "params": {"message": f"${{{text}}}"}}), inputs=inputs
        )
        assert found is not None
        assert problems == []


def test_a_default_for_what_was_mistyped_is_a_warning() -> None:
    tasks = {"id": "t", "method": "echo/echo", "params": {"message": "${inputs.colour || 'red'}"}}
    _, [problem] = checked(flow(tasks, inputs={"color": "blue"}), inputs={})
    assert (problem.severity, problem.suggestion) == ("warning", "color")
    tasks["when"] = "has(inputs.x) && inputs.x > 1"
    assert [one.severity for one in checked(flow(tasks, inputs={"color": "blue"}), inputs={})[1]] == ["warning"]


@pytest.mark.parametrize("text", ["'d' || inputs.x", "env.NOPE", "env"])
def test_what_has_none_is_missing(text: str) -> None:
    task = {"id": "t", "method": "echo/echo", "params": {"message": f"${{{text}}}"}}
    assert checked(flow(task, inputs={"color": "blue"}), inputs={})[0] is None


SECRET = "<${secrets.KEY}>"


@pytest.mark.parametrize(
    "task",
    [
        {"method": "echo/echo", "params": {"message": {"a": [SECRET]}}},
        {"method": "python/execute", "params": {"code": f"print('{SECRET}')"}},
        {"method": "echo/ping", "undo": {"method": "echo/echo", "params": {"message": SECRET}}},
        {"method": "echo/ping", "fallback": [{"method": "echo/echo", "params": {"message": SECRET}}]},
        {"method": "echo/echo", "for_each": [1, 2], "params": {"message": f"${{item}} {SECRET}"}},
        {"workflow": flow({"id": "c", "method": "echo/echo", "params": {"message": SECRET}})},
    ],
)
def test_a_secret_stands_where_a_provider_reads_it(task: dict[str, Any]) -> None:
    found = check(flow({"id": "t", **task}), builtin())
    assert found.problems == ()
    assert b"${secrets.KEY}" in msgspec.json.encode(found.definition)


@pytest.mark.parametrize(
    "keys",
    [
        {"method": "echo/ping", "when": "secrets.KEY == 'x'"},
        {"method": "echo/ping", "for_each": [SECRET]},
        {"method": "echo/ping", "cache": {"ttl": "1h", "key": SECRET}},
        {"method": "echo/ping", "concurrency": {"key": SECRET, "limit": 1}},
        {"method": "signal/send", "params": {"signal_name": "x", "payload": SECRET}},
        {"approval": {"message": SECRET}},
        {"workflow": flow({"id": "c", "method": "echo/ping"}, inputs={"key": ""}), "inputs": {"key": SECRET}},
    ],
)
def test_a_secret_cannot_stand_where_it_would_be_stored(keys: dict[str, Any]) -> None:
    found = check(flow({"id": "t", **keys}), builtin())
    assert found.definition is None
    assert any("only the provider knows it" in problem.message for problem in found.problems)


def test_a_secret_is_no_output() -> None:
    messages = errors({"id": "t", "method": "echo/ping"}, outputs={"o": SECRET})
    assert any("only the provider knows it" in message for message in messages)


@pytest.mark.parametrize(
    ("text", "message", "suggestion"),
    [
        ("${fetchh.x}", "${fetchh.x}: there is no task 'fetchh'", "fetch"),
        ("${secret.KEY}", "there is no task 'secret'", "secrets"),
        ("${envs.HOME}", "there is no task 'envs'", "env"),
        ("${WORKFLOW_IDS}", "there is no task 'WORKFLOW_IDS'", "WORKFLOW_ID"),
        ("${zzz.x}", "there is no task 'zzz'; to write it as text: '$${zzz.x}'", ""),
        ("${twin.x}", "several tasks have the name 'twin'", ""),
        ("${{ needs.fetch.outputs.x }}", "there is no task 'needs'; the result of a task is read as '${fetch.…}'", ""),
        ("${steps.fetchh.x}", "there is no task 'steps'; to write it as text", ""),
        ("${item.x}", "'item' stands for something only in a task with 'for_each' or 'matrix'", ""),
        ("${loop.round}", "'loop' stands for something only in a task with 'until'", ""),
        ("${secrets.KEY || 'x'}", "secrets.KEY: only the provider knows it: it can stand in the params of a call", ""),
        ("${secrets}", "a secret has a name of letters, digits and '_', as in '${secrets.API_KEY}'", ""),
        ("${secrets.A-B}", "a secret has a name of letters, digits and '_'", ""),
        ("${secrets.A.B}", "a secret has a name of letters, digits and '_'", ""),
        ("${fetch || x}", "there is no task 'x'; a text stands in quotes: 'x'", ""),
        ("${fetch.count * 2}", "the result of echo/echo has no 'count', only response, echoed", ""),
        ("${fetch.response *}", "the expression ends too early", ""),
        ("${fetch.response", "'${' is not closed", ""),
        ("${env.NOPE}", "environment variable 'NOPE' is not set", ""),
        ("${workflow.nmae}", "a workflow has no 'nmae'", "name"),
        ("${config.bass}", "'config' has no 'bass'", "base"),
        ("${me.response}", "refers to its own result", ""),
        ("${fetch.respons}", "the result of echo/echo has no 'respons', only response, echoed", "response"),
    ],
)
def test_references_to_what_is_not_there(text: str, message: str, suggestion: str) -> None:
    tasks: list[dict[str, Any]] = [
        {"id": "fetch", "method": "echo/echo"},
        {"id": "t1", "name": "twin", "method": "echo/ping"},
        {"id": "t2", "name": "twin", "method": "echo/ping"},
        {"id": "me", "method": "echo/echo", "params": {"message": text}},
    ]
    _, [problem] = checked(flow(*tasks, config={"base": 1}))
    assert problem.severity == "error"
    assert message in problem.message
    assert problem.suggestion == suggestion


def test_inputs_are_checked_when_they_are_known() -> None:
    document = flow({"id": "c", "method": "echo/echo", "params": {"message": "${inputs.lnag}"}}, parameters={"lang": 1})
    definition, [problem] = checked(document)
    assert definition is not None
    assert (problem.severity, problem.suggestion) == ("warning", "lang")
    good(document, inputs={"lnag": 1})
    definition, [problem] = checked(document, inputs={})
    assert definition is None
    assert problem.message == "${inputs.lnag}: there is no input and no parameter 'lnag'"


READER = {"id": "c", "method": "echo/echo", "params": {"message": "${inputs.lang} ${town}"}}


@pytest.mark.parametrize("declared", ["parameters", "inputs"])
def test_an_input_that_is_not_declared_is_an_error(declared: str) -> None:
    _, [problem] = checked(flow(READER, **{declared: {"lang": 1, "town": 2}}), inputs={"lnag": 1, "lang": 2})
    assert (problem.severity, problem.message, problem.suggestion) == (
        "error",
        "there is no input 'lnag'",
        "lang",
    )
    assert (problem.path, problem.at_key) == ((declared,), True)


@pytest.mark.parametrize(
    "text",
    ["${inputs.lnag}", "${parameters.lnag}", "${lnag}", "${workflow.variables.lnag}", "${parameters}", "${inputs}"],
)
def test_an_input_that_is_read_need_not_be_declared(text: str) -> None:
    reader = {**READER, "params": {"message": text}}
    good(flow(reader, parameters={"lang": 1}), inputs={"lnag": 1})
    good(flow(ECHO, parameters={"lang": 1}, outputs={"o": text}), inputs={"lnag": 1})
    program = {"id": "p", "method": "python/execute", "params": {"code": f"x = {text}"}}
    good(flow(program, parameters={"lang": 1}), inputs={"lnag": 1})


def test_an_input_that_nothing_reads_is_a_warning_where_nothing_is_declared() -> None:
    definition, [problem] = checked(flow(ECHO), inputs={"nope": 1})
    assert definition is not None
    assert (problem.severity, problem.message) == ("warning", "nothing in the workflow reads the input 'nope'")
    _, [problem] = checked(flow(READER), inputs={"lang": 1, "town": 1, "twon": 1})
    assert (problem.severity, problem.suggestion) == ("warning", "town")


def test_a_bare_input_may_come_with_the_submit() -> None:
    document = flow({"id": "c", "method": "echo/echo", "params": {"message": "${lang}"}})
    assert checked(document)[0] is None
    good(document, inputs={"lang": "de"})


def test_a_mustache_that_nearly_names_a_task_is_a_warning() -> None:
    definition, [problem] = checked(flow(*pings("fetch"), {**ECHO, "params": {"message": "{{ fetchh.x }}"}}))
    assert definition is not None
    assert (problem.severity, problem.suggestion) == ("warning", "fetch")


def test_dependencies_that_are_not_there() -> None:
    _, [problem] = checked(flow(*pings("fetch"), {**ECHO, "depends_on": ["fetch", "fetc"]}))
    assert problem.message == "there is no task 'fetc' to depend on"
    assert (problem.path, problem.suggestion) == (("tasks", 1, "depends_on", 1), "fetch")


@pytest.mark.parametrize("other", [{"id": "a.b"}, {"id": "z", "name": "a.b"}])
def test_a_reference_that_may_mean_two_tasks_is_refused(other: dict[str, str]) -> None:
    other = {**other, "method": "echo/ping"}
    reader = {"id": "c", "method": "echo/echo", "params": {"message": "${a.b.response}"}}
    message = "${a.b.response} may mean task 'a' or task 'a.b'; rename one of them"
    assert message in errors(*pings("a"), other, reader)
    assert good(flow(other, reader)).tasks[1].dependencies
    good(flow(*pings("a"), other, {**reader, "params": {"message": "${a.response}"}}))


@pytest.mark.parametrize("name", ["inputs.x", "env.HOME", "workflow.id"])
def test_no_id_begins_like_something_else_that_references_read(name: str) -> None:
    assert "has a meaning of its own" in error({"id": name, "method": "echo/ping"})
    reader = {"id": "c", "method": "echo/echo", "params": {"message": "${inputs.x}"}}
    definition = good(flow({"id": "t", "name": name, "method": "echo/ping"}, reader), inputs={"x": 1})
    assert definition.tasks[1].dependencies == ()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"nmae": "demo", "tasks": [ECHO]}, "a workflow has no key 'nmae'"),
        ({"name": [1], "tasks": [ECHO]}, "'name' must be a text"),
        ({"name": "demo", "taks": [ECHO], "outputs": {"o": "e.response"}}, "a workflow has no key 'taks'"),
        (flow({"id": "t", "methd": "echo/ping"}), "a task has no key 'methd'"),
        (flow({"id": "t", "tpye": "echo"}), "a task has no key 'tpye'"),
        (flow({"id": "t", "method": ["echo/ping"]}), "'method' must be a text"),
        (flow({"id": "t", "task_type": "x"}), "a task has no key 'task_type'"),
        (flow({"id": "t", "type": "python", "params": {"cod": "1"}}), "python/execute has no parameter 'cod'"),
        (
            flow({"id": "t", "type": "signal", "params": {"signal_nam": "x"}}),
            "signal/wait has no parameter 'signal_nam'",
        ),
        (flow({**ECHO, "cache": {"tl": "1h"}}), "cache has no key 'tl'"),
    ],
)
def test_one_mistake_is_one_problem(document: dict[str, Any], message: str) -> None:
    _, [problem] = checked(document)
    assert problem.message.startswith(message)


@pytest.mark.parametrize(
    "document", [{"tasks": [ECHO]}, {"name": "", "tasks": [ECHO]}, {"name": None, "tasks": [ECHO]}]
)
def test_a_name_is_missed(document: dict[str, Any]) -> None:
    _, [problem] = checked(document)
    assert problem.message == "a workflow needs a 'name'"


@pytest.mark.parametrize("key", ["name", "id"])
def test_a_name_of_blanks_is_none(key: str) -> None:
    _, [problem] = checked({key: " \t ", "tasks": [ECHO]})
    assert (problem.message, problem.path) == (f"the {key} of a workflow must not be empty", (key,))


def test_quotes_of_a_word_processor_are_told_from_what_they_stand_around() -> None:
    document = flow({**ECHO, "id": "„a“"}, {**ECHO, "id": "b"}, {**ECHO, "id": "c", "dependencies": ["’b’"]})
    _, found = checked(document)
    assert [(one.message[:40], one.suggestion) for one in found] == [
        ("the id of a task has „ and “ around it, ", ""),
        ("there is no task '’b’' to depend on", "b"),
    ]


def test_an_empty_document() -> None:
    _, [problem] = checked(load_text("# nothing but this\n").value)
    assert problem.message.startswith("the document is empty")


def test_a_bare_method_of_another_protocol_is_suggested() -> None:
    _, [problem] = checked(flow({"id": "t", "method": "ping"}))
    assert (problem.message, problem.suggestion) == ("protocol 'python/v1' has no method 'python/ping'", "echo/ping")


def test_protocols_do_not_look_alike_by_their_version() -> None:
    _, [problem] = checked(flow({"id": "t", "method": "text/count"}))
    assert (problem.severity, problem.suggestion) == ("warning", "")
    _, [problem] = checked(flow({"id": "t", "method": "ecko/echo"}))
    assert problem.suggestion == "echo/v1"


def test_ids_that_are_there_twice() -> None:
    found = errors(*pings("a", "b", "a", "a"), {"name": "b", "method": "echo/ping"})
    assert found == [
        "task id 'a' is there twice; the first is tasks[0]",
        "task id 'a' is there twice; the first is tasks[0]",
        "task id 'b' is there twice; the first is tasks[1]",
    ]


def test_a_cycle_is_shown_whole() -> None:
    tasks = [
        {"id": "c", "method": "echo/ping", "depends_on": ["b"]},
        {"id": "b", "method": "echo/echo", "params": {"message": "${a.result}"}},
        {"id": "a", "method": "echo/ping", "dependencies": ["c"]},
    ]
    _, [problem] = checked(flow(*tasks))
    assert problem.message == "these tasks wait for each other: a → c → b → a"
    assert problem.path == ("tasks", 2)


def test_a_task_that_waits_for_itself() -> None:
    assert error({**ECHO, "dependencies": ["e"]}) == "task 'e' waits for itself"
