"""Variables, arguments and environment of a script."""

from pathlib import Path

from gz_provider_python.scene import arguments, environment, fenced, payload, variables
from gz_provider_python.wire import Job, Limits

RESULT = {"result": {"n": 1}, "output": "printed"}


def test_context_is_used_as_it_is_given() -> None:
    assert variables({"context": {"a": 1}}, {"t": RESULT})["context"] == {"a": 1}
    assert variables({"context": None}, {"t": RESULT})["context"] is None


def test_without_a_context_the_dependencies_are_the_context() -> None:
    context = variables({}, {"t": RESULT, "say hello": {"response": "hi"}})["context"]
    assert context["t"]["result"] == {"n": 1}
    assert context["t"]["output"] == "printed"
    assert context["say hello"] == {"result": {"response": "hi"}}


def test_inputs_are_the_payloads_and_what_was_given() -> None:
    inputs = variables({"inputs": {"city": "Kiel", "u": 2}}, {"t": RESULT, "u": 1})["inputs"]
    assert inputs == {"t": {"n": 1}, "u": 2, "city": "Kiel"}


def test_inputs_have_what_the_workflow_was_given_below_that() -> None:
    inputs = variables({"inputs": {"a": 1}}, {"b": 2}, {"a": 0, "b": {"result": 0}, "c": {"result": 3}})["inputs"]
    assert inputs == {"a": 1, "b": 2, "c": {"result": 3}}


def test_args_are_variables_only_if_they_were_given() -> None:
    assert set(variables({}, {})) == {"context", "inputs"}
    assert variables({"args": {"a": 1}}, {})["args"] == {"a": 1}


def test_a_result_without_a_payload_is_its_own() -> None:
    assert payload({"response": 1}) == {"response": 1}
    assert payload([1]) == [1]


def test_arguments_by_position_and_by_name() -> None:
    assert arguments({"args": [1], "kwargs": {"b": 2}}) == {"args": [1], "kwargs": {"b": 2}}
    assert arguments({"args": {"a": 1, "b": 1}, "kwargs": {"b": 2}}) == {"args": [], "kwargs": {"a": 1, "b": 2}}
    assert arguments({}) == {"args": [], "kwargs": {}}


def test_the_environment_is_filtered() -> None:
    inherited = {"PATH": "/bin", "API_KEY": "secret", "PYTHONPATH": "/x", "GLEITZEIT_TOKEN": "t", "TZ": "UTC"}
    given = {"LEVEL": 3, "DEBUG": True, "TZ": "CET"}
    assert environment(inherited, given) == {"PATH": "/bin", "TZ": "CET", "LEVEL": "3", "DEBUG": "true"}


def test_fenced_code_gets_nothing_but_its_folder() -> None:
    job = Job(kind="execute", limits=Limits(cpu_seconds=5), working_dir="/", environment={"PATH": "/bin"})
    halved = fenced(job, Path("/private"))
    assert (halved.environment, halved.working_dir) == ({}, "/private")
    assert halved.limits == Limits(2 << 30, 1 << 29, 128, 3)
