"""Every spelling of a document is read as it was meant: without a process, by the check alone."""

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from reads import READS, REFUSED, Reads, Refused

from gleitzeit.errors import CircularDependency
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import Checked, check
from gleitzeit.spec.loading.load import load_text
from gleitzeit.spec.problems import document_error


def checked(text: str) -> Checked:
    value = load_text(dedent(text)).value
    assert isinstance(value, dict)
    is_task = not value.keys() & {"tasks", "batch"} and value.keys() != {"workflow"}
    return check({"name": "n", "tasks": [value]} if is_task else value, builtin())


def part(value: Any, path: str) -> Any:
    """None for what is not there."""
    for step in path.split("."):
        if isinstance(value, list):
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


@pytest.mark.parametrize("case", READS, ids=lambda case: case.row)
def test_it_is_read(case: Reads) -> None:
    found = checked(case.document)
    assert found.definition is not None, found.problems
    normal = msgspec.json.decode(msgspec.json.encode(found.definition))
    assert {path: part(normal, path) for path in case.becomes} == case.becomes


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.row)
def test_it_is_refused(case: Refused) -> None:
    found = checked(case.document)
    assert found.definition is None
    assert any(case.said in one.message and one.suggestion == case.suggestion for one in found.problems), found.problems


def test_a_cycle_has_the_code_it_had() -> None:
    found = checked(
        "name: n\ntasks: [{id: a, method: echo/echo, dependencies: [b]}, {id: b, method: echo/echo, dependencies: [a]}]"
    )
    error = document_error(found.problems)
    assert (type(error), error.code) == (CircularDependency, -28006)
