from pathlib import Path

import pytest

from gleitzeit.client import Defaults, prepare, prepare_file
from gleitzeit.client.documents import Prepared, prepare_workflow
from gleitzeit.errors import DocumentError
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.loading.load import load_object, load_text

PYTHON = """\
name: n
tasks:
  - id: a
    method: python/execute
    params: {file: scripts/a.py}
  - id: b
    method: echo/echo
    params: {message: scripts/a.py}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("scripts/a.py", "b.py", "examples/scripts/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("result = 1\n")
    return tmp_path


def prepared(text: str, folder: Path, **environ: str) -> Prepared:
    return prepare(load_text(text, name="w.yaml"), folder=folder, environ=environ)


def test_a_file_is_found_beside_the_document(folder: Path) -> None:
    (folder / "w.yaml").write_text(PYTHON)
    ready = prepare_file(folder / "w.yaml", environ={})
    assert ready.problems == ()
    assert ready.checked is not None
    assert ready.definition["tasks"][0]["params"] == {"file": str(folder / "scripts" / "a.py")}
    assert ready.definition["tasks"][1]["params"] == {"message": "scripts/a.py"}
    assert ready.document.value["tasks"][0]["params"] == {"file": "scripts/a.py"}


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ("{id: a, method: python/execute, params: {file: b.py}}", "b.py"),
        ("{id: a, method: python/execute, params: {file: a.py}}", "scripts/a.py"),
        ("{id: a, method: python/execute, params: {file: ./scripts/../b.py}}", "b.py"),
        ("{id: a, method: execute, protocol: python/v1, parameters: {file_path: c.py}}", "examples/scripts/c.py"),
    ],
)
def test_where_a_file_is_looked_for_and_how_the_task_may_be_spelled(folder: Path, task: str, found: str) -> None:
    ready = prepared(f"name: n\ntasks:\n  - {task}\n", folder)
    assert ready.problems == ()
    params = ready.definition["tasks"][0].get("params") or ready.definition["tasks"][0]["parameters"]
    assert list(params.values()) == [str(folder / found)]


@pytest.mark.parametrize("file", ["/somewhere/else.py", "${b.result}"])
def test_what_only_the_provider_can_know_is_left_alone(folder: Path, file: str) -> None:
    text = (
        "name: n\ntasks:\n"
        "  - {id: b, method: echo/echo, params: {message: x}}\n"
        f"  - {{id: a, method: python/execute, params: {{file: '{file}'}}}}\n"
    )
    ready = prepared(text, folder)
    assert ready.definition["tasks"][1]["params"] == {"file": file}


def test_a_file_that_is_not_there_is_a_problem_with_a_place(folder: Path) -> None:
    ready = prepared(PYTHON.replace("a.py}", "none.py}", 1), folder)
    assert ready.checked is None
    [problem] = ready.errors
    assert (problem.path, problem.line) == (("tasks", 0, "params", "file"), 5)
    first, line, caret = ready.rendered().splitlines()
    assert first.startswith("w.yaml:5:20: error: there is no file 'scripts/none.py'; looked in ")
    assert line.index("scripts") == caret.index("^")


@pytest.mark.parametrize(
    "params",
    [
        '{prompt: x, files: ["${b.result}"], batch_mode: true}',
        '{prompt: x, directory: "${b.result}", batch_mode: true}',
        '{prompt: x, image_paths: [/whole.png, missing.png]}',
        '{prompt: x, image_path: "${b.result}"}',
        '{messages: [{role: user, content: x, images: ["${b.result}"]}]}',
    ],
)  # fmt: skip
def test_paths_that_only_the_provider_can_read_begin_at_the_document(folder: Path, params: str) -> None:
    text = "name: n\nparameters: {d: x}\ntasks:\n  - {id: a, method: llm/chat, params: %s}\n"
    given = prepared(text % params, folder).definition["tasks"][0]["params"]
    assert given["relative_to"] == str(folder)
    chosen = params.replace("{", "{relative_to: /elsewhere, ", 1)
    assert prepared(text % chosen, folder).definition["tasks"][0]["params"]["relative_to"] == "/elsewhere"


@pytest.mark.parametrize("url", ["https://example.org/a.png", "data:image/png;base64,iVBORw0KGgo="])
def test_an_image_that_is_in_no_file_is_not_looked_for(folder: Path, url: str) -> None:
    text = "name: n\ntasks:\n  - {id: a, method: llm/vision, params: {prompt: x, images: [/b.png], image_path: '%s'}}\n"
    ready = prepared(text % url, folder)
    assert ready.definition["tasks"][0]["params"]["images"][0] == url
    assert "image_path" not in ready.definition["tasks"][0]["params"]
    assert not ready.errors


@pytest.mark.parametrize(
    "task",
    ["{id: a, method: llm/chat, params: {prompt: x}}", "{id: a, method: llm/chat, params: {file_path: /whole.txt}}"],
)
def test_where_there_are_none_nothing_is_said_of_them(folder: Path, task: str) -> None:
    assert "relative_to" not in str(prepared(f"name: n\ntasks:\n  - {task}\n", folder).definition)


def test_the_wrapped_shape(folder: Path) -> None:
    wrapped = "workflow:\n" + "".join(f"  {line}\n" for line in PYTHON.replace("a.py}", "none.py}", 1).splitlines())
    assert prepared(wrapped, folder).errors[0].line == 6
    good = "workflow:\n" + "".join(f"  {line}\n" for line in PYTHON.splitlines())
    ready = prepared(good, folder)
    assert ready.definition["workflow"]["tasks"][0]["params"]["file"] == str(folder / "scripts" / "a.py")


def test_the_environment_of_the_author_is_taken_along(folder: Path) -> None:
    text = "name: n\ntasks:\n  - {id: a, method: echo/echo, params: {message: 'Hi ${env.WHO}'}}\n"
    ready = prepared(text, folder, WHO="Ada", OTHER="secret")
    assert ready.checked is not None
    assert ready.definition["env"] == {"WHO": "Ada"}


def test_all_problems_at_once_in_the_order_of_the_lines(folder: Path) -> None:
    text = (
        "name: n\ntasks:\n"
        "  - {id: a, method: python/execute, params: {file: none.py}}\n"
        "  - {id: b, method: echo/ecko, params: {message: x}}\n"
        "  - {id: c, method: echo/echo, params: {mesage: x}}\n"
        "  - {id: d, method: echo/echo, params: {message: '${aa.result}'}}\n"
    )
    problems = prepared(text, folder).errors
    assert {problem.line for problem in problems} == {3, 4, 5, 6}
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)


def test_what_is_neither_path_nor_text_nor_dict() -> None:
    with pytest.raises(TypeError, match="a workflow is a path, a text or a dict, not list"):
        prepare_workflow([], environ={})  # type: ignore[arg-type]  # as people try


def test_what_is_no_document_at_all(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read"):
        prepare_file(tmp_path / "none.yaml", environ={})
    ready = prepared("- just\n- a list\n", tmp_path)
    assert ready.checked is None
    assert ready.errors


TIMED = """\
name: n
tasks:
  - {id: silent, method: echo/echo, params: {message: x}}
  - {id: own, method: echo/echo, timeout: 5m, params: {message: x}}
  - {id: param, method: python/execute, params: {code: "result = 1", timeout: 7}}
  - {id: sleep, method: timer/sleep, params: {seconds: 90}}
  - {id: wait, method: signal/wait, params: {signal_name: go}}
