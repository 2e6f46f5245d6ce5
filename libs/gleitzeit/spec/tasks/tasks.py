"""One task of a document, read: every spelling reduced to one, nothing yet about other tasks."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from gleitzeit.model.definition import OnLost, RetryPolicy
from gleitzeit.schemas import RUNS_IN_COORDINATOR, Catalogue
from gleitzeit.spec.findings import Fields, Findings
from gleitzeit.spec.foreign import OF_A_TASK
from gleitzeit.spec.legacy import TASK_TYPES, without_placement
from gleitzeit.spec.loading.scalars import in_curly_quotes
from gleitzeit.spec.problems import Path
from gleitzeit.spec.references import commands
from gleitzeit.spec.tasks import inner_tasks
from gleitzeit.spec.tasks.concurrency import read_concurrency
from gleitzeit.spec.tasks.defaults import Defaults
from gleitzeit.spec.tasks.flow import FLOW_KEYS, Trigger, read_flow
from gleitzeit.spec.tasks.names import WORDS, is_reserved
from gleitzeit.spec.tasks.settings import DEFAULT_ATTEMPTS, read_priority, read_retry
from gleitzeit.spec.tasks.spending import read_budget, read_cache
from gleitzeit.spec.tasks.task_draft import TaskDraft
from gleitzeit.spec.tasks.task_methods import MethodReader

LONGEST_NAME: Final = 200
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

_KEY_AND_VALUE: Final = re.compile(r"([a-z_]+):\S.*", re.DOTALL)
_FORBIDDEN_IN_ID = re.compile(r"""[{}\[\]$"\x00-\x1f\x7f\ud800-\udfff]""")


class TaskReader:
    """Reads tasks by what the `catalogue` knows. With `strict_methods` a known protocol must have the method."""

    def __init__(self, catalogue: Catalogue, findings: Findings, *, strict_methods: bool) -> None:
        self._findings = findings
        self._methods = MethodReader(catalogue, findings, strict_methods=strict_methods)
        self.defaults = Defaults()

    def read(
        self, raw: object, path: Path, *, number: int, key: str | None = None, trigger: Trigger = "success"
    ) -> TaskDraft | None:
        """`number` counts from 1; `key` is the task's id where tasks are a map; `trigger` is that of a list of tasks
        that run at the end. None for what is no task at all."""
        if not isinstance(raw, dict):
            self._findings.error(path, f"a task must be a map{_without_space(raw)}")
            return None
        fields = Fields(raw, path, self._findings)
        if not raw.keys() <= TASK_KEYS:
            fields.check_keys(TASK_KEYS, "a task", _FOREIGN)
        draft = TaskDraft()
        draft.path = path
        self._identify(draft, fields, key or f"task-{number}")
        draft.flow = read_flow(fields, trigger)
        self._read_params(draft, fields)
        self._methods.read(draft, fields)
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
        within = Fields(raw, path, self._findings)
        within.check_keys(_UNDO_KEYS, "an undo")
        if within.mistyped("method"):
            return None
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
        if draft.method.startswith("timer/") and fields.raw.get("timeout"):
            message = "a timer ends when its time has come, and by no 'timeout'"
            self._findings.warning(fields.at("timeout"), message, at_key=True)

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
            self._methods.read_other(other, method, fields)
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


def _without_space(raw: object) -> str:
    """Of `id:a`, which is a text."""
    found = _KEY_AND_VALUE.fullmatch(raw) if isinstance(raw, str) else None
    return f": a space is missing after '{found[1]}:'" if found else ""


def _name_complaint(text: str) -> str:
    if not text.strip() or text != text.strip():
        return "must not begin or end with a space, or be empty"
    if len(text) > LONGEST_NAME:
        return f"has {len(text)} characters; {LONGEST_NAME} are allowed"
    if in_curly_quotes(text):
        return f"has {text[0]} and {text[-1]} around it, which are letters of it: quotes are \" or '"
    if found := _FORBIDDEN_IN_ID.search(text):
        return f"must not contain {found[0]!r}"
    return ""
