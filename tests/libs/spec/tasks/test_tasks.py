"""The keys of a task: every spelling, every kind of mistake."""

from typing import Any

import pytest
from tests.libs.spec.checking import ECHO, checked, error, flow, good, params, task

from gleitzeit.model.definition import Priority, RetryPolicy, TaskDefinition
from gleitzeit.spec.check import WORKFLOW_KEYS
from gleitzeit.spec.foreign import OF_A_RETRY, OF_A_TASK, OF_A_WORKFLOW, OF_CONCURRENCY
from gleitzeit.spec.tasks.concurrency import KEYS
from gleitzeit.spec.tasks.settings import RETRY_KEYS
from gleitzeit.spec.tasks.tasks import TASK_KEYS


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


@pytest.mark.parametrize(
    ("given_priority", "expected"),
    [(0, "low"), (-5, "low"), (5, "urgent"), (99, "urgent"), ("0", "low"), ("10", "urgent")],
)
def test_a_number_beyond_the_priorities_is_the_nearest_and_told_of(given_priority: object, expected: str) -> None:
    definition, [problem] = checked(flow({**ECHO, "priority": given_priority}))
    assert definition is not None
    assert definition.tasks[0].priority.name.lower() == expected
    assert (problem.severity, problem.path) == ("warning", ("tasks", 0, "priority"))
    assert problem.message == (
        f"'priority': numbers go from 1 (low) to 4 (urgent), and {given_priority} is {expected}, too"
    )


@pytest.mark.parametrize("given_priority", ["", "1e999", 2.5, True, [3], "9" * 30])
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
        ({"priority": "hihg"}, "4 (urgent) (did you mean 'high'?)"),
        ({"priority": 1.5}, "'priority': must be"),
        ({"provider": ["ollama"]}, "'provider' must be a text"),
        ({"undo": {"metod": "echo/ping"}}, "an undo has no key 'metod'"),
        ({"\u00a0\u00a0timeout": 5}, "it has a U+00A0 (no-break space), where only a space can indent or divide"),
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


def test_a_text_for_a_task_is_told_of_the_space_that_it_lacks() -> None:
    _, problems = checked({"name": "n", "tasks": ["id:a", "a"]})
    assert [one.message for one in problems] == [
        "a task must be a map: a space is missing after 'id:'",
        "a task must be a map",
    ]


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
