"""Documents that mean files: `type: batch`, `for_each: {glob: …}`, and params with `batch_mode`.

Each becomes a task with one item for each file: `${item.path}`, `${item.name}`, `${item.size_bytes}` and, where
somebody reads them, `${item.content}` and `${item.sha256}`.

Which files there are, whoever holds them says (`Files`): the author's machine, or a coordinator with leave to look.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from gleitzeit.spec.problems import Path, Problem

MOST_FILES: Final = 100_000
TASK: Final = "process"
_OF_THE_TASK: Final = frozenset(
    {
        *("method", "protocol", "type", "provider", "fallback", "when", "timeout", "queue_timeout", "priority"),
        *("retry", "retry_config", "max_retries", "on_lost", "cache", "budget", "tags", "metadata", "description"),
    }
)
_OF_THE_BATCH: Final = frozenset({"batch_mode", "files", "image_paths", "directory", "file_pattern"})
_FILE_PATH = re.compile(r"(\$\{|\{\{)(\s*)file_path\b")
_FILE_PART = re.compile(r"(\$\{|\{\{)(\s*)file\.(content|name|path|size_bytes)\b")
_READS_ITEM = re.compile(r"(?:\$\{|\{\{)[^{}]*\bitem\b")

Item = dict[str, Any]


class Files(Protocol):
    """Both raise ValueError, in words for the author. With `content` each item has what stands for it."""

    def matching(self, directory: str, pattern: str, *, content: bool) -> list[Item]:
        """The regular files below a folder, sorted by path; `**` goes down into folders."""

    def named(self, path: str, *, content: bool) -> Item: ...


class Expansion:
    """`definition` is `document` with the files in it; `problems` are those of its batches, at their places."""

    def __init__(self, document: Mapping[str, Any], files: Files) -> None:
        self.problems: list[Problem] = []
        self._files = files
        self.definition: dict[str, Any] = dict(document)
        if document.get("type") == "batch":
            self.definition = self._batch(self.definition)
        elif isinstance(document.get("tasks"), list):
            tasks = [self._task(("tasks", number), task) for number, task in enumerate(document["tasks"])]
            self.definition["tasks"] = tasks
        elif isinstance(document.get("tasks"), dict):
            self.definition["tasks"] = {
                key: self._task(("tasks", key), task) for key, task in document["tasks"].items()
            }

    def _wrong(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path, message))

    # type: batch

    def _batch(self, document: dict[str, Any]) -> dict[str, Any]:
        batch, template = document.get("batch"), document.get("template")
        rest = {key: value for key, value in document.items() if key not in ("type", "batch", "template", "protocol")}
        if not isinstance(batch, dict) or not isinstance(template, dict):
            missing = "batch" if not isinstance(batch, dict) else "template"
            self._wrong((missing,) if missing in document else (), f"a document of type batch has a map '{missing}'")
            return {**rest, "tasks": []}
        for key in batch.keys() - {"directory", "pattern", "max_parallel", "files", "on_item_error"}:
            self._wrong(("batch", key), f"'{key}' is nothing that a batch has: directory, pattern, files, max_parallel")
        task = _template_task(template, str(document.get("protocol", "")))
        items = self._listed(("batch",), batch, batch.get("pattern", "*"), content=_reads_content(task))
        return {"name": "batch", **rest, "tasks": [_over(task, items, batch)]}

    def _listed(self, path: Path, where: Mapping[str, Any], pattern: object, *, content: bool) -> list[Item]:
        """The files that `directory` and `pattern`, and lists of paths, mean."""
        try:
            items = [self._files.named(str(name), content=content) for key in ("files", "image_paths")
                     for name in where.get(key) or ()]  # fmt: skip
            if where.get("directory") is not None:
                items += self._files.matching(str(where["directory"]), str(pattern), content=content)
            elif not items:
                self._wrong(path, "a batch wants a 'directory', or 'files'")
        except ValueError as error:
            self._wrong((*path, "directory") if "directory" in where else path, str(error))
            return []
        if len(items) > MOST_FILES:
            self._wrong(path, f"{len(items):,} files; at most {MOST_FILES:,} are taken")
        if not items and not self.problems:
            shown = f"no file in {where.get('directory')} is called {pattern}"
            self.problems.append(Problem(path, shown, severity="warning"))
        return items

    # tasks

    def _task(self, path: Path, task: Any) -> Any:
        if not isinstance(task, dict):
            return task
        over = task.get("for_each", task.get("foreach"))
        if isinstance(over, dict) and isinstance(over.get("glob"), str | list):
            return self._globbed(path, task, over)
        for key in ("params", "parameters"):
            params = task.get(key)
            if isinstance(params, dict) and params.get("batch_mode") is True and _family(task) != "llm":
                return self._batch_mode((*path, key), task, key, params)
        return task

    def _globbed(self, path: Path, task: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
        key = "for_each" if "for_each" in task else "foreach"
        patterns = over["glob"] if isinstance(over["glob"], list) else [over["glob"]]
        items: dict[str, Item] = {}
        for directory, pattern in map(split_pattern, map(str, patterns)):
            found = self._listed((*path, key), {"directory": directory}, pattern, content=_reads_content(task))
            items |= {item["path"]: item for item in found}
        rest = {name: value for name, value in over.items() if name != "glob"}
        return {**task, key: {**rest, "items": list(items.values())}}

    def _batch_mode(self, path: Path, task: dict[str, Any], key: str, params: dict[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in params.items() if name not in _OF_THE_BATCH}
        made = {**task, key: _with_file(_family(task), _renamed(own))}
        items = self._listed(path, params, params.get("file_pattern", "*"), content=_reads_content(made))
        return _over(made, items, {})


def has_batches(document: object) -> bool:
    """Whether files are to be found for it. Looks at the document's own tasks only."""
    if not isinstance(document, dict):
        return False
    if document.get("type") == "batch":
        return True
    tasks = document.get("tasks")
    listed = tasks.values() if isinstance(tasks, dict) else tasks if isinstance(tasks, list) else ()
    return any(_means_files(task) for task in listed)


