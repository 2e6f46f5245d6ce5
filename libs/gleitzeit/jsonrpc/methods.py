"""From a request that arrived to the function that answers it. The only module that knows `jsonrpcserver`, which
dispatches.

What jsonrpcserver would do less well is done before it is asked or inside the methods that it calls: messages are
judged and batches split by the codec (it would drop a whole batch for one bad member), params are checked here (its way
costs five times the call), and no exception reaches it (it would send the text to the client).
"""

import contextlib
import difflib
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec, module_from_spec
from inspect import Parameter, iscoroutinefunction, signature
from typing import Any, Protocol, TypeAlias

from msgspec import Raw

from gleitzeit.errors import InvalidParams
from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.codes import METHOD_NOT_FOUND, METHOD_NOT_FOUND_TEXT, failure_of
from gleitzeit.jsonrpc.messages import Failure
from gleitzeit.jsonrpc.request import Request

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def _without_its_front() -> Iterator[None]:
    """Import modules of jsonrpcserver. What its package imports first of all (jsonschema, an HTTP server) nothing of
    ours needs, and a quarter of the start of each process would be spent on it; who imports the package gets all.
    """
    package = "jsonrpcserver"
    found = find_spec(package) if package not in sys.modules else None
    if found is None:
        yield
        return
    sys.modules[package] = module_from_spec(found)
    try:
        yield
    finally:
        del sys.modules[package]


with _without_its_front():
    from jsonrpcserver.async_dispatcher import call as call_asynchronous
    from jsonrpcserver.dispatcher import call as call_inline
    from jsonrpcserver.dispatcher import get_method
    from jsonrpcserver.request import Request as DispatchRequest
    from jsonrpcserver.result import Error, Success

__all__ = ["Function", "Methods", "ParamsProblem", "Request"]

# def or async def f(request: Request, /, …params…) -> a value that JSON can hold, or JSON already encoded as bytes or
# Raw
Function: TypeAlias = Callable[..., Any]
Large: TypeAlias = Callable[[Request], Awaitable[Any]]
LARGE_BYTES = 256 << 10


class ParamsProblem(Protocol):
    """What a check of params finds: where (path of keys and indices), what, and the near word if there is one."""

    @property
    def path(self) -> Sequence[str | int]: ...
    @property
    def message(self) -> str: ...
    @property
    def suggestion(self) -> str: ...


ParamsCheck: TypeAlias = Callable[[dict[str, Any]], Sequence[ParamsProblem]]


