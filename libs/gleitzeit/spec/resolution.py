"""What a reference stands for: a part of a task's result, an input, something about the workflow.

A path is walked by one rule, which resolves what users of earlier versions wrote: first as it stands (a missing key by
its aliases), then without a leading `result`, then inside the object's own `result`. `${task}` alone is the object's
`result`, or else the whole object.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from gleitzeit.errors import ParameterError
from gleitzeit.model.blobs import INLINE_BYTES, Look, is_blob, look_into, replaced
from gleitzeit.model.blobs import Reference as Blob
from gleitzeit.schemas import near
from gleitzeit.spec import expressions
from gleitzeit.spec.references import AS_WRITTEN, BUILT_INS, NAMESPACES, Reference, substitute

ALIASES: Final = {
    "response": ("content", "text"),
    "content": ("response", "text"),
    "text": ("response", "content"),
    "result": ("response", "embedding", "output"),
}
FACTS: Final = frozenset({"status", "duration", "timestamp", "metadata", "error"})


class Missing:
    """There is no such value; perhaps it is known in `words` what there is."""

    __slots__ = ("words",)

    def __init__(self, words: str = "") -> None:
        self.words = words


_MISSING: Final = Missing()

Load = Callable[[Look], object]
"""What a look into a blob finds, perhaps a blob again; or Missing. May raise whatever tells its caller to come again
when it is there."""


UNREAD: Final = "unread"
"""The member of an item that says why it has no content."""


def load_nothing(look: Look) -> object:
    """For who can do without the values of blobs."""
    return _MISSING


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
        raise ParameterError(f"{reference.source}: no result of a task '{reference.base}'{_which(results)}")
    base, path = found
    return _there(reference, look_up(results[base], path), results[base], path)


def look_up(result: object, path: tuple[str, ...], load: Load = load_nothing) -> object:
    """The rule: the exact path with aliases; then without leading `result` (the envelope); then inside the payload.

    A blob on the way is looked into; one at its end stays what it is. Missing if there is nothing.
    """
    if is_blob(result):
        found = load(look_into(result, path, as_result=True))  # type: ignore[arg-type]  # a dict, as has just been seen
        return result if found is _MISSING and not path else found
    if one_level(result) is None:  # the task failed or was skipped, and its dependents run all the same
        return None
    if not path:
        members = one_level(result)
        return members.get("result", result) if isinstance(members, dict) else result
    paths = [path]
    while paths[-1] and paths[-1][0] == "result":
        paths.append(paths[-1][1:])
    missing = _MISSING
    for start in (result, *_payload(result)):
        for steps in paths:
            value = walk(start, steps, load)
            if not isinstance(value, Missing):
                return value
            missing = missing if missing.words else value
    return missing


def _payload(result: object) -> tuple[object, ...]:
    members = one_level(result)
    payload = members.get("result") if isinstance(members, dict) else None
    return (payload,) if isinstance(one_level(payload), dict | list) else ()


def walk(value: object, path: tuple[str, ...], load: Load = load_nothing) -> object:
    for at, step in enumerate(path):
        if is_blob(value):
            return load(look_into(value, path[at:]))  # type: ignore[arg-type]  # as above
        value = _step(value, step)
        if value is _MISSING:
            break
    return value


class Unread:
    """A value as JSON of which one level is read when somebody looks inside, once."""

    __slots__ = ("_level", "raw")

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self._level: object = self

    def level(self) -> object:
        """An object or list with members that are Raw, or Unread if they are large. Raises msgspec.DecodeError."""
        if self._level is self:
            level = one_level(self.raw)
            members: Any = (
                level.items() if isinstance(level, dict) else enumerate(level) if isinstance(level, list) else ()
            )
            for key, member in [found for found in members if len(found[1]) > INLINE_BYTES]:
                level[key] = Unread(member)  # type: ignore[index]  # there are members
            self._level = level
        return self._level


def one_level(value: object) -> object:
    """What is JSON still, with members that are; anything else as it is. Raises msgspec.DecodeError."""
    if isinstance(value, Unread):
        return value.level()
    if not isinstance(value, Raw):
        return value
    match bytes(memoryview(value)[:64]).lstrip()[:1]:
        case b"{":
            return msgspec.json.decode(value, type=dict[str, Raw])
        case b"[":
            return msgspec.json.decode(value, type=list[Raw])
    return msgspec.json.decode(value)


def _step(value: object, step: str) -> object:
    value = one_level(value)
    if isinstance(value, dict):
        if step in value:
            return value[step]
        for alias in ALIASES.get(step, ()):
            if alias in value:
                return value[alias]
    elif isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 10 and int(step) < len(value):
        return value[int(step)]
    return _MISSING


def _there(reference: Reference, value: object, start: object, path: tuple[str, ...]) -> object:
    """`value`, found at `path` from `start` on. Raises ParameterError if it is Missing."""
    if isinstance(value, Missing):
        raise ParameterError(f"{reference.source}: {value.words or what_is_missing(start, path)}")
    return value


def what_is_missing(result: object, path: tuple[str, ...]) -> str:
    """Of a task's result: the step at which the reading of `look_up` ends that comes furthest, and what there is
    instead. Of two that come as far, the one inside the payload: its keys are the author's own."""
    paths = [path]
    while paths[-1] and paths[-1][0] == "result":
        paths.append(paths[-1][1:])
    readings = [
        (len(path) - len(steps) + at, value, steps[at])
        for start in (*_payload(result), result)
        for steps in paths
        for at, value in _end_of(start, steps)
    ]
    if not readings:
        return "there is no such value"
    _, value, step = max(readings, key=lambda reading: reading[0])
    return _no_step(step, value, also=result)


