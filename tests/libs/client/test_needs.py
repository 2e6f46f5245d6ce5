"""What a document needs beside echo, python and a model."""

from pathlib import Path
from typing import Any

import pytest

from gleitzeit.client import needs
from gleitzeit.model.definition import Definition
from gleitzeit.process.absent import NotAllowed
from gleitzeit.process.reach import Target
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check

COMMAND = {"id": "list", "method": "shell/exec", "params": {"command": "ls"}}
REQUEST = {"id": "get", "method": "http/get", "params": {"url": "http://example.org"}}


def definition(*tasks: dict[str, Any]) -> Definition:
    checked = check({"name": "n", "tasks": list(tasks)}, builtin())
    assert checked.definition is not None, checked.problems
    return checked.definition


def test_providers_are_added_as_they_are_needed() -> None:
    target = Target(Path(), allow_shell=True)
    assert needs.with_providers(target, definition(COMMAND, REQUEST)).providers == ("echo", "python", "http", "shell")
    assert needs.with_providers(target, definition({"method": "echo/echo"})) == target
    named = target.with_providers(("http",))
    assert needs.with_providers(named, definition(REQUEST)) == named


def test_commands_need_leave() -> None:
    with pytest.raises(NotAllowed, match=r"runs commands on your machine \(task list\)"):
        needs.with_providers(Target(Path()), definition(COMMAND))
    target = Target(Path(), providers=("shell",))
    assert needs.with_providers(target, definition(COMMAND)) == target, "who names the provider has allowed it"


def test_a_fallback_counts() -> None:
    task = {"id": "a", "method": "echo/echo", "fallback": {"method": "shell/exec", "params": {"command": "ls"}}}
    with pytest.raises(NotAllowed):
        needs.with_providers(Target(Path()), definition(task))
