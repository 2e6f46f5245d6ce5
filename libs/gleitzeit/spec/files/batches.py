"""Documents that mean files: `type: batch`, `for_each: {glob: …}`, `batch_mode`, and a model's params that name some.

What is done for each of many files becomes a task with one item for each: `${item.path}`, `${item.name}`,
`${item.size_bytes}`, `${item.modified}` and, where somebody reads them, `${item.content}`, `${item.encoding}` (`text`,
or `base64` of what is none) and `${item.sha256}`. What a single call reads goes along with its params.

Which files there are, whoever holds them says (`Files`): the author's machine, or a coordinator with leave to look.
Paths that only the results of tasks tell are left to the provider.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

from gleitzeit.schemas.words import near
from gleitzeit.spec.environment import TASK_LISTS
from gleitzeit.spec.files import batch_tasks
from gleitzeit.spec.files.batch_tasks import TASK, family, split_pattern
from gleitzeit.spec.files.known_inputs import Known, known_of
from gleitzeit.spec.files.model_files import WithFiles, names_files
from gleitzeit.spec.files.subworkflows import places_of, put
from gleitzeit.spec.problems import Path, Problem
from gleitzeit.spec.references.paths import UNREAD
from gleitzeit.spec.references.references import escape

__all__ = ["MOST_FILES", "TASK", "Expansion", "Files", "Item", "NotThere", "has_batches", "split_pattern"]

MOST_FILES: Final = 100_000
_BATCH_KEYS: Final = frozenset({"directory", "pattern", "max_parallel", "files", "on_item_error"})

Item = dict[str, Any]
Definition = dict[str, Any]


class NotThere(ValueError):
    """A file that is named does not exist."""


class Files(Protocol):
    """Both methods raise ValueError, in words for the author; of what is not there NotThere. With `content` each item
    has what stands for it, or in `unread` why nothing does."""

    final: bool
    """Whether what is not found here is nowhere: no provider is to look for it."""
    left_out: list[str]
    """What was left out since somebody took this list, and why."""

    def matching(self, directory: str, pattern: str, *, content: bool) -> list[Item]:
        """The regular files below a folder, sorted by path; `**` goes down into folders."""

    def named(self, path: str, *, content: bool) -> Item: ...


class Expansion:
    """`definition` is `document` with the files in it; `problems` are those of its batches, at their places.

    `inputs` are those of the submit to come, None where they are not known yet.
    """

    def __init__(self, document: Mapping[str, Any], files: Files, inputs: Mapping[str, object] | None = None) -> None:
        self.problems: list[Problem] = []
        self._files = files
        self.definition: Definition = self._document((), dict(document), inputs, complete=inputs is not None)

    def _document(
        self, at: Path, document: Definition, inputs: Mapping[str, object] | None, *, complete: bool
    ) -> Definition:
        inner = document.get("workflow")
        if len(document) == 1 and isinstance(inner, dict):
            return {"workflow": self._document((*at, "workflow"), inner, inputs, complete=complete)}
        reading = _Reading(self._files, self.problems, known_of(document, inputs or {}), complete=complete)
        if document.get("type") == "batch":
            return reading.batch(at, document)
        changed: Definition = {key: reading.tasks((*at, key), document[key]) for key in TASK_LISTS if key in document}
        return self._children(at, {**document, **changed})

    def _children(self, at: Path, document: Definition) -> Definition:
        """Workflows that are written in the tasks that run them. What those give them nobody knows yet."""
        for path, said in list(places_of(document)):
            if isinstance(said, dict):
                document = put(document, path, self._document((*at, *path), said, None, complete=True))
        return document


class _Reading:
    """Of one document, whose values are `known`; with `complete` no others will be."""

    def __init__(self, files: Files, problems: list[Problem], known: Known, *, complete: bool) -> None:
        self._files = files
        self._problems = problems
        self._known = known
        self._complete = complete

    def _wrong(self, path: Path, message: str) -> None:
        self._problems.append(Problem(path, message))

    def _warn(self, path: Path, message: str) -> None:
        self._problems.append(Problem(path, message, severity="warning"))

    # type: batch

    def batch(self, at: Path, document: Definition) -> Definition:
        batch, template = document.get("batch"), document.get("template")
        rest = {key: value for key, value in document.items() if key not in ("type", "batch", "template", "protocol")}
        if not isinstance(batch, dict) or not isinstance(template, dict):
            missing = "batch" if not isinstance(batch, dict) else "template"
            place = (*at, missing) if missing in document else at
            self._wrong(place, f"a document of type batch has a map '{missing}'")
            return {**rest, "tasks": []}
        for key in batch.keys() - _BATCH_KEYS:
            message = f"'{key}' is nothing that a batch has: directory, pattern, files, max_parallel, on_item_error"
            meant = near(str(key), _BATCH_KEYS)
            self._problems.append(Problem((*at, "batch", key), message, meant, at_key=True))
        task = batch_tasks.from_template(template, str(document.get("protocol", "")))
        if isinstance(document.get("id"), str):
            task = batch_tasks.kept(task, document["id"])
        where = {**batch, "file_pattern": batch.get("pattern")}
        items = self._listed((*at, "batch"), where, content=batch_tasks.reads_content(task))
        said = document.get("metadata")
        about = {**template, **{key: batch[key] for key in ("directory", "pattern") if key in batch}}
        metadata = {**(said if isinstance(said, dict) else {}), "batch": {"parameters": about}}
        return {"name": "batch", **rest, "metadata": metadata, "tasks": [batch_tasks.over(task, items, batch)]}

    # tasks

    def tasks(self, path: Path, tasks: Any) -> Any:
        if isinstance(tasks, list):
            return [self._task((*path, number), task) for number, task in enumerate(tasks)]
        if isinstance(tasks, dict):
            return {key: self._task((*path, key), task) for key, task in tasks.items()}
        return tasks

    def _task(self, path: Path, task: Any) -> Any:
        if not isinstance(task, dict):
            return task
        over = task.get("for_each", task.get("foreach"))
        if isinstance(over, dict) and isinstance(over.get("glob"), str | list):
            task = self._globbed(path, task, over)
        for key in ("params", "parameters"):
            params = task.get(key)
            if not isinstance(params, dict):
                continue
            if params.get("batch_mode") is True:
                return self._batch_mode((*path, key), task, key, params)
            if family(task) == "llm":
                taken = WithFiles(self._files, self._problems, self._known, (*path, key))
                task = {**task, key: taken.into(params, str(task.get("method", "")))}
        return task

    def _globbed(self, path: Path, task: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
        key = "for_each" if "for_each" in task else "foreach"
        for name in ("params", "parameters") if family(task) == "llm" else ():
            if isinstance(task.get(name), dict):
                task = {**task, name: batch_tasks.with_contents(task[name])}
        content, place = batch_tasks.reads_content(task), (*path, key, "glob")
        patterns = over["glob"] if isinstance(over["glob"], list) else [over["glob"]]
        items: dict[str, Item] = {}
        for pattern in patterns:
            for whole in self._meant(place, pattern):
                directory, rest = split_pattern(whole)
                found = self._matching(place, directory, rest, content=content)
                items |= {item["path"]: item for item in found}
        self._counted(place, len(items), f"no file is called {', '.join(map(str, patterns))}")
        others = {name: value for name, value in over.items() if name != "glob"}
        return {**task, key: {**others, "items": list(items.values())}}

    def _batch_mode(self, path: Path, task: dict[str, Any], key: str, params: dict[str, Any]) -> dict[str, Any]:
        if family(task) == "llm":
            if any(self._known.filled(params[name])[1] for name in _WHERE if name in params):
                return task  # only the results of tasks say which: the provider reads them
            if "session_id" in params:
                self._wrong((*path, "session_id"), "batch_mode and session_id do not go together")
        for name in ("for_each", "foreach", "matrix"):
            if task.get(name) is not None:
                self._wrong((*path, "batch_mode"), f"a task has '{name}' or 'batch_mode', not both")
                return task
        own = {name: value for name, value in params.items() if name not in (*batch_tasks.OF_THE_BATCH, "relative_to")}
        made = {**task, key: batch_tasks.given_file(task, own)}
        items = self._listed(path, params, content=batch_tasks.reads_content(made))
        return batch_tasks.over(made, items, {})

    # files

    def _meant(self, path: Path, said: object) -> Iterator[str]:
        """A path with its inputs in it; nothing, if they are not known."""
        value, is_open = self._known.filled(said)
        if not is_open:
            yield str(value)
        elif self._complete:
            self._wrong(path, f"which files there are must be known when it is submitted: {said} is not")
        else:
            self._warn(path, f"which files there are cannot be said before {said} is known")

    def _listed(self, path: Path, where: Mapping[str, Any], *, content: bool) -> list[Item]:
        """The files that `directory` and `file_pattern`, and lists of paths, mean."""
        base = str(where.get("relative_to") or "")
        items: dict[str, Item] = {}
        absent: list[Problem] = []
        for key in ("files", "image_paths"):
            listed = where.get(key, [])
            for number, said in enumerate(listed if isinstance(listed, list) else [listed]):
                place = (*path, key, number) if isinstance(listed, list) else (*path, key)
                for name in self._meant(place, said):
                    item = self._named(place, below(base, name), absent, content=content)
                    items |= {item["path"]: item} if item is not None else {}
        directory = where.get("directory")
        pattern = where.get("file_pattern") or "*"
        if directory is not None:
            for folder in self._meant((*path, "directory"), directory):
                for glob in self._meant((*path, "file_pattern"), pattern):
                    place = (*path, "directory")
                    found = self._matching(place, below(base, folder), glob, content=content)
                    items |= {item["path"]: item for item in found}
        elif not where.get("files") and not where.get("image_paths"):
            self._wrong(path, "a batch wants a 'directory', or 'files'")
        found_any = any(UNREAD not in item for item in items.values())
        for problem in absent:  # a file's failure is its own, unless all of them fail
            (self._warn if found_any else self._wrong)(problem.path, problem.message)
        self._counted(path, len(items), f"no file in {directory} is called {pattern}")
        return list(items.values())

    def _matching(self, place: Path, directory: str, pattern: str, *, content: bool) -> list[Item]:
        try:
            found = self._files.matching(directory, pattern, content=content)
        except ValueError as error:
            self._wrong(place, str(error))
            return []
        left_out, self._files.left_out = self._files.left_out, []
        for words in left_out:
            self._warn(place, words)
        return found

    def _named(self, place: Path, path: str, absent: list[Problem], *, content: bool) -> Item | None:
        try:
            return self._files.named(path, content=content)
        except NotThere as error:
            absent.append(Problem(place, str(error)))
            return {"path": escape(path), "name": escape(PurePosixPath(path).name), UNREAD: escape(str(error))}
        except ValueError as error:
            self._wrong(place, str(error))
            return None

    def _counted(self, place: Path, count: int, none: str) -> None:
        if count > MOST_FILES:
            self._wrong(place, f"{count:,} files; at most {MOST_FILES:,} are taken")
        if not count and not self._problems:
            self._warn(place, none)


_WHERE: Final = ("files", "image_paths", "directory", "file_pattern", "relative_to")


def below(folder: str, path: str) -> str:
    """Where a relative path is, if it begins in the folder."""
    return path if not folder or path.startswith(("/", "~")) else f"{folder.rstrip('/')}/{path}"


def has_batches(document: object) -> bool:
    """Whether files may have to be found for it."""
    if not isinstance(document, dict):
        return False
    inner = document.get("workflow")
    if len(document) == 1 and isinstance(inner, dict):
        return has_batches(inner)
    if document.get("type") == "batch":
        return True
    lists = (document.get(key) for key in TASK_LISTS)
    listed = (
        task
        for tasks in lists
        for task in (tasks.values() if isinstance(tasks, dict) else tasks if isinstance(tasks, list) else ())
    )
    children = (said for _, said in places_of(document) if isinstance(said, dict))
    return any(_means_files(task) for task in listed) or any(has_batches(child) for child in children)


def _means_files(task: object) -> bool:
    if not isinstance(task, dict):
        return False
    over = task.get("for_each", task.get("foreach"))
    if isinstance(over, dict) and isinstance(over.get("glob"), str | list):
        return True
    given = [one for one in (task.get("params"), task.get("parameters")) if isinstance(one, dict)]
    if any(one.get("batch_mode") is True for one in given):
        return True
    return family(task) == "llm" and any(names_files(one) for one in given)
