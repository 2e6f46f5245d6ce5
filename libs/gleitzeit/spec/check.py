"""From a document to a checked definition, with all problems at once.

the whole document's bounds -> its keys -> each task by itself -> references between tasks -> cycles
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import CircularDependency
from gleitzeit.model.definition import (
    CachePolicy,
    Concurrency,
    Definition,
    ErrorPolicy,
    Priority,
    RetryPolicy,
    TaskDefinition,
)
from gleitzeit.schemas import Catalogue
from gleitzeit.spec.environment import with_env
from gleitzeit.spec.files.subworkflows import complaint, is_file
from gleitzeit.spec.findings import Fields, Findings
from gleitzeit.spec.foreign import OF_A_WORKFLOW
from gleitzeit.spec.inputs import check_given, read_inputs
from gleitzeit.spec.legacy import modern
from gleitzeit.spec.linking.graph import find_cycles
from gleitzeit.spec.linking.linked_flow import with_late_ones
from gleitzeit.spec.linking.linking import Linker
from gleitzeit.spec.linking.reference_checks import ReferenceChecks
from gleitzeit.spec.linking.unseen import warn_of_unseen_failures
from gleitzeit.spec.loading.scalars import in_curly_quotes
from gleitzeit.spec.problems import Path, Problem
from gleitzeit.spec.references.assertions import with_gates
from gleitzeit.spec.tasks.concurrency import read_concurrency
from gleitzeit.spec.tasks.defaults import read_defaults
from gleitzeit.spec.tasks.flow import Trigger
from gleitzeit.spec.tasks.handlers import read_handlers, timeout_of
from gleitzeit.spec.tasks.names import Names
from gleitzeit.spec.tasks.settings import DEFAULT_ATTEMPTS, ERROR_POLICIES, RETRYING_POLICIES, read_priority
from gleitzeit.spec.tasks.spending import read_budget
from gleitzeit.spec.tasks.task_draft import TaskDraft
from gleitzeit.spec.tasks.tasks import TaskReader

LIMIT_TASKS: Final = 100_000
LIMIT_DEPTH: Final = 64

WORKFLOW_KEYS: Final = frozenset(
    {
        "id",
        "name",
        "description",
        "version",
        "tasks",
        "metadata",
        "tags",
        "priority",
        "timeout",
        "max_parallel",
        "max_parallel_tasks",
        "wait_for_completion",
        "providers",
        "parameters",
        "inputs",
        "env",
        "config",
        "error_policy",
        "error_strategy",
        "execution_mode",
        "outputs",
        "unresolved",
        "budget",
        "concurrency",
        "defaults",
        "always",
        "on_failure",
    }
)

_UNRESOLVED: Final[Mapping[str, Literal["fail", "keep"]]] = {"fail": "fail", "keep": "keep"}
_LAST: Final[Mapping[Trigger, str]] = {"always": "always", "failure": "on_failure"}
_LONGEST_SHOWN_CYCLE: Final = 100
_ONCE: Final = RetryPolicy()


class Checked(Struct, frozen=True):
    """`definition` is None if and only if one of `problems` is an error."""

    definition: Definition | None
    problems: tuple[Problem, ...]


def check(
    document: object,
    catalogue: Catalogue,
    *,
    strict_methods: bool = True,
    inputs: Mapping[str, object] | None = None,
) -> Checked:
    """Check the value of a document (what JSON can hold) and bring it into its normal form. Never raises.

    `inputs` are those of a submit, so that a reference to a missing one is found; None where they are not known yet.
    Without `strict_methods` an unknown method of a known protocol is only a warning.
    """
    findings = Findings()
    if complaint := _unfit(document):
        findings.error((), complaint)
        return Checked(None, findings.listed())
    definition = _Check(catalogue, findings, inputs, strict_methods=strict_methods).run(document)
    return Checked(None if findings.has_errors else definition, findings.listed())


def _unfit(document: object) -> str:
    """What makes a value no document at all: everything behind may rely on JSON of bounded depth."""
    try:
        encoded = msgspec.json.encode(document)
    except (TypeError, ValueError, RecursionError) as error:
        return f"the document cannot be written as JSON: {error}"
    if encoded.count(b"[") + encoded.count(b"{") <= LIMIT_DEPTH:
        return ""
    return f"the document is nested deeper than {LIMIT_DEPTH}" if _is_deeper(document, LIMIT_DEPTH) else ""


def _is_deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [inner for one in level for inner in _inside(one) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _inside(container: object) -> Any:
    return container.values() if isinstance(container, dict) else container if isinstance(container, list) else ()


class _Check:
    """The check of one document."""

    def __init__(
        self,
        catalogue: Catalogue,
        findings: Findings,
        inputs: Mapping[str, object] | None,
        *,
        strict_methods: bool,
        depth: int = 0,
    ) -> None:
        self._findings = findings
        self._inputs = inputs
        self._reader = TaskReader(catalogue, findings, strict_methods=strict_methods)
        self._within = catalogue, findings, None
        self._strict, self._depth = strict_methods, depth

    def run(self, document: object, path: Path = ()) -> Definition | None:
        """`path` is where the document stands, if it is part of another one."""
        raw = document
        if isinstance(document, dict) and len(document) == 1 and "workflow" in document:
            raw, path = document["workflow"], (*path, "workflow")
        if isinstance(raw, dict):
            raw = modern(raw)
            raw = {**raw, "tasks": with_gates(raw["tasks"])} if "tasks" in raw else raw
        if not isinstance(raw, dict):
            empty = "the document is empty; " if raw is None else ""
            self._findings.error(path, f"{empty}a workflow is a map with 'name' and 'tasks'")
            return None
        fields = Fields(raw, path, self._findings)
        fields.check_keys(WORKFLOW_KEYS, "a workflow", OF_A_WORKFLOW)
        self._reader.defaults = read_defaults(fields, self._within[0])
        drafts = self._read_tasks(fields)
        for trigger, key in _LAST.items():
            drafts += self._read_last(fields, key, trigger, len(drafts))
        return self._finish(fields, drafts)

    def _read_last(self, fields: Fields, key: str, trigger: Trigger, number: int) -> list[TaskDraft]:
        """The tasks that run at the end: a list like `tasks`."""
        raw = fields.raw.get(key)
        if raw is None:
            return []
        if not isinstance(raw, list):
            fields.wrong(key, f"'{key}' is a list of tasks that run at the end")
            return []
        listed = ((task, (*fields.at(key), index)) for index, task in enumerate(raw))
        read = (
            self._reader.read(task, path, number=number + n, trigger=trigger)
            for n, (task, path) in enumerate(listed, 1)
        )
        return [draft for draft in read if draft is not None]

    def _read_tasks(self, fields: Fields) -> list[TaskDraft]:
        raw = fields.raw.get("tasks")
        if isinstance(raw, dict):  # a map of very early versions: id -> task
            listed = [((*fields.at("tasks"), key), key, task) for key, task in raw.items()]
        elif isinstance(raw, list):
            listed = [((*fields.at("tasks"), index), None, task) for index, task in enumerate(raw)]
        else:
            if raw is not None or not fields.attempted("tasks"):
                at = fields.at("tasks") if "tasks" in fields.raw else fields.path
                self._findings.error(at, "a workflow needs a list of 'tasks'")
            return []
        if not listed:
            fields.wrong("tasks", "a workflow needs at least one task")
        if len(listed) > LIMIT_TASKS:
            fields.wrong("tasks", f"{len(listed)} tasks; a workflow has at most {LIMIT_TASKS}")
            return []
        drafts = (self._reader.read(task, path, number=n, key=key) for n, (path, key, task) in enumerate(listed, 1))
        return [draft for draft in drafts if draft is not None]

    def _finish(self, fields: Fields, drafts: list[TaskDraft]) -> Definition:
        config = fields.mapping("config")
        declared = read_inputs(fields)
        parameters = declared.defaults
        env = fields.mapping("env")
        unresolved = fields.choice("unresolved", _UNRESOLVED) or "fail"
        names = Names(drafts, self._findings)
        references = ReferenceChecks(
            names,
            self._findings,
            parameters={**parameters, **(self._inputs or {})},
            inputs_known=self._inputs is not None,
            config=config,
            env=env,
            keep_unresolved=unresolved == "keep",
        )
        linker = Linker(names, self._findings, references)
        outputs = linker.outputs(fields.mapping("outputs"), fields.at("outputs")) if drafts else {}
        policy, retry = self._error_policy(fields, config)
        handlers = read_handlers(Fields(config, fields.at("config"), self._findings))
        priority = read_priority(fields)
        tasks = [self._task(draft, linker, priority, retry, timeout_of(handlers, draft)) for draft in drafts]
        self._refuse_cycles(drafts, tasks)
        warn_of_unseen_failures(drafts, names, policy, self._findings)
        if drafts and self._inputs:
            references.check_inputs(self._inputs, parameters, fields.at(fields.first("parameters", "inputs") or ""))
        if self._inputs is not None:
            declared.check(self._inputs, self._findings)
        name = self._name(fields)
        return Definition(
            name=name,
            tasks=with_late_ones(tasks, [draft.id for draft in drafts if draft.flow.last]),
            description=fields.text("description"),
            version=fields.text("version"),
            error_policy=policy,
            timeout_seconds=self._timeout(fields, config),
            max_parallel=self._max_parallel(fields, config),
            priority=priority or Priority.NORMAL,
            parameters=Raw(msgspec.json.encode(declared.with_env(env, self._inputs or {}, self._findings))),
            inputs=declared.raw,
            config=Raw(
                msgspec.json.encode(
                    with_env(config, env, Fields(config, fields.at("config"), self._findings).at, self._findings)
                )
            ),
            env=env,
            unresolved=unresolved,
            outputs=outputs,
            wait_for_completion=bool(fields.flag("wait_for_completion")),
            tags=tuple(text for _, text in fields.texts("tags")),
            metadata=self._metadata(fields),
            concurrency=self._concurrency(fields, references, name),
            budget=read_budget(fields),
            breakers={name: one.breaker for name, one in handlers.items() if one.breaker is not None},
        )

    def _task(
        self,
        draft: TaskDraft,
        linker: Linker,
        priority: Priority | None,
        retry: RetryPolicy | None,
        timeout_seconds: float | None,
    ) -> TaskDefinition:
        linked = linker.link(draft)
        return TaskDefinition(
            id=draft.id,
            method=draft.method,
            params=linked.params,
            name=draft.name,
            description=draft.description,
            dependencies=linked.dependencies,
            references=linked.references,
            bindings=linked.bindings,
            untrusted=linked.untrusted,
            priority=draft.priority or priority or Priority.NORMAL,
            retry=draft.retry or retry or _ONCE,
            timeout_seconds=timeout_seconds,
            queue_timeout_seconds=draft.queue_timeout_seconds,
            on_error=draft.on_error,
            on_lost=draft.on_lost,
            tags=draft.tags,
            metadata=draft.metadata,
            provider=draft.provider,
            fallback=linked.fallback,
            budget=draft.budget,
            cache=CachePolicy(draft.cache.ttl_seconds, draft.cache.key) if draft.cache is not None else None,
            concurrency=draft.concurrency,
            workflow=self._child(draft),
            when=linked.flow.when,
            for_each=linked.flow.for_each,
            switch=linked.flow.switch,
            until=linked.flow.until,
            trigger=draft.flow.trigger,
            undo=self._undo(draft, linker, priority),
        )

    def _undo(self, draft: TaskDraft, linker: Linker, priority: Priority | None) -> TaskDefinition | None:
        undo = draft.undo
        if undo is None:
            return None
        linked = linker.link_undo(draft, undo)
        return TaskDefinition(
            id=f"{draft.id}[undo]",
            method=undo.method,
            params=linked.params,
            description=undo.description,
            references=linked.references,
            bindings=linked.bindings,
            untrusted=linked.untrusted,
            priority=undo.priority or draft.priority or priority or Priority.NORMAL,
            retry=undo.retry or _ONCE,
            timeout_seconds=undo.timeout_seconds,
            queue_timeout_seconds=undo.queue_timeout_seconds,
            on_lost=undo.on_lost,
            tags=undo.tags,
            provider=undo.provider,
            budget=undo.budget,
        )

    def _concurrency(self, fields: Fields, references: ReferenceChecks, name: str) -> Concurrency | None:
        limit = read_concurrency(fields, name)
        if limit is not None:
            needs: dict[str, None] = {}
            references.text(limit.key, fields.at("concurrency"), needs)
            if needs:
                message = "the key of a workflow cannot depend on its tasks; inputs and parameters are known before"
                self._findings.error(fields.at("concurrency"), message)
        return limit

    def _child(self, draft: TaskDraft) -> Definition | None:
        """The workflow that the task runs; None for a name, which who knows it puts the workflow in the place of."""
        if draft.workflow is None:
            return None
        path, written = draft.workflow
        if complaint(written, self._findings, path, self._depth + 1):
            return None
        if isinstance(written, str):
            message = f"the template '{written}' cannot be looked up here; the coordinator will, when it is submitted"
            if is_file(written):
                message = f"the file '{written}' is read where its author is, by gz or the Python client"
            self._findings.warning(path, message)
            return None
        child = _Check(*self._within, depth=self._depth + 1, strict_methods=self._strict).run(written, path)
        if child is not None:
            check_given(child.inputs, draft.params.get("inputs"), draft.param_path(("inputs",)), self._findings)
        return child

    def _refuse_cycles(self, drafts: list[TaskDraft], tasks: list[TaskDefinition]) -> None:
        paths = {draft.id: draft.path for draft in drafts}
        for cycle in find_cycles({task.id: task.dependencies for task in tasks}):
            first = min(range(len(cycle)), key=lambda at: cycle[at])
            turned = [*cycle[first:], *cycle[:first], cycle[first]]
            if len(turned) > _LONGEST_SHOWN_CYCLE:
                half = _LONGEST_SHOWN_CYCLE // 2
                turned = [*turned[:half], f"({len(turned) - 2 * half} more)", *turned[-half:]]
            message = f"these tasks wait for each other: {' → '.join(turned)}"
            if len(cycle) == 1:
                message = f"task '{cycle[0]}' waits for itself"
            self._findings.error(paths[cycle[first]], message, code=CircularDependency.code)

    def _name(self, fields: Fields) -> str:
        name = fields.text("name") or fields.text("id")
        if not name and not fields.attempted("name", "id"):
            self._findings.error(fields.path, "a workflow needs a 'name'")
        elif name.isspace():
            key = "name" if fields.text("name") else "id"
            fields.wrong(key, f"the {key} of a workflow must not be empty")
        elif in_curly_quotes(name):
            told = f"the name has {name[0]} and {name[-1]} around it, which are letters of it: quotes are \" or '"
            self._findings.warning(fields.at("name" if fields.text("name") else "id"), told)
        return name

    def _error_policy(self, fields: Fields, config: Mapping[str, Any]) -> tuple[ErrorPolicy, RetryPolicy | None]:
        """The policy, and how tasks are tried that do not say it themselves."""
        key = fields.first("error_policy", "error_strategy")
        if key is not None:
            policy = fields.choice(key, ERROR_POLICIES) or "isolate"
            retrying = str(fields.raw[key]).lower() in RETRYING_POLICIES
            return policy, RetryPolicy(max_attempts=DEFAULT_ATTEMPTS) if retrying else None
        go_on = Fields(config, fields.at("config"), self._findings).flag("continue_on_error")
        return "isolate" if go_on is None else "continue" if go_on else "fail_fast", None

    def _timeout(self, fields: Fields, config: Mapping[str, Any]) -> float | None:
        within = Fields(config, fields.at("config"), self._findings)
        return fields.duration("timeout") or within.duration("timeout")

    def _max_parallel(self, fields: Fields, config: Mapping[str, Any]) -> int | None:
        within = Fields(config, fields.at("config"), self._findings)
        most = fields.whole("max_parallel", 1, LIMIT_TASKS) or fields.whole("max_parallel_tasks", 1, LIMIT_TASKS)
        mode = fields.choice("execution_mode", {"parallel": "parallel", "sequential": "sequential"})
        return 1 if mode == "sequential" else most or within.whole("max_parallel", 1, LIMIT_TASKS)

    def _metadata(self, fields: Fields) -> dict[str, object]:
        """With what is for information only: the `id` of the document and the `providers` it asks for."""
        metadata = dict(fields.mapping("metadata"))
        if document_id := fields.text("id"):
            metadata["id"] = document_id
        if (providers := fields.raw.get("providers")) is not None:
            metadata["required_providers"] = providers
        return metadata
