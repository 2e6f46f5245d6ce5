"""Methods and their schemas: what a task or a client can call, and whether its params are right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from gleitzeit.schemas.explain import TYPES, SchemaProblem, explain
from gleitzeit.schemas.words import near

if TYPE_CHECKING:
    import jsonschema_rs

RUNS_IN_COORDINATOR = "coordinator"
RUNS_IN_PROVIDER = "provider"
EXPRESSION = "python-expression"
"""The `x-code` of a param that is one expression, and no program."""

Json = dict[str, Any]


def compile_schema(schema: Json | bool, *, formats: bool = False) -> jsonschema_rs.Validator:
    """A validator that never opens a socket or a file; with `formats` a `format` is asked for, not only told. Raises
    ValueError, in one line, for what is no JSON Schema."""
    import jsonschema_rs  # 20 ms that a process which checks nothing need not pay

    try:
        return jsonschema_rs.Draft202012Validator(schema, offline=True, validate_formats=formats)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise ValueError(_why_no_schema(error)) from error


def _why_no_schema(error: Exception) -> str:
    """A type that is none is by far the most frequent mistake, and the validator's words do not name the others."""
    kind, path = getattr(error, "instance", None), getattr(error, "instance_path", ())
    if isinstance(kind, str) and [*path][-1:] == ["type"]:
        meant = near(kind, TYPES)
        return f"there is no type '{kind}', only {', '.join(TYPES)}" + (f" (did you mean '{meant}'?)" if meant else "")
    return str(error).partition("\n")[0]


class MethodSchema(Struct, frozen=True, eq=False, dict=True):
    """One method. `params` and `result` are JSON Schemas (2020-12) of the params object and of the result.

    `runs` is "provider" or "coordinator"; `timeout_seconds` is the default for one attempt (None: no limit);
    `idempotent` says whether a call may run twice, which it may where nobody says otherwise; `code_params` names the
    params that are source code, `expression_params` those of them that are one expression, `seconds_params` those that
    documents may write as `30s`, `5m`; `wants_dependencies` asks for `_meta.dependencies`, and `_meta.inputs`
    where the workflow is a task of another one.
    """

    name: str
    protocol: str
    description: str = ""
    params: Json = field(default_factory=dict)
    result: Json | None = None
    aliases: tuple[str, ...] = ()
    idempotent: bool = True
    runs: str = RUNS_IN_PROVIDER
    timeout_seconds: float | None = None
    code_params: tuple[str, ...] = ()
    expression_params: tuple[str, ...] = ()
    seconds_params: tuple[str, ...] = ()
    wants_dependencies: bool = False

    @cached_property
    def param_names(self) -> tuple[str, ...]:
        """In the order of the schema, which is the order of params by position."""
        return tuple(self.params.get("properties", ()))

    @cached_property
    def _whole_params(self) -> tuple[str, ...]:
        kinds = {name: kind.get("type") for name, kind in self.params.get("properties", {}).items()}
        return tuple(name for name, kind in kinds.items() if kind in ("integer", ["integer", "null"]))

    @cached_property
    def params_validator(self) -> jsonschema_rs.Validator:
        return compile_schema(self.params)

    @cached_property
    def result_validator(self) -> jsonschema_rs.Validator | None:
        return compile_schema(self.result) if self.result is not None else None

    def check_params(self, value: object) -> list[SchemaProblem]:
        """All that is wrong with a params object; empty when it fits."""
        return explain(self.params_validator, value, self.params)

    @cached_property
    def _never_null(self) -> frozenset[str]:
        """Params that may be left out, and of which null would mean nothing."""
        optional = self.params.get("properties", {}).keys() - set(self.params.get("required", ()))
        alone = compile_schema({key: self.params[key] for key in ("properties", "$defs") if key in self.params})
        return frozenset(name for name in optional if not alone.is_valid({name: None}))

    def take_params(self, params: dict[str, Any]) -> list[SchemaProblem]:
        """As `check_params`, for who uses `params` as it is then. 2.0, which JSON Schema takes for a whole number, is
        made 2 in it, as neither a slice nor SQL takes it for one. null, by which many clients say that there is nothing
        to say, is taken out where it is no value.
        """
        if None in params.values():
            for name in [name for name in self._never_null if name in params and params[name] is None]:
                del params[name]
        for name in self._whole_params:
            value = params.get(name)
            if isinstance(value, float) and value.is_integer():
                params[name] = int(value)
        return self.check_params(params)

    def check_result(self, value: object) -> list[SchemaProblem]:
        validator = self.result_validator
        return explain(validator, value, self.result or {}) if validator is not None else []


def is_task_method(name: str) -> bool:
    """`echo/echo` is for tasks; `workflow.submit` is the coordinator's own."""
    return "/" in name


