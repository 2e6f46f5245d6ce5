import pytest

from gleitzeit.schemas import Catalogue, is_task_method, method_schema, protocol_of, verify

ECHO = method_schema("echo/echo", {"x-aliases": ["echo/say"], "x-timeout-seconds": 30, "description": "Answers."})
PING = method_schema("echo/ping", {})
SUBMIT = method_schema("workflow.submit", {"x-runs": "coordinator"})
EXECUTE = method_schema(
    "python/execute",
    {
        "x-idempotent": False,
        "x-wants-dependencies": True,
        "params": {"properties": {"code": {"type": "string", "x-code": "python"}, "file": {"type": "string"}}},
    },
)
CATALOGUE = Catalogue([ECHO, PING, SUBMIT, EXECUTE])


def test_a_schema_file_says_it_all() -> None:
    assert (ECHO.name, ECHO.protocol, ECHO.description, ECHO.timeout_seconds) == (
        "echo/echo",
        "echo/v1",
        "Answers.",
        30.0,
    )
    assert (ECHO.idempotent, ECHO.runs, ECHO.wants_dependencies, ECHO.result) == (True, "provider", False, None)
    assert (EXECUTE.idempotent, EXECUTE.wants_dependencies) == (False, True)
    assert EXECUTE.code_params == ("code",)
    assert EXECUTE.param_names == ("code", "file")


@pytest.mark.parametrize(
    ("given", "taken", "right"),
    [(2.0, 2, True), (2, 2, True), (2.5, 2.5, False), ("2", "2", False), (1e300, 10**300, False), (None, None, True)],
)
def test_a_whole_number_that_came_as_a_fraction_is_taken_as_one(given: object, taken: object, right: bool) -> None:
    listed = {"properties": {"limit": {"type": ["integer", "null"], "maximum": 9}, "share": {"type": "number"}}}
    params = {"limit": given, "share": 2.0}
    assert (method_schema("a.list", {"params": listed}).take_params(params) == []) is right
    assert type(params["limit"]) is type(taken)
    assert type(params["share"]) is float


def test_null_is_as_good_as_nothing_unless_it_is_a_value() -> None:
    kinds = {
        "id": {"type": "string"},
        "after": {"$ref": "#/$defs/place"},
        "name": {"type": ["string", "null"]},
        "any": {},
    }
    listed = {"properties": kinds, "required": ["id"], "$defs": {"place": {"type": "integer"}}, "maxProperties": 4}
    method = method_schema("a.list", {"params": listed})
    params = dict.fromkeys(("id", "after", "name", "any"))
    [problem] = method.take_params(params)
    assert (problem.path, problem.message) == (("id",), "must be text, not null")
    params["id"] = "x"
    assert method.take_params(params) == []
    assert params == {"id": "x", "name": None, "any": None}


def test_methods_are_found_by_name_and_by_alias() -> None:
    assert CATALOGUE.get("echo/echo") is ECHO
    assert CATALOGUE.get("echo/say") is ECHO
    assert CATALOGUE.get("echo/shout") is None
    assert list(CATALOGUE.methods) == ["echo/echo", "echo/ping", "workflow.submit", "python/execute"]


def test_tasks_cannot_see_the_coordinators_own_methods() -> None:
    assert CATALOGUE.protocols() == ["echo/v1", "python/v1"]
    assert CATALOGUE.names() == ["echo/echo", "echo/ping", "python/execute"]
    assert CATALOGUE.names("echo/v1") == ["echo/echo", "echo/ping"]
    assert CATALOGUE.names("workflow/v1") == []
    assert CATALOGUE.coordinator_methods() == [SUBMIT]
    assert is_task_method("echo/echo")
    assert not is_task_method("workflow.submit")
    assert protocol_of("workflow.submit") == "workflow/v1"


def test_more_methods_make_another_catalogue() -> None:
    more = CATALOGUE.with_methods([method_schema("mail/send", {})])
    assert more.protocols() == ["echo/v1", "mail/v1", "python/v1"]
    assert CATALOGUE.get("mail/send") is None


def test_a_provider_cannot_redefine_a_method_nor_take_its_alias() -> None:
    stranger = method_schema("echo/echo", {"description": "mine", "x-aliases": ["echo/ping", "echo/yell"]})
    more = CATALOGUE.with_methods([stranger, method_schema("x/y", {"x-aliases": ["echo/say"]})])
    assert more.get("echo/echo") is ECHO
    assert more.get("echo/say") is ECHO
    assert more.get("echo/ping") is PING


def test_no_result_schema_accepts_any_result() -> None:
    assert ECHO.check_result({"anything": 1}) == []
    strict = method_schema("a/b", {"result": {"type": "string"}})
    assert [problem.message for problem in strict.check_result(3)] == ["must be text, not 3"]


@pytest.mark.parametrize("document", [{"params": []}, {"params": "x"}, {"result": 3}])
def test_parts_of_the_wrong_type_are_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must each be a JSON Schema object"):
        method_schema("a/b", document)


@pytest.mark.parametrize(
    "schema", [{"type": "foo"}, {"$ref": "http://127.0.0.1:1/x"}, {"$ref": "file:///etc/hostname"}, {"pattern": "("}]
)
def test_a_schema_that_is_none_or_wants_to_fetch_is_refused_in_one_line(schema: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        verify(method_schema("a/b", {"params": schema}))
