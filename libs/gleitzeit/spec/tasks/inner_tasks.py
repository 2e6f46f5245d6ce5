"""Tasks that run inside the coordinator, as authors write them: keys of the task in place of params, methods that
follow from a key, and what can be known of their params before anything runs.
"""

from collections.abc import Mapping
from typing import Any, Final

from gleitzeit.schemas import compile_schema, explain
from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.findings import Fields, Findings
from gleitzeit.spec.moments import Cron, parse_moment, time_zone
from gleitzeit.spec.references.references import has_places, texts_in
from gleitzeit.spec.tasks.task_draft import TaskDraft

TASK_PARAMS: Final = (
    "code", "signal_name", "signal_names", "payload", "target_workflows", "target_workflow", "workflow", "inputs",
)  # fmt: skip
"""Params that may stand on the task itself."""
METHOD_KEYS: Final = frozenset({"workflow", "approval", "signal_action", "signal_name", "signal_names"})
"""Of the keys of a task, those that say what it does, in place of a method."""
SIGNAL_ACTIONS: Final = {name: f"signal/{name}" for name in ("wait", "wait_any", "wait_all", "send", "broadcast")}
RUN: Final = "workflow/run"


def read_params(draft: TaskDraft, fields: Fields) -> None:
    """The params that stand on the task itself. `approval` is all of them, or the message alone."""
    for key in TASK_PARAMS:
        if fields.raw.get(key) is not None:
            _add(draft, fields, key, fields.raw[key])
    asked = fields.raw.get("approval")
    if isinstance(asked, str):
        draft.params = {**draft.params, "message": asked}
        draft.param_paths["message"] = fields.at("approval")
    elif isinstance(asked, dict):
        draft.params = {**draft.params, **asked}
        draft.param_paths |= {key: (*fields.at("approval"), key) for key in asked}
    elif asked is not None:
        fields.wrong("approval", "'approval' is what is asked: a text, or a map with 'message', 'form', 'timeout', …")


def _add(draft: TaskDraft, fields: Fields, key: str, value: object) -> None:
    if key in draft.params:
        fields.wrong(key, f"'{key}' is given twice, here and in the params")
    else:
        draft.params = {**draft.params, key: value}
        draft.param_paths[key] = fields.at(key)


def method_of(fields: Fields, prefix: str) -> str:
    """The method that other keys say, or the type; "" if none of them does, or if it is wrong, which is reported."""
    if prefix == "signal" or (not prefix and fields.first("signal_action", "signal_name", "signal_names")):
        if fields.raw.get("signal_action") is None:
            return "signal/wait_any" if fields.raw.get("signal_names") is not None else "signal/wait"
        return fields.choice("signal_action", SIGNAL_ACTIONS) or ""
    if prefix == "workflow" or (not prefix and fields.raw.get("workflow") is not None):
        return RUN
    if prefix == "approval" or (not prefix and fields.raw.get("approval") is not None):
        return "approval/ask"
    return ""


def complete(draft: TaskDraft, written: object, findings: Findings) -> None:
    """Once the method is known (`written` is how the author spelled it): spellings of its params, and their values."""
    if draft.method == RUN:
        _read_run(draft, written, findings)
    check = _CHECKS.get(draft.method)
    if check is not None:
        check(draft, findings)


def _read_run(draft: TaskDraft, written: object, findings: Findings) -> None:
    """The workflow leaves the params: it is checked as a document, and travels beside them."""
    params = dict(draft.params)
    key = next((key for key in ("workflow", "workflow_ref") if params.get(key) is not None), None)
    if key is None:
        findings.error(
            draft.path, f"{RUN} needs a 'workflow': a file, the name of a template, or a workflow written here"
        )
    else:
        draft.workflow = (draft.param_path((key,)), params.pop(key))
    if written == "workflow/execute_async":
        params.setdefault("wait", False)
    if (timeout := params.pop("timeout", None)) is not None and draft.timeout_seconds is None:
        try:
            draft.timeout_seconds = parse_duration(timeout)
        except ValueError as error:
            findings.error(draft.param_path(("timeout",)), f"'timeout': {error}")
    if params.pop("shard_preference", None) is not None:
        message = "'shard_preference' has no meaning any more: a child runs where its parent does"
        findings.warning(draft.param_path(("shard_preference",)), message, at_key=True)
    draft.params = params


def _literal(params: Mapping[str, Any], *keys: str) -> bool:
    return not any(has_places(text) for key in keys for text in texts_in(params.get(key)))


def _check_until(draft: TaskDraft, findings: Findings) -> None:
    params = draft.params
    zone = params.get("timezone", "UTC")
    if not isinstance(zone, str) or not _literal(params, "timezone"):
        return
    for key, read in (("timezone", lambda value: time_zone(value)), ("cron", lambda value: Cron(str(value), zone)),
                      ("at", lambda value: parse_moment(value, time_zone(zone)))):  # fmt: skip
        if params.get(key) is not None and _literal(params, key):
            try:
                read(params[key])
            except ValueError as error:
                findings.error(draft.param_path((key,)), f"'{key}': {error}")
                return


def _check_ask(draft: TaskDraft, findings: Findings) -> None:
    form = draft.params.get("form")
    if not isinstance(form, dict) or not _literal(draft.params, "form"):
        return
    path = draft.param_path(("form",))
    if form and not isinstance(form.get("properties"), dict):
        findings.error(path, "a 'form' is the JSON Schema of an object: it has 'properties', each with a 'type'")
        return
    try:
        compile_schema({"type": "object", **form})
    except ValueError as error:
        findings.error(path, f"this is no JSON Schema: {error}")
        return
    for name, schema in form.get("properties", {}).items():
        if isinstance(schema, dict) and "default" in schema:
            for problem in explain(compile_schema(schema, formats=True), schema["default"], schema):
                at = draft.param_path(("form", "properties", name, "default"))
                findings.error(at, f"the default of '{name}' {problem.message}")


def _check_timeout(draft: TaskDraft, findings: Findings) -> None:
    timeout = draft.params.get("timeout")
    if isinstance(timeout, str) and _literal(draft.params, "timeout"):
        try:
            parse_duration(timeout)
        except ValueError as error:
            findings.error(draft.param_path(("timeout",)), f"'timeout': {error}")


def _check_asking(draft: TaskDraft, findings: Findings) -> None:
    _check_ask(draft, findings)
    _check_timeout(draft, findings)


_CHECKS: Final = {
    "timer/until": _check_until,
    "approval/ask": _check_asking,
    "signal/wait": _check_timeout,
    "signal/wait_any": _check_timeout,
    "signal/wait_all": _check_timeout,
}
