"""Params of tasks, and the code that some of them are."""

from typing import Any

import msgspec
import pytest
from tests.libs.spec.checking import ECHO, checked, error, flow, good, params

from gleitzeit.model.definition import TaskDefinition
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.references.references import substitute


def test_params_are_checked_by_the_methods_schema() -> None:
    _, problems = checked(flow({"id": "a", "method": "echo/echo", "params": {"mesage": 1, "times": "x"}}))
    assert [(problem.path[2:], problem.message, problem.suggestion, problem.at_key) for problem in problems] == [
        (("params", "times"), "'times' must be a whole number, not 'x'", "", False),
        (("params", "mesage"), "echo/echo has no parameter 'mesage'", "message", True),
    ]


@pytest.mark.parametrize("value", ["${e.response}", "${n:-1}"])
def test_what_a_reference_will_bring_is_not_known_yet(value: str) -> None:
    good(flow(ECHO, {"id": "a", "method": "echo/echo", "params": {"times": value}}))


def test_a_key_within_a_param_is_told_with_what_has_it() -> None:
    asks = {"id": "a", "method": "llm/chat", "params": {"messages": [{"rol": "user"}]}}
    [problem] = check(flow(asks), builtin()).problems
    assert (problem.message, problem.suggestion) == ("'messages[0]' has no key 'rol'", "role")


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


def python(code: str, **keys: Any) -> TaskDefinition:
    return good(flow(ECHO, {"id": "p", "type": "python", "params": {"code": code, **keys}})).tasks[1]


def test_references_in_code_become_bindings() -> None:
    one = python("x = ${e.response}\ny = '''${e.echoed}'''\n", args=["${e.response}"])
    assert params(one) == {
        "code": "x = __ref_0_e_response__\ny = '''__ref_1_e_echoed__'''\n",
        "args": ["${e.response}"],
    }
    assert one.bindings == {"__ref_0_e_response__": "${e.response}", "__ref_1_e_echoed__": "${e.echoed}"}
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
        ("x = f'{{a}} {{e.response }} $${e.x}'", "x = f'{{a}} __ref_0_e_response__ ${e.x}'"),
        ("# ${nobody.x}", "# ${nobody.x}"),
    ],
)
def test_code_is_read_for_references_only_once(code: str, expected: str) -> None:
    """The engine replaces references in all params: what is left in code must come out as it is."""
    one = python(code + "\n${e.echoed}")
    sent = substitute(params(one)["code"], lambda reference: pytest.fail(f"{reference} was replaced in code"))
    assert sent == f"{expected}\n__ref_{len(one.bindings) - 1}_e_echoed__"


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
