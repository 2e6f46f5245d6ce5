"""One task of a document, read: every spelling reduced to one, nothing yet about other tasks."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from gleitzeit.model.definition import Budget, Concurrency, OnLost, Priority, RetryPolicy
from gleitzeit.schemas import RUNS_IN_COORDINATOR, Catalogue, MethodSchema
from gleitzeit.spec import commands, inner_tasks, mcp
from gleitzeit.spec.concurrency import read_concurrency
from gleitzeit.spec.defaults import Defaults
from gleitzeit.spec.findings import Fields, Findings
from gleitzeit.spec.flow import FLOW_KEYS, FlowDraft, Trigger, read_flow
from gleitzeit.spec.foreign import OF_A_TASK, TYPES
from gleitzeit.spec.legacy import TASK_TYPES, without_placement
from gleitzeit.spec.names import WORDS, is_reserved
from gleitzeit.spec.problems import Path
from gleitzeit.spec.settings import DEFAULT_ATTEMPTS, read_priority, read_retry
from gleitzeit.spec.spending import CacheDraft, read_budget, read_cache

LONGEST_NAME: Final = 200
SWITCH: Final = "flow/switch"
"""In place of a method, of a task that chooses between others."""

TASK_KEYS: Final = frozenset(
    {
        "id",
        "name",
        "description",
        "protocol",
        "method",
        "type",
        "provider",
        "params",
        "parameters",
        "code",
        "dependencies",
        "depends_on",
        "priority",
        "timeout",
        "queue_timeout",
        "retry",
        "retry_config",
        "max_retries",
        "on_error",
        "on_lost",
        "tags",
        "metadata",
        "signal_action",
        "signal_name",
        "signal_names",
        "payload",
        "target_workflows",
        "target_workflow",
        "workflow",
        "inputs",
        "approval",
        "fallback",
        "budget",
        "cache",
        "concurrency",
        *FLOW_KEYS,
    }
)

_TYPES: Final = {
    "python": "python/execute",
    "llm": "llm/chat",
    "mcp": "",
    "echo": "echo/echo",
    "timer": "timer/sleep",
    "signal": "signal/wait",
    "approval": "approval/ask",
    "workflow": "workflow/run",
    "http": "http/request",
    "shell": "shell/exec",
    "validation": "validation/evaluate",
}
_PROVIDERS: Final = {"ollama": "llm", "python": "python", "mcp": "mcp", "echo": "echo"}
_FAMILIES: Final = frozenset({"mcp"})
"""As a `provider` they say the protocol alone: no provider process has that name."""

_FOREIGN: Final = {**OF_A_TASK, "task_type": f"say 'method'; those of earlier versions were {', '.join(TASK_TYPES)}"}

MOST_ALTERNATIVES: Final = 20
_FALLBACK_KEYS: Final = frozenset({"model", "method", "params", "provider"})

_UNDO_KEYS: Final = frozenset(
    {
        "description", "protocol", "method", "type", "provider", "params", "parameters", "code", "priority", "timeout",
        "queue_timeout", "retry", "retry_config", "max_retries", "on_lost", "tags", "budget",
    }
)  # fmt: skip

_ON_ERROR: Final[Mapping[str, Literal["fail", "skip", "retry"]]] = {"fail": "fail", "skip": "skip", "retry": "retry"}
_ON_LOST: Final[Mapping[str, OnLost]] = {"retry": "retry", "fail": "fail", "ask": "ask"}

_FORBIDDEN_IN_ID = re.compile(r"""[{}\[\]$"\x00-\x1f\x7f\ud800-\udfff]""")


