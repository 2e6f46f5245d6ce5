"""Declaring methods: what is found out at start instead of at a call, and what is made of a signature."""

import dataclasses
import datetime
import enum
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
import pytest

from gleitzeit.errors import ConfigurationError, InvalidParams, MethodNotFound
from gleitzeit.jsonrpc.messages import Failure
from gleitzeit.provider import Call, Provider
from gleitzeit.provider.method import Method
from gleitzeit.schemas import method_schema
from gleitzeit.transport import connect


@pytest.fixture
def provider() -> Provider:
    return Provider("lab", protocols=["lab/v1", "echo/v1"])


def declared(provider: Provider, function: Callable[..., Any], **options: Any) -> Any:
    provider.method("lab/it", **options)(function)
    return provider.methods["lab/it"]


def test_a_signature_makes_the_schema_of_the_params(provider: Provider) -> None:
    def it(call: Call, a: int, b: list[str], c: Literal["x", "y"] = "x", d=None) -> None:  # type: ignore[no-untyped-def] # as authors write
        """First line.

        The rest.
        """

    schema = declared(provider, it).schema
    assert schema.params == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "array", "items": {"type": "string"}},
            "c": {"enum": ["x", "y"]},
            "d": {},
        },
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert schema.description == "First line."
    assert schema.result is None


def test_keywords_of_any_name_are_allowed_if_the_function_takes_them(provider: Provider) -> None:
    def it(**anything: Any) -> None: ...

    method = declared(provider, it)
    assert method.arguments({"what": "ever"}) == {"what": "ever"}


class Colour(enum.Enum):
    RED = "red"


class Line(msgspec.Struct):
    ends: list["End"]


@dataclasses.dataclass
class End:
    x: int
    y: int = 2


def test_what_is_declared_as_more_than_json_comes_as_such(provider: Provider) -> None:
    def it(
        day: datetime.date, line: Line, colour: Colour | None = None, plain: dict[str, float] | None = None
    ) -> None: ...

    method = declared(provider, it)
    given = {"day": "2026-02-03", "line": {"ends": [{"x": 1}]}, "colour": "red", "plain": {"a": 1}}
    assert method.arguments(given) == {
        "day": datetime.date(2026, 2, 3), "line": Line([End(1)]), "colour": Colour.RED, "plain": {"a": 1},
    }  # fmt: skip
    with pytest.raises(InvalidParams, match="day: "):
        method.arguments({**given, "day": "yesterday"})


def test_a_near_word_is_suggested(provider: Provider) -> None:
    def it(message: str) -> None: ...

    with pytest.raises(InvalidParams, match="did you mean message"):
        declared(provider, it).arguments({"mesage": "x"})


def test_own_schemas_come_before_the_signature(provider: Provider) -> None:
    params = {"type": "object", "properties": {"n": {"minimum": 3}}, "required": ["n"], "additionalProperties": False}
    method = declared(
        provider, lambda n: n, params=params, result={"type": "string"}, idempotent=False, timeout_seconds=5
    )
    with pytest.raises(InvalidParams):
        method.arguments({"n": 2})
    assert isinstance(method.outcome(3), Failure)
    assert method.outcome("3") == b'"3"'
    assert (method.schema.idempotent, method.schema.timeout_seconds) == (False, 5)


def test_a_number_that_json_cannot_express_is_no_null(provider: Provider) -> None:
    method = declared(provider, lambda: None)
    assert method.outcome([None, 1.5]) == b"[null,1.5]"
    refused = method.outcome({"a": (1, float("nan"))})
    assert isinstance(refused, Failure)
    assert "at a[1]" in refused.message


def test_shipped_schemas_are_used_by_name_and_can_be_narrowed(provider: Provider) -> None:
    provider.method("echo/echo")(lambda message=None: None)
    shipped = provider.methods["echo/echo"].schema
    assert "response" in (shipped.result or {})["properties"]
    provider.method("echo/echo", result={"type": "string"})(lambda message=None: "")
    narrowed = provider.methods["echo/echo"].schema
    assert (narrowed.params, narrowed.result) == (shipped.params, {"type": "string"})


