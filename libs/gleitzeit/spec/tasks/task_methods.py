"""Which method a task calls: `method`, `protocol`, `type`, `provider` and other spellings reduced to one name."""

from typing import Final

from gleitzeit.schemas import Catalogue
from gleitzeit.spec.findings import Fields, Findings
from gleitzeit.spec.foreign import TYPES
from gleitzeit.spec.loading.scalars import in_curly_quotes
from gleitzeit.spec.tasks import inner_tasks, mcp
from gleitzeit.spec.tasks.task_draft import TaskDraft

SWITCH: Final = "flow/switch"
"""In place of a method, of a task that chooses between others."""

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


class MethodReader:
    """By what the `catalogue` knows. With `strict_methods` a known protocol must have the method."""

    def __init__(self, catalogue: Catalogue, findings: Findings, *, strict_methods: bool) -> None:
        self._catalogue = catalogue
        self._findings = findings
        self._strict_methods = strict_methods
        self._protocols = frozenset(catalogue.protocols())
        self._warned: set[str] = set()

    def read(self, draft: TaskDraft, fields: Fields) -> None:
        """Sets `method` and `schema`; for mcp/v1 also the params."""
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
        if in_curly_quotes(method):
            fields.wrong("method", f"the method has {method[0]} and {method[-1]} around it: quotes are \" or '")
            return ""
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

    def read_other(self, other: TaskDraft, method: str, fields: Fields) -> None:
        """Of an alternative; without a protocol it is that of the task."""
        prefix = "" if "/" in method else other.method.partition("/")[0]
        name = self._full_name(method, prefix, fields)
        if not name:
            return
        other.schema = self._catalogue.get(name)
        other.method = other.schema.name if other.schema is not None else name
        if other.schema is None:
            self._unknown_method(name, fields)
