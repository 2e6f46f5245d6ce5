"""From a file on the author's machine to what a coordinator is given.

Here, and nowhere else, is what only this machine knows: its environment (`${env.X}`) and its folders (`file:`).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.client.subworkflows import Taking
from gleitzeit.model.definition import Definition, RetryPolicy, TaskDefinition
from gleitzeit.process.batch_ids import with_batch_id
from gleitzeit.process.folders import OwnFiles
from gleitzeit.process.reach import Target
from gleitzeit.schemas import Catalogue, builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.environment import TASK_LISTS, resolve_env
from gleitzeit.spec.files.batches import Expansion, has_batches
from gleitzeit.spec.loading.load import Document, load_file, load_object, load_text
from gleitzeit.spec.problems import Problem, located, render

FILE_PARAMS = ("file", "file_path")
MODEL_FILE_PARAMS = ("file_path", "image_path")
MODEL_PATHS = (*MODEL_FILE_PARAMS, "files", "image_paths", "images", "directory")


class Defaults(Struct, frozen=True):
    """For documents that say nothing themselves. None: no limit.

    `task_timeout_seconds` is for one attempt of a task that a provider runs and that has no `timeout`, nor a param of
    that name. What waits in the coordinator, for a time or a signal, has a measure of its own.
    """

    task_timeout_seconds: float | None = None
    max_parallel: int | None = None
    retry_attempts: int | None = None
    error_policy: str | None = None


NO_DEFAULTS = Defaults()


def defaults_of(target: Target) -> Defaults:
    """As they are configured."""
    return Defaults(target.task_timeout_seconds, target.max_parallel, target.retry_attempts, target.error_policy)


class Prepared(Struct, frozen=True):
    """`definition` is what to submit: the document with this machine's environment, whole paths and defaults.
    `problems` has errors and warnings, with their places, in the order of the document; `checked` is None if there are
    errors.

    A coordinator may find more (its providers describe methods of their own): `gleitzeit.spec.problems` renders the
    problems of its DocumentError with the lines of `document`.
    """

    document: Document
    definition: Any
    checked: Definition | None
    problems: tuple[Problem, ...]
    files: OwnFiles | None = None
    """Whose contents must be at the coordinator before it is submitted: see `Client.bring`."""
    of_files: tuple[Problem, ...] = ()
    """Those warnings that no coordinator can find: what was left out here, and patterns that mean no file."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def rendered(self) -> str:
        """All problems, each with its line and a caret."""
        return render(self.problems, self.document)


Workflow = str | os.PathLike[str] | Mapping[str, Any] | Prepared
"""A path; the text of a document, which has a line break or is a JSON object; plain data; or what is prepared already.
"""


def prepare_workflow(
    workflow: Workflow,
    *,
    environ: Mapping[str, str],
    defaults: Defaults = NO_DEFAULTS,
    inputs: Mapping[str, object] | None = None,
) -> Prepared:
    """Read, complete and check. What is no file counts its relative paths from the current directory. Raises
    DocumentError as `prepare_file` does."""
    if isinstance(workflow, Prepared):
        return workflow
    if isinstance(workflow, Mapping):
        document = load_object(workflow)
    elif isinstance(workflow, str) and ("\n" in workflow or workflow.lstrip().startswith("{")):
        document = load_text(workflow, lenient=True)
    elif not isinstance(workflow, str | os.PathLike):
        raise TypeError(f"a workflow is a path, a text or a dict, not {type(workflow).__name__}")
    else:
        return prepare_file(Path(workflow).expanduser(), environ=environ, defaults=defaults, inputs=inputs)
    return prepare(document, folder=Path(), environ=environ, defaults=defaults, inputs=inputs)


def prepare_file(
    path: Path,
    *,
    environ: Mapping[str, str],
    defaults: Defaults = NO_DEFAULTS,
    inputs: Mapping[str, object] | None = None,
) -> Prepared:
    """Read, complete and check a document. Raises DocumentError for what cannot be read, or is no YAML or JSON."""
    document = load_file(path, lenient=True)
    return prepare(document, folder=path.parent, environ=environ, defaults=defaults, inputs=inputs)


