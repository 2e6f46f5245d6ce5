"""Commands with references, through the whole check."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.schemas import builtin
from gleitzeit.spec.check import Checked, check
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.references.commands import read_commands
from gleitzeit.spec.references.references import substitute


def checked(**params: Any) -> Checked:
    method = "shell/pipe" if "commands" in params else "shell/exec"
    tasks = [{"id": "a", "method": "echo/echo"}, {"id": "b", "method": method, "params": params}]
    return check({"name": "n", "tasks": tasks}, builtin())


def params_of(found: Checked) -> dict[str, Any]:
    assert found.definition is not None, found.problems
    return msgspec.json.decode(found.definition.tasks[1].params, type=dict[str, Any])


def test_a_reference_is_one_word_or_a_part_of_one() -> None:
    found = checked(command="grep -e '${a.message} or ${a.echoed}' --file=${a.response} plain")
    assert params_of(found)["command"] == ["grep", "-e", "${a.message} or ${a.echoed}", "--file=${a.response}", "plain"]
    found = checked(commands=["cat ${a.response}", "wc -l", ["sort", "${a.response}"]])
    assert params_of(found)["commands"] == [["cat", "${a.response}"], "wc -l", ["sort", "${a.response}"]]


def test_a_command_without_references_stays_as_it_is() -> None:
    assert params_of(checked(command="ls -l"))["command"] == "ls -l"


@pytest.mark.parametrize("params", [{"command": "ls ${a.response}"}, {"commands": ["ls", "cat ${a.response}"]}])
def test_no_reference_in_what_a_shell_reads(params: dict[str, Any]) -> None:
    found = checked(shell=True, **params)
    assert [problem.message for problem in found.problems] == [
        "with shell: true what a reference stands for would be run as a program; put it into 'env' and write "
        '"$NAME" in the command'
    ]
    assert found.definition is None


def test_in_env_a_reference_is_fine() -> None:
    assert checked(shell=True, command='ls "$FILE"', env={"FILE": "${a.response}"}).problems == ()


def test_who_lets_a_result_decide_what_runs_is_warned() -> None:
    found = checked(command="${a.response}")
    assert [problem.severity for problem in found.problems] == ["warning"]
    assert "decides alone" in found.problems[0].message


def test_quotes_that_do_not_close() -> None:
    found = checked(command="ls '${a.response}")
    assert "cannot be split into words" in found.problems[0].message


@pytest.mark.parametrize("command", ["cat ${a.response} | wc -l", "ls | wc -l", "cat ${a.response} >file"])
def test_what_only_a_shell_understands_is_told_with_references_or_without(command: str) -> None:
    found = checked(command=command)
    assert found.definition is None
    assert "means something to a shell only" in found.problems[0].message


@pytest.mark.parametrize(
    "command", ["sh -c 'echo ${a.response}'", ["/bin/bash", "-lc", "echo ${a.response}"], "sh -ec 'ls ${a.response}' x"]
)
def test_who_calls_a_shell_by_its_name_is_told_what_a_reference_means_to_it(command: object) -> None:
    (problem,) = checked(command=command).problems
    assert (problem.severity, "runs what a reference stands for as a program" in problem.message) == ("warning", True)


@pytest.mark.parametrize(
    "command", ["sh -c 'echo \"$1\"' sh ${a.response}", "sh -c 'echo $${HOME}'", "cat -c ${a.response}", ["sh", 1]]
)
def test_a_reference_that_no_shell_reads_is_fine(command: object) -> None:
    assert checked(command=command).problems == ()


@given(value=st.text())
def test_whatever_it_stands_for_the_words_are_those_of_the_author(value: str) -> None:
    findings = Findings()
    command = read_commands({"command": "x ${a.y} '-o ${a.y}' $${z}"}, findings, ())["command"]
    assert substitute(command, lambda _: value) == ["x", value, f"-o {value}", "${z}"]
    assert not findings.problems
