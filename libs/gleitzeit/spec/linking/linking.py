"""Tasks brought together: what their dependencies and references mean, and what follows for params and code."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import ParameterError
from gleitzeit.model import blobs
from gleitzeit.model.definition import Alternative
from gleitzeit.schemas import RUNS_IN_PROVIDER, MethodSchema, SchemaProblem
from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.linking.linked_flow import LinkedFlow, link_flow
from gleitzeit.spec.linking.reference_checks import ReferenceChecks
from gleitzeit.spec.problems import Path, show_path
from gleitzeit.spec.references import assertions
from gleitzeit.spec.references.code import Mode, Taken, check_source, take_out
from gleitzeit.spec.references.references import Reference, Unreadable, each_of, escape, has_places, parse, texts_in
from gleitzeit.spec.tasks.names import Names
from gleitzeit.spec.tasks.own_names import OF_ROUNDS, seen_by
from gleitzeit.spec.tasks.task_draft import TaskDraft


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
    """Brings one document's tasks together. What is wrong with them is added to the findings."""

    def __init__(self, names: Names, findings: Findings, references: ReferenceChecks) -> None:
        self._names = names
        self._findings = findings
        self._references = references

    def link(self, draft: TaskDraft) -> Linked:
        needs = dict.fromkeys(self._declared(draft))
        waits_for_itself = draft.id in needs  # a cycle, and found as such
        self._references.at_the_end = draft.flow.trigger != "success"
        flow = link_flow(self._references, draft, needs)
        with self._references.seeing(seen_by(draft)):
            program, params, references = self._link_call(draft, needs)
            if draft.cache is not None and draft.cache.key:
                self._references.text(draft.cache.key, draft.cache.key_path, needs)
            if draft.concurrency is not None:
                self._references.text(draft.concurrency.key, (*draft.path, "concurrency"), needs)
            fallback = tuple(self._alternative(other, needs) for other in draft.fallback)
        if draft.id in needs and not waits_for_itself:
            self._findings.error(draft.path, f"task '{draft.id}' refers to its own result")
            del needs[draft.id]
        needs |= dict.fromkeys(self._names.gates.get(draft.id, ()))
        return Linked(params, tuple(needs), references, program.bindings, program.untrusted, fallback, flow)

    def link_undo(self, draft: TaskDraft, undo: TaskDraft) -> Linked:
        """The call that undoes a task: it may read the result of that one, and waits for nobody."""
        with self._references.seeing({name: keys for name, keys in seen_by(draft).items() if name not in OF_ROUNDS}):
            program, params, references = self._link_call(undo, {})
        return Linked(params, (), references, program.bindings, program.untrusted)

    def _link_call(self, draft: TaskDraft, needs: dict[str, None]) -> "tuple[_Program, Raw, bool]":
        """The params, taken apart and encoded, and whether there are references in them."""
        if draft.method.startswith(assertions.PROTOCOL):
            draft.params = assertions.bind(
                draft.params,
                self._references.is_known,
                self._names.odd,
                lambda steps, message: self._findings.error(draft.param_path(steps), message),
            )
            for steps, name in assertions.gated(draft.params):
                self._references.task_called(draft.param_path(steps), name, "for this gate")
        self._read_seconds(draft)
        with self._references.for_provider(draft.schema is None or draft.schema.runs == RUNS_IN_PROVIDER):
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
            if (task_id := self._references.task_called(path, name, "to depend on")) is not None:
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
            mode: Mode = "eval" if draft.schema is not None and key in draft.schema.expression_params else "exec"
            taken = self._take_out(source, draft.param_path((key,)), len(bindings), needs, mode)
            params = {**params, key: escape(taken.source)}  # the engine will read it for references once more
            bindings |= taken.bindings
        return _Program(params, bindings, untrusted, done)

    def _take_out(self, source: str, path: Path, first: int, needs: dict[str, None], mode: Mode) -> Taken:
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
                    self._references.check(reference, path, needs)
        for problem in check_source(taken.source, taken.bindings, mode):
            self._findings.error(path, problem.message, text_line=problem.line, offset=problem.offset)
        return taken

    def _means_something(self, reference: Reference) -> bool:
        """Of `{{ … }}` in source code only what names a task or a namespace is a reference; Python has braces too."""
        return not reference.mustache or self._references.is_known(reference)

    def _check_references(self, draft: TaskDraft, program: "_Program", needs: dict[str, None]) -> None:
        params = {key: value for key, value in program.params.items() if key not in program.done}
        for steps, value in _with_paths(params):
            if isinstance(value, str):
                self._references.text(value, draft.param_path(steps), needs)
            if steps and isinstance(steps[-1], str) and "${" in steps[-1]:
                message = "a reference cannot stand in a key, only in a value"
                self._findings.error(draft.param_path(steps), message, at_key=True)

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
                    self._references.text(inner, (*at, *steps), {})
        return outputs


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
    if problem.keyword == "additionalProperties":
        return f"'{show_path(problem.path[:-1])}' has no key '{problem.path[-1]}'"
    if not problem.path:
        return f"{schema.name}: {problem.message}"
    return f"'{problem.path[-1]}' {problem.message}" if isinstance(problem.path[-1], str) else problem.message