def prepare(
    document: Document,
    *,
    folder: Path,
    environ: Mapping[str, str],
    catalogue: Catalogue | None = None,
    defaults: Defaults = NO_DEFAULTS,
    inputs: Mapping[str, object] | None = None,
) -> Prepared:
    """Complete and check a loaded document; what loading has found wrong (see `load_text`: `lenient`) is told as well.

    `catalogue` is what methods are known; by default those that we ship. `inputs` are those of the submit to come, None
    where they are not known yet.
    """
    definition: Any = document.value
    missing: list[Problem] = []
    found: list[Problem] = []
    files: OwnFiles | None = None
    if isinstance(definition, dict):
        here = _Here(environ, OwnFiles(folder))
        files = here.files
        definition, found, missing = here.completed(definition, folder, inputs)
        taking = Taking(here.child, catalogue or builtin())
        definition = taking.into(definition, folder)
        missing += taking.problems
    catalogue = catalogue or builtin()
    checked = check(definition, catalogue, inputs=inputs)
    errors = [problem for problem in found if problem.severity == "error"]
    # What follows from a batch without files, or from a file that is missing, says nothing new.
    told = {problem.path for problem in missing}
    beyond = () if errors else [one for one in checked.problems if one.severity == "error" or one.path not in told]
    problems = tuple(located((*document.problems, *found, *beyond, *missing), document))
    if document.problems or missing or errors or checked.definition is None:
        return Prepared(document, definition, None, problems)
    made = checked.definition
    if defaults != NO_DEFAULTS:
        definition, made = _with_defaults(definition, made, defaults, catalogue)
    return Prepared(document, definition, made, problems, files, tuple(located(found, document)))


def _with_defaults(
    definition: dict[str, Any], checked: Definition, defaults: Defaults, catalogue: Catalogue
) -> tuple[dict[str, Any], Definition]:
    """Both with what the author says in none of the spellings, which `checked` has reduced to one."""
    if "tasks" not in definition:
        inner, checked = _with_defaults(definition["workflow"], checked, defaults, catalogue)
        return {"workflow": inner}, checked
    most, seconds = defaults.max_parallel, defaults.task_timeout_seconds
    if most is not None and checked.max_parallel is None:
        definition, checked = {**definition, "max_parallel": most}, replace(checked, max_parallel=most)
    if defaults.error_policy is not None and not _says_policy(definition):
        policy = defaults.error_policy
        definition, checked = {**definition, "error_policy": policy}, replace(checked, error_policy=policy)
    if seconds is None and defaults.retry_attempts is None:
        return definition, checked
    tasks: Any = definition["tasks"].copy()
    reads = list(checked.tasks)
    for number, (place, task) in enumerate(_placed(definition["tasks"])):
        if defaults.retry_attempts is not None and reads[number].retry == RetryPolicy() and not _says_retry(task):
            tasks[place] = task = {**task, "retry": {"max_attempts": defaults.retry_attempts}}
            reads[number] = replace(reads[number], retry=RetryPolicy(max_attempts=defaults.retry_attempts))
        if seconds is None:
            continue
        if _runs_without_limit(task, reads[number], catalogue):
            tasks[place] = {**task, "timeout": seconds}
            reads[number] = replace(reads[number], timeout_seconds=seconds)
    return {**definition, "tasks": tasks}, replace(checked, tasks=tuple(reads))


def _says_policy(definition: Mapping[str, Any]) -> bool:
    config = definition.get("config")
    inner = isinstance(config, dict) and config.get("continue_on_error") is not None
    return inner or any(definition.get(key) is not None for key in ("error_policy", "error_strategy"))


def _says_retry(task: Mapping[str, Any]) -> bool:
    return any(task.get(key) is not None for key in ("retry", "retry_config", "max_retries"))


def _placed(tasks: list[Any] | dict[str, Any]) -> Iterable[tuple[Any, Any]]:
    """Each task with its index, or with its id where tasks are a map."""
    return enumerate(tasks) if isinstance(tasks, list) else tasks.items()


def _runs_without_limit(task: Mapping[str, Any], checked: TaskDefinition, catalogue: Catalogue) -> bool:
    method = catalogue.get(checked.method)
    if checked.timeout_seconds is not None or (method is not None and method.runs == "coordinator"):
        return False
    return not any("timeout" in (task.get(name) or {}) for name in ("params", "parameters"))


def places(folder: Path) -> tuple[Path, ...]:
    """Where a relative `file:` is looked for: beside the document, in `scripts` beside it, in `examples/scripts`."""
    here = folder.resolve()
    return tuple(dict.fromkeys((here, here / "scripts", *(top / "examples" / "scripts" for top in (here, Path.cwd())))))


def find_file(name: str, folder: Path) -> Path | None:
    """The first of `places` that has a file of this name."""
    candidates = (place / name for place in places(folder))
    return next((Path(os.path.normpath(path)) for path in candidates if path.is_file()), None)


class _Here:
    """What this machine knows, for a document and the workflows in files that it runs."""

    def __init__(self, environ: Mapping[str, str], files: OwnFiles) -> None:
        self._environ = environ
        self.files = files

    def completed(
        self, definition: dict[str, Any], folder: Path, inputs: Mapping[str, object] | None
    ) -> tuple[dict[str, Any], list[Problem], list[Problem]]:
        """The document, what is wrong with the files that it is about, and which files of its tasks are missing."""
        definition, problems = resolve_env(definition, self._environ), list[Problem]()
        if has_batches(definition):
            expansion = Expansion(with_batch_id(definition), self.files.beside(folder), inputs)
            definition, problems = expansion.definition, expansion.problems
        definition, missing = _with_whole_paths(definition, folder)
        return definition, problems, missing

    def child(self, definition: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[Problem]]:
        definition, problems, missing = self.completed(definition, folder, {})
        return definition, [*problems, *missing]