class TaskDraft:
    """A task whose own keys are read. `params` is the author's, its aliases resolved; `param_paths` says where each
    param stands; `needs` are the declared dependencies as written (ids or names) with the place of each."""

    __slots__ = (
        "budget",
        "cache",
        "concurrency",
        "description",
        "fallback",
        "flow",
        "id",
        "id_key",
        "label",
        "metadata",
        "method",
        "name",
        "needs",
        "on_error",
        "on_lost",
        "param_paths",
        "params",
        "params_path",
        "path",
        "priority",
        "provider",
        "queue_timeout_seconds",
        "retry",
        "schema",
        "tags",
        "timeout_seconds",
        "undo",
        "workflow",
    )

    id: str
    id_key: str
    name: str
    description: str
    method: str
    schema: MethodSchema | None
    params: dict[str, Any]
    params_path: Path
    param_paths: dict[str, Path]
    needs: list[tuple[Path, str]]
    path: Path
    priority: Priority | None
    retry: RetryPolicy | None
    timeout_seconds: float | None
    queue_timeout_seconds: float | None
    on_error: Literal["fail", "skip"]
    on_lost: OnLost
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    provider: str
    budget: Budget | None
    cache: CacheDraft | None
    concurrency: Concurrency | None
    workflow: tuple[Path, Any] | None
    """What a task of workflow/run runs, as written, and where it stands."""
    fallback: list["TaskDraft"]
    """Each is the task with another call, which `label` is a word for; only what makes the call is set in them."""
    label: str
    flow: FlowDraft
    undo: "TaskDraft | None"

    def param_path(self, steps: Path) -> Path:
        """Where a param, or a part of one, stands in the document."""
        if steps and steps[0] in self.param_paths:
            return (*self.param_paths[str(steps[0])], *steps[1:])
        return (*self.params_path, *steps)


