"""What documents about files become."""

from typing import Any

import pytest

from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.files.batches import Expansion, NotThere, has_batches, split_pattern

BLOB = {"$blob": f"sha256:{'0' * 64}", "size_bytes": 3, "as": "text"}


class Folder:
    """Two files wherever somebody looks; a folder `gone` is not there, nor is a file `gone.txt`."""

    final = False

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def matching(self, directory: str, pattern: str, *, content: bool) -> list[dict[str, Any]]:
        if directory == "gone":
            raise ValueError("there is no folder gone")
        return [self.named(f"{directory}/{name}", content=content) for name in ("a.txt", "b.txt") if pattern != "none"]

    def named(self, path: str, *, content: bool) -> dict[str, Any]:
        if path == "gone.txt":
            raise NotThere("gone.txt cannot be read: No such file or directory")
        item: dict[str, Any] = {"path": path, "name": path.rpartition("/")[2], "size_bytes": 3}
        return item | ({"content": BLOB, "sha256": "ab", "encoding": "text"} if content else {})


def expanded(document: dict[str, Any]) -> dict[str, Any]:
    expansion = Expansion(document, Folder())
    assert not [problem for problem in expansion.problems if problem.severity == "error"]
    checked = check(expansion.definition, builtin())
    assert checked.definition is not None, checked.problems
    return expansion.definition


def batch(template: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "batch", "name": "n", "batch": {"directory": "docs", **more}, "template": template}


def test_a_batch_is_a_task_with_an_item_for_each_file() -> None:
    document = batch({"method": "llm/chat", "model": "m", "prompt": "Sum up.", "timeout": 60}, max_parallel=3)
    made = expanded({**document, "error_policy": "continue"})
    (task,) = made["tasks"]
    assert (made["name"], made["error_policy"], task["timeout"]) == ("n", "continue", 60)
    assert task["params"]["files"] == [
        {"path": "${item.path}", "content": "${item.content}", "encoding": "${item.encoding}"}
    ]
    assert [item["path"] for item in task["for_each"]["items"]] == ["docs/a.txt", "docs/b.txt"]
    assert (task["for_each"]["on_item_error"], task["for_each"]["max_parallel"]) == ("collect", 3)
    assert task["for_each"]["items"][0]["content"] == BLOB
    assert task["for_each"]["by"] == "path"
    assert made["metadata"]["batch"]["parameters"]["prompt"] == "Sum up."


def test_each_protocol_takes_a_file_in_its_way() -> None:
    python = expanded(batch({"method": "python/execute", "code": "result = 1", "context": {"n": 1}}))["tasks"][0]
    assert python["params"]["context"] == {
        "n": 1, "file_path": "${item.path}", "file_name": "${item.name}", "content": "${item.content}"
    }  # fmt: skip
    plain = Expansion({**batch({"method": "scan"}), "protocol": "x/v1"}, Folder()).definition["tasks"][0]
    assert (plain["protocol"], plain["params"]) == ("x/v1", {"file_path": "${item.path}"})
    assert "content" not in plain["for_each"]["items"][0]
    embedded = expanded(batch({"method": "llm/embeddings", "model": "m"}))["tasks"][0]
    assert embedded["params"]["input"] == "${item.content}"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("${file_path}", "${item.path}"),
        ("of ${file.content}", "of ${item.content}"),
        ("${ file.name }!", "${ item.name }!"),
        ("{{file.path}}", "{{item.path}}"),
    ],
)
def test_earlier_names_of_the_file(said: str, meant: str) -> None:
    assert expanded(batch({"method": "echo/echo", "message": said}))["tasks"][0]["params"] == {"message": meant}


def test_a_glob_of_a_task_and_lists_of_files() -> None:
    task = {"id": "t", "method": "echo/echo", "params": {"message": "${item.name}"},
            "for_each": {"glob": "docs/**/*.txt", "max_parallel": 2}}  # fmt: skip
    made = expanded({"name": "n", "tasks": [task]})["tasks"][0]["for_each"]
    assert ([item["name"] for item in made["items"]], made["max_parallel"]) == (["a.txt", "b.txt"], 2)
    files = {"code": "result = context['file_path']", "batch_mode": True, "files": ["x/y.md"]}
    made = expanded({"name": "n", "tasks": [{"id": "t", "method": "python/execute", "params": files}]})["tasks"][0]
    assert [item["path"] for item in made["for_each"]["items"]] == ["x/y.md"]
    assert made["params"].keys() == {"code", "context"}


