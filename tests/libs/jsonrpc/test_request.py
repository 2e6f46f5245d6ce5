import json
from typing import Any

import pytest
from msgspec import Raw

from gleitzeit.errors import InvalidParams, TaskError
from gleitzeit.jsonrpc.messages import Failure
from gleitzeit.jsonrpc.peer import Peer
from gleitzeit.jsonrpc.request import Request


def asked(raw_id: bytes | None = b"1", params: bytes | None = None) -> tuple[Request, Peer]:
    peer = Peer(lambda: None)
    return Request(peer, "m", None if params is None else Raw(params), raw_id, None), peer


def sent(peer: Peer) -> list[Any]:
    return [json.loads(data) for data in peer.take_frames()]


def test_the_first_of_its_answers_counts():
    request, peer = asked(b'"one"')
    assert not request.answered
    request.answer({"x": 1})
    assert request.answered
    request.answer(2)
    request.fail(TaskError("too late"))
    assert sent(peer) == [{"jsonrpc": "2.0", "result": {"x": 1}, "id": "one"}]


def test_what_json_cannot_hold_is_answered_by_an_error_that_tells_nothing_of_it():
    request, peer = asked()
    request.answer({"secret": object()})
    (answer,) = sent(peer)
    assert (answer["id"], answer["error"]["code"]) == (1, -32603)
    assert "secret" not in json.dumps(answer)


def test_a_failure_of_another_peer_is_passed_on_as_it_came():
    request, peer = asked()
    request.fail(Failure(-7, "no", Raw(b'{"a":1}')))
    assert [answer["error"] for answer in sent(peer)] == [{"code": -7, "message": "no", "data": {"a": 1}}]


def test_a_notification_is_never_answered():
    request, peer = asked(None)
    assert request.is_notification
    request.defer()
    request.answer(1)
    request.fail(TaskError("no"))
    request.cancel("enough")
    assert (request.id, sent(peer)) == (None, [])


@pytest.mark.parametrize(("raw", "value"), [(None, None), (b'{"a":[1]}', {"a": [1]}), (b"[1.5]", [1.5])])
def test_params_are_decoded_once(raw: bytes | None, value: object):
    request, _ = asked(params=raw)
    assert request.params == value
    assert request.params is request.params


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" * 5_000])
def test_params_with_a_number_that_no_computer_holds_are_invalid(number: bytes):
    request, _ = asked(params=b"[%b]" % number)
    with pytest.raises(InvalidParams, match="a number is larger"):
        _ = request.params


def test_cancelling_calls_back_with_the_reason_once():
    request, peer = asked()
    reasons: list[str] = []
    request.on_cancel(reasons.append)
    request.cancel("enough")
    request.cancel("twice")
    assert reasons == ["enough"]
    assert request.cancelled
    request.on_cancel(reasons.append)
    assert reasons == ["enough", ""]
    request.answer("after all")
    assert sent(peer)[0]["result"] == "after all"


def test_a_request_nobody_watches_is_answered_when_it_is_cancelled():
    request, peer = asked()
    request.cancel("enough")
    (answer,) = sent(peer)
    assert (answer["error"]["code"], answer["error"]["message"]) == (-29004, "enough")


def test_nobody_is_called_back_about_what_is_answered():
    request, peer = asked()
    request.on_cancel(pytest.fail)
    request.answer(1)
    request.on_cancel(pytest.fail)
    request.cancel("too late")
    assert not request.cancelled
    assert len(sent(peer)) == 1
