"""Keys of a task that say whether, how often and when it runs: `when`, `for_each`, `matrix`, `switch`, `until`,
`always`, `on_failure`. Read here, brought together with the other tasks in `linked_flow`."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.findings import Fields
from gleitzeit.spec.problems import Path

FLOW_KEYS: Final = frozenset(
    {
        "when",
        "condition",
        "conditions",
        "for_each",
        "foreach",
        "matrix",
        "max_parallel",
        "max_items",
        "on_item_error",
        "switch",
        "cases",
        "default",
        "until",
        "always",
        "on_failure",
        "validation_behavior",
        "undo",
    }
)
DEFAULT_ITEMS: Final = 10_000
MOST_ITEMS: Final = 100_000
MOST_ROUNDS: Final = 1_000_000
DEFAULT_ROUNDS: Final = 100

_FOR_EACH_KEYS: Final = frozenset({"items", "max_parallel", "max_items", "on_item_error", "glob", "by"})
_UNTIL_KEYS: Final = frozenset({"condition", "max", "every", "on_exhausted"})
_CASE_KEYS: Final = frozenset({"when", "value", "run"})
ItemError = Literal["fail", "skip", "collect"]
Exhausted = Literal["fail", "continue"]
Trigger = Literal["success", "always", "failure"]
_ITEM_ERRORS: Final[Mapping[str, ItemError]] = {"fail": "fail", "skip": "skip", "collect": "collect"}
_EXHAUSTED: Final[Mapping[str, Exhausted]] = {"fail": "fail", "continue": "continue"}


class ForEachDraft:
    """`over` stands at `path`: a list, a text, or the axes of a matrix by name."""

    def __init__(self, over: Any, path: Path, *, matrix: bool = False) -> None:
        self.over = over
        self.path = path
        self.matrix = matrix
        self.include: list[dict[str, Any]] = []
        self.exclude: list[dict[str, Any]] = []
        self.max_parallel: int | None = None
        self.max_items = DEFAULT_ITEMS
        self.on_item_error: ItemError = "fail"
        self.by = ""


class CaseDraft:
    def __init__(self, value: str, when: str, when_path: Path, run: list[tuple[Path, str]]) -> None:
        self.value = value
        self.when = when
        self.when_path = when_path
        self.run = run


class SwitchDraft:
    def __init__(self, value: str, path: Path, cases: list[CaseDraft], default: list[tuple[Path, str]]) -> None:
        self.value = value
        self.path = path
        self.cases = cases
        self.default = default

    def named(self) -> list[tuple[Path, str]]:
        """All that it may choose, as written."""
        return [one for case in self.cases for one in case.run] + self.default


class UntilDraft:
    def __init__(self, condition: str, path: Path) -> None:
        self.condition = condition
        self.path = path
        self.max = DEFAULT_ROUNDS
        self.every_seconds = 0.0
        self.on_exhausted: Exhausted = "fail"


class FlowDraft:
    """What a task says of these things; `last`: it stands among those that run at the end of the workflow."""

    __slots__ = ("for_each", "last", "switch", "trigger", "until", "when")

    def __init__(self) -> None:
        self.when: list[tuple[Path, str]] = []
        self.for_each: ForEachDraft | None = None
        self.switch: SwitchDraft | None = None
        self.until: UntilDraft | None = None
        self.trigger: Trigger = "success"
        self.last = False


NOTHING: Final = FlowDraft()


def read_flow(fields: Fields, trigger: Trigger = "success") -> FlowDraft:
    """`trigger` is what the list says that the task stands in."""
    if trigger == "success" and fields.raw.keys().isdisjoint(FLOW_KEYS):
        return NOTHING
    flow = FlowDraft()
    flow.when = _read_when(fields)
    flow.for_each = _read_for_each(fields)
    flow.switch = _read_switch(fields)
    flow.until = _read_until(fields)
    flow.trigger = _read_trigger(fields, trigger)
    flow.last = trigger != "success"
    if flow.until is not None and fields.raw.get("cache"):
        fields.wrong("cache", "'cache' has no meaning beside 'until': every round is to have a result of its own")
    return flow


def _read_when(fields: Fields) -> list[tuple[Path, str]]:
    """All of them must hold."""
    found = []
    for key in ("when", "condition", "conditions"):
        value = fields.raw.get(key)
        listed = value if isinstance(value, list) else [value] if value is not None else []
        for number, one in enumerate(listed):
            path = (*fields.at(key), number) if isinstance(value, list) else fields.at(key)
            if isinstance(one, bool):
                found.append((path, "true" if one else "false"))
            elif isinstance(one, str):
                found.append((path, one))
            else:
                fields.findings.error(path, f"a condition is a text like '${{check.result.score}} > 0.8', not {one!r}")
    return found


def _read_for_each(fields: Fields) -> ForEachDraft | None:
    key = fields.first("for_each", "foreach", "matrix")
    if key is None:
        for other in ("max_parallel", "max_items", "on_item_error"):
            if fields.raw.get(other) is not None:
                message = f"'{other}' of a task has a meaning only with 'for_each' or 'matrix'"
                fields.findings.error(fields.at(other), message, at_key=True)
        return None
    if key == "matrix" or fields.raw.get("matrix") is None:
        draft = _read_matrix(fields) if key == "matrix" else _read_list(fields, key)
    else:
        fields.wrong("matrix", f"a task has '{key}' or 'matrix', not both")
        return None
    if draft is not None:
        _read_bounds(fields, draft)
    return draft


def _read_bounds(fields: Fields, draft: ForEachDraft) -> None:
    draft.max_parallel = fields.whole("max_parallel", 1, MOST_ITEMS) or draft.max_parallel
    draft.max_items = fields.whole("max_items", 1, MOST_ITEMS) or draft.max_items
    draft.on_item_error = fields.choice("on_item_error", _ITEM_ERRORS) or draft.on_item_error
    if isinstance(draft.over, list) and len(draft.over) > draft.max_items:
        message = f"{len(draft.over):,} items; max_items is {draft.max_items:,}"
        fields.findings.error(draft.path, message)


def _read_list(fields: Fields, key: str) -> ForEachDraft | None:
    value, path = fields.raw[key], fields.at(key)
    if not isinstance(value, dict):
        return _checked_list(fields, value, path)
    within = Fields(value, path, fields.findings)
    within.check_keys(_FOR_EACH_KEYS, "for_each")
    if within.raw.get("glob") is not None:
        message = "a glob is expanded where the author is, by gz or the Python client; this one was not"
        within.wrong("glob", message)
        return None
    if within.raw.get("items") is None:
        if not within.attempted("items"):
            fields.wrong(key, "'for_each' is a list, a reference to one, or a map with 'items' or 'glob'")
        return None
    draft = _checked_list(fields, value["items"], within.at("items"))
    if draft is not None:
        _read_bounds(within, draft)
        draft.by = within.text("by") or ""
        if draft.by and not (isinstance(draft.over, list) and all(_has(draft.by, item) for item in draft.over)):
            within.wrong("by", f"'by' wants a list that is written here, of maps with a text '{draft.by}' in each")
    return draft


def _has(member: str, item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get(member), str)


def _checked_list(fields: Fields, value: object, path: Path) -> ForEachDraft | None:
    if isinstance(value, list) or (isinstance(value, str) and value.strip()):
        return ForEachDraft(value, path)
    fields.findings.error(path, "'for_each' is a list, or a reference to one like '${task.items}'")
    return None


def _read_matrix(fields: Fields) -> ForEachDraft | None:
    raw = fields.raw["matrix"]
    rules = {"include", "exclude"}
    if not isinstance(raw, dict) or not raw.keys() - rules:
        fields.wrong("matrix", "'matrix' is a map of lists, like {size: [1, 2], colour: [red, blue]}")
        return None
    within = Fields(raw, fields.at("matrix"), fields.findings)
    axes = {name: value for name, value in raw.items() if name not in rules}
    for name, value in axes.items():
        if not isinstance(value, list) and not (isinstance(value, str) and "${" in value):
            within.wrong(name, f"'{name}' must be a list, or a reference to one")
            return None
        if value == []:
            within.wrong(name, f"'{name}' is empty, so that no combination is left")
    draft = ForEachDraft(axes, fields.at("matrix"), matrix=True)
    draft.include, draft.exclude = _rules(within, "include", axes), _rules(within, "exclude", axes)
    return draft


def _rules(within: Fields, key: str, axes: Mapping[str, Any]) -> list[dict[str, Any]]:
    value = within.raw.get(key)
    listed = value if isinstance(value, list) else [value] if value is not None else []
    if not all(isinstance(one, dict) for one in listed):
        within.wrong(key, f"'{key}' is a list of maps, like [{{{next(iter(axes))}: …}}]")
        return []
    for number, one in enumerate(listed):
        for name in one if key == "exclude" else ():
            if name not in axes:
                path = (*within.at(key), number, name) if isinstance(value, list) else (*within.at(key), name)
                suggestion = within.findings.near(name, axes)
                within.findings.error(path, f"the matrix has no '{name}'", suggestion, at_key=True)
    return listed


def _read_switch(fields: Fields) -> SwitchDraft | None:
    raw = fields.raw
    if raw.get("switch") is None and raw.get("cases") is None:
        if raw.get("default") is not None:
            fields.findings.error(fields.at("default"), "'default' has a meaning only with 'cases'", at_key=True)
        return None
    value = raw.get("switch")
    if value is not None and not isinstance(value, str):
        fields.wrong("switch", "'switch' is what the cases are compared with, like '${classify.result}'")
        return None
    cases = _read_cases(fields, bool(value))
    for key in ("for_each", "foreach", "matrix", "until", "undo", "cache", "fallback", "retry"):
        if raw.get(key) is not None:
            message = f"'{key}' has no meaning beside 'switch', which calls nobody"
            fields.findings.error(fields.at(key), message, at_key=True)
    return SwitchDraft(value or "", fields.at("switch"), cases, fields.texts("default"))


def _read_cases(fields: Fields, compares: bool) -> list[CaseDraft]:
    raw = fields.raw.get("cases")
    if isinstance(raw, dict) and raw:
        if not compares:
            fields.wrong("cases", "cases by value need a 'switch': what they are compared with")
        within = Fields(raw, fields.at("cases"), fields.findings)
        return [CaseDraft(str(value), "", (), within.texts(value)) for value in raw]
    if isinstance(raw, list) and raw:
        read = [_read_case(fields, one, (*fields.at("cases"), number)) for number, one in enumerate(raw)]
        return [case for case in read if case is not None]
    message = "a switch needs 'cases': a map of values like {yes: [task], no: task}, or a list of {when, run}"
    fields.findings.error(fields.at("cases") if raw is not None else fields.path, message)
    return []


def _read_case(fields: Fields, raw: object, path: Path) -> CaseDraft | None:
    if not isinstance(raw, dict):
        fields.findings.error(path, "a case is a map with 'when' (or 'value') and 'run'")
        return None
    within = Fields(raw, path, fields.findings)
    within.check_keys(_CASE_KEYS, "a case")
    when, value = within.raw.get("when"), within.text("value")
    if isinstance(when, bool):
        when = "true" if when else "false"
    if not isinstance(when, str) and not value and not within.attempted("when", "value"):
        fields.findings.error(path, "a case needs a 'when' (or a 'value')")
        return None
    return CaseDraft(value, when if isinstance(when, str) else "", within.at("when"), within.texts("run"))


def _read_until(fields: Fields) -> UntilDraft | None:
    raw = fields.raw.get("until")
    if raw is None:
        return None
    if isinstance(raw, str):
        return UntilDraft(raw, fields.at("until"))
    if not isinstance(raw, dict):
        fields.wrong("until", "'until' is a condition, or a map with 'condition', 'max', 'every' and 'on_exhausted'")
        return None
    within = Fields(raw, fields.at("until"), fields.findings)
    within.check_keys(_UNTIL_KEYS, "until")
    condition = within.raw.get("condition")
    draft = UntilDraft(condition if isinstance(condition, str) else "", within.at("condition"))
    draft.max = within.whole("max", 1, MOST_ROUNDS) or draft.max
    draft.every_seconds = within.converted("every", parse_duration) or 0.0
    draft.on_exhausted = within.choice("on_exhausted", _EXHAUSTED) or draft.on_exhausted
    if not isinstance(condition, str):
        if condition is not None or not within.mistyped("condition"):
            at = "condition" if condition is not None else ""
            message = "'until' needs a 'condition' like '${task.done}'"
            fields.findings.error(within.at(at) if at else fields.at("until"), message)
        return None
    return draft


def _read_trigger(fields: Fields, listed: Trigger) -> Trigger:
    always, on_failure = fields.flag("always"), fields.flag("on_failure")
    behaviour = fields.choice("validation_behavior", {"continue": True, "fail": False, "block": False, "skip": False})
    if always and on_failure:
        fields.wrong("on_failure", "a task runs always or on_failure, not both")
    if listed != "success":
        return listed
    return "always" if always or behaviour else "failure" if on_failure else "success"
