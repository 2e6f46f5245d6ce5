"""Tasks brought together: what their dependencies and references mean, and what follows for params and code."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import ParameterError
from gleitzeit.model import blobs
from gleitzeit.model.definition import Alternative
from gleitzeit.schemas import MethodSchema, SchemaProblem
from gleitzeit.spec import assertions, expressions
from gleitzeit.spec.code import Taken, check_source, take_out
from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.foreign import SECRETS
from gleitzeit.spec.linked_flow import OF_ITEMS, OF_ROUNDS, Keys, LinkedFlow, link_flow, misread, seen_by, where_seen
from gleitzeit.spec.names import index_names
from gleitzeit.spec.problems import Path, show_path
from gleitzeit.spec.references import (
    BUILT_INS,
    GONE,
    NAMESPACES,
    RESERVED,
    Reference,
    Unreadable,
    each_of,
    escape,
    has_places,
    parse,
    substitute,
    texts_in,
)
from gleitzeit.spec.resolution import other_base, split_base
from gleitzeit.spec.schema_paths import missing_key, result_of_child
from gleitzeit.spec.tasks import TaskDraft

_WORKFLOW_FACTS: Final = ("id", "name", "timestamp", "variables")
_OUTCOME: Final = ("status", "error")
_FAILURE: Final = ("message", "name", "code", "task")
"""Of `${workflow.error}`."""
_RESULT_OF_SWITCH: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"value": {}, "case": {}, "tasks": {}},
    "additionalProperties": False,
}


class Names:
    """The tasks of one document by what they are called. An id that is there twice is reported."""

    def __init__(self, drafts: Iterable[TaskDraft], findings: Findings) -> None:
        self.by_id: dict[str, TaskDraft] = {}
        drafts = list(drafts)
        for draft in drafts:
            first = self.by_id.setdefault(draft.id, draft)
            if first is not draft:
                message = f"task id '{draft.id}' is there twice; the first is {show_path(first.path)}"
                findings.error((*draft.path, draft.id_key), message, see=first.path)
        index = index_names((draft.id, draft.name) for draft in drafts)
        self.ids = index.ids
        self.ambiguous = index.ambiguous
        self.dotted = any("." in name for name in index.ids)
        self.odd = expressions.odd_names(index.ids)
        self.gates: dict[str, list[str]] = {}
        """id -> the switches that name the task."""
        for draft in drafts:
            if draft.flow.switch is not None:
                for _, name in draft.flow.switch.named():
                    self.gates.setdefault(index.ids.get(name, ""), []).append(draft.id)


class Linked(Struct, frozen=True):
    """The fields of a TaskDefinition that depend on the other tasks."""

    params: Raw
    dependencies: tuple[str, ...]
    references: bool
    bindings: dict[str, str]
    untrusted: bool
    fallback: tuple[Alternative, ...] = ()
    flow: LinkedFlow = LinkedFlow()


class Linker:
    """Checks references and params of one document's tasks.

    `parameters` are the document's with those of the submit over them; `inputs_known` says whether a submit was seen.
    """

    def __init__(
        self,
        names: Names,
        findings: Findings,
        *,
        parameters: Mapping[str, object],
        inputs_known: bool,
        config: Mapping[str, object],
        env: Mapping[str, object],
        keep_unresolved: bool = False,
    ) -> None:
        self._names = names
        self._findings = findings
        self._parameters = parameters
        self._inputs_known = inputs_known
        self._config = config
        self._env = env
        self._complain = findings.warning if keep_unresolved else findings.error
        """About a reference that cannot stand for anything."""
        self._seen: dict[str, Keys] = {}
        """What only the task that is being linked sees: `item`, `loop`, and what can be read of it."""
        self._at_the_end = False
        """It runs when the outcome of the workflow is known."""
        self.last_read: tuple[Reference, ...] = ()
        """The references of the last condition."""
        self._inputs_read: set[str] = set()
        self._all_inputs_read = False

    def link(self, draft: TaskDraft) -> Linked:
        needs = dict.fromkeys(self._declared(draft))
        waits_for_itself = draft.id in needs  # a cycle, and found as such
        self._at_the_end = draft.flow.trigger != "success"
        flow = link_flow(self, draft, needs)
        with self.seeing(seen_by(draft)):
            program, params, references = self._link_call(draft, needs)
            if draft.cache is not None and draft.cache.key:
                self._check_text(draft.cache.key, draft.cache.key_path, needs)
            if draft.concurrency is not None:
                self._check_text(draft.concurrency.key, (*draft.path, "concurrency"), needs)
            fallback = tuple(self._alternative(other, needs) for other in draft.fallback)
        if draft.id in needs and not waits_for_itself:
            self._findings.error(draft.path, f"task '{draft.id}' refers to its own result")
            del needs[draft.id]
        needs |= dict.fromkeys(self._names.gates.get(draft.id, ()))
        return Linked(params, tuple(needs), references, program.bindings, program.untrusted, fallback, flow)

    def link_undo(self, draft: TaskDraft, undo: TaskDraft) -> Linked:
        """The call that undoes a task: it may read the result of that one, and waits for nobody."""
        with self.seeing({name: keys for name, keys in seen_by(draft).items() if name not in OF_ROUNDS}):
            program, params, references = self._link_call(undo, {})
        return Linked(params, (), references, program.bindings, program.untrusted)

    @contextmanager
    def seeing(self, names: dict[str, Keys]) -> Iterator[None]:
        outer, self._seen = self._seen, names
        yield
        self._seen = outer

    def text(self, text: str, path: Path, needs: dict[str, None]) -> None:
        self._check_text(text, path, needs)

    def complain(self, path: Path, message: str) -> None:
        self._findings.error(path, message)

    def warn(self, path: Path, message: str) -> None:
        self._findings.warning(path, message)

    def tasks_called(self, written: Sequence[tuple[Path, str]]) -> tuple[str, ...]:
        """Their ids."""
        return tuple(dict.fromkeys(found for one in written if (found := self._task_called(*one, "to run"))))

    def _task_called(self, path: Path, name: str, purpose: str) -> str | None:
        if (task_id := self._names.ids.get(name)) is not None:
            return task_id
        if name in self._names.ambiguous:
            self._findings.error(path, f"several tasks have the name '{name}'; say the id")
        else:
            suggestion = self._findings.near(name, self._names.ids)
            self._findings.error(path, f"there is no task '{name}' {purpose}", suggestion)
        return None

    def _link_call(self, draft: TaskDraft, needs: dict[str, None]) -> "tuple[_Program, Raw, bool]":
        """The params, taken apart and encoded, and whether there are references in them."""
        if draft.method.startswith(assertions.PROTOCOL):
            draft.params = assertions.bind(
                draft.params,
                self._is_known,
                self._names.odd,
                lambda steps, message: self._findings.error(draft.param_path(steps), message),
            )
        self._read_seconds(draft)
        program = self._program(draft, needs)
        encoded = msgspec.json.encode(program.params)
        references = b"${" in encoded or b"{{" in encoded
        if references:
            self._check_references(draft, program, needs)
        self._check_params(draft)
        return program, Raw(encoded), references

    def _read_seconds(self, draft: TaskDraft) -> None:
        """Params that are durations become what their methods take: seconds."""
        for key in draft.schema.seconds_params if draft.schema is not None else ():
            value = draft.params.get(key)
            if not isinstance(value, str) or has_places(value):
                continue
            try:
                seconds = parse_duration(value)
            except ValueError as error:
                self._findings.error(draft.param_path((key,)), f"'{key}': {error}")
                seconds = 1.0  # of which nothing can be wrong any more
            draft.params = {**draft.params, key: seconds}

    def _alternative(self, other: TaskDraft, needs: dict[str, None]) -> Alternative:
        with self._findings.no_repetition():  # most of its params are those of the task, with the same mistakes
            program, params, references = self._link_call(other, needs)
        return Alternative(
            other.label, other.method, params, references, program.bindings, program.untrusted, other.provider
        )

    def _declared(self, draft: TaskDraft) -> Iterator[str]:
        for path, name in draft.needs:
            if (task_id := self._task_called(path, name, "to depend on")) is not None:
                yield task_id

    def _program(self, draft: TaskDraft, needs: dict[str, None]) -> "_Program":
        """The params with their source code taken apart."""
        params, bindings, untrusted, done = draft.params, dict[str, str](), False, set[str]()
        for key in draft.schema.code_params if draft.schema is not None else ():
            source = params.get(key)
            if not isinstance(source, str):
                continue
            if _is_one_reference(source):
                params, untrusted = {**params, key: source.strip()}, True
                continue
            done.add(key)
            taken = self._take_out(source, draft.param_path((key,)), len(bindings), needs)
            params = {**params, key: escape(taken.source)}  # the engine will read it for references once more
            bindings |= taken.bindings
        return _Program(params, bindings, untrusted, done)

    def _take_out(self, source: str, path: Path, first: int, needs: dict[str, None]) -> Taken:
        try:
            taken = take_out(source, first=first, is_reference=self._means_something)
        except ParameterError:
            for piece in each_of(source):
                if isinstance(piece, Unreadable):
                    self._findings.error(path, piece.message, needle=piece.source)
            return Taken(source, {})
        for text in taken.bindings.values():
            for reference in parse(text):
                if isinstance(reference, Reference):
                    self._check(reference, path, needs)
        for problem in check_source(taken.source, taken.bindings):
            self._findings.error(path, problem.message, text_line=problem.line, offset=problem.offset)
        return taken

    def _means_something(self, reference: Reference) -> bool:
        """Of `{{ … }}` in source code only what names a task or a namespace is a reference; Python has braces too."""
        return not reference.mustache or self._is_known(reference)

    def _is_known(self, reference: Reference) -> bool:
        if reference.base in self._seen or split_base(reference, self._names.ids) is not None:
            return True
        return reference.base in NAMESPACES or reference.base in BUILT_INS or reference.base in self._parameters

    def _check_references(self, draft: TaskDraft, program: "_Program", needs: dict[str, None]) -> None:
        params = {key: value for key, value in program.params.items() if key not in program.done}
        for steps, value in _with_paths(params):
            if isinstance(value, str):
                self._check_text(value, draft.param_path(steps), needs)
            if steps and isinstance(steps[-1], str) and "${" in steps[-1]:
                message = "a reference cannot stand in a key, only in a value"
                self._findings.error(draft.param_path(steps), message, at_key=True)

    def _check_text(self, text: str, path: Path, needs: dict[str, None]) -> None:
        if not has_places(text):
            return
        try:
            parts = parse(text)
        except ParameterError:
            self._check_unreadable(text, path, needs)
            return
        for part in parts:
            if isinstance(part, Reference):
                self._check(part, path, needs)

    def _check_unreadable(self, text: str, path: Path, needs: dict[str, None]) -> None:
        for piece in each_of(text):
            if isinstance(piece, Unreadable):
                self._findings.error(path, piece.message, needle=piece.source)
            else:
                self._check(piece, path, needs)

    def _check(self, reference: Reference, path: Path, needs: dict[str, None]) -> None:
        """Report what is wrong with a reference, and add the task that it reads to `needs`."""
        if reference.base in self._seen:
            self._check_seen(reference, path)
            return
        found = split_base(reference, self._names.ids)
        if found is None and reference.base in ("inputs", "input") and self._is_task_below_inputs(reference):
            found = reference.path[0], reference.path[1:]
        if found is not None:
            if self._names.dotted and (other := other_base(reference, self._names.ids)):
                message = f"{reference.source} may mean task '{found[0]}' or task '{other}'; rename one of them"
                self._findings.error(path, message, needle=reference.source)
            task_id = self._names.ids[found[0]]
            needs[task_id] = None
            self._check_path(reference, path, self._names.by_id[task_id], found[1])
        elif reference.base in NAMESPACES:
            self._check_namespace(reference, path)
        elif reference.base in self._parameters:
            self._inputs_read.add(reference.base)
        elif reference.is_expression:
            self._check_expression(reference, path, needs)
        elif reference.base not in BUILT_INS:
            self._check_unknown(reference, path)

    def _check_expression(self, reference: Reference, path: Path, needs: dict[str, None]) -> None:
        try:
            inner = expressions.read(reference.text, self._names.odd)
        except expressions.Unreadable as error:
            offset = reference.source.find(reference.text) + error.offset
            message = f"{reference.source}: {error.message}; to write it as text: '${reference.source}'"
            self._findings.error(path, message, needle=reference.source, offset=offset)
            return
        for one in inner:
            self._check(one, path, needs)

    def condition(self, text: str, path: Path, needs: dict[str, None], *, result_of: str = "") -> str:
        """The normal form of a condition; what it reads is added to `needs`. "" after a complaint.

        Where no task is called so, `result` is that of the task `result_of`.
        """
        try:
            self.last_read = ()
            if result_of and "result" not in self._names.ids and "result" not in self._parameters:
                text = expressions.with_base(text, "result", f"{result_of}.result", self._names.odd)
            self.last_read = expressions.read(text, self._names.odd)
            for reference in self.last_read:
                self._check(reference, path, needs)
            return expressions.normal(text, self._names.odd)
        except expressions.Unreadable as error:
            line_start = text.rfind("\n", 0, error.offset) + 1
            line = text[line_start:].split("\n", 1)[0]
            needle, offset = line.strip() or text, error.offset - line_start - (len(line) - len(line.lstrip()))
            self._findings.error(path, error.message, needle=needle, offset=max(0, offset))
            return ""

    def _check_seen(self, reference: Reference, path: Path) -> None:
        keys, steps = self._seen[reference.base], reference.path
        if reference.base in self._names.ids:
            either = f"{reference.source} may mean the task '{reference.base}'"
            message = f"{either} or what a task with {where_seen(reference.base)} sees; give that task another id"
            self._findings.error(path, message, needle=reference.source)
            return
        if keys is None or not steps or steps[0] in keys:
            return
        suggestion = self._findings.near(steps[0], keys)
        what = f"'{reference.base}' has no '{steps[0]}'" + (f", only {', '.join(keys[:20])}" if keys else "")
        self._findings.error(path, f"{reference.source}: {what}", suggestion, needle=reference.source)

    def _is_task_below_inputs(self, reference: Reference) -> bool:
        """`inputs.<task>` is a task's result, as in earlier versions, where no input has that name."""
        path = reference.path
        return bool(path) and path[0] not in self._parameters and path[0] in self._names.ids

    def _check_path(self, reference: Reference, path: Path, target: TaskDraft, steps: tuple[str, ...]) -> None:
        schema = target.schema.result if target.schema is not None else None
        if target.workflow is not None:
            schema = result_of_child(target.workflow[1], schema)
        if target.flow.switch is not None:
            schema = _RESULT_OF_SWITCH
        if target.flow.for_each is not None:
            steps = _within_items(steps)
        if any(other.method != target.method for other in target.fallback):
            return  # which of the methods will answer is not known
        missing = missing_key(schema, steps) if schema else None
        if missing is not None:
            key, known = missing
            only = f", only {', '.join(known)}" if known else ""
            message = f"{reference.source}: the result of {target.method} has no '{key}'{only}"
            self._complain(path, message, self._findings.near(key, known), needle=reference.source)

    def _check_namespace(self, reference: Reference, path: Path) -> None:
        base, steps = reference.base, reference.path
        name = steps[0] if steps else ""
        self._note_input(base, steps)
        where = {"needle": reference.source}
        if base == "env":
            if reference.default is None and ".".join(steps) not in self._env:
                message = f"environment variable '{'.'.join(steps)}' is not set where this is submitted"
                self._complain(path, f"{reference.source}: {message}", **where)
        elif base == "workflow":
            if name in _OUTCOME and not self._at_the_end:
                message = f"{reference.source}: known only at the end, in a task that runs 'always' or 'on_failure'"
                self._findings.error(path, message, **where)
            elif name == "error" and steps[1:] and steps[1] not in _FAILURE:
                message = f"{reference.source}: the error has no '{steps[1]}', only {', '.join(_FAILURE)}"
                self._complain(path, message, self._findings.near(steps[1], _FAILURE), **where)
            elif name and name not in _WORKFLOW_FACTS and name not in _OUTCOME:
                suggestion = self._findings.near(name, _WORKFLOW_FACTS)
                self._complain(path, f"{reference.source}: a workflow has no '{name}'", suggestion, **where)
        elif base == "config":
            if name and name not in self._config:
                suggestion = self._findings.near(name, self._config)
                self._complain(path, f"{reference.source}: 'config' has no '{name}'", suggestion, **where)
        elif name and name not in self._parameters:
            self._check_input(reference, path, name)

    def _note_input(self, base: str, steps: tuple[str, ...]) -> None:
        if base == "workflow" and steps[:1] == ("variables",):
            base, steps = "inputs", steps[1:]
        if base in ("inputs", "input", "parameters"):
            self._inputs_read.update(steps[:1])
            self._all_inputs_read |= not steps

    def check_inputs(self, inputs: Iterable[str], declared: Mapping[str, object], path: Path) -> None:
        """After everything is linked: an input that is neither declared nor read was mistyped, or is of no use.

        `path` leads to what is `declared`.
        """
        unknown = [name for name in inputs if name not in declared and name not in self._inputs_read]
        for name in () if self._all_inputs_read else unknown:
            suggestion = self._findings.near(name, declared.keys() | self._inputs_read)
            if declared:
                self._findings.error(path, f"there is no input '{name}'", suggestion, at_key=True)
            else:
                self._findings.warning((), f"nothing in the workflow reads the input '{name}'", suggestion)

    def _check_input(self, reference: Reference, path: Path, name: str) -> None:
        suggestion = self._findings.near(name, self._parameters)
        if self._inputs_known:
            message = f"{reference.source}: there is no input and no parameter '{name}'"
            self._complain(path, message, suggestion, needle=reference.source)
        else:
            message = f"{reference.source}: no input '{name}' is declared; every submit must bring it"
            self._findings.warning(path, message, suggestion, needle=reference.source)

    def _check_unknown(self, reference: Reference, path: Path) -> None:
        base = reference.base
        suggestion = self._findings.near(base, [*self._names.ids, *self._parameters])
        if reference.mustache:
            if suggestion:
                message = f"'{reference.source}' names no task and stays the text it is"
                self._findings.warning(path, message, suggestion, needle=reference.source)
            return
        if base in self._names.ambiguous:
            message, suggestion = f"{reference.source}: several tasks have the name '{base}'; say the id", ""
        elif base in GONE:
            message, suggestion = f"{reference.source} is of an earlier version: {GONE[base]}", ""
        elif base in OF_ITEMS or base in OF_ROUNDS:
            message, suggestion = f"{reference.source}: {misread(base)}", ""
        elif base in RESERVED:
            message, suggestion = f"{reference.source}: {SECRETS}", ""
        else:
            hint = "" if suggestion else _as_text_hint(reference)
            message = f"{reference.source}: there is no task '{base}'{hint}"
        self._complain(path, message, suggestion, needle=reference.source)

    def _check_params(self, draft: TaskDraft) -> None:
        if draft.schema is None:
            return
        for problem in draft.schema.check_params(draft.params):
            if _is_open(problem, draft.params):
                continue
            path = draft.param_path(problem.path)
            at_key = problem.keyword == "additionalProperties"
            self._findings.error(path, _in_context(problem, draft.schema), problem.suggestion, at_key=at_key)

    def outputs(self, raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Each output as a value with references in its texts; `task.field` alone is short for `${task.field}`."""
        outputs: dict[str, Any] = {}
        for name, value in raw.items():
            at = (*path, name)
            if value is None:
                self._findings.error(at, "an output is a text like '${task.field}', or a list or a map with such texts")
                continue
            short = isinstance(value, str) and not has_places(value)
            outputs[name] = f"${{{value.strip()}}}" if short else value
            for steps, inner in _with_paths(outputs[name]):
                if isinstance(inner, str):
                    self._check_text(inner, (*at, *steps), {})
        return outputs

    def with_env(self, value: Mapping[str, Any], path: Path) -> Any:
        """`parameters` and `config` may read the environment, and nothing else."""

        def read(reference: Reference) -> object:
            name = ".".join(reference.path)
            if reference.base != "env":
                raise ParameterError(f"{reference.source}: only environment variables can be read here")
            if name not in self._env and reference.default is None:
                raise ParameterError(
                    f"{reference.source}: environment variable '{name}' is not set where this is submitted"
                )
            return self._env.get(name, reference.default)

        filled = {}
        for key, inner in value.items():
            try:
                filled[key] = substitute(inner, read)
            except ParameterError as error:
                self._findings.error((*path, key), error.message)
        return filled


def _within_items(steps: tuple[str, ...]) -> tuple[str, ...]:
    """What a path into the results of a `for_each` means in one of them."""
    while len(steps) > 1 and steps[0] == "result":
        steps = steps[1:]
    return steps[1:] if steps and steps[0].isdigit() else steps


def _as_text_hint(reference: Reference) -> str:
    if "{" in reference.source:
        return f"; to write it as text: '${reference.source}'"
    return f"; a text stands in quotes: '{reference.source}'" if not reference.path else ""


class _Program(Struct, frozen=True):
    """Params with placeholders in their source code; `done` are the params in which nothing is left to replace."""

    params: dict[str, Any]
    bindings: dict[str, str]
    untrusted: bool
    done: set[str]


def _is_one_reference(text: str) -> bool:
    try:
        parts = parse(text.strip())
    except ParameterError:
        return False
    return len(parts) == 1 and isinstance(parts[0], Reference)


def _with_paths(value: object) -> Iterator[tuple[Path, object]]:
    """`value` and every value below it, in order, each with its path."""
    stack: list[tuple[Path, object]] = [((), value)]
    while stack:
        path, top = stack.pop()
        yield path, top
        if isinstance(top, dict):
            stack.extend(((*path, key), inner) for key, inner in reversed(top.items()))
        elif isinstance(top, list):
            stack.extend(((*path, index), top[index]) for index in reversed(range(len(top))))


def _is_open(problem: SchemaProblem, params: object) -> bool:
    """Whether the value in question is known only when references are resolved, or blobs are read. Which keys there are
    is known now."""
    if problem.keyword in ("additionalProperties", "required"):
        return False
    value: Any = params
    for step in problem.path:
        value = value[step]
    return any(has_places(text) for text in texts_in(value)) or any(True for _ in blobs.references_in(value))


def _in_context(problem: SchemaProblem, schema: MethodSchema) -> str:
    if problem.keyword == "additionalProperties" and len(problem.path) == 1:
        return f"{schema.name} has no parameter '{problem.path[0]}'"
    if not problem.path:
        return f"{schema.name}: {problem.message}"
    return f"'{problem.path[-1]}' {problem.message}" if isinstance(problem.path[-1], str) else problem.message
