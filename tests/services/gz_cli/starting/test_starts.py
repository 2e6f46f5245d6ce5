from pathlib import Path

import pytest

from gleitzeit.client import prepare
from gleitzeit.spec.loading.load import load_text
from gz_cli.starting.starts import say_warnings

TEXT = "name: Words\ntasks: [{id: a, method: words/count}, {id: b, method: lines/count}]\n"


def test_of_our_warnings_those_count_that_the_coordinator_shares(capsys: pytest.CaptureFixture[str]) -> None:
    prepared = prepare(load_text(TEXT, name="w.yaml"), folder=Path(), environ={})
    words, lines = (problem.message for problem in prepared.warnings)
    assert ("words/v1" in words, "lines/v1" in lines) == (True, True)
    say_warnings(prepared, (), ())  # its providers have described both
    assert capsys.readouterr().err == ""
    say_warnings(prepared, (lines, "the disk is nearly full"), ())
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("w.yaml:2:55: warning: nobody has described protocol 'lines/v1'")
    assert said[-1] == "warning: the disk is nearly full"
    assert not any("words/v1" in line for line in said)


def test_places_are_told_from_where_somebody_has_written(capsys: pytest.CaptureFixture[str]) -> None:
    written = load_text('{"name": "x", "tasks": [{"id": "a", "method": "words/count"}]}', name="gz call words/count")
    document = type(written)(written.name, "", written.value)  # as one that never was a text
    prepared = prepare(document, folder=Path(), environ={})
    say_warnings(prepared, [problem.message for problem in prepared.warnings], ("tasks", 0))
    assert capsys.readouterr().err.startswith("gz call words/count: warning: method: nobody has described")