class Methods:
    """The methods of one side of a connection, by name. One object may serve any number of connections.

    `discover` gives the OpenRPC document for `rpc.discover`. `missing` is asked for the function of a name that was not
    added, for methods that come and go: it returns one, or None.
    """

    def __init__(
        self, *, discover: Callable[[], object] | None = None, missing: Callable[[str], Function | None] | None = None
    ) -> None:
        self._methods = _Registry(missing)
        self.add("ping", _ping)
        if discover is not None:
            self.add("rpc.discover", lambda request, /: discover())

    def add(
        self,
        name: str,
        function: Function,
        *,
        params_schema: ParamsCheck | None = None,
        bind: bool = True,
        large: Large | None = None,
    ) -> None:
        """Have `function(request, …)` answer the method `name`; a method of that name is replaced.

        A plain `def` is run at once, within the turn that read the request, and must not block; an `async def` gets a
        task of its own, which is cancelled when the caller cancels or its connection closes. A function that wants to
        answer later without a task: `Request.defer`.

        Params by name become keyword arguments, params by position positional ones; wrong ones are answered -32602
        without a call. `_meta` is allowed for every method and passed only to a function that has a place for it.
        `params_schema(params)` returns the problems of params, and may put another form of the same value in the place
        of one; positional params are given their names first. With
        `bind=False` the function is called with the request alone and looks into `request.params` or
        `request.raw_params` itself. Params above LARGE_BYTES are shown as they came to `large`, first: unless it
        returns None, that is the answer.
        """
        self._methods[name] = _Method(function, params_schema, bind, large)

    def alias(self, old: str, new: str) -> None:
        """Have the name `old` mean the method `new`, which must have been added. Raises KeyError."""
        self._methods[old] = self._methods[new]

    def remove(self, name: str) -> None:
        """Take a method away, and its aliases. One that is not there is fine."""
        gone = self._methods.pop(name, None)
        if gone is not None:
            for alias in [other for other, method in self._methods.items() if method is gone]:
                del self._methods[alias]

    @property
    def names(self) -> list[str]:
        return sorted(self._methods)

    def dispatch(self, request: Request) -> Coroutine[Any, Any, None] | None:
        """Answer the request, or return the coroutine that does: the shell runs it as a task, and cancels that when the
        request is cancelled.

        Never raises. A notification of a method that does not exist does nothing: ask `knows` first.
        """
        found = get_method(self._methods, request.method)
        if hasattr(found, "_error"):
            request.fail(self._not_found(request.method))
            return None
        method: _Method = found._value
        if method.is_asynchronous:
            return self._answer_later(request, method)
        self._finish(request, call_inline(_NO_PARAMS, request, method))
        return None

    async def _answer_later(self, request: Request, method: "_Method") -> None:
        self._finish(request, await call_asynchronous(_NO_PARAMS, request, method))

    def knows(self, name: str) -> bool:
        return self._methods.find(name) is not None

    def _finish(self, request: Request, outcome: Any) -> None:
        if hasattr(outcome, "_error"):
            request.fail(outcome._error.data)
        elif not request.deferred:
            request.answer(outcome._value.result)

    def _not_found(self, name: str) -> Failure:
        data: dict[str, object] = {"name": "METHOD_NOT_FOUND", "retryable": False, "method": name}
        if near := difflib.get_close_matches(name, self._methods, n=1):
            data["suggestion"] = near[0]
        return Failure(METHOD_NOT_FOUND, METHOD_NOT_FOUND_TEXT, Raw(codec.encode(data)))


def _ping(request: Request, /) -> dict[str, object]:
    return {}


# jsonrpcserver hands params and context to a method; ours find their params in the context, which is our Request.
_NO_PARAMS = DispatchRequest("", [], None)


class _Registry(dict[str, Any]):
    """The mapping that jsonrpcserver looks methods up in."""

    def __init__(self, missing: Callable[[str], Function | None] | None) -> None:
        super().__init__()
        self._missing = missing
        # Functions of dynamic methods are looked at once, not at every call; they may come and go, hence the bound.
        self._wrap = lru_cache(maxsize=256)(lambda function: _Method(function, None, bind=True))

    def __missing__(self, name: str) -> "_Method":
        method = self.find(name)
        if method is None:
            raise KeyError(name)
        return method

    def find(self, name: str) -> "_Method | None":
        method: _Method | None = self.get(name)
        if method is not None or self._missing is None:
            return method
        try:
            function = self._missing(name)
            return None if function is None else self._wrap(function)
        except Exception:  # a stranger's function; to the caller, the method does not exist
            logger.exception("looking for the method %s failed", name)
            return None