"""


def with_defaults(text: str, folder: Path) -> Prepared:
    document = load_text(text, name="w.yaml")
    return prepare(document, folder=folder, environ={}, defaults=Defaults(task_timeout_seconds=30, max_parallel=4))


@pytest.mark.parametrize("wrap", [False, True])
def test_defaults_are_for_what_says_nothing_itself(folder: Path, wrap: bool) -> None:
    text = "workflow:\n" + "".join(f"  {line}\n" for line in TIMED.splitlines()) if wrap else TIMED
    ready = with_defaults(text, folder)
    definition = ready.definition["workflow"] if wrap else ready.definition
    assert [task.get("timeout") for task in definition["tasks"]] == [30, "5m", None, None, None]
    assert definition["max_parallel"] == 4
    assert ready.checked is not None
    assert [task.timeout_seconds for task in ready.checked.tasks] == [30, 300, None, None, None]
    assert ready.checked.max_parallel == 4
    assert ready.checked == prepare(load_object(ready.definition), folder=folder, environ={}).checked
    assert prepared(text, folder).definition == load_text(text).value


@pytest.mark.parametrize(
    "said",
    ["max_parallel: 2", "max_parallel_tasks: 2", "config: {max_parallel: 2}", "execution_mode: sequential"],
)
def test_a_default_gives_way_in_every_spelling(folder: Path, said: str) -> None:
    ready = with_defaults(f"{said}\n{TIMED}", folder)
    assert ready.checked is not None
    assert ready.checked.max_parallel in (1, 2)
    assert ready.definition.get("max_parallel") in (None, 2)


def test_defaults_where_tasks_are_a_map(folder: Path) -> None:
    ready = with_defaults("name: n\ntasks:\n  a: {method: echo/echo, params: {message: x}}\n", folder)
    assert ready.definition["tasks"]["a"]["timeout"] == 30
    assert ready.document.value["tasks"]["a"] == {"method": "echo/echo", "params": {"message": "x"}}


def test_a_key_that_is_there_twice_hides_nothing_else(folder: Path) -> None:
    (folder / "w.yaml").write_text("name: n\nname: m\ntasks:\n  - {id: a, method: echo/ecko}\n")
    ready = prepare_file(folder / "w.yaml", environ={})
    assert ready.checked is None
    assert [(problem.line, problem.message) for problem in ready.problems] == [
        (2, "key 'name' is there twice; the first is in line 1"),
        (4, "protocol 'echo/v1' has no method 'echo/ecko'"),
    ]
    (folder / "w.yaml").write_text("name: n\nname: m\ntasks:\n  - {id: a, method: echo/echo}\n")
    assert prepare_file(folder / "w.yaml", environ={}).checked is None


def test_inputs_are_checked_where_they_are_known(folder: Path) -> None:
    text = "name: n\ntasks:\n  - {id: a, method: echo/echo, params: {message: '${parameters.b}'}}\n"
    document = load_text(text, name="w.yaml")
    [warning] = prepare(document, folder=folder, environ={}).problems
    assert (warning.severity, warning.line) == ("warning", 3)
    assert prepare(document, folder=folder, environ={}, inputs={"b": 1}).problems == ()
    [error] = prepare(document, folder=folder, environ={}, inputs={}).problems
    assert (error.severity, error.line) == ("error", 3)


def test_defaults_for_retries_and_the_error_policy(tmp_path: Path) -> None:
    document = load_object(
        {"name": "n", "tasks": [{"id": "a", "method": "echo/echo"}, {"id": "b", "method": "echo/echo", "retry": 5}]}
    )
    defaults = Defaults(retry_attempts=2, error_policy="continue")
    ready = prepare(document, folder=tmp_path, environ={}, defaults=defaults)
    assert ready.checked is not None
    assert [task.retry.max_attempts for task in ready.checked.tasks] == [2, 5]
    assert ready.checked.error_policy == "continue"
    assert check(ready.definition, builtin()).definition == ready.checked, "both say the same"
    said = load_object({**document.value, "error_policy": "fail_fast"})  # type: ignore[dict-item]
    ready = prepare(said, folder=tmp_path, environ={}, defaults=defaults)
    assert ready.checked is not None
    assert ready.checked.error_policy == "fail_fast"


def test_a_workflow_within_that_is_not_there_is_missed_once_with_the_file_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text("name: child\ntasks: [{id: a, method: echo/ping}]\n")
    file = tmp_path / "parent.yaml"
    file.write_text("name: parent\ntasks:\n  - {id: t, workflow: ./chld.yaml}\n")
    [problem] = prepare_file(file, environ={}).problems
    assert problem.message == f"there is no file './chld.yaml' (looked in {tmp_path})"
    assert (problem.suggestion, problem.line, problem.column) == ("./child.yaml", 3, 23)