def task(params: dict[str, Any], method: str = "llm/chat", **more: Any) -> dict[str, Any]:
    return {
        "name": "n",
        "tasks": [{"id": "t", "method": method, "params": {"model": "m", "prompt": "p", **params}}],
        **more,
    }


def test_a_model_s_lists_of_files_are_items_too() -> None:
    made = expanded(task({"batch_mode": True, "files": ["a.txt"], "relative_to": "docs"}))["tasks"][0]
    assert [item["path"] for item in made["for_each"]["items"]] == ["docs/a.txt"]
    assert made["params"].keys() == {"model", "prompt", "files"}
    made = expanded(task({"batch_mode": True, "image_paths": ["a.png"]}, "llm/vision"))["tasks"][0]
    assert made["params"]["image_paths"] == [{"path": "${item.path}", "content": "${item.content}"}]


def test_a_folder_may_be_an_input() -> None:
    params = {"batch_mode": True, "directory": "${inputs.folder}", "file_pattern": "${pattern}"}
    document = task(params, inputs={"folder": "docs", "pattern": {"type": "string", "default": "none"}})
    assert expanded(document)["tasks"][0]["for_each"]["items"] == []
    expansion = Expansion(document, Folder(), {"folder": "other", "pattern": "*"})
    assert [item["path"] for item in expansion.definition["tasks"][0]["for_each"]["items"]] == [
        "other/a.txt", "other/b.txt"
    ]  # fmt: skip


def test_what_only_a_result_tells_is_left_to_the_provider() -> None:
    first = {"id": "first", "method": "echo/echo", "params": {"message": "x"}}
    for params in ({"batch_mode": True, "directory": "${first.result}"}, {"files": ["${first.result}"]}):
        document = task(params)
        document["tasks"].insert(0, first)
        assert expanded(document)["tasks"] == document["tasks"]
    (problem,) = Expansion(task({}, for_each=1) | {"tasks": [globbed("${first.x}/*")]}, Folder(), {}).problems
    assert (problem.path, "must be known" in problem.message) == (("tasks", 0, "for_each", "glob"), True)
    (problem,) = Expansion({"name": "n", "tasks": [globbed("${inputs.x}/*")]}, Folder()).problems
    assert problem.severity == "warning"


def globbed(pattern: str, **params: Any) -> dict[str, Any]:
    return {"id": "t", "method": "llm/chat", "for_each": {"glob": pattern}, "params": {"model": "m", **params}}


def test_what_a_single_call_reads_goes_along() -> None:
    params = {"file_path": "a.txt", "files": ["b.txt", "gone.txt"], "image_path": "c.png", "images": ["d.png", "iVBO"]}
    made = expanded(task(params))["tasks"][0]["params"]
    assert made["files"] == [
        {"path": "a.txt", "content": BLOB, "encoding": "text"}, {"path": "b.txt", "content": BLOB, "encoding": "text"},
        "gone.txt",
    ]  # fmt: skip
    assert made["image_paths"] == [{"path": "c.png", "content": BLOB}]
    assert made.keys().isdisjoint({"file_path", "image_path"})
    embedded = {"id": "t", "method": "llm/embed", "params": {"model": "m", "file_path": "a.txt"}}
    assert expanded({"name": "n", "tasks": [embedded]})["tasks"][0]["params"] == {"model": "m", "input": BLOB}


@pytest.mark.parametrize("tasks", [5, True, 1e308, "x", None, [None, 5], {"a": 5}])
def test_tasks_that_are_none_name_no_files(tasks: object) -> None:
    assert not has_batches({"name": "x", "tasks": tasks})
    assert not has_batches({"tasks": [{"id": "a", "workflow": {"tasks": tasks}}]})