class TaskReader:
    """Reads tasks by what the `catalogue` knows. With `strict_methods` a known protocol must have the method."""

    def __init__(self, catalogue: Catalogue, findings: Findings, *, strict_methods: bool) -> None:
        self._catalogue = catalogue
        self._findings = findings
        self._strict_methods = strict_methods
        self._protocols = frozenset(catalogue.protocols())
        self._warned: set[str] = set()
        self.defaults = Defaults()

    def read(
        self, raw: object, path: Path, *, number: int, key: str | None = None, trigger: Trigger = "success"
    ) -> TaskDraft | None:
        """`number` counts from 1; `key` is the task's id where tasks are a map; `trigger` is that of a list of tasks
        that run at the end. None for what is no task at all."""
        if not isinstance(raw, dict):
            self._findings.error(path, "a task must be a map")
            return None
        fields = Fields(raw, path, self._findings)
        if not raw.keys() <= TASK_KEYS:
            fields.check_keys(TASK_KEYS, "a task", _FOREIGN)
        draft = TaskDraft()
        draft.path = path
        self._identify(draft, fields, key or f"task-{number}")
        draft.flow = read_flow(fields, trigger)
        self._read_params(draft, fields)
        self._read_method(draft, fields)
        self.defaults.add_params(draft)
        draft.params = without_placement(draft.method, draft.params, self._findings, draft.param_path)
        if draft.method.startswith(commands.PROTOCOL):
            draft.params = commands.read_commands(draft.params, self._findings, draft.params_path)
        draft.description = fields.text("description")
        draft.needs = [*fields.texts("dependencies"), *fields.texts("depends_on")]
        draft.tags = tuple(text for _, text in fields.texts("tags"))
        draft.metadata = self._metadata(fields)
        self._read_policy(draft, fields)
        draft.provider = "" if (name := fields.text("provider")) in _FAMILIES else name
        draft.workflow = None
        inner_tasks.complete(draft, fields.raw.get("method"), self._findings)
        draft.budget, draft.cache = read_budget(fields), read_cache(fields)
        draft.concurrency = read_concurrency(fields, draft.method)
        draft.fallback = self._read_fallback(draft, fields) if fields.raw.get("fallback") is not None else []
        self.defaults.complete(draft, fields)
        draft.undo = self._read_undo(draft, fields) if fields.raw.get("undo") is not None else None
        self._check_inner(draft, fields)
        return draft

    def _read_undo(self, draft: TaskDraft, fields: Fields) -> TaskDraft | None:
        """A call like that of a task, which is made when the workflow fails or is cancelled after this one."""
        raw, path = fields.raw["undo"], fields.at("undo")
        if not isinstance(raw, dict):
            fields.wrong("undo", "'undo' is a call: a map with 'method' and 'params'")
            return None
        Fields(raw, path, self._findings).check_keys(_UNDO_KEYS, "an undo")
        kept = {key: value for key, value in raw.items() if key in _UNDO_KEYS}
        undo = self.read(kept, path, number=0, key=draft.id)
        if undo is not None and undo.workflow is not None:
            self._findings.error(path, "an undo is one call: a workflow cannot be run to undo a task")
        if undo is not None and undo.retry is None:
            undo.retry = RetryPolicy(max_attempts=DEFAULT_ATTEMPTS)
        return undo

    def _check_inner(self, draft: TaskDraft, fields: Fields) -> None:
        """A method that runs in the coordinator makes no call."""
        if draft.schema is None or draft.schema.runs != RUNS_IN_COORDINATOR:
            return
        draft.provider = ""
        for key in ("cache", "fallback"):
            if fields.raw.get(key):
                message = f"'{key}' has no meaning for {draft.method}, which calls no provider"
                self._findings.error(fields.at(key), message, at_key=True)

    def _read_fallback(self, draft: TaskDraft, fields: Fields) -> list[TaskDraft]:
        raw = fields.raw["fallback"]
        listed = raw if isinstance(raw, list) else [raw]
        if not listed or len(listed) > MOST_ALTERNATIVES:
            fields.wrong("fallback", f"'fallback' is a list of 1 to {MOST_ALTERNATIVES} alternatives")
            return []
        paths = [(*fields.at("fallback"), index) if isinstance(raw, list) else fields.at("fallback")
                 for index in range(len(listed))]  # fmt: skip
        read = (self._read_alternative(draft, one, path) for one, path in zip(listed, paths, strict=True))
        return [other for other in read if other is not None]

    def _read_alternative(self, draft: TaskDraft, raw: object, path: Path) -> TaskDraft | None:
        if isinstance(raw, str) and raw:
            other = self._other_call(draft, path)
            other.params = {**other.params, "model": raw}
            other.param_paths["model"] = path
            other.label = raw
            return other
        if not isinstance(raw, dict) or not raw:
            message = "an alternative is the name of a model, or a map with 'model', 'method', 'params' or 'provider'"
            self._findings.error(path, message)
            return None
        fields = Fields(raw, path, self._findings)
        fields.check_keys(_FALLBACK_KEYS, "an alternative")
        other = self._other_call(draft, path)
        if method := fields.text("method"):
            self._other_method(other, method, fields)
        params = fields.mapping("params")
        if other.method != draft.method and params:  # another method wants other params
            other.params, other.param_paths = dict(params), {}
        else:
            other.params = {**other.params, **params}
        other.param_paths |= {key: (*other.params_path, key) for key in params}
        if model := fields.text("model"):
            other.params["model"] = model
            other.param_paths["model"] = fields.at("model")
        other.provider = fields.text("provider") or ("" if other.method != draft.method else draft.provider)
        what = model or (other.method if other.method != draft.method or not other.provider else "")
        other.label = " at ".join(word for word in (what, fields.text("provider")) if word)
        return other

    def _other_call(self, draft: TaskDraft, path: Path) -> TaskDraft:
        """The call of the task itself, to be changed."""
        other = TaskDraft()
        other.path, other.id, other.provider, other.flow = path, draft.id, draft.provider, draft.flow
        other.method, other.schema = draft.method, draft.schema
        other.params, other.params_path = dict(draft.params), (*path, "params")
        other.param_paths = {key: draft.param_path((key,)) for key in draft.params}
        return other

    def _other_method(self, other: TaskDraft, method: str, fields: Fields) -> None:
        prefix = "" if "/" in method else other.method.partition("/")[0]
        name = self._full_name(method, prefix, fields)
        if not name:
            return
        other.schema = self._catalogue.get(name)
        other.method = other.schema.name if other.schema is not None else name
        if other.schema is None:
            self._unknown_method(name, fields)

    def _identify(self, draft: TaskDraft, fields: Fields, otherwise: str) -> None:
        draft.name = fields.text("name")
        draft.id = fields.text("id") or draft.name or otherwise
        draft.id_key = "id" if fields.raw.get("id") is not None else "name"
        if is_reserved(draft.id):
            word = draft.id.partition(".")[0]
            why = f"'{word}' is a word of conditions" if word in WORDS else f"${{{word}…}} has a meaning of its own"
            message = f"'{draft.id}' cannot be the id of a task: {why}"
            fields.wrong(draft.id_key, message)
        for key in ("id", "name"):
            text = fields.raw.get(key)
            if isinstance(text, str) and (complaint := _name_complaint(text)):
                fields.wrong(key, f"the {key} of a task {complaint}")
        if draft.name == draft.id:
            draft.name = ""

    def _read_params(self, draft: TaskDraft, fields: Fields) -> None:
        """`params` over `parameters`, and the params that may stand on the task itself."""
        params, others = fields.mapping("params"), fields.mapping("parameters")
        draft.params_path = fields.at("parameters" if others and not params else "params")
        draft.params = params if not others else {**others, **params}
        draft.param_paths = {key: (*fields.at("parameters"), key) for key in others if key not in params}
        inner_tasks.read_params(draft, fields)

    def _read_method(self, draft: TaskDraft, fields: Fields) -> None:
        draft.method, draft.schema = "", None
        if draft.flow.switch is not None:
            draft.method = SWITCH
            if (key := fields.first("method", "type", "protocol")) is not None:
                message = f"a task has a 'switch' or a '{key}', not both"
                self._findings.error(fields.at(key), message, at_key=True)
            return
        if (server := mcp.server_of(fields)) is not None:
            self._read_mcp_method(draft, fields, server)
            return
        method, prefix = fields.text("method"), self._prefix(fields)
        if prefix is None:
            return
        if not method:
            method = self._method_of_type(draft, fields, prefix)
        if not method:
            return
        name = self._full_name(method, prefix, fields)
        if not name:
            return
        draft.schema = self._catalogue.get(name)
        draft.method = draft.schema.name if draft.schema is not None else name
        if draft.schema is None:
            self._unknown_method(name, fields)
        if draft.params.get("batch_mode") and not draft.method.startswith("llm/"):  # their provider expands it
            path = draft.param_path(("batch_mode",))
            message = "'batch_mode' is for methods of llm/v1; 'for_each: {glob: …}' makes a task for each file"
            self._findings.error(path, message, at_key=True)

    def _read_mcp_method(self, draft: TaskDraft, fields: Fields, server: str) -> None:
        """Of mcp/v1, whose methods are spelled in many ways."""
        method = fields.text("method")
        if not method and not isinstance(draft.params.get("tool"), str):
            if not fields.attempted("method"):
                self._findings.error(fields.path, "the task has no 'method', and no 'tool' in its params")
            return
        call = mcp.read_call(server, method, draft.params, self._catalogue)
        if call.inside:
            draft.param_paths |= {key: (*draft.param_path((call.inside,)), key) for key in call.params}
        draft.params = call.params
        draft.schema = self._catalogue.get(call.method)
        draft.method = draft.schema.name if draft.schema is not None else call.method
        if draft.schema is None and not mcp.report_unknown(
            call.method, fields, self._catalogue, self._findings, strict=self._strict_methods
        ):
            self._unknown_method(call.method, fields)

    def _prefix(self, fields: Fields) -> str | None:
        """`python` of `protocol: python/v1`, `type: python`, `provider: python`; "" if none is given, None if wrong."""
        protocol = fields.text("protocol")
        if protocol:
            prefix, _, version = protocol.partition("/")
            if version in ("", "v1") and prefix:
                return prefix
            fields.wrong("protocol", f"protocol '{protocol}' is not supported; a protocol is '<name>/v1'")
            return None
        kind = fields.text("type").lower()
        if kind and kind not in _TYPES:
            elsewhere = f"; {TYPES[kind]}" if kind in TYPES else ""
            suggestion = self._findings.near(kind, _TYPES) if not elsewhere else ""
            fields.wrong("type", f"there is no task type '{kind}'{elsewhere}", suggestion)
            return None
        return kind or _PROVIDERS.get(fields.text("provider").lower(), "")

    def _method_of_type(self, draft: TaskDraft, fields: Fields, prefix: str) -> str:
        if method := inner_tasks.method_of(fields, prefix):
            return method
        if method := _TYPES.get(prefix, ""):
            return method
        keys = ("method", "task_type", *inner_tasks.METHOD_KEYS)
        if not fields.attempted(*keys) and not fields.mistyped("type"):
            self._findings.error(fields.path, "the task has no 'method'")
        return ""

    def _full_name(self, method: str, prefix: str, fields: Fields) -> str:
        """`protocol/method`; bare methods without a protocol are those of python."""
        method = method.strip()
        if method.startswith(f"{prefix}/") or (not prefix and "/" in method):
            return method
        if (own := self._catalogue.get(method)) is not None and "/" not in own.name:
            fields.wrong("method", f"'{method}' is a method of the coordinator; a task cannot call it")
            return ""
        if "/" in method:
            fields.wrong("method", f"method '{method}' does not belong to protocol '{prefix}/v1'")
            return ""
        return f"{prefix or 'python'}/{method}"

    def _unknown_method(self, name: str, fields: Fields) -> None:
        protocol = name.split("/", 1)[0] + "/v1"
        key = "method" if fields.raw.get("method") is not None else "type"
        if protocol in self._protocols:
            own = self._catalogue.names(protocol)
            suggestion = self._same_elsewhere(name) or self._findings.near(name, own) or self._nearest(name)
            report = self._findings.error if self._strict_methods else self._findings.warning
            report(fields.at(key), f"protocol '{protocol}' has no method '{name}'", suggestion)
        elif protocol not in self._warned:
            self._warned.add(protocol)
            suggestion = self._near_protocol(protocol)
            message = f"nobody has described protocol '{protocol}' yet; its tasks wait until a provider does"
            self._findings.warning(fields.at(key), message, suggestion)

    def _same_elsewhere(self, name: str) -> str:
        """`echo`, written bare, was read as `python/echo`: perhaps another protocol has it."""
        bare = name.split("/", 1)[1]
        return next((other for other in self._catalogue.names() if other.split("/", 1)[1] == bare), "")

    def _nearest(self, name: str) -> str:
        return self._findings.near(name, self._catalogue.names())

    def _near_protocol(self, protocol: str) -> str:
        """By the name alone: all versions look alike."""
        near = self._findings.near(protocol.removesuffix("/v1"), [one.removesuffix("/v1") for one in self._protocols])
        return f"{near}/v1" if near else ""

    def _metadata(self, fields: Fields) -> dict[str, Any]:
        metadata = fields.mapping("metadata")
        provider = fields.text("provider")
        return {**metadata, "provider": provider} if provider else metadata

    def _read_policy(self, draft: TaskDraft, fields: Fields) -> None:
        draft.priority = read_priority(fields)
        draft.timeout_seconds = fields.duration("timeout")
        draft.queue_timeout_seconds = fields.duration("queue_timeout")
        draft.retry = read_retry(fields)
        on_error = fields.choice("on_error", _ON_ERROR) or "fail"
        if on_error == "retry" and draft.retry is None:
            draft.retry = RetryPolicy(max_attempts=DEFAULT_ATTEMPTS)
        draft.on_error = "skip" if on_error == "skip" else "fail"
        # "at most once with max_attempts: 1" is a promise, also when a provider dies under the call
        once = draft.retry is not None and draft.retry.max_attempts == 1
        draft.on_lost = fields.choice("on_lost", _ON_LOST) or ("fail" if once else "")


def _name_complaint(text: str) -> str:
    if not text.strip() or text != text.strip():
        return "must not begin or end with a space, or be empty"
    if len(text) > LONGEST_NAME:
        return f"has {len(text)} characters; {LONGEST_NAME} are allowed"
    if found := _FORBIDDEN_IN_ID.search(text):
        return f"must not contain {found[0]!r}"
    return ""
