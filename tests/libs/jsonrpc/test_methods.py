import json
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import Raw

from gleitzeit.errors import TaskCancelled, TaskError
from gleitzeit.jsonrpc.methods import Methods
from gleitzeit.jsonrpc.peer import Peer
from gleitzeit.jsonrpc.request import Request


class Side:
    """A peer with methods, driven by hand."""

    def __init__(self, methods: Methods) -> None:
        self.methods = methods
        self.peer = Peer(lambda: None)

    def take(self, method: str, params: object = None, request_id: object = 1) -> Any:
        message = {"jsonrpc": "2.0", "method": method, "id": request_id}
        if params is not None:
            message["params"] = params
        (request,) = self.peer.receive(json.dumps(message).encode())
        assert isinstance(request, Request)
        return request

    def ask(self, method: str, params: object = None) -> Any:
        """The answer, for methods that answer at once."""
        assert self.methods.dispatch(self.take(method, params)) is None
        return self.answer()

    def answer(self) -> Any:
        frames = self.peer.take_frames()
        return json.loads(frames[0]) if frames else None


def side(**functions: Callable[..., object]) -> Side:
    methods = Methods()
    for name, function in functions.items():
        methods.add(name, function)
    return Side(methods)


def run(coroutine: Any) -> None:
    """Drive a coroutine that never really waits."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def subtract(request: Request, /, minuend: int, subtrahend: int = 1) -> int:
    return minuend - subtrahend


@pytest.mark.parametrize(
    ("params", "result"),
    [([42, 23], 19), ([42], 41), ({"minuend": 42, "subtrahend": 23}, 19), ({"minuend": 1, "_meta": {"x": 1}}, 0)],
)
def test_params_by_position_and_by_name(params, result):
    assert side(subtract=subtract).ask("subtract", params) == {"jsonrpc": "2.0", "result": result, "id": 1}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (None, "'minuend' is missing"),
        ({}, "'minuend' is missing"),
        ([], "0 by position"),
        ([1, 2, 3], "3 by position; expected 1 to 2: minuend, subtrahend"),
        ({"minuend": 1, "subtrahent": 1}, "'subtrahent' is unknown; known: minuend, subtrahend"),
        ({"minuend": 1, "request": 1}, "'request' is unknown"),
    ],
)
def test_wrong_params_are_named(params, words):
    error = side(subtract=subtract).ask("subtract", params)["error"]
    assert error["code"] == -32602
    assert words in error["message"]


def test_other_shapes_of_functions():
    def named(request: Request, /, **params: object) -> object:
        return params

    def ordered(request: Request, /, *params: object) -> object:
        return params

    def keywords(request, *, a: int) -> object:
        return a

    asked = side(named=named, ordered=ordered, keywords=keywords)
    assert asked.ask("named", {"request": 1, "_meta": 2})["result"] == {"request": 1, "_meta": 2}
    assert asked.ask("named", [1])["error"]["message"].endswith("takes its params by name")
    assert asked.ask("ordered", [1, 2])["result"] == [1, 2]
    assert asked.ask("ordered", {"a": 1})["error"]["code"] == -32602
    assert asked.ask("keywords", {"a": 1})["result"] == 1
    assert asked.ask("keywords", [1])["error"]["code"] == -32602
    assert asked.ask("keywords", {"a": 1, "request": 2})["error"]["code"] == -32602


def test_a_type_error_inside_the_function_is_not_the_callers_fault():
    asked = side(broken=lambda request, /: len(5))  # type: ignore[arg-type]
    assert asked.ask("broken")["error"]["code"] == -32603


def test_exception_text_never_leaves():
    def fail(request: Request, /) -> None:
        raise KeyError("the password is swordfish")

    answer = side(fail=fail).ask("fail")
    assert answer["error"]["code"] == -32603
    assert answer["error"]["data"]["error_id"]
    assert "swordfish" not in json.dumps(answer)


def test_our_errors_travel():
    def fail(request: Request, /) -> None:
        raise TaskError("no such model", {"model": "x"}, retryable=False)

    error = side(fail=fail).ask("fail")["error"]
    assert error["code"] == -29002
    assert error["message"] == "no such model"
    assert error["data"] == {"name": "TASK_EXECUTION_FAILED", "retryable": False, "model": "x"}


@pytest.mark.parametrize("result", [object(), b"no json", "\ud800"])
def test_a_result_that_json_cannot_hold_is_an_internal_error(result):
    assert side(odd=lambda request, /: result).ask("odd")["error"]["code"] == -32603


def test_results_that_are_json_already():
    asked = side(raw=lambda request, /: Raw(b'{"a": 1}'), encoded=lambda request, /: b"[1]")
    assert asked.ask("raw")["result"] == {"a": 1}
    assert asked.ask("encoded")["result"] == [1]


def test_unknown_methods_suggest_the_near_word():
    error = side(subtract=subtract).ask("substract", [1])["error"]
    assert (error["code"], error["message"]) == (-32601, "Method not found")
    assert error["data"]["method"] == "substract"
    assert error["data"]["suggestion"] == "subtract"


def test_built_in_methods():
    asked = Side(Methods(discover=lambda: {"openrpc": "1.4.1"}))
    assert asked.ask("ping")["result"] == {}
    assert asked.ask("rpc.discover", {"_meta": {"batch": "split"}})["result"] == {"openrpc": "1.4.1"}
    assert side().ask("rpc.discover")["error"]["code"] == -32601


def test_alias_and_names():
    methods = Methods()
    methods.add("echo/echo", lambda request, /, text: text)
    methods.alias("echo", "echo/echo")
    assert Side(methods).ask("echo", ["hi"])["result"] == "hi"
    assert methods.names == ["echo", "echo/echo", "ping"]
    with pytest.raises(KeyError):
        methods.alias("x", "unknown")


def test_missing_finds_methods_that_come_and_go():
    tools: dict[str, Callable[..., object]] = {"mcp/tool.add": lambda request, /, a, b: a + b}
    methods = Methods(missing=tools.get)
    asked = Side(methods)
    assert methods.knows("mcp/tool.add")
    assert asked.ask("mcp/tool.add", {"a": 1, "b": 2})["result"] == 3
    del tools["mcp/tool.add"]
    assert not methods.knows("mcp/tool.add")
    assert asked.ask("mcp/tool.add", {"a": 1, "b": 2})["error"]["code"] == -32601


def test_a_search_for_methods_that_fails_finds_none(caplog: pytest.LogCaptureFixture):
    def broken(name: str) -> None:
        raise RuntimeError("the tool server is gone")

    assert Side(Methods(missing=broken)).ask("mcp/tool.add")["error"]["code"] == -32601
    assert "the tool server is gone" in caplog.text


def test_a_params_schema_sees_positions_by_name_and_lists_all_problems():
    seen = []

    def check(params: dict[str, object]) -> list[Any]:
        seen.append(params)
        problems = [SimpleNamespace(path=("minuend",), message="must be a number", suggestion="")]
        return problems * 2 if isinstance(params["minuend"], str) else []

    methods = Methods()
    methods.add("subtract", subtract, params_schema=check)
    asked = Side(methods)
    assert asked.ask("subtract", [42, 23])["result"] == 19
    assert seen == [{"minuend": 42, "subtrahend": 23}]
    assert asked.ask("subtract", {"minuend": 42, "_meta": {"progressToken": 1}})["result"] == 41
    assert seen[1] == {"minuend": 42}, "what stands beside the params is none of the schema's"
    error = asked.ask("subtract", {"minuend": "x"})["error"]
    assert error["code"] == -32602
    assert error["message"] == "Invalid params: minuend: must be a number (and 1 more)"
    assert error["data"]["problems"][0] == {"path": ["minuend"], "message": "must be a number", "suggestion": ""}
    mistyped = SimpleNamespace(path=("minund",), message="unknown key 'minund'", suggestion="minuend")
    methods.add("subtract", subtract, params_schema=lambda params: [mistyped])
    said = asked.ask("subtract", {"minund": 1})["error"]["message"]
    assert said == "Invalid params: minund: unknown key 'minund' (did you mean 'minuend'?)"


def test_without_binding_a_function_gets_the_request_alone():
    methods = Methods()
    methods.add("raw", lambda request, /: request.raw_params, bind=False)
    assert Side(methods).ask("raw", {"any": [1]})["result"] == {"any": [1]}


async def later(request: Request, /, text: str) -> str:
    return text


def test_an_async_function_is_left_to_the_shell():
    asked = side(later=later)
    coroutine = asked.methods.dispatch(asked.take("later", ["hi"]))
    assert coroutine is not None
    assert asked.answer() is None
    run(coroutine)
    assert asked.answer()["result"] == "hi"


def test_an_object_with_an_async_call():
    class Later:
        async def __call__(self, request: Request, /) -> str:
            return "done"

    asked = side(later=Later())
    run(asked.methods.dispatch(asked.take("later")))
    assert asked.answer()["result"] == "done"


def test_wrong_params_of_an_async_function():
    asked = side(later=later)
    run(asked.methods.dispatch(asked.take("later", {"txt": 1})))
    assert asked.answer()["error"]["code"] == -32602


def test_a_deferred_request_is_answered_later_and_once():
    kept: list[Request] = []

    def take_over(request: Request, /) -> str:
        request.defer()
        kept.append(request)
        return "means nothing"

    asked = side(take_over=take_over)
    assert asked.ask("take_over") is None
    kept[0].answer({"done": True})
    kept[0].answer("again")
    kept[0].fail(TaskError("again"))
    assert [json.loads(frame)["result"] for frame in asked.peer.take_frames()] == [{"done": True}]


def test_an_answer_before_the_return_counts():
    def at_once(request: Request, /) -> str:
        request.answer("first")
        return "second"

    assert side(at_once=at_once).ask("at_once")["result"] == "first"


def test_a_function_that_defers_and_raises_has_failed():
    def take_over(request: Request, /) -> None:
        request.defer()
        raise TaskCancelled("no")

    assert side(take_over=take_over).ask("take_over")["error"]["code"] == -29004


def test_a_notification_is_run_and_not_answered():
    called: list[bool] = []
    asked = side(note=lambda request, /, a: called.append(request.is_notification))
    for params in ('{"a": 1}', '{"wrong": 1}'):
        (request,) = asked.peer.receive(b'{"jsonrpc":"2.0","method":"note","params":%b}' % params.encode())
        assert isinstance(request, Request)
        asked.methods.dispatch(request)
    assert called == [True]
    assert asked.answer() is None


def test_a_process_does_not_import_what_it_does_not_use_and_the_library_stays_whole() -> None:
    code = (
        "import sys, gleitzeit.jsonrpc.methods as ours\n"
        "assert 'jsonschema' not in sys.modules\n"
        "import jsonrpcserver, jsonrpcserver.methods as theirs\n"
        'request = \'{"jsonrpc": "2.0", "method": "m", "id": 1}\'\n'
        "print(jsonrpcserver.dispatch(request, methods={'m': jsonrpcserver.Success}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(done.stdout or "{}").get("id") == 1, done.stderr
