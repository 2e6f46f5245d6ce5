from pathlib import Path

import pytest

from gleitzeit.errors import DocumentError
from gleitzeit.spec.loading.load import LIMIT_JSON_BYTES, load_text
from gz_cli.exits import UsageError
from gz_cli.typed import Source, inputs, json_value, params, priority, seconds, statuses, with_values


def test_inputs_are_json_or_text() -> None:
    typed = ["n=3", "name=Ada", 'list=["a"]', "flag=true", "equation=a=b", "empty="]
    expected = {"n": 3, "name": "Ada", "list": ["a"], "flag": True, "equation": "a=b", "empty": ""}
    assert inputs(typed).by({}) == expected


def test_inputs_of_a_file_are_there_where_nothing_else_is_typed(tmp_path: Path) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text("n: 3\nname: Ada\n")
    assert inputs(["n=4"], file).by({"properties": {"n": {"type": "string"}}}) == {"n": "4", "name": "Ada"}
    file.write_text("- 3\n")
    with pytest.raises(UsageError, match="a map"):
        inputs([], file)


@pytest.mark.parametrize("typed", ["name", "=3", ""])
def test_an_input_without_key_or_value_is_refused(typed: str) -> None:
    with pytest.raises(UsageError, match="KEY=VALUE"):
        inputs([typed])


def test_params_are_an_object_or_an_array() -> None:
    assert params('{"message": "hi"}') == {"message": "hi"}
    assert params("[1]") == [1]
    for typed in ("{", "3", '"text"'):
        with pytest.raises(UsageError, match="--params"):
            params(typed)


def test_durations_and_values() -> None:
    assert seconds("5m") == 300
    assert seconds(None) is None
    with pytest.raises(UsageError, match="duration"):
        seconds("soon")
    assert json_value('{"by": "Ada"}') == {"by": "Ada"}
    assert json_value("yes, really") == "yes, really"
    assert json_value(None) is None


def test_a_source_knows_where_its_files_are(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_bytes(b"name: x")
    source = Source(path)
    assert (source.name, source.folder, source.content) == (str(path), tmp_path, b"name: x")
    with pytest.raises(FileNotFoundError):
        Source(tmp_path / "none.yaml")


def test_statuses_may_be_said_as_earlier_versions_said_them() -> None:
    assert statuses(["Failed", "executing", "submitted"]) == ["failed", "running", "pending"]
    with pytest.raises(UsageError, match="'foo'; there are pending, running"):
        statuses(["failed", "foo"])


def test_of_what_has_no_end_only_so_much_is_read_as_shows_it() -> None:
    endless = Source(Path("/dev/zero"))
    assert len(endless.content) == LIMIT_JSON_BYTES + 1
    with pytest.raises(DocumentError, match="larger than 16777216 bytes"):
        load_text(endless.content)


def test_params_go_over_inputs() -> None:
    typed = inputs(["a=1", "b=2"])
    assert with_values(typed, None) is typed
    assert with_values(typed, '{"c": [3]}').by({}) == {"a": 1, "b": 2, "c": [3]}
    with pytest.raises(UsageError, match="--params is a JSON object"):
        with_values(typed, "[1]")


def test_a_priority_that_is_none_is_told_before_anything_is_read() -> None:
    assert [priority(text) for text in ("high", "3", None)] == ["high", "3", None]
    with pytest.raises(UsageError, match="--priority soon: it "):
        priority("soon")