class _Method:
    """A function as jsonrpcserver calls it: with the request alone, returning one of its results, never raising an
    Exception.
    """

    __slots__ = ("_check", "_function", "_large", "_parameters", "is_asynchronous")

    def __init__(self, function: Function, check: ParamsCheck | None, bind: bool, large: "Large | None" = None) -> None:
        self._large = large
        self._function = function
        self._check = check
        self._parameters = _Parameters(function) if bind else None
        self.is_asynchronous = iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)

    def __call__(self, request: Request) -> Any:
        if self.is_asynchronous:
            return self._call_asynchronous(request)
        try:
            args, kwargs = self._arguments(request)
            return Success(self._function(request, *args, **kwargs))
        except Exception as error:  # noqa: BLE001 - a stranger's function; the failure is logged and answered
            return _failed(error)

    async def _call_asynchronous(self, request: Request) -> Any:
        try:
            if self._large is not None and len(request.raw_params or b"") > LARGE_BYTES:
                answer = await self._large(request)
                if answer is not None:
                    return Success(answer)
            args, kwargs = self._arguments(request)
            return Success(await self._function(request, *args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as above
            return _failed(error)

    def _arguments(self, request: Request) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if self._parameters is None:
            return (), {}
        params = request.params
        if self._check is not None:
            params = self._parameters.by_name(params)
            problems = self._check(params)
            if problems:
                raise _invalid(problems)
        return self._parameters.arguments(params)


def _failed(error: Exception) -> Any:
    failure = failure_of(error)
    return Error(failure.code, failure.message, failure)


def _invalid(problems: Sequence[ParamsProblem]) -> InvalidParams:
    listed = [
        {"path": list(problem.path), "message": problem.message, "suggestion": problem.suggestion}
        for problem in problems
    ]
    where = ".".join(str(part) for part in problems[0].path)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    meant = f" (did you mean '{problems[0].suggestion}'?)" if problems[0].suggestion else ""
    text = f"{where}: {problems[0].message}{meant}" if where else f"{problems[0].message}{meant}"
    return InvalidParams(f"Invalid params: {text}{more}", {"problems": listed})


class _Parameters:
    """What a function takes beside the request, found once, so that params are checked by two set comparisons."""

    def __init__(self, function: Function) -> None:
        first, *rest = signature(function).parameters.values()
        positional = [p for p in rest if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
        named = [p for p in rest if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
        self._positions = [p.name for p in positional]
        self._min_positions = sum(p.default is Parameter.empty for p in positional)
        self._any_position = any(p.kind is Parameter.VAR_POSITIONAL for p in rest)
        self._any_name = any(p.kind is Parameter.VAR_KEYWORD for p in rest)
        self._keyword_only = any(p.kind is Parameter.KEYWORD_ONLY and p.default is Parameter.empty for p in rest)
        self._names = {p.name for p in named}
        self._required = {p.name for p in (*positional, *named) if p.default is Parameter.empty}
        # A first parameter that can be named is in the way of a param of that name.
        self._taken = {first.name} if first.kind is Parameter.POSITIONAL_OR_KEYWORD else set()

    def by_name(self, params: Any) -> dict[str, Any]:
        if not isinstance(params, list):
            return self._without_meta(params or {})
        if len(params) > len(self._positions):
            raise InvalidParams(self._count(params))
        return dict(zip(self._positions, params, strict=False))

    def arguments(self, params: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Raises InvalidParams, which names the param."""
        if isinstance(params, list):
            too_many = len(params) > len(self._positions) and not self._any_position
            if too_many or len(params) < self._min_positions or self._keyword_only:
                raise InvalidParams(self._count(params))
            return params, {}
        params = self._without_meta(params or {})
        if not params.keys() >= self._required:
            raise InvalidParams(f"Invalid params: {_listed(self._required - params.keys())} missing")
        unknown = params.keys() & self._taken if self._any_name else params.keys() - self._names
        if unknown:
            raise InvalidParams(f"Invalid params: {_listed(unknown)} unknown{self._known()}")
        return (), params

    def _without_meta(self, params: dict[str, Any]) -> dict[str, Any]:
        if "_meta" not in params or self._any_name or "_meta" in self._names:
            return params
        return {name: value for name, value in params.items() if name != "_meta"}

    def _count(self, params: list[Any]) -> str:
        if not self._positions and not self._any_position:
            return "Invalid params: this method takes its params by name"
        names = ", ".join(self._positions)
        expected = f"{self._min_positions} to {len(self._positions)}"
        return f"Invalid params: {len(params)} by position; expected {expected}: {names}"

    def _known(self) -> str:
        return f"; known: {', '.join(sorted(self._names))}" if self._names else "; this method takes no params"


def _listed(names: set[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) + (" is" if len(names) == 1 else " are")