def _means_files(task: object) -> bool:
    if not isinstance(task, dict):
        return False
    over = task.get("for_each", task.get("foreach"))
    if isinstance(over, dict) and isinstance(over.get("glob"), str | list):
        return True
    given = (task.get(key) for key in ("params", "parameters"))
    return _family(task) != "llm" and any(isinstance(one, dict) and one.get("batch_mode") is True for one in given)


def split_pattern(pattern: str) -> tuple[str, str]:
    """The folder that a glob begins in, and the rest: `docs/**/*.txt` -> `docs`, `**/*.txt`."""
    parts = pattern.split("/")
    plain = next((n for n, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
    return "/".join(parts[:plain]) or ("/" if pattern.startswith("/") else "."), "/".join(parts[plain:])


def _over(task: dict[str, Any], items: list[Item], batch: Mapping[str, Any]) -> dict[str, Any]:
    each: dict[str, Any] = {"items": items, "on_item_error": batch.get("on_item_error", "collect")}
    each["max_items"] = max(len(items), 1)
    if batch.get("max_parallel") is not None:
        each["max_parallel"] = batch["max_parallel"]
    return {**task, "for_each": each}


def _template_task(template: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    """What stands at the top of a template is the task's if a task has that key, else a param."""
    task = {key: value for key, value in template.items() if key in _OF_THE_TASK}
    params = {key: value for key, value in template.items()
              if key not in _OF_THE_TASK and key not in ("params", "parameters", "id", "name")}  # fmt: skip
    for key in ("parameters", "params"):
        params |= template[key] if isinstance(template.get(key), dict) else {}
    if protocol and "protocol" not in task and "/" not in str(task.get("method", "")):
        task["protocol"] = protocol
    return {"id": TASK, **task, "params": _with_file(_family(task), _renamed(params), str(task.get("method", "")))}


def _family(task: Mapping[str, Any]) -> str:
    """`llm`, `python`, …"""
    method = str(task.get("method", ""))
    said = method if "/" in method else str(task.get("protocol") or task.get("type") or "python")
    return said.partition("/")[0]


def _renamed(value: Any) -> Any:
    """With the names that references to the file had in earlier versions."""
    if isinstance(value, str):
        return _FILE_PART.sub(r"\1\2item.\3", _FILE_PATH.sub(r"\1\2item.path", value))
    if isinstance(value, dict):
        return {key: _renamed(inner) for key, inner in value.items()}
    return [_renamed(inner) for inner in value] if isinstance(value, list) else value


def _with_file(family: str, params: dict[str, Any], method: str = "") -> dict[str, Any]:
    """The file, where the author has not said what is to become of it."""
    if _READS_ITEM.search(msgspec.json.encode(params).decode()):
        return params
    match family:
        case "llm" if method.endswith(("embed", "embeddings")):
            return {"input": "${item.content}", **params}
        case "llm":
            return {**params, "files": [{"path": "${item.path}", "content": "${item.content}"}]}
        case "python":
            file = {"file_path": "${item.path}", "file_name": "${item.name}", "content": "${item.content}"}
            context = params.get("context")
            return {**params, "context": {**(context if isinstance(context, dict) else {}), **file}}
    return {**params, "file_path": "${item.path}"}


def _reads_content(task: Mapping[str, Any]) -> bool:
    encoded = msgspec.json.encode(task)
    return b"item.content" in encoded or b"item.sha256" in encoded