def _missing_inside(value: object, path: tuple[str, ...]) -> str:
    return next((_no_step(path[at], end) for at, end in _end_of(value, path)), "there is no such value")


def _end_of(value: object, path: tuple[str, ...]) -> Iterator[tuple[int, object]]:
    """The number of the first step that leads nowhere, and the value that does not have it."""
    for at, step in enumerate(path):
        inner = _step(value, step)
        if inner is _MISSING:
            yield at, value
            return
        value = inner


def _no_step(step: str, value: object, also: object = None) -> str:
    """In words. What was meant may stand in `also`, too."""
    names = [key for where in (value, also) if isinstance(members := one_level(where), dict) for key in members]
    key, minus, _ = step.partition("-")
    if minus and key in names:
        return f"there is no '{step}'{_which(value)}; a '-' with spaces around it subtracts"
    meant = near(step, names)
    return f"there is no '{step}'{_which(value)}" + (f"; did you mean '{meant}'?" if meant else "")


def _which(value: object) -> str:
    value = one_level(value)
    match value:
        case dict():
            keys = [str(key) for key in value]
            return (
                f" (there are: {', '.join(keys[:20])}{', …' if len(keys) > 20 else ''})"
                if keys
                else " (there is nothing)"
            )
        case list():
            return f" (it is a list of {len(value)})"
        case Mapping():
            return _which(dict(value))
    return " (it is null)" if value is None else f" (it is a {_KIND.get(type(value), 'value')})"


_KIND = {str: "text", int: "number", float: "number", bool: "truth value"}


class Joined:
    """The results of a task's items, in their order; with each whether it is one, or stands for one that is missing."""

    __slots__ = ("results",)

    def __init__(self, results: list[tuple[object, bool]]) -> None:
        self.results = results


def joined(result: Joined, path: tuple[str, ...], load: Load = load_nothing) -> object:
    """What a path means in them: a number first, one item; else the list of what it means in each, null where there is
    no result. Raises LookupError with words for the author."""
    steps = path
    while steps and steps[0] == "result" and steps[1:] and _is_index(steps[1]):
        steps = steps[1:]
    if steps and _is_index(steps[0]):
        number = int(steps[0])
        if number >= len(result.results):
            raise LookupError(f"there is no {number} (it is a list of {len(result.results)})")
        one, _ = result.results[number]
        return _in_one(one, steps[1:], number, load) if steps[1:] else payload(one)
    if all(step == "result" for step in steps):
        return [payload(one) if is_result else one for one, is_result in result.results]
    return [_in_one(one, steps, n, load) if is_result else None for n, (one, is_result) in enumerate(result.results)]


def payload(result: object) -> object:
    """What an item adds to the list: the text of an LLM, the value of a program."""
    found = look_up(result, ("result",))
    return result if isinstance(found, Missing) else found


def _in_one(result: object, path: tuple[str, ...], number: int, load: Load) -> object:
    value = look_up(result, path, load)
    if isinstance(value, Missing):
        raise LookupError(f"item {number}: {value.words or what_is_missing(result, path)}")
    return value


def _is_index(step: str) -> bool:
    return step.isascii() and step.isdigit() and len(step) < 10


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
        raise ParameterError(f"{reference.source}: {found.words or _missing_inside(value, path)}")
    return found


def _fact(facts: Mapping[str, object], result: object, path: tuple[str, ...], load: Load) -> object:
    """`status`, `duration`, `timestamp`; below `metadata` these too, and what the result has (model, usage)."""
    value = walk(dict(facts), path)
    if value is _MISSING and path[0] == "metadata":
        value = walk(dict(facts), path[1:])
    if value is _MISSING and path[0] == "metadata" and len(path) > 1:
        value = look_up(result, path[1:], load)
    return value
