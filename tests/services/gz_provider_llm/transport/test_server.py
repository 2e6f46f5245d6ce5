"""What is said of a server and of its answers, without one."""

import pytest

from gz_provider_llm.errors import BadRequest, ContextOverflow, RateLimited, ServerError, Unauthorized
from gz_provider_llm.transport.server import Server


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"error": "llama runner process has terminated"}, ServerError),
        ({"error": {"message": "x", "code": 400}}, BadRequest),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ServerError),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}}, RateLimited),
        ({"error": {"message": "prompt is too long", "type": "invalid_request_error"}}, ContextOverflow),
        (["what"], ServerError),
    ],
)
def test_errors_in_a_stream(said: object, kind: type[Exception]) -> None:
    assert type(Server("http://x").error_in_stream(said)) is kind


def test_a_short_secret_is_masked_where_it_stands_alone_and_not_inside_words() -> None:
    server = Server("http://x", ["x", "p4ss"])
    error = server.error(401, {"error": {"message": "unexpected key x: 'x' is wrong, p4ss too, passp4ss is a word"}})
    assert "unexpected key ***: '***' is wrong, *** too, passp4ss is a word" in str(error)


def test_a_secret_that_came_later_is_told_as_little_as_the_first() -> None:
    server = Server("http://x", ["first-secret"])
    server.hide("second-secret")
    told = [str(server.error(400, "first-secret second-secret"))]
    with pytest.raises(ServerError) as caught:
        server.decode("no json of second-secret")
    told.append(str(caught.value))
    assert all("***" in one and "secret" not in one for one in told)


def test_half_a_character_spoils_no_answer() -> None:
    server = Server("http://x")
    assert server.decode(b'{"a": "x\\ud83d", "b": "\\ud83d\\ude00"}') == {"a": "x\ufffd", "b": "\U0001f600"}
    with pytest.raises(ServerError, match="no JSON"):
        server.decode('{"a": NaN}')


def test_what_to_do_is_told_where_it_helps() -> None:
    server = Server("http://x", hint="start it", key_hint="set KEY")
    assert server.unreachable("refused").data == {"url": "http://x", "hint": "start it"}
    assert str(server.unreachable("refused")).endswith("(refused). start it")
    refused = server.error(401, {"error": {"message": "wrong key."}})
    assert isinstance(refused, Unauthorized)
    assert refused.message.endswith("wrong key. set KEY")
    assert "set KEY" not in str(server.error(400, "no"))


def test_an_error_that_stands_where_an_answer_should_is_raised() -> None:
    server = Server("http://x")
    assert server.checked({"a": 1}, "a list") == {"a": 1}
    with pytest.raises(RateLimited):
        server.checked({"error": {"type": "rate_limit_error", "message": "later"}}, "a list")
    with pytest.raises(ServerError, match="did not answer with a list"):
        server.checked("what", "a list")
    with pytest.raises(ServerError, match="did not answer with a list"), server.reading("a list"):
        _ = {}["choices"]
