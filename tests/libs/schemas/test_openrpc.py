import pytest

from gleitzeit.schemas import PIECE, builtin, method_schema, methods_in_pieces, methods_of, openrpc, verify_all

SCHEMA = {
    "description": "Answers.",
    "x-aliases": ["echo/say"],
    "x-idempotent": True,
    "x-timeout-seconds": 30,
    "x-wants-dependencies": True,
    "params": {
        "type": "object",
        "properties": {"message": {"type": "string", "description": "What to say."}, "code": {"x-code": "python"}},
        "required": ["message"],
        "additionalProperties": False,
    },
    "result": {"type": "object"},
}
ECHO = method_schema("echo/echo", SCHEMA)


def test_a_document_describes_each_method() -> None:
    document = openrpc("gz-provider-echo", "1.0", [ECHO], {"name": "echo"})
    assert document["openrpc"] == "1.4.1"
    assert document["info"] == {"title": "gz-provider-echo", "version": "1.0"}
    assert document["x-gleitzeit"] == {"name": "echo"}
    [method] = document["methods"]
    assert method["paramStructure"] == "by-name"
    assert method["params"][0] == {
        "name": "message",
        "description": "What to say.",
        "required": True,
        "schema": {"type": "string", "description": "What to say."},
    }
    assert method["x-params-schema"] == SCHEMA["params"]
    assert method["result"] == {"name": "result", "schema": {"type": "object"}}


def test_no_extension_leaves_no_trace() -> None:
    assert "x-gleitzeit" not in openrpc("t", "1", [], {})


def test_the_coordinators_methods_take_params_either_way() -> None:
    [method] = openrpc("t", "1", [method_schema("workflow.get", {})], {})["methods"]
    assert method["paramStructure"] == "either"


def test_there_and_back_again() -> None:
    [again] = methods_of(openrpc("t", "1", [ECHO], {}))
    for part in ("name", "protocol", "description", "params", "result", "aliases", "idempotent", "runs"):
        assert getattr(again, part) == getattr(ECHO, part)
    assert (again.timeout_seconds, again.code_params, again.wants_dependencies) == (30.0, ("code",), True)


def test_all_that_ships_goes_there_and_back() -> None:
    methods = builtin().methods
    again = methods_of(openrpc("t", "1", methods.values(), {}))
    assert [(m.name, m.params, m.result) for m in again] == [(m.name, m.params, m.result) for m in methods.values()]


def test_a_stranger_who_only_knows_openrpc_is_understood() -> None:
    [method] = methods_of(
        {
            "methods": [
                {
                    "name": "mail/send",
                    "params": [
                        {"name": "to", "schema": {"type": "string"}, "required": True},
                        {"name": "subject"},
                        "nonsense",
                    ],
                    "result": {"name": "r", "schema": {"type": "integer"}},
                }
            ]
        }
    )
    assert [p.message for p in method.check_params({"subject": 1})] == ["'to' is missing"]
    assert method.check_params({"to": "x", "other": 1}) == []
    assert method.check_result("x") != []


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"methods": {}},
        {"methods": [3]},
        {"methods": [{"name": 3}]},
        {"methods": [{"name": "a/b", "x-params-schema": {"type": "foo"}}]},
        {"methods": [{"name": "a/b", "x-params-schema": 3}]},
        {"methods": [{"name": "a/b", "x-params-schema": {"properties": 3}}]},
        {"methods": [{"name": "a/b", "params": [{"name": "p", "schema": "x"}]}]},
        {"methods": [{"name": "a/b", "x-aliases": 3}]},
    ],
)
def test_nonsense_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r"OpenRPC|method 'a/b'"):
        methods_of(document)


def test_many_methods_come_in_pieces_and_a_wrong_one_among_them_is_named() -> None:
    methods = [
        method_schema(f"many/m{number}", {"params": {"type": "object", "title": f"{number}"}, "result": {}})
        for number in range(2 * PIECE + 1)
    ]
    document = openrpc("t", "1", methods, {})
    pieces = list(methods_in_pieces(document))
    assert list(map(len, pieces)) == [PIECE, PIECE, 1]
    assert [method.name for piece in pieces for method in piece] == [method.name for method in methods]
    document["methods"][PIECE + 3]["x-params-schema"] = {"type": "foo"}
    with pytest.raises(ValueError, match=f"method 'many/m{PIECE + 3}'"):
        methods_of(document)


@pytest.mark.parametrize("reference", ["#/$defs/text", "#/properties/a"])
def test_what_refers_to_its_own_root_is_verified_by_itself(reference: str) -> None:
    whole = {"$defs": {"text": {"type": "string"}}, "properties": {"a": {}, "b": {"$ref": reference}}}
    verify_all([method_schema("a/b", {"params": whole}), ECHO])
    lacking = {"properties": {"b": {"$ref": reference}}}
    with pytest.raises(ValueError, match="method 'a/b'"):
        verify_all([ECHO, method_schema("a/b", {"params": lacking})])