def _with_whole_paths(definition: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The definition with the `file` of every python task made absolute, and a problem for each that is not there.

    A path that has a reference in it, or is absolute, is left alone: only the provider can know. So it is with lists of
    files and folders for a model: its params say where relative paths begin (`relative_to`).
    """
    wrapped = definition.get("workflow")
    if len(definition) == 1 and isinstance(wrapped, dict):
        inner, problems = _with_whole_paths(wrapped, folder)
        return {"workflow": inner}, [replace(problem, path=("workflow", *problem.path)) for problem in problems]
    found: dict[str, Path | None] = {}
    missing: list[Problem] = []
    changed: dict[str, Any] = {}
    for key in TASK_LISTS:
        tasks = definition.get(key)
        if isinstance(tasks, list | dict):
            changed[key] = copy = tasks.copy()
            for place, task in _placed(tasks):
                copy[place] = _with_whole_path(task, (key, place), folder, found, missing)
    return {**definition, **changed}, missing


def _with_whole_path(
    task: Any, path: tuple[str | int, ...], folder: Path, found: dict[str, Path | None], problems: list[Problem]
) -> Any:
    """One task, and the call that undoes it."""
    task = _with_images_elsewhere(task)
    for name, key, file in _relative_files(task):
        whole = found.setdefault(file, find_file(file, folder))
        if whole is None:
            looked = ", ".join(str(place) for place in places(folder))
            problems.append(Problem((*path, name, key), f"there is no file {file!r}; looked in {looked}"))
        else:
            task = {**task, name: {**task[name], key: str(whole)}}
    for name in _params_with_paths(task):
        task = {**task, name: {"relative_to": str(folder.resolve()), **task[name]}}
    if isinstance(task, dict) and isinstance(task.get("undo"), dict):
        task = {**task, "undo": _with_whole_path(task["undo"], (*path, "undo"), folder, found, problems)}
    return task


def _with_images_elsewhere(task: Any) -> Any:
    """An `image_path` that is a URL, of the web or with all of its data in it, is one of the `images`."""
    if not (isinstance(task, dict) and _is_of_model(task)):
        return task
    for name in ("params", "parameters"):
        match task.get(name):
            case {"image_path": str(url), **params} if url[:8].lower().startswith(("data:", "http://", "https://")):
                listed = params.get("images")
                images = [url, *listed] if isinstance(listed, list) else [url]
                task = {**task, name: {**params, "images": images}}
    return task


def _relative_files(task: object) -> Iterator[tuple[str, str, str]]:
    """Where a python or llm task names a file relatively: the name of its params object, the key in there, the file."""
    if not isinstance(task, dict):
        return
    keys = FILE_PARAMS if _is_python(task) else MODEL_FILE_PARAMS if _is_of_model(task) else ()
    for name in ("params", "parameters"):
        params = task.get(name)
        if not isinstance(params, dict):
            continue
        for key in keys:
            value = params.get(key)
            if isinstance(value, str) and value and "${" not in value and not os.path.isabs(value):
                yield name, key, value


def _params_with_paths(task: object) -> Iterator[str]:
    """The name of the params object of a llm task, if paths in it may be relative that only the provider reads."""
    if isinstance(task, dict) and _is_of_model(task):
        for name in ("params", "parameters"):
            params = task.get(name)
            if isinstance(params, dict) and (
                any(not _is_whole(params[key]) for key in MODEL_PATHS if key in params) or _shows_images(params)
            ):
                yield name


def _shows_images(params: Mapping[str, Any]) -> bool:
    messages = params.get("messages")
    listed = messages if isinstance(messages, list) else ()
    return any(isinstance(one, dict) and ("images" in one or isinstance(one.get("content"), list)) for one in listed)


def _is_whole(value: object) -> bool:
    """Or brings its content along."""
    if isinstance(value, list):
        return all(_is_whole(one) for one in value)
    return isinstance(value, dict) or (isinstance(value, str) and os.path.isabs(value))


def _is_of_model(task: Mapping[str, Any]) -> bool:
    """Whether the task is one of llm/v1, in any of the spellings."""
    said = (str(task.get(key, "")) for key in ("method", "protocol", "type"))
    return any(text == "llm" or text.startswith("llm/") for text in said) or task.get("provider") == "ollama"


def _is_python(task: Mapping[str, Any]) -> bool:
    """Whether the task is one of python/v1, in any of the spellings that say so (a bare method alone says so too)."""
    method, protocol = str(task.get("method", "")), str(task.get("protocol", ""))
    if "/" in method:
        return method.startswith("python/")
    return protocol.startswith("python/") or (not protocol and task.get("type", "python") == "python")
