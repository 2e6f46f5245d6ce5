"""What the references and conditions of one document's tasks mean, and what is wrong with them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from gleitzeit.errors import ParameterError
from gleitzeit.model.secrets import NAME
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.foreign import RESULTS
from gleitzeit.spec.linking.schema_paths import missing_key, result_of_child
from gleitzeit.spec.problems import Path
from gleitzeit.spec.references import expressions
from gleitzeit.spec.references.references import (
    BUILT_INS,
    GONE,
    NAMESPACES,
    SECRETS,
    Reference,
    Unreadable,
    each_of,
    has_places,
    parse,
)
from gleitzeit.spec.references.resolution import other_base, split_base
from gleitzeit.spec.tasks.names import Names
from gleitzeit.spec.tasks.own_names import OF_ITEMS, OF_ROUNDS, Keys, misread, where_seen
from gleitzeit.spec.tasks.task_draft import TaskDraft

_WORKFLOW_FACTS: Final = ("id", "name", "timestamp", "variables")
_OUTCOME: Final = ("status", "error")
_FAILURE: Final = ("message", "name", "code", "task")
"""Of `${workflow.error}`."""
_RESULT_OF_SWITCH: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"value": {}, "case": {}, "tasks": {}},
    "additionalProperties": False,
}


class ReferenceChecks:
    """What a text or a condition reads is added to `needs`, the ids of tasks; what is wrong with it, to the findings.

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
        self.at_the_end = False
        """It runs when the outcome of the workflow is known."""
        self.last_read: tuple[Reference, ...] = ()
        """The references of the last condition."""
        self._for_provider = False
        """What is looked at now goes to a provider as it is, which may put secrets in."""
        self._may_be_missing = False
        """What is looked at now has a default."""
        self._inputs_read: set[str] = set()
        self._all_inputs_read = False

    @contextmanager
    def seeing(self, names: dict[str, Keys]) -> Iterator[None]:
        """Meanwhile these names stand for something, too."""
        outer, self._seen = self._seen, names
        yield
        self._seen = outer

    @contextmanager
    def for_provider(self, it_is: bool = True) -> Iterator[None]:
        """Meanwhile a text may have `${secrets.NAME}`, or with False may not."""
        outer, self._for_provider = self._for_provider, it_is
        yield
        self._for_provider = outer

    def complain(self, path: Path, message: str) -> None:
        self._findings.error(path, message)

    def warn(self, path: Path, message: str) -> None:
        self._findings.warning(path, message)

    def tasks_called(self, written: Sequence[tuple[Path, str]]) -> tuple[str, ...]:
        """Their ids."""
        return tuple(dict.fromkeys(found for one in written if (found := self.task_called(*one, "to run"))))

    def task_called(self, path: Path, name: str, purpose: str) -> str | None:
        """Its id; None after a complaint."""
        if (task_id := self._names.ids.get(name)) is not None:
            return task_id
        if name in self._names.ambiguous:
            self._findings.error(path, f"several tasks have the name '{name}'; say the id")
        else:
            suggestion = self._findings.near(name, self._names.ids)
            self._findings.error(path, f"there is no task '{name}' {purpose}", suggestion)
        return None

    def condition(self, text: str, path: Path, needs: dict[str, None], *, result_of: str = "") -> str:
        """The normal form of a condition; what it reads is added to `needs`. "" after a complaint.

        Where no task is called so, `result` is that of the task `result_of`.
        """
        try:
            self.last_read = ()
            if result_of and "result" not in self._names.ids and "result" not in self._parameters:
                text = expressions.with_base(text, "result", f"{result_of}.result", self._names.odd)
            self.last_read = expressions.read(text, self._names.odd)
            spare = expressions.dispensable(text, self._names.odd, is_value=False)
            self._check_each(self.last_read, spare, path, needs)
            return expressions.normal(text, self._names.odd)
        except expressions.Unreadable as error:
            line_start = text.rfind("\n", 0, error.offset) + 1
            line = text[line_start:].split("\n", 1)[0]
            needle, offset = line.strip() or text, error.offset - line_start - (len(line) - len(line.lstrip()))
            self._findings.error(path, error.message, needle=needle, offset=max(0, offset))
            return ""

    def is_known(self, reference: Reference) -> bool:
        """Whether it names a task, a namespace or an input."""
        if reference.base in self._seen or split_base(reference, self._names.ids) is not None:
            return True
        return reference.base in NAMESPACES or reference.base in BUILT_INS or reference.base in self._parameters

    def text(self, text: str, path: Path, needs: dict[str, None]) -> None:
        """Check all references in it."""
        if not has_places(text):
            return
        try:
            parts = parse(text)
        except ParameterError:
            self._check_unreadable(text, path, needs)
            return
        for part in parts:
            if isinstance(part, Reference):
                self.check(part, path, needs)

    def _check_unreadable(self, text: str, path: Path, needs: dict[str, None]) -> None:
        for piece in each_of(text):
            if isinstance(piece, Unreadable):
                self._findings.error(path, piece.message, needle=piece.source)
            else:
                self.check(piece, path, needs)

    def check(self, reference: Reference, path: Path, needs: dict[str, None]) -> None:
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
        elif reference.base == SECRETS:
            self._check_secret(reference, path)
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
        spare = expressions.dispensable(reference.text, self._names.odd)
        with self.for_provider(False):
            self._check_each(inner, spare, path, needs)

    def _check_each(
        self, read: Iterable[Reference], spare: Collection[Reference], path: Path, needs: dict[str, None]
    ) -> None:
        """Of one expression; those that are `spare` may stand for nothing."""
        for one in read:
            self._may_be_missing = one in spare
            self.check(one, path, needs)
        self._may_be_missing = False

    def _check_secret(self, reference: Reference, path: Path) -> None:
        if len(reference.path) != 1 or NAME.fullmatch(reference.path[0]) is None:
            message = "a secret has a name of letters, digits and '_', as in '${secrets.API_KEY}'"
        elif not self._for_provider:
            message = "only the provider knows it: it can stand in the params of a call, alone or within a text"
        else:
            return
        self._findings.error(path, f"{reference.source}: {message}", needle=reference.source)

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
            if not steps:
                self._findings.error(path, f"{reference.source} names no variable; say one, as ${{env.HOME}}", **where)
            elif reference.default is None and ".".join(steps) not in self._env and not self._may_be_missing:
                message = f"environment variable '{'.'.join(steps)}' is not set where this is submitted"
                self._complain(path, f"{reference.source}: {message}", **where)
        elif base == "workflow":
            if name in _OUTCOME and not self.at_the_end:
                message = f"{reference.source}: known only at the end, in a task that runs 'always' or 'on_failure'"
                self._findings.error(path, message, **where)
            elif name == "error" and steps[1:] and steps[1] not in _FAILURE:
                message = f"{reference.source}: the error has no '{steps[1]}', only {', '.join(_FAILURE)}"
                self._complain(path, message, self._findings.near(steps[1], _FAILURE), **where)
            elif name and name not in _WORKFLOW_FACTS and name not in _OUTCOME:
                suggestion = self._findings.near(name, _WORKFLOW_FACTS)
                self._complain(path, f"{reference.source}: a workflow has no '{name}'", suggestion, **where)
        elif base == "config":
            if name and name not in self._config and not self._may_be_missing:
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

    def _check_input(self, reference: Reference, path: Path, name: str) -> None:
        suggestion = self._findings.near(name, self._parameters)
        if self._may_be_missing:
            if suggestion:
                message = f"{reference.source}: no input '{name}' is declared; what stands behind '||' is taken"
                self._findings.warning(path, message, suggestion, needle=reference.source)
        elif self._inputs_known:
            message = f"{reference.source}: there is no input and no parameter '{name}'"
            self._complain(path, message, suggestion, needle=reference.source)
        else:
            message = f"{reference.source}: no input '{name}' is declared; every submit must bring it"
            self._findings.warning(path, message, suggestion, needle=reference.source)

    def _check_unknown(self, reference: Reference, path: Path) -> None:
        base = reference.base
        elsewhere = self._as_result_hint(reference)
        others = (*NAMESPACES, SECRETS) if reference.path else BUILT_INS
        suggestion = "" if elsewhere else self._findings.near(base, [*self._names.ids, *self._parameters, *others])
        if reference.mustache:
            if suggestion or elsewhere:
                message = f"'{reference.source}' names no task and stays the text it is{elsewhere}"
                self._findings.warning(path, message, suggestion, needle=reference.source)
            return
        if base in self._names.ambiguous:
            message, suggestion = f"{reference.source}: several tasks have the name '{base}'; say the id", ""
        elif base in GONE:
            message, suggestion = f"{reference.source} is of an earlier version: {GONE[base]}", ""
        elif base in OF_ITEMS or base in OF_ROUNDS:
            message, suggestion = f"{reference.source}: {misread(base)}", ""
        else:
            hint = elsewhere or ("" if suggestion else _as_text_hint(reference))
            message = f"{reference.source}: there is no task '{base}'{hint}"
        self._complain(path, message, suggestion, needle=reference.source)

    def _as_result_hint(self, reference: Reference) -> str:
        """For those who are used to another engine's way to a result, and have such a task."""
        task = reference.path[0] if reference.base in RESULTS and reference.path else ""
        return f"; the result of a task is read as '${{{task}.…}}'" if task in self._names.ids else ""

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


def _within_items(steps: tuple[str, ...]) -> tuple[str, ...]:
    """What a path into the results of a `for_each` means in one of them."""
    while len(steps) > 1 and steps[0] == "result":
        steps = steps[1:]
    return steps[1:] if steps and steps[0].isdigit() else steps


def _as_text_hint(reference: Reference) -> str:
    if "{" in reference.source:
        return f"; to write it as text: '${reference.source}'"
    return f"; a text stands in quotes: '{reference.source}'" if not reference.path else ""
