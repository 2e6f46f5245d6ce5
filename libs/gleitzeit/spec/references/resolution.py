"""What a reference stands for: a part of a task's result, an input, something about the workflow."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gleitzeit.errors import ParameterError
from gleitzeit.model.blobs import Reference as Blob
from gleitzeit.model.blobs import is_blob, look_into, replaced
from gleitzeit.model.secrets import Hidden, Secret
from gleitzeit.spec.references import expressions
from gleitzeit.spec.references.paths import (
    MISSING,
    UNREAD,
    Joined,
    Load,
    Missing,
    joined,
    load_nothing,
    look_up,
    missing_inside,
    walk,
    what_is_missing,
    which,
)
from gleitzeit.spec.references.references import (
    AS_WRITTEN,
    BUILT_INS,
    NAMESPACES,
    SECRETS,
    Reference,
    substitute,
    with_colon,
)

FACTS: Final = frozenset({"status", "duration", "timestamp", "metadata", "error"})


def split_base(reference: Reference, known: Mapping[str, object]) -> tuple[str, tuple[str, ...]] | None:
    """The task that is meant and the path inside its result: `${my.task.x}` may mean the task `my.task`.

    `known` has ids and names. The shortest name that is known wins. None if there is no such task.
    """
    return next(_readings(reference, known), None)


def other_base(reference: Reference, known: Mapping[str, object]) -> str:
    """The longer name that the reference may mean as well: `${a.b.x}` where there is a task `a` and one `a.b`."""
    names = [base for base, _ in _readings(reference, known)]
    return names[1] if len(names) > 1 else ""


def _readings(reference: Reference, known: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if (with_a_colon := with_colon(reference)) is not None:
        reference = with_a_colon
    base, path = reference.base, reference.path
    if base in known:
        yield base, path
    if "." in reference.text:
        for at in range(len(path)):
            base = f"{base}.{path[at]}"
            if base in known:
                yield base, path[at + 1 :]


def resolve(reference: Reference, results: Mapping[str, object]) -> object:
    """What a reference to a task stands for. `results` maps ids and names to decoded results.

    Raises ParameterError that names the tasks, or the keys, which exist.
    """
    found = split_base(reference, results)
    if found is None:
        raise ParameterError(f"{reference.source}: no result of a task '{reference.base}'{which(results)}")
    base, path = found
    return _there(reference, look_up(results[base], path), results[base], path)


def _there(reference: Reference, value: object, start: object, path: tuple[str, ...]) -> object:
    """`value`, found at `path` from `start` on. Raises ParameterError if it is Missing."""
    if isinstance(value, Missing):
        raise ParameterError(f"{reference.source}: {value.words or what_is_missing(start, path)}")
    return value


class Scope:
    """All that the references of one workflow can read.

    `results`: id or name -> decoded result, of completed tasks at least; may be a mapping that decodes on demand.
    `tasks`: id or name -> id, of all tasks, so that a `{{ … }}` that names none stays text.
    `facts`: id or name -> `{status, duration, timestamp, metadata, error}` for what the result itself does not have.
    `workflow`: `{id, name, timestamp}`, the timestamp as ISO 8601.
    `parameters`: the document's, with the submit's inputs over them.

    `within` adds what one task sees besides.
    """

    __slots__ = (
        "config", "env", "facts", "keep", "load", "local", "odd_names", "own", "parameters", "results", "tasks",
        "workflow",
    )  # fmt: skip

    def __init__(
        self,
        *,
        results: Mapping[str, object],
        tasks: Mapping[str, object],
        workflow: Mapping[str, object],
        parameters: Mapping[str, object],
        config: Mapping[str, object] | None = None,
        env: Mapping[str, object] | None = None,
        facts: Callable[[str], Mapping[str, object]] | None = None,
        keep: bool = False,
        load: Load = load_nothing,
    ) -> None:
        self.results = results
        self.tasks = tasks
        self.workflow = workflow
        self.parameters = parameters
        self.config = config or {}
        self.env = env or {}
        self.facts = facts
        self.keep = keep
        self.load = load
        self.odd_names = expressions.odd_names(tasks.keys())
        self.local: Mapping[str, object] = {}
        self.own: Mapping[str, object] = {}

    def within(self, local: Mapping[str, object], own: Mapping[str, object] | None = None) -> "Scope":
        """With what only one task sees: `local` are its `item`, `index`, `matrix`, `loop`; in `own` it is itself, by id
        and name, with a result that stands instead of the recorded one."""
        inner = Scope.__new__(Scope)  # once for every item of a task: copy.copy takes five times as long
        for slot in Scope.__slots__:
            setattr(inner, slot, getattr(self, slot))
        inner.local, inner.own = local, own or {}
        return inner

    def resolve(self, reference: Reference) -> object:
        """For `substitute`. Raises ParameterError, AS_WRITTEN for a `{{ … }}` that names nothing.

        With `keep` it is AS_WRITTEN for everything that stands for nothing.
        """
        if not self.keep:
            return self._meaning(reference)
        try:
            return self._meaning(reference)
        except ParameterError:
            return AS_WRITTEN

    def _meaning(self, reference: Reference) -> object:
        if self.local and reference.base in self.local:
            return self._of_local(reference)
        if self.own and (own := split_base(reference, self.own)) is not None:
            result, path = self.own[own[0]], own[1]
            return _there(reference, look_up(result, path, self.load), result, path)
        if (found := split_base(reference, self.tasks)) is not None:
            return self._of_task(reference, *found)
        if reference.base in NAMESPACES:
            return self._of_namespace(reference)
        if reference.base == SECRETS and len(reference.path) == 1:
            return Hidden((Secret(reference.path[0]),))
        if reference.base in self.parameters:
            return _inside(reference, self.parameters, (reference.base, *reference.path), self.load)
        if reference.base in BUILT_INS and not reference.path:
            return self._built_in(reference.base)
        if reference.mustache:
            return AS_WRITTEN
        if reference.is_expression:
            return expressions.evaluate(reference.text, self._whole_meaning, self.odd_names)
        raise ParameterError(f"{reference.source}: there is no task '{reference.base}'")

    def holds(self, condition: str) -> bool:
        """Whether a condition in its normal form holds. Raises ParameterError."""
        return expressions.holds(condition, self._whole_meaning, self.odd_names)

    def filled(self, value: object) -> Any:
        """`value` with its references replaced. Blobs that are whole values stay what they are."""
        return substitute(value, self.resolve, self.whole)

    def whole(self, value: object) -> Any:
        """`value` with what its blobs hold."""
        return replaced(value, self._content)

    def opened(self, value: Any) -> Any:
        """What a blob holds; anything else as it is, whatever is inside."""
        return self._content(value) if is_blob(value) else value

    def _content(self, blob: Blob) -> object:
        found = self.load(look_into(blob))
        return blob if isinstance(found, Missing) else found

    def _whole_meaning(self, reference: Reference) -> object:
        return self.whole(self._meaning(reference))

    def _of_local(self, reference: Reference) -> object:
        value, path = self.local[reference.base], reference.path
        if reference.base == "loop" and path[:1] == ("last",) and isinstance(value, dict):
            return _there(reference, look_up(value["last"], path[1:], self.load), value["last"], path[1:])
        if isinstance(value, dict) and path and path[0] not in value and UNREAD in value:
            raise ParameterError(str(value[UNREAD]))
        return _inside(reference, value, path, self.load)

    def _of_task(self, reference: Reference, base: str, path: tuple[str, ...]) -> object:
        if base not in self.results:
            raise ParameterError(f"{reference.source}: task '{base}' has no result")
        result = self.results[base]
        if isinstance(result, Joined):
            return self._of_items(reference, base, path, result)
        value = look_up(result, path, self.load)
        if (isinstance(value, Missing) or result is None) and self.facts is not None and path and path[0] in FACTS:
            fact = _fact(self.facts(base), result, path, self.load)
            if not isinstance(fact, Missing):
                value = fact
        return _there(reference, value, result, path)

    def _of_items(self, reference: Reference, base: str, path: tuple[str, ...], result: Joined) -> object:
        if self.facts is not None and path and path[0] in FACTS:
            return _inside(reference, dict(self.facts(base)), path, self.load)
        try:
            return joined(result, path, self.load)
        except LookupError as error:
            raise ParameterError(f"{reference.source}: {error.args[0]}") from None

    def _of_namespace(self, reference: Reference) -> object:
        base, path = reference.base, reference.path
        match base:
            case "env":
                return self._variable(reference)
            case "config":
                return _inside(reference, self.config, path, self.load)
            case "workflow":
                if path[:1] == ("variables",):
                    return _inside(reference, self.parameters, path[1:], self.load)
                if path[:1] == ("error",) and path[1:] and "failure" in self.workflow:  # which is a text, as a whole
                    failure = self.workflow["failure"]
                    return None if failure is None else _inside(reference, {"error": failure}, path, self.load)
                return _inside(reference, self.workflow, path, self.load)
        # `inputs.<task>` is a task's result, as in earlier versions, where no input has that name
        if base != "parameters" and path and path[0] not in self.parameters and path[0] in self.tasks:
            return self._of_task(reference, path[0], path[1:])
        return _inside(reference, self.parameters, path, self.load)

    def _variable(self, reference: Reference) -> object:
        name = ".".join(reference.path)
        if name in self.env:
            return self.env[name]
        if reference.default is not None:
            return reference.default
        raise ParameterError(
            f"{reference.source}: the environment variable '{name}' was not set where the workflow was submitted"
        )

    def _built_in(self, name: str) -> object:
        if name in ("WORKFLOW_ID", "REQUEST_ID"):
            return self.workflow["id"]
        timestamp = str(self.workflow["timestamp"])
        return timestamp[:10] if name == "date" else timestamp


def _inside(reference: Reference, value: object, path: tuple[str, ...], load: Load) -> object:
    found = walk(value, path, load)
    if isinstance(found, Missing):
        raise ParameterError(f"{reference.source}: {found.words or missing_inside(value, path)}")
    return found


def _fact(facts: Mapping[str, object], result: object, path: tuple[str, ...], load: Load) -> object:
    """`status`, `duration`, `timestamp`; below `metadata` these too, and what the result has (model, usage)."""
    value = walk(dict(facts), path)
    if value is MISSING and path[0] == "metadata":
        value = walk(dict(facts), path[1:])
    if value is MISSING and path[0] == "metadata" and len(path) > 1:
        value = look_up(result, path[1:], load)
    return value