def protocol_of(name: str) -> str:
    """`llm/chat` and `llm.chat` belong to `llm/v1`."""
    separator = "/" if is_task_method(name) else "."
    return name.split(separator, 1)[0] + "/v1"


def method_schema(name: str, document: Mapping[str, Any]) -> MethodSchema:
    """From the content of a schema file, or from `{params, result}` as `provider.register` brings them.

    Raises ValueError for a part of the wrong type. The schemas inside are compiled at first use, or by `verify`.
    """
    params = {} if document.get("params") is None else document["params"]
    result = document.get("result")
    if not isinstance(params, dict) or not isinstance(result, dict | None):
        raise ValueError(f"{name}: params and result must each be a JSON Schema object")
    properties = params.get("properties", {})
    if not isinstance(properties, dict):
        raise ValueError(f"{name}: 'properties' must be an object")
    timeout = document.get("x-timeout-seconds")
    return MethodSchema(
        name=name,
        protocol=protocol_of(name),
        description=str(document.get("description") or document.get("title") or ""),
        params=params,
        result=result,
        aliases=tuple(str(alias) for alias in document.get("x-aliases", ())),
        idempotent=bool(document.get("x-idempotent", True)),
        runs=str(document.get("x-runs", RUNS_IN_PROVIDER)),
        timeout_seconds=float(timeout) if isinstance(timeout, int | float) else None,
        code_params=tuple(key for key, value in properties.items() if isinstance(value, dict) and "x-code" in value),
        expression_params=tuple(
            key for key, value in properties.items() if isinstance(value, dict) and value.get("x-code") == EXPRESSION
        ),
        seconds_params=tuple(
            key for key, value in properties.items() if isinstance(value, dict) and value.get("x-unit") == "seconds"
        ),
        wants_dependencies=bool(document.get("x-wants-dependencies", False)),
    )


def verify(method: MethodSchema) -> MethodSchema:
    """Compile both schemas of a method that a stranger described. Raises ValueError if one is not a JSON Schema."""
    _ = method.params_validator, method.result_validator
    return method


def verify_all(methods: Iterable[MethodSchema]) -> None:
    """As `verify`, naming the method in the error. Quicker, and nothing that was compiled is kept: of thousands of
    methods few are ever called."""
    methods = list(methods)
    schemas = [schema for method in methods for schema in (method.params, method.result) if schema]
    if not schemas:
        return
    try:
        if b'"$' not in msgspec.json.encode(schemas):  # what refers to its own root cannot be a part of another one
            compile_schema({"properties": {str(number): schema for number, schema in enumerate(schemas)}})
            return
    except (ValueError, TypeError):  # one of them is wrong: which?
        pass
    for method in methods:
        try:
            for schema in (method.params, method.result):
                if schema:
                    compile_schema(schema)
        except ValueError as error:
            raise ValueError(f"method '{method.name}': {error}") from error


class Catalogue:
    """All methods known by name and by alias. Immutable; `with_methods` makes a larger one."""

    def __init__(self, methods: Iterable[MethodSchema], *, more_than: Catalogue | None = None) -> None:
        by_name: dict[str, MethodSchema] = dict(more_than.methods) if more_than is not None else {}
        new = [method for method in methods if by_name.setdefault(method.name, method) is method]
        self.methods: Mapping[str, MethodSchema] = MappingProxyType(by_name)
        self._aliases: dict[str, MethodSchema] = dict(more_than._aliases) if more_than is not None else {}
        self._task_methods: dict[str, list[str]] = {}
        for protocol, names in more_than._task_methods.items() if more_than is not None else ():
            self._task_methods[protocol] = list(names)
        for method in dict.fromkeys(new):
            for alias in method.aliases:
                self._aliases.setdefault(alias, method)
            if is_task_method(method.name):
                self._task_methods.setdefault(method.protocol, []).append(method.name)

    def get(self, name: str) -> MethodSchema | None:
        """By name or alias."""
        return self.methods.get(name) or self._aliases.get(name)

    def protocols(self) -> list[str]:
        """The protocols that a task can use, as `echo/v1`, sorted."""
        return sorted(self._task_methods)

    def names(self, protocol: str | None = None) -> list[str]:
        """The methods that a task can use (of one protocol), without aliases, sorted."""
        if protocol is not None:
            return sorted(self._task_methods.get(protocol, ()))
        return sorted(name for names in self._task_methods.values() for name in names)

    def coordinator_methods(self) -> list[MethodSchema]:
        """`workflow.submit` and the others that clients call and tasks cannot, sorted by name."""
        return sorted((m for m in self.methods.values() if not is_task_method(m.name)), key=lambda m: m.name)

    def with_methods(self, extra: Iterable[MethodSchema]) -> Catalogue:
        """This one and `extra`. A name that is known already keeps its schema: a provider cannot redefine a method."""
        return Catalogue(extra, more_than=self)
