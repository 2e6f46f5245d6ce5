"""Documents and what becomes of them: every spelling, every kind of mistake with its exact place."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.model.definition import Definition, Priority, RetryPolicy, TaskDefinition
from gleitzeit.schemas import Catalogue, builtin, method_schema
from gleitzeit.spec.check import LIMIT_TASKS, WORKFLOW_KEYS, check
from gleitzeit.spec.concurrency import KEYS
from gleitzeit.spec.foreign import OF_A_RETRY, OF_A_TASK, OF_A_WORKFLOW, OF_CONCURRENCY
from gleitzeit.spec.load import load_text
from gleitzeit.spec.problems import Problem, render
from gleitzeit.spec.references import substitute
from gleitzeit.spec.resolution import Scope
from gleitzeit.spec.settings import RETRY_KEYS
from gleitzeit.spec.tasks import TASK_KEYS


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


# ---- task keys


def test_task_keys() -> None:
    definition = task(
        name="The Task",
        description="about",
        priority="urgent",
        timeout="30s",
        queue_timeout="5m",
        on_error="skip",
        on_lost="ask",
        tags=["x", 1],
        metadata={"cost": 1},
        provider="ollama",
        protocol="echo/v1",
    )
    assert definition == TaskDefinition(
        id="t",
        method="echo/ping",
        name="The Task",
        description="about",
        priority=Priority.URGENT,
        timeout_seconds=30.0,
        queue_timeout_seconds=300.0,
        on_error="skip",
        on_lost="ask",
        tags=("x", "1"),
        metadata={"cost": 1, "provider": "ollama"},
        provider="ollama",
    )


@pytest.mark.parametrize(
    ("keys", "task_id", "name"),
    [
        ({"id": "a"}, "a", ""),
        ({"id": "a", "name": "A B"}, "a", "A B"),
        ({"id": "a", "name": "a"}, "a", ""),
        ({"name": "Load Data"}, "Load Data", ""),
        ({"id": 7}, "7", ""),
        ({}, "task-1", ""),
        ({"id": None, "name": None}, "task-1", ""),
    ],
)
def test_ids_and_names(keys: dict[str, Any], task_id: str, name: str) -> None:
    [one] = good(flow({"method": "echo/ping", **keys})).tasks
    assert (one.id, one.name) == (task_id, name)


@pytest.mark.parametrize("bad", ["", " a", "a ", "a{b", "a}b", "a[0]", "$a", 'a"b', "a\nb", "x" * 201])
def test_ids_that_references_could_not_write(bad: str) -> None:
    assert "the id of a task" in error({"id": bad, "method": "echo/ping"})


@pytest.mark.parametrize("bad", ["workflow", "env", "config", "inputs", "parameters", "item", "index", "secrets"])
def test_reserved_ids(bad: str) -> None:
    assert "has a meaning of its own" in error({"id": bad, "method": "echo/ping"})
    assert good(flow({"id": "a", "name": bad, "method": "echo/ping"})).tasks[0].name == bad


@pytest.mark.parametrize(
    ("keys", "method"),
    [
        ({"method": "echo/ping"}, "echo/ping"),
        ({"method": "echo/pong"}, "echo/ping"),
        ({"method": " echo/ping\n"}, "echo/ping"),
        ({"method": "ping", "protocol": "echo/v1"}, "echo/ping"),
        ({"method": "ping", "protocol": "echo"}, "echo/ping"),
        ({"method": "echo/ping", "protocol": "echo/v1"}, "echo/ping"),
        ({"method": "ping", "type": "echo"}, "echo/ping"),
        ({"method": "execute", "params": {"code": "1"}}, "python/execute"),
        ({"method": "exec", "params": {"code": "1"}}, "python/execute"),
        ({"type": "python", "code": "1"}, "python/execute"),
        ({"provider": "python", "code": "1"}, "python/execute"),
        ({"type": "echo", "params": {"message": 1}}, "echo/echo"),
        ({"type": "timer", "params": {"seconds": 1}}, "timer/sleep"),
        ({"type": "signal", "signal_name": "go"}, "signal/wait"),
        ({"type": "signal", "signal_action": "wait", "params": {"signal_name": "go"}}, "signal/wait"),
    ],
)
def test_spellings_of_methods(keys: dict[str, Any], method: str) -> None:
    assert good(flow({"id": "t", **keys})).tasks[0].method == method


@pytest.mark.parametrize(
    ("keys", "method"),
    [
        ({"type": "llm", "params": {"prompt": "x"}}, "llm/chat"),
        ({"type": "llm", "method": "generate"}, "llm/generate"),
        ({"provider": "ollama", "method": "chat"}, "llm/chat"),
        ({"protocol": "mcp/v1", "method": "tools/list"}, "mcp/tools/list"),
        ({"method": "mail/send"}, "mail/send"),
    ],
)
def test_protocols_that_nobody_described_are_a_warning(keys: dict[str, Any], method: str) -> None:
    definition, [problem] = checked(flow({"id": "t", **keys}, {"id": "u", **keys}))
    assert definition is not None
    assert definition.tasks[0].method == method
    assert problem.severity == "warning"
    assert "nobody has described protocol" in problem.message


@pytest.mark.parametrize(
    ("keys", "message", "suggestion"),
    [
        ({"method": "echo/ecko"}, "protocol 'echo/v1' has no method 'echo/ecko'", "echo/echo"),
        ({"method": "ecko", "protocol": "echo/v1"}, "has no method 'echo/ecko'", "echo/echo"),
        ({"method": "ping"}, "protocol 'python/v1' has no method 'python/ping'", "echo/ping"),
        ({"method": "execut"}, "has no method 'python/execut'", "python/execute"),
        ({"method": "workflow.submit"}, "'workflow.submit' is a method of the coordinator", ""),
        ({"method": "echo/ping", "protocol": "python/v1"}, "does not belong to protocol 'python/v1'", ""),
        ({"method": "ping", "protocol": "echo/v2"}, "protocol 'echo/v2' is not supported", ""),
        ({"method": "x", "protocol": "mcp/v2"}, "protocol 'mcp/v2' is not supported", ""),
        ({"method": "“echo/echo”"}, "the method has “ and ” around it: quotes are", ""),
        ({"type": "pyton"}, "there is no task type 'pyton'", "python"),
        ({"type": "agent"}, "there is no task type 'agent'", ""),
        ({"type": "Parallel"}, "there is no task type 'parallel'; tasks that do not wait", ""),
        ({"type": "mcp"}, "the task has no 'method'", ""),
        ({"type": "signal", "signal_action": "snd", "signal_name": "x"}, "must be one of wait, wait_any", "send"),
        ({}, "the task has no 'method'", ""),
    ],
)
def test_methods_that_do_not_exist(keys: dict[str, Any], message: str, suggestion: str) -> None:
    _, [problem] = checked(flow({"id": "t", **keys}))
    assert problem.severity == "error"
    assert message in problem.message
    assert problem.suggestion == suggestion


def test_unknown_methods_may_be_warnings() -> None:
    definition, [problem] = checked(flow({"id": "t", "method": "echo/ecko"}), strict_methods=False)
    assert definition is not None
    assert (problem.severity, problem.suggestion) == ("warning", "echo/echo")


def test_params_and_parameters_are_one() -> None:
    assert params(task(method="echo/echo", parameters={"message": 1})) == {"message": 1}
    both = task(method="echo/echo", parameters={"message": 1, "times": 2}, params={"message": 3})
    assert params(both) == {"message": 3, "times": 2}


def test_problems_in_parameters_are_found_where_they_stand() -> None:
    _, problems = checked(
        flow({"id": "a", "method": "echo/echo", "parameters": {"message": 1, "tmes": 2}, "params": {"times": "x"}})
    )
    assert {problem.path[2:] for problem in problems} == {("parameters", "tmes"), ("params", "times")}


def test_code_may_stand_on_the_task() -> None:
    assert params(task(method=None, type="python", code="x = 1")) == {"code": "x = 1"}
    assert "given twice" in error({"id": "a", "type": "python", "code": "1", "params": {"code": "2"}})
    _, [problem] = checked(flow({"id": "a", "type": "python", "code": "x = ("}))
    assert problem.path == ("tasks", 0, "code")


@pytest.mark.parametrize(
    ("given_priority", "expected"),
    [
        ("low", 1),
        ("bulk", 1),
        ("normal", 2),
        ("high", 3),
        ("urgent", 4),
        ("critical", 4),
        ("URGENT", 4),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
        ("3", 3),
    ],
)
def test_priorities(given_priority: object, expected: int) -> None:
    assert task(priority=given_priority).priority == expected


@pytest.mark.parametrize("given_priority", [0, -5, 5, 99, "0", "5", "-1", 2.5, True])
def test_priorities_that_do_not_exist(given_priority: object) -> None:
    message = error({**ECHO, "priority": given_priority})
    assert message == "'priority': must be low, normal, high or urgent, or a number from 1 (low) to 4 (urgent)"


RETRIES: list[tuple[dict[str, Any], RetryPolicy]] = [
    ({}, RetryPolicy()),
    ({"retry": 5}, RetryPolicy(max_attempts=5)),
    ({"retry": True}, RetryPolicy(max_attempts=3)),
    ({"retry": False}, RetryPolicy(max_attempts=1)),
    ({"retry": {}}, RetryPolicy(max_attempts=3)),
    ({"max_retries": 2}, RetryPolicy(max_attempts=3)),
    ({"max_retries": 0}, RetryPolicy(max_attempts=1)),
    ({"retry": {"max_retries": 4}}, RetryPolicy(max_attempts=5)),
    ({"retry": {"max_attempts": 2, "delay": "2s"}}, RetryPolicy(max_attempts=2, base_delay_seconds=2.0)),
    ({"retry": {"max_attempts": 2, "initial_delay": 3}}, RetryPolicy(max_attempts=2, base_delay_seconds=3.0)),
    ({"retry": {"base_delay": 0.5, "max_delay": "1m"}}, RetryPolicy(3, base_delay_seconds=0.5, max_delay_seconds=60.0)),
    ({"retry": {"backoff": "linear", "jitter": False}}, RetryPolicy(3, backoff="linear", jitter=False)),
    ({"retry": {"backoff": "constant"}}, RetryPolicy(3, backoff="fixed")),
    ({"retry": {"exponential_backoff": False, "delay": 1}}, RetryPolicy(3, backoff="fixed")),
    ({"retry": {"exponential_backoff": True}}, RetryPolicy(3, backoff="exponential")),
    ({"retry_config": {"max_attempts": 4, "backoff_strategy": "fixed"}}, RetryPolicy(4, backoff="fixed")),
    (
        {"retry_config": {"initial_delay": 2, "backoff_multiplier": 3}},
        RetryPolicy(3, base_delay_seconds=2.0, multiplier=3),
    ),
    (
        {"retry": {"max_attempts": 2}, "retry_config": {"max_attempts": 9, "delay": 4}},
        RetryPolicy(2, base_delay_seconds=4.0),
    ),
    ({"on_error": "retry"}, RetryPolicy(max_attempts=3)),
    ({"on_error": "retry", "retry": 7}, RetryPolicy(max_attempts=7)),
]


@pytest.mark.parametrize(("keys", "policy"), RETRIES)
def test_spellings_of_retry(keys: dict[str, Any], policy: RetryPolicy) -> None:
    assert task(**keys).retry == policy


def test_a_whole_number_is_one_however_json_writes_it() -> None:
    one = task(priority=3.0, retry={"max_attempts": 2.0}, max_parallel=4.0, for_each=[1], concurrency=5.0)
    assert one == task(priority=3, retry={"max_attempts": 2}, max_parallel=4, for_each=[1], concurrency=5)
    assert one.retry is not None
    assert (type(one.retry.max_attempts), type(one.priority)) == (int, Priority)
    assert "must be a whole number" in error({"id": "t", "method": "echo/ping", "retry": 2.5})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "“t”"}, "the name of a task has “ and ” around it, which are letters of it"),
        ({"retry": {"max_attempts": float(2**70)}}, "'max_attempts' must be a whole number"),
        ({"priority": "urgnt"}, "'priority': must be low, normal, high or urgent"),
        ({"priority": 1.5}, "'priority': must be"),
        ({"priority": True}, "'priority': must be"),
        ({"timeout": 0}, "'timeout' must be longer than 0"),
        ({"timeout": "soon"}, "'soon' is not a duration like"),
        ({"timeout": -1}, "between 0 and 366 days"),
        ({"queue_timeout": []}, "'queue_timeout': a duration is"),
        ({"retry": 0}, "'retry' must be a whole number from 1 to 100"),
        ({"retry": "often"}, "'retry' must be a whole number"),
        ({"retry": {"max_attemps": 3}}, "retry has no key 'max_attemps'"),
        ({"retry": {"backoff": "quadratic"}}, "'backoff' must be one of"),
        ({"retry": {"jitter": "no"}}, "'jitter' must be true or false"),
        ({"retry": {"multiplier": 0.5}}, "must be a number from 1 to 100"),
        ({"retry": {"delay": 1, "base_delay": 2}}, "two names of one thing"),
        ({"max_retries": -1}, "'max_retries' must be a whole number from 0 to 99"),
        ({"on_error": "explode"}, "'on_error' must be one of fail, skip, retry"),
        ({"on_lost": 3}, "'on_lost' must be one of"),
        ({"tags": {}}, "'tags' must be a list"),
        ({"tags": [[]]}, "'tags' must hold texts only"),
        ({"metadata": []}, "'metadata' must be a map"),
        ({"params": []}, "'params' must be a map"),
        ({"name": []}, "'name' must be a text"),
        ({"dependencies": {"a": 1}}, "'dependencies' must be a list"),
        ({"descripton": "x"}, "a task has no key 'descripton'"),
        ({"run": "ls"}, "a task has no key 'run': a command is 'method: shell/exec'"),
        ({"params": {"batch_mode": True}, "method": "mail/send"}, "'batch_mode' is for methods of llm/v1"),
    ],
)
def test_mistakes_in_task_keys(keys: dict[str, Any], message: str) -> None:
    assert message in error({"id": "t", "method": "echo/ping", **keys})


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


def test_words_of_others_are_no_words_of_ours_and_lead_to_some() -> None:
    keys = ((OF_A_TASK, TASK_KEYS), (OF_A_WORKFLOW, WORKFLOW_KEYS), (OF_A_RETRY, RETRY_KEYS), (OF_CONCURRENCY, KEYS))
    for foreign, known in keys:
        assert not foreign.keys() & known
        assert {meant for meant in foreign.values() if " " not in meant} <= known


@pytest.mark.parametrize(
    ("keys", "message", "suggestion"),
    [
        ({"if": "true"}, "a task has no key 'if'", "when"),
        ({"for-each": [1]}, "a task has no key 'for-each'", "for_each"),
        ({"queueTimeout": 1}, "a task has no key 'queueTimeout'", "queue_timeout"),
        ({"taskReferenceName": "x"}, "a task has no key 'taskReferenceName'", "id"),
        ({"next": "x"}, "a task has no key 'next': what is to come first stands in a task's 'dependencies'", ""),
        ({"retry": {"times": 3}}, "retry has no key 'times'", "max_attempts"),
        ({"retry": {"maxInterval": 3}}, "retry has no key 'maxInterval'", "max_delay"),
        ({"retry": {"BackoffRate": 3}}, "retry has no key 'BackoffRate'", "backoff_multiplier"),
        ({"concurrency": {"group": "x"}}, "'concurrency' has no key 'group'", "key"),
        ({"concurrency": {"cancel-in-progress": True}}, "'on_conflict: cancel_running' ends what runs", ""),
    ],
)
def test_a_word_of_others(keys: dict[str, Any], message: str, suggestion: str) -> None:
    _, [problem] = checked(flow({"id": "t", "method": "echo/ping", **keys}))
    assert message in problem.message
    assert problem.suggestion == suggestion


# ---- dependencies and references


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


# ---- params


def test_params_are_checked_by_the_methods_schema() -> None:
    _, problems = checked(flow({"id": "a", "method": "echo/echo", "params": {"mesage": 1, "times": "x"}}))
    assert [(problem.path[2:], problem.message, problem.suggestion, problem.at_key) for problem in problems] == [
        (("params", "times"), "'times' must be a whole number, not 'x'", "", False),
        (("params", "mesage"), "echo/echo has no parameter 'mesage'", "message", True),
    ]


@pytest.mark.parametrize("value", ["${e.response}", "${n:-1}"])
def test_what_a_reference_will_bring_is_not_known_yet(value: str) -> None:
    good(flow(ECHO, {"id": "a", "method": "echo/echo", "params": {"times": value}}))


def test_params_that_are_durations_are_written_as_durations() -> None:
    program = {"id": "a", "method": "python/execute", "code": "x = 1"}

    def with_timeout(value: object) -> Any:
        document = {"name": "x", "tasks": [{**program, "params": {"timeout": value}}]}
        return check(document, builtin())

    for said, seconds in (("5s", 5), ("1m30s", 90), ("7", 7), (2.5, 2.5)):
        definition = with_timeout(said).definition
        assert definition is not None
        assert msgspec.json.decode(definition.tasks[0].params)["timeout"] == seconds
    assert with_timeout("${env.HOME}").problems[0].message.count("'HOME' is not set") == 1
    for said, message in (
        ("soon", "is not a duration"),
        ("2d", "greater than the maximum"),
        (0, "minimum"),
        (True, "number"),
    ):
        [problem] = with_timeout(said).problems
        assert message in problem.message


def test_which_params_there_are_is_known() -> None:
    assert "has no parameter 'tmes'" in error(
        ECHO, {"id": "a", "method": "echo/echo", "params": {"tmes": "${e.response}"}}
    )
    assert "needs 'code' or 'file'" in error(ECHO, {"id": "a", "type": "python", "params": {"args": ["${e.response}"]}})
    assert "give only one of" in error({"id": "a", "type": "python", "params": {"code": "1", "file": "f"}})


def test_a_key_cannot_be_a_reference() -> None:
    _, [problem] = checked(
        flow(ECHO, {"id": "a", "method": "echo/echo", "params": {"message": [{"${e.response}": 1}]}})
    )
    assert problem.message == "a reference cannot stand in a key, only in a value"
    assert (problem.path[2:], problem.at_key) == (("params", "message", 0, "${e.response}"), True)


# ---- code


def python(code: str, **keys: Any) -> TaskDefinition:
    return good(flow(ECHO, {"id": "p", "type": "python", "params": {"code": code, **keys}})).tasks[1]


def test_references_in_code_become_bindings() -> None:
    one = python("x = ${e.response}\ny = '''${e.echoed}'''\n", args=["${e.response}"])
    assert params(one) == {"code": "x = __ref_0__\ny = '''__ref_1__'''\n", "args": ["${e.response}"]}
    assert one.bindings == {"__ref_0__": "${e.response}", "__ref_1__": "${e.echoed}"}
    assert (one.dependencies, one.references, one.untrusted) == (("e",), True, False)


def test_code_without_references_is_as_it_is() -> None:
    one = python("x = {'a': f'{1}'}")
    assert params(one)["code"] == "x = {'a': f'{1}'}"
    assert (one.bindings, one.references) == ({}, False)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = '$${HOME} $${a.b}'", "x = '${HOME} ${a.b}'"),
        ("x = '$$${a}'", "x = '$${a}'"),
        ("x = f'{{a}} {{e.response }} $${e.x}'", "x = f'{{a}} __ref_0__ ${e.x}'"),
        ("# ${nobody.x}", "# ${nobody.x}"),
    ],
)
def test_code_is_read_for_references_only_once(code: str, expected: str) -> None:
    """The engine replaces references in all params: what is left in code must come out as it is."""
    one = python(code + "\n${e.echoed}")
    sent = substitute(params(one)["code"], lambda reference: pytest.fail(f"{reference} was replaced in code"))
    assert sent == f"{expected}\n__ref_{len(one.bindings) - 1}__"


def test_a_program_that_is_one_reference_is_not_trusted() -> None:
    one = python("  ${e.response}\n")
    assert (one.untrusted, one.bindings, params(one)) == (True, {}, {"code": "${e.response}"})
    assert one.dependencies == ("e",)


def test_braces_of_python_are_not_references() -> None:
    one = python("x = f'{{user.name}} {{0}}'\n")
    assert (one.bindings, one.dependencies) == ({}, ())
    assert (
        substitute(params(one)["code"], lambda _: pytest.fail("nothing to replace")) == "x = f'{{user.name}} {{0}}'\n"
    )


def test_a_reference_in_a_comment_is_no_dependency() -> None:
    one = python("# like ${nobody.x}\ny = 1\n")
    assert (one.bindings, one.dependencies) == ({}, ())
    assert substitute(params(one)["code"], lambda _: pytest.fail("nothing to replace")) == "# like ${nobody.x}\ny = 1\n"


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
