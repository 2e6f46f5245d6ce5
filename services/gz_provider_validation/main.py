"""validation/v1: whether what other tasks answered is as it should be, by conditions in CEL.

A condition reads other tasks by references (bound to values by the coordinator, never put in as text) and, by their
bare names, what the task's `context` has.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from gleitzeit.errors import ParameterError, TaskValidation
from gleitzeit.provider import Provider
from gleitzeit.spec.references import expressions
from gleitzeit.spec.references.references import Reference
from gleitzeit.spec.references.resolution import resolve

provider = Provider("validation", protocols=["validation/v1"], capacity=64)


class Verdict(Struct, frozen=True):
    name: str
    valid: bool
    expression: str
    error: str | None = None
    message: str | None = None


@provider.method("validation/evaluate")
def evaluate(
    conditions: Sequence[Any],
    mode: str = "all",
    on_failure: str = "fail",
    context: Mapping[str, Any] | None = None,
    bindings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """With `on_failure: skip` what does not hold is a result, else the task fails."""
    verdicts = _judge(conditions, context or {}, bindings or {})
    valid = (all if mode == "all" else any)(one.valid for one in verdicts)
    if not valid and on_failure != "skip":
        raise _failed(verdicts)
    return _result(valid, verdicts)


@provider.method("validation/assert")
def check(
    assertions: Sequence[Any], context: Mapping[str, Any] | None = None, bindings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    verdicts = _judge(assertions, context or {}, bindings or {})
    if not all(one.valid for one in verdicts):
        raise _failed(verdicts)
    return _result(True, verdicts)


@provider.method("validation/gate")
def gate(
    rules: Sequence[Any], context: Mapping[str, Any] | None = None, bindings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`allowed` says for every task that a rule names whether it may run: no rule must be against it."""
    verdicts = _judge(rules, context or {}, bindings or {})
    allowed: dict[str, bool] = {}
    for rule, verdict in zip(rules, verdicts, strict=True):
        for key, wanted in (("enable_tasks", True), ("disable_tasks", False)):
            for task in rule.get(key, ()):
                allowed[task] = allowed.get(task, True) and verdict.valid is wanted
    return {
        **_result(all(one.valid for one in verdicts), verdicts),
        "rules": {one.name: one.valid for one in verdicts},
        "allowed": allowed,
        "enabled": [task for task, yes in allowed.items() if yes],
        "disabled": [task for task, yes in allowed.items() if not yes],
    }


def _judge(listed: Sequence[Any], context: Mapping[str, Any], bindings: Mapping[str, Any]) -> list[Verdict]:
    def meaning(reference: Reference) -> object:
        if reference.text in bindings:
            return bindings[reference.text]
        return resolve(reference, {**context, "context": context})

    verdicts = []
    for number, one in enumerate(listed, 1):
        about = one if isinstance(one, dict) else {"expression": one}
        text = about.get("expression", about.get("condition", about.get("assertion")))
        name, message = str(about.get("name") or f"condition {number}"), about.get("message")
        if isinstance(text, bool):  # a reference that stands for one
            verdicts.append(Verdict(name, text, str(text).lower(), message=message))
            continue
        try:
            verdicts.append(Verdict(name, expressions.holds(str(text), meaning), str(text), message=message))
        except ParameterError as error:
            verdicts.append(Verdict(name, False, str(text), error.message, message))
    return verdicts


def _failed(verdicts: Sequence[Verdict]) -> TaskValidation:
    bad = [one for one in verdicts if not one.valid]
    shown = "; ".join(f"{one.name}: {one.message or one.error or f'{one.expression} does not hold'}" for one in bad[:5])
    return TaskValidation(shown, _result(False, verdicts))


def _result(valid: bool, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    listed = [
        {key: value for key in Verdict.__struct_fields__ if (value := getattr(one, key)) is not None}
        for one in verdicts
    ]
    return {
        "valid": valid,
        "passed": valid,
        "results": listed,
        "failed": [one.name for one in verdicts if not one.valid],
    }


def run() -> None:
    """The console script `gz-provider-validation`."""
    provider.main()