class Point(msgspec.Struct):
    x: int


def test_structs_and_dates_are_checked_as_the_json_that_they_become(provider: Provider) -> None:
    result = {"type": "object", "properties": {"at": {"type": "string"}, "p": {"required": ["x"]}}, "required": ["p"]}
    method = declared(provider, lambda: None, result=result)
    day = datetime.date(2026, 11, 20)
    assert method.outcome({"at": day, "p": Point(1)}) == b'{"at":"2026-11-20","p":{"x":1}}'
    assert method.outcome(msgspec.Raw(b'{"p":{"x":1}}')) == b'{"p":{"x":1}}'
    assert isinstance(method.outcome(msgspec.Raw(b'{"p":{}}')), Failure)


@pytest.mark.parametrize(
    ("name", "function", "options", "text"),
    [
        ("other/it", lambda: None, {}, "other/v1"),
        ("echo/echo", lambda: None, {}, "no parameter message"),
        ("echo/ping", lambda needed: None, {}, "no param needed"),
        ("lab/it", lambda *args: None, {}, "args"),
        ("lab/it", lambda a, /: None, {}, "by name"),
        ("lab/it", lambda: None, {"params": {"type": "nonsense"}}, "lab/it"),
    ],
)
def test_what_cannot_work_is_refused_at_start(
    provider: Provider, name: str, function: Callable[..., Any], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        provider.method(name, **options)(function)


def test_annotations_that_are_no_json_ask_for_a_schema(provider: Provider) -> None:
    def it(what: Callable[[], None]) -> None: ...

    with pytest.raises(ConfigurationError, match="schema"):
        declared(provider, it)


def test_a_provider_needs_room_for_one_call() -> None:
    with pytest.raises(ConfigurationError):
        Provider("lab", protocols=["lab/v1"], capacity=0)


async def test_the_lifespan_is_around_the_time_in_which_calls_arrive() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        steps.append("begin")
        yield
        steps.append("end")

    provider = Provider("lab", protocols=["lab/v1"], lifespan=lifespan)

    @provider.method("lab/step")
    def step() -> None:
        steps.append("call")

    async with provider.serve() as service:
        connection = await connect(service.url)
        await connection.call("lab/step")
        await connection.close()
    assert steps == ["begin", "call", "end"]


async def test_methods_come_and_go(provider: Provider) -> None:
    """Who is connected is told once for a change, and of what is not well."""
    told: list[str] = []

    async def it(**params: Any) -> dict[str, Any]:
        return params

    def method(name: str) -> Method:
        return Method(
            it, method_schema(name, {"params": {"type": "nonsense"}, "x-aliases": [f"{name}-too"]}), checks=False
        )

    provider.replace([method("lab/old")])
    async with provider.serve() as service:
        connection = await connect(service.url, on_notification=lambda c, name, params: told.append(name))
        assert await connection.call("lab/old-too", {"any": 1}) == {"any": 1}, "it checks by itself, or not at all"
        provider.replace([method("lab/new"), method("lab/newer")], without=["lab/old", "never was"])
        assert await connection.call("lab/new", {}) == {}
        for gone in ("lab/old", "lab/old-too"):
            with pytest.raises(MethodNotFound):
                await connection.call(gone)
        provider.problems = ["the cellar is flooded"]
        provider.problems = ["the cellar is flooded"]
        described = await connection.call("rpc.discover")
        assert described["x-gleitzeit"]["problems"] == ["the cellar is flooded"]
        assert {one["name"] for one in described["methods"]} == {"lab/new", "lab/newer"}
        await connection.close()
    assert told == ["notifications/methods/list_changed"] * 2
    with pytest.raises(ConfigurationError, match="belongs to other/v1"):
        provider.replace([method("other/it")])