def test_what_comes_along_is_not_looked_for_again() -> None:
    for params in ({"file_path": "a.txt", "image_path": "c.png"}, {"batch_mode": True, "directory": "docs"}):
        document = task(params)
        assert has_batches(document)
        assert not has_batches(expanded(document))
    assert not has_batches(task({"file": "a.py", "file_path": "b.py"}, "python/execute"))
    assert not has_batches(task({"images": ["iVBORw0KGgo="]}, "llm/vision"))


def test_the_path_of_an_item_goes_with_its_content() -> None:
    made = expanded({"name": "n", "tasks": [globbed("*.txt", prompt="p", file_path="${item.path}")]})["tasks"][0]
    assert made["params"]["files"][0]["content"] == "${item.content}"
    assert made["for_each"]["items"][0]["content"] == BLOB


@pytest.mark.parametrize("where", ["wrapped", "always", "child"])
def test_files_are_found_in_all_tasks_of_a_document(where: str) -> None:
    inner = {"name": "n", "tasks": [globbed("*.txt", prompt="p")]}
    document: dict[str, Any] = {
        "wrapped": {"workflow": inner},
        "always": {**task({}), "always": [globbed("*.txt", prompt="p")]},
        "child": {"name": "n", "tasks": [{"id": "c", "workflow": inner}]},
    }[where]
    assert has_batches(document)
    expansion = Expansion(document, Folder())
    assert not expansion.problems
    assert "glob" not in str(expansion.definition)
    assert not Expansion({"name": "n", "tasks": []}, Folder()).problems


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        (batch({"method": "echo/echo"}, directory="gone"), ("batch", "directory"), "no folder gone"),
        ({"type": "batch", "template": {}}, (), "has a map 'batch'"),
        ({"type": "batch", "batch": {"directory": "d"}, "template": 1}, ("template",), "has a map 'template'"),
        ({"type": "batch", "batch": {}, "template": {"method": "echo/echo"}}, ("batch",), "wants a 'directory'"),
        (batch({"method": "echo/echo"}, dir="x"), ("batch", "dir"), "nothing that a batch has"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(document: dict[str, Any], path: tuple[str, ...], words: str) -> None:
    (problem,) = Expansion(document, Folder()).problems
    assert problem.path == path
    assert words in problem.message


def test_a_key_that_is_mistyped_is_found() -> None:
    (problem,) = Expansion(batch({"method": "echo/echo"}, patern="*.txt"), Folder()).problems
    assert (problem.path, problem.suggestion, problem.at_key) == (("batch", "patern"), "pattern", True)


def test_no_file_is_a_warning() -> None:
    expansion = Expansion(batch({"method": "echo/echo", "message": "${file.name}"}, pattern="none"), Folder())
    assert [problem.severity for problem in expansion.problems] == ["warning"]
    assert expansion.definition["tasks"][0]["for_each"]["items"] == []


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [("docs/**/*.txt", ("docs", "**/*.txt")), ("*.md", (".", "*.md")), ("/a/b/*", ("/a/b", "*")), ("a/b", ("a", "b"))],
)
def test_where_a_glob_begins(pattern: str, parts: tuple[str, str]) -> None:
    assert split_pattern(pattern) == parts


def test_a_file_that_is_not_there_fails_for_itself_unless_all_do() -> None:
    def task(*files: str) -> dict[str, Any]:
        params = {"model": "m", "prompt": "Sum up.", "batch_mode": True, "files": list(files)}
        return {"name": "n", "tasks": [{"id": "t", "method": "llm/chat", "params": params}]}

    words = "gone.txt cannot be read: No such file or directory"
    expansion = Expansion(task("a.txt", "gone.txt"), Folder())
    place = ("tasks", 0, "params", "files", 1)
    assert [(one.path, one.message, one.severity) for one in expansion.problems] == [(place, words, "warning")]
    first, second = expansion.definition["tasks"][0]["for_each"]["items"]
    assert (first["path"], first["content"]) == ("a.txt", BLOB)
    assert second == {"path": "gone.txt", "name": "gone.txt", "unread": words}
    (problem,) = Expansion(task("gone.txt"), Folder()).problems
    assert (problem.severity, problem.message) == ("error", words)
