"""A method of a provider: a function of its author, and the schemas that its params and its result are held to."""

import inspect
import logging
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw

from gleitzeit.errors import ConfigurationError, GleitzeitError, InvalidParams, PayloadTooLarge, ResultInvalid
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.messages import Failure
from gleitzeit.model.blobs import MAX_BLOB_BYTES
from gleitzeit.provider.call import Call
from gleitzeit.provider.calls import Outcome
from gleitzeit.schemas.catalogue import MethodSchema
from gleitzeit.schemas.explain import SchemaProblem
from gleitzeit.spec.loading.scalars import not_finite
from gleitzeit.spec.problems import show_path

# The largest value, and what may stand around it.
RESULT_LIMIT_BYTES = MAX_BLOB_BYTES + 4 * 1024 * 1024
# A frame holds 16 MiB; this leaves room for what stands around a result. A larger one would close the socket whenever
# it is asked for.
INLINE_LIMIT_BYTES = 16 * 1024 * 1024 - 4096

_JSON_TYPES = (Any, None, type(None), object, bool, int, float, str, list, dict)
_CONTAINERS = (Annotated, Union, UnionType, list, dict)

_encode = msgspec.json.Encoder().encode
logger = logging.getLogger(__name__)


class Method:
    """`function` takes the params by name, and a `Call` before them if its first parameter is declared as one.

    With `checks` False the schemas are only told to others: the function itself looks at its params, and vouches for
    its result. `types`: of the params that become something else than what JSON has (`typed_params`).
    """

    __slots__ = ("_types", "checks", "function", "is_async", "schema", "wants_call")

    def __init__(
        self,
        function: Callable[..., Any],
        schema: MethodSchema,
        *,
        checks: bool = True,
        types: Mapping[str, Any] | None = None,
    ) -> None:
        self._types = types or {}
        self.function = function
        self.schema = schema
        self.checks = checks
        self.is_async = inspect.iscoroutinefunction(function)
        self.wants_call = wants_call(function)
        self._check_signature()

    def _check_signature(self) -> None:
        """A function that cannot be called with what its schema allows is a mistake to be found at start."""
        parameters = _parameters(self.function)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        taken = {p.name for p in parameters}
        refused = [name for name in self.schema.param_names if name not in taken and not takes_any]
        if refused:
            raise ConfigurationError(f"{self.schema.name}: the function has no parameter {', '.join(refused)}")
        allowed = self.schema.params.get("additionalProperties", True) is not False
        required = {p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
        unknown = sorted(required - set(self.schema.param_names))
        if unknown and not allowed:
            raise ConfigurationError(f"{self.schema.name}: the schema has no param {', '.join(unknown)}")

    def arguments(self, params: dict[str, Any]) -> dict[str, Any]:
        """What the function is given. Raises InvalidParams with all problems."""
        problems = self.schema.check_params(params) if self.checks else []
        if problems:
            shown = "; ".join(map(_shown, problems))
            listed = {"problems": msgspec.to_builtins(problems)}
            raise InvalidParams(f"the params of {self.schema.name} are wrong: {shown}", listed)
        if not self._types:
            return params
        return {name: self._converted(name, value) for name, value in params.items()}

    def _converted(self, name: str, value: Any) -> Any:
        if name not in self._types:
            return value
        try:
            return msgspec.convert(value, self._types[name])
        except (ValueError, TypeError) as error:
            raise InvalidParams(f"the params of {self.schema.name} are wrong: {name}: {error}") from None

    def outcome(self, result: Any) -> Outcome:
        """What the function returned, as it goes over the wire, or what is wrong with it."""
        try:
            return self._checked(result)
        except GleitzeitError as error:
            return failure_of(error)

    def _checked(self, result: Any) -> bytes:
        if self.checks and self.schema.result is not None and self.schema.check_result(result):
            self._check_as_json(result)
        try:
            encoded = bytes(result) if isinstance(result, Raw) else _encode(result)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ResultInvalid(f"the result of {self.schema.name} cannot be JSON: {error}", retryable=False) from None
        if b"null" in encoded and (path := not_finite(result)) is not None:
            place = f" at {show_path(path)}" if path else ""
            raise ResultInvalid(
                f"the result of {self.schema.name} has NaN or an infinite number{place}, which JSON cannot express",
                retryable=False,
            )
        size_bytes = len(encoded)
        if size_bytes > RESULT_LIMIT_BYTES:
            raise PayloadTooLarge(
                f"the result of {self.schema.name} has {size_bytes} bytes, {RESULT_LIMIT_BYTES} can be sent"
            )
        return encoded

    def _check_as_json(self, result: Any) -> None:
        """Structs, dates and the like are fine once they are JSON; the validator knows plain values only."""
        try:
            plain = msgspec.json.decode(result if isinstance(result, Raw) else _encode(result))
        except (TypeError, ValueError, OverflowError, RecursionError):
            return  # said better by the encoding that follows
        problems = self.schema.check_result(plain)
        if problems:
            shown = "; ".join(map(_shown, problems))
            listed = {"problems": msgspec.to_builtins(problems)}
            raise ResultInvalid(f"the result of {self.schema.name} is wrong: {shown}", listed, retryable=False)


def failure_for(error: BaseException, fields: dict[str, Any]) -> Failure:
    """What a caller is told about an exception of the function; `fields` say in the log which call it was.

    Ours are told as they are. Of any other only the number is told under which it stands in our log, and that the call
    may be tried again: most of what goes wrong unexpectedly in a stranger's code (a back end that does not answer)
    passes, and the retry policy of the task bounds the attempts.
    """
    failure = failure_of(error)
    if isinstance(error, GleitzeitError) or failure.data is None:
        return failure
    data = msgspec.json.decode(failure.data)
    logger.error("internal error %s", data.get("error_id"), extra=fields)
    return Failure(failure.code, failure.message, Raw(_encode({**data, "retryable": True})))


def wants_call(function: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(function).parameters)
    return bool(parameters) and _hints(function).get(parameters[0]) is Call


def params_schema(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The schema of the params object that a function's signature describes, for a method that brings none."""
    parameters = _parameters(function)
    hints = _hints(function)
    named = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    try:
        shapes, components = msgspec.json.schema_components(
            [hints.get(p.name, Any) for p in named], ref_template="#/$defs/{name}"
        )
    except TypeError as error:
        raise ConfigurationError(
            f"{name}: give the schema of its params, the signature is not enough: {error}"
        ) from None
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {p.name: shape for p, shape in zip(named, shapes, strict=True)},
        "required": [p.name for p in named if p.default is p.empty],
        "additionalProperties": len(named) < len(parameters),
    }
    if components:
        schema["$defs"] = components
    return schema


def typed_params(function: Callable[..., Any]) -> dict[str, Any]:
    """Of the parameters that are declared as a dataclass, a Struct, an Enum, a date and the like: name -> type."""
    hints = _hints(function)
    return {p.name: hints[p.name] for p in _parameters(function) if p.name in hints and not _is_json(hints[p.name])}


def _is_json(hint: Any) -> bool:
    """Whether values as they are in JSON are what is declared."""
    if hint in _JSON_TYPES or get_origin(hint) is Literal:
        return True
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return get_origin(hint) in _CONTAINERS and all(map(_is_json, inner))


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Without the Call. Params travel by name, so there is no place for one that has none."""
    parameters = list(inspect.signature(function).parameters.values())
    if wants_call(function):
        del parameters[0]
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise ConfigurationError(f"{function.__qualname__}: the parameter {parameter.name} cannot be given by name")
    return parameters


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(f"{function.__qualname__}: an annotation cannot be resolved: {error}") from None


def _shown(problem: SchemaProblem) -> str:
    place = ".".join(map(str, problem.path))
    hint = f" (did you mean {problem.suggestion}?)" if problem.suggestion else ""
    return f"{place}: {problem.message}{hint}" if place else f"{problem.message}{hint}"
