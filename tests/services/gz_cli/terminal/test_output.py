import io

import msgspec
import pytest

from gleitzeit.client.views import WorkflowRow
from gz_cli.formats import Format
from gz_cli.terminal.output import encode, outputs_as, payload, results_text, short

ROW = WorkflowRow("wf-1", "Grüße", "completed", 2, {"completed": 2})


def test_text_is_printed_as_it_is() -> None:
    assert encode("# Title\n\n| a |\n", Format.TEXT) == "# Title\n\n| a |\n"
    assert encode({"a": [1, None]}, Format.TEXT) == '{\n  "a": [\n    1,\n    null\n  ]\n}'


def test_json_is_json_also_for_a_text() -> None:
    assert encode("hi", Format.JSON) == '"hi"'
    assert msgspec.json.decode(encode([ROW], Format.JSON))[0]["workflow_id"] == "wf-1"


def test_yaml_keeps_order_and_letters() -> None:
    lines = encode(ROW, Format.YAML).splitlines()
    assert lines[:3] == ["workflow_id: wf-1", "name: Grüße", "status: completed"]


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ({"response": "hi", "message": "x"}, "hi"),
        ({"result": [1], "output": "printed"}, [1]),
        ({"result": None, "output": "printed"}, "printed"),
        ({"result": 0, "output": "printed"}, 0),
        ({"result": "", "output": ""}, ""),
        ({"result": None, "output": "", "stderr": ""}, None),
        ({"response": "", "tool_calls": [1]}, {"response": "", "tool_calls": [1]}),
        ({"other": 1}, {"other": 1}),
        ("plain", "plain"),
        (None, None),
    ],
)
def test_the_payload_of_a_result(result: object, value: object) -> None:
    assert payload(result) == value


def test_one_output_is_printed_alone_several_by_name() -> None:
    assert results_text({}, {"report": "# Title\nText"}, []) == "# Title\nText"
    assert results_text({}, {"a": 1, "b": "two\nlines"}, []) == "a: 1\nb:\ntwo\nlines\n"


def test_without_outputs_the_last_tasks_speak() -> None:
    results = {"first": {"response": "1"}, "last": {"response": "2"}}
    assert results_text(results, None, ["last"]) == "2"
    assert results_text(results, {}, ["first", "last", "skipped"]) == "first: 1\nlast: 2"
    assert results_text({}, None, ["failed"]) == ""


def test_short_is_one_line_of_some_width() -> None:
    assert short("one\ntwo") == "one"
    assert short({"a": "x" * 100}, 20) == '{"a":"xxxxxxxxxxxxx…'


def test_outputs_as_a_document_of_an_earlier_version_wished() -> None:
    outputs = {"a": "text", "b": [1]}
    assert outputs_as("markdown", outputs) == "## a\n\ntext\n\n## b\n\n[\n  1\n]"
    assert msgspec.json.decode(outputs_as("json", outputs)) == outputs
    assert outputs_as("yaml", outputs) == "a: text\nb:\n- 1"
    assert (
        outputs_as("", outputs)
        == outputs_as("xml", outputs)
        == outputs_as("json", {})
        == outputs_as("json", None)
        == ""
    )


@pytest.mark.parametrize(("encoding", "text"), [("utf-8", '"größe"'), ("latin-1", r'"gr\u00f6\u00dfe"')])
def test_data_is_whole_whatever_stdout_can_write(encoding: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert encode("größe", Format.JSON) == text
    assert encode(["größe"], Format.YAML) == ("- größe" if encoding == "utf-8" else r'- "gr\xF6\xDFe"')


def test_a_result_gives_a_terminal_no_orders_and_a_pipe_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\x1b[31mred\rr\x9b\tä\r\n"
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert encode(text, Format.TEXT) == text
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert encode(text, Format.TEXT) == "\ufffd[31mred\ufffdr\ufffd\tä\r\n"
