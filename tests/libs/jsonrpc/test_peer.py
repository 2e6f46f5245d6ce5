import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gleitzeit.errors import PayloadTooLarge
from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc import peer as peer_module
from gleitzeit.jsonrpc.inspection import Inspection
from gleitzeit.jsonrpc.messages import Failure, Lost, Reply, Result
from gleitzeit.jsonrpc.methods import Methods
from gleitzeit.jsonrpc.peer import Answered, Cancelled, Peer
from gleitzeit.jsonrpc.request import Request


def new(**options: Any) -> Peer:
    return Peer(lambda: None, **options)


def frame(*members: dict[str, Any] | Any, **single: Any) -> bytes:
    return json.dumps(list(members) if members else {"jsonrpc": "2.0", **single}).encode()


def ask(request_id: object, method: str = "m", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": request_id, **more}


def sent(peer: Peer) -> list[Any]:
    return [json.loads(data) for data in peer.take_frames()]


def requests(peer: Peer, data: bytes) -> list[Request]:
    return [item for item in peer.receive(data) if isinstance(item, Request)]


# asking


def test_a_call_is_answered_by_its_id():
    peer = new()
    replies: dict[str, Reply] = {}
    first = peer.send_request("m", b"[1]", lambda reply: replies.update(first=reply))
    second = peer.send_request("m", None, lambda reply: replies.update(second=reply))
    assert sent(peer) == [ask(first, params=[1]), ask(second)]
    answer_two = {"jsonrpc": "2.0", "id": second, "error": {"code": -1, "message": "no"}}
    for item in peer.receive(frame(answer_two, {"jsonrpc": "2.0", "id": first, "result": 5})):
        assert isinstance(item, Answered)
        item.on_reply(item.reply)
    assert replies["second"] == Failure(-1, "no")
    assert isinstance(replies["first"], Result)
    assert bytes(replies["first"].raw) == b"5"
    assert sent(peer) == []


@pytest.mark.parametrize("odd_id", [0, 2, -1, None, "1", 1.5, "x" * 50, 10**30, [1], {}, True])
def test_an_answer_to_nothing_is_counted_and_not_answered(odd_id):
    peer = new()
    peer.send_request("m", None, print)
    peer.take_frames()
    assert peer.receive(frame(id=odd_id, result=1)) == []
    assert peer.receive(frame(result=1)) == []
    assert (peer.unmatched, sent(peer)) == (2, [])


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" * 5_000])
def test_a_number_that_no_computer_holds_ends_no_connection(number: bytes):
    peer = new()
    (request,) = requests(peer, frame(**ask(1)))
    request.defer()
    assert peer.receive(b'{"jsonrpc":"2.0","id":%b,"result":1}' % number) == []
    (stop,) = peer.receive(
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":%b}}' % number
    )
    assert isinstance(stop, Cancelled)
    assert (stop.request, stop.reason) == (request, "")


def test_an_integer_id_that_came_back_as_a_float_is_known():
    peer = new()
    request_id = peer.send_request("m", None, print)
    assert len(peer.receive(b'{"jsonrpc":"2.0","id":%d.0,"result":1}' % request_id)) == 1


def test_the_second_answer_to_a_call_is_nothing():
    peer = new()
    request_id = peer.send_request("m", None, print)
    assert len(peer.receive(frame(id=request_id, result=1))) == 1
    assert peer.receive(frame(id=request_id, result=2)) == []


def test_answers_to_what_was_given_up_lately_count_as_asked_for(monkeypatch):
    monkeypatch.setattr(peer_module, "MAX_FORGOTTEN", 2)
    peer = new()
    given_up = [peer.send_request("m", None, print) for _ in range(3)]
    for request_id in given_up:
        peer.forget(request_id)
    for request_id in given_up:
        assert peer.receive(frame(id=request_id, result=1)) == []
    assert (peer.unmatched, peer.answers) == (1, 0)


def test_a_lost_connection_is_the_reply_of_all_that_is_outstanding():
    peer = new()
    replies: list[Reply] = []
    answered = peer.send_request("m", None, lambda reply: replies.append(reply))
    peer.send_request("m", None, lambda reply: replies.append(reply))
    forgotten = peer.send_request("m", None, lambda reply: replies.append(reply))
    peer.forget(forgotten)
    for item in (*peer.receive(frame(id=answered, result=1)), *peer.lose("gone"), *peer.lose("gone again")):
        assert isinstance(item, Answered)
        item.on_reply(item.reply)
    assert [type(reply) for reply in replies] == [Result, Lost]
    peer.notify("m", None)
    assert sent(peer) == []


def test_cancel_tells_only_about_what_is_outstanding():
    peer = new()
    request_id = peer.send_request("m", None, print)
    peer.take_frames()
    peer.cancel(request_id, "enough")
    peer.cancel(request_id + 1, "enough")
    assert [message["params"] for message in sent(peer)] == [{"requestId": request_id, "reason": "enough"}]


def test_what_is_larger_than_a_frame_is_not_queued():
    peer = new(max_frame_bytes=100)
    with pytest.raises(PayloadTooLarge):
        peer.send_request("m", b'"%b"' % (b"x" * 100), print)
    with pytest.raises(PayloadTooLarge):
        peer.notify("m", b'"%b"' % (b"x" * 100))
    assert sent(peer) == []
    assert peer.lose("gone") == []


@pytest.mark.parametrize(
    "answer",
    [
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1.0,"outcome":5}',
        b'{"id":1}',
        b'[{"jsonrpc":"2.0","id":1}]',
        b'{"jsonrpc":"2.0","id":1,"result":NaN}',
        b'{"jsonrpc":"2.0","id":1,"error":{"co',
        b'{"id": 1, "jsonrpc": "2.0", "result": {"half": "an ans',
        b'{"jsonrpc":"2.0","id":1,"result":%b}' % (b"[" * 100_000 + b"]" * 100_000),
        b'{"jsonrpc":"2.0","result":%b,"id":1}' % (b"[" * 100_000 + b"]" * 100_000),
        b'{"result": %b, "id": 1, "jsonrpc": "2.0"}' % (b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    ],
)
def test_an_answer_that_says_nothing_ends_its_call_and_no_other(answer: bytes):
    peer = new()
    peer.send_request("m", None, print)
    peer.send_request("m", None, print)
    (item,) = peer.receive(answer)
    assert isinstance(item, Answered)
    assert isinstance(item.reply, Failure)
    assert "the peer's answer" in item.reply.message
    assert peer.outstanding == 1
    assert [item.reply for item in peer.lose("gone")] == [Lost("gone")]


@pytest.mark.parametrize(
    "nonsense",
    [
        b'{"jsonrpc":"2.0","id":1,"method":5}',
        b'{"id":1,"method":"m"}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","par',
        b'{"jsonrpc":"2.0","params":[{"id":1}',
        b'{"jsonrpc":"2.0","result":{"id":1}',
        b'{"jsonrpc":"2.0","method":"m","params":%b,"id":7}' % (b"[" * 100_000 + b"]" * 100_000),
    ],
)
def test_what_is_no_answer_ends_no_call(nonsense: bytes):
    peer = new()
    peer.send_request("m", None, print)
    assert peer.receive(nonsense) == []
    assert peer.outstanding == 1


# being asked


def test_an_answer_too_large_for_a_frame_becomes_an_error():
    peer = new(max_frame_bytes=1000)
    (request,) = requests(peer, frame(**ask(1)))
    request.answer("x" * 1000)
    (answer,) = sent(peer)
    assert answer["error"]["code"] == -31006
    assert answer["error"]["data"]["limit_bytes"] == 1000


def test_batches_are_answered_by_one_array_after_the_last_member():
    peer = new()
    first, note, second = requests(peer, frame(ask(1), {"jsonrpc": "2.0", "method": "n"}, 5, ask("two")))
    second.answer(2)
    note.answer("never")
    assert sent(peer) == []
    first.answer(1)
    ((refused, *answers),) = sent(peer)
    assert (refused["id"], refused["error"]["code"]) == (None, -32600)
    assert answers == [{"jsonrpc": "2.0", "result": 2, "id": "two"}, {"jsonrpc": "2.0", "result": 1, "id": 1}]


def test_split_batches_are_answered_member_by_member():
    peer = new()
    peer.split_batches = True
    first, second = requests(peer, frame(ask(1), 5, ask(2)))
    second.answer(2)
    assert [message["id"] for message in sent(peer)] == [None, 2]
    first.answer(1)
    assert [message["id"] for message in sent(peer)] == [1]


def test_batches_without_requests_have_no_answer():
    peer = new()
    request_id = peer.send_request("m", None, print)
    peer.take_frames()
    received = peer.receive(frame({"jsonrpc": "2.0", "method": "n"}, {"jsonrpc": "2.0", "id": request_id, "result": 1}))
    assert [type(item) for item in received] == [Request, Answered]
    assert sent(peer) == []


def test_an_array_of_answers_stays_below_a_frame():
    peer = new(max_frame_bytes=4000)
    members = requests(peer, frame(*(ask(number) for number in range(5))))
    for request in members:
        request.answer("x" * 900)
    (data,) = peer.take_frames()
    assert len(data) <= 4000
    codes = [answer.get("error", {}).get("code") for answer in json.loads(data)]
    assert codes[0] is None
    assert (len(codes), codes.count(-31006)) == (5, 1)


def test_too_long_a_batch_is_refused_but_answers_in_it_arrive():
    peer = new()
    request_id = peer.send_request("m", None, print)
    peer.take_frames()
    received = peer.receive(frame({"jsonrpc": "2.0", "id": request_id, "result": 1}, *[ask(1)] * 1000))
    assert [type(item) for item in received] == [Answered]
    (answer,) = sent(peer)
    assert answer["error"]["code"] == -32600
    assert "1001" in answer["error"]["data"]["reason"]


def test_of_too_many_members_none_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(codec, "_judge", None)
    text = b"[" + b"1," * 1_000 + b"1]"
    for count in (0, 1_001):
        peer, inspection = new(), Inspection()
        inspection.members = count
        assert peer.receive(text, inspection) == []
        (answer,) = sent(peer)
        assert answer["error"]["data"]["reason"] == "a batch of 1001; at most 1000 members are allowed"


def test_more_unanswered_requests_than_allowed_are_overloaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peer_module, "MAX_UNANSWERED", 2)
    peer = new()
    for number in range(3):
        (request,) = requests(peer, frame(**ask(number)))
        request.defer()
    (answer,) = sent(peer)
    assert (answer["id"], answer["error"]["code"]) == (2, -31005)


def test_after_the_loss_nothing_leaves():
    peer = new()
    (request,) = requests(peer, frame(**ask(1)))
    request.defer()
    peer.lose("gone")
    request.answer(1)
    assert sent(peer) == []


# cancelled


def cancelled(request_id: object, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id, **more}}


def receive_and_cancel(peer: Peer, data: bytes) -> int:
    count = 0
    for item in peer.receive(data):
        assert isinstance(item, Cancelled)
        item.request.cancel(item.reason)
        count += 1
    return count


@pytest.mark.parametrize("request_id", [1, "one", 1.5, None])
def test_a_request_is_cancelled_by_its_id(request_id):
    peer = new()
    reasons: list[str] = []
    (request,) = requests(peer, frame(**ask(request_id)))
    request.defer()
    request.on_cancel(reasons.append)
    assert receive_and_cancel(peer, frame(**cancelled(request_id, reason="enough"))) == 1
    assert reasons == ["enough"]


def test_cancelling_what_is_answered_does_nothing():
    peer = new()
    (request,) = requests(peer, frame(**ask(1)))
    request.defer()
    request.answer(1)
    peer.take_frames()
    assert receive_and_cancel(peer, frame(**cancelled(1))) == 0
    assert sent(peer) == []


def test_a_request_can_be_cancelled_in_the_frame_that_brought_it():
    peer = new()
    request, stop = peer.receive(frame(ask(1), cancelled(1)))
    assert isinstance(request, Request)
    assert isinstance(stop, Cancelled)
    assert stop.request is request


@pytest.mark.parametrize("params", [None, [1], {"callId": "a/b/1"}])
def test_other_forms_of_cancelled_belong_to_the_methods(params):
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    (request,) = requests(new(), frame(**(message if params is None else {**message, "params": params})))
    assert request.params == params


# what leaves


def test_coalesced_messages_keep_their_order():
    peer = new()
    peer.coalesce = 3
    for number in range(7):
        peer.notify("n", b"[%d]" % number)
    frames = sent(peer)
    assert [len(f) if isinstance(f, list) else 1 for f in frames] == [3, 3, 1]
    flat = [m for f in frames for m in (f if isinstance(f, list) else [f])]
    assert [message["params"] for message in flat] == [[number] for number in range(7)]


def test_an_answer_that_is_an_array_is_not_put_into_another():
    peer = new()
    peer.coalesce = 64
    peer.notify("before", None)
    (request,) = requests(peer, frame(ask(1)))
    request.answer(1)
    peer.notify("after", None)
    peer.notify("after", None)
    before, array, after = sent(peer)
    assert before["method"] == "before"
    assert array == [{"jsonrpc": "2.0", "result": 1, "id": 1}]
    assert [message["method"] for message in after] == ["after", "after"]


def test_wake_is_called_once_for_all_that_waits():
    woken: list[int] = []
    peer = Peer(lambda: woken.append(1))
    peer.notify("n", None)
    peer.notify("n", None)
    assert len(woken) == 1
    assert peer.waiting_bytes == sum(map(len, peer.take_frames()))
    assert peer.waiting_bytes == 0
    peer.notify("n", None)
    assert len(woken) == 2


# whatever comes


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
# Close to messages, so that the interesting branches are met and not only the first.
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | ANYTHING,
        "method": st.sampled_from(["ping", "echo", "fail", "later", "nope", "notifications/cancelled"]) | ANYTHING,
        "params": st.fixed_dictionaries({}, optional={"requestId": st.integers(0, 3), "reason": ANYTHING}) | ANYTHING,
        "id": st.integers(0, 3) | ANYTHING,
        "result": ANYTHING,
        "error": ANYTHING | st.fixed_dictionaries({"code": ANYTHING, "message": ANYTHING}),
    },
)
FRAME = st.one_of(
    st.binary(max_size=60),
    ANYTHING.map(lambda value: json.dumps(value).encode()),
    st.one_of(NEARLY, st.lists(NEARLY | ANYTHING, max_size=6)).map(lambda value: json.dumps(value).encode()),
)


def methods() -> Methods:
    def fail(request: Request, /, **params: object) -> None:
        raise ValueError("secret")

    def later(request: Request, /, **params: object) -> None:
        request.defer()

    made = Methods()
    made.add("echo", lambda request, /, **params: Raw(request.raw_params or b"null"))
    made.add("fail", fail)
    made.add("later", later)
    return made


def check_response(answer: Any) -> None:
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] is None or isinstance(answer["id"], str | int | float)
    assert not isinstance(answer["id"], bool)
    assert ("result" in answer) != ("error" in answer)
    assert set(answer) == {"jsonrpc", "id", "result" if "result" in answer else "error"}
    if "error" in answer:
        assert isinstance(answer["error"]["code"], int)
        assert isinstance(answer["error"]["message"], str)
        assert "secret" not in json.dumps(answer)


METHODS = methods()


@given(st.lists(FRAME, max_size=5), st.booleans(), st.sampled_from([1, 3]))
def test_anything_in_valid_json_rpc_or_nothing_out(frames, split, coalesce):
    peer = new()
    peer.split_batches, peer.coalesce = split, coalesce
    peer.send_request("m", None, print)
    peer.take_frames()
    for data in frames:
        for item in peer.receive(data):
            if isinstance(item, Request):
                METHODS.dispatch(item)
            elif isinstance(item, Cancelled):
                item.request.cancel(item.reason)
        for answer in sent(peer):
            assert answer
            for one in answer if isinstance(answer, list) else [answer]:
                check_response(one)


@pytest.mark.parametrize("value", ["NaN", "[1, -Infinity]", '"\\ud800"'])
def test_an_answer_that_is_no_json_still_ends_the_waiting(value):
    peer = new()
    replies: list[Reply] = []
    request_id = peer.send_request("m", None, replies.append)
    peer.take_frames()
    for item in peer.receive(f'{{"jsonrpc":"2.0","id":{request_id},"result":{value}}}'.encode()):
        item.on_reply(item.reply)
    (reply,) = replies
    assert isinstance(reply, Failure)
    assert reply.code == -32700
    assert "no JSON" in reply.message
    assert sent(peer)[0]["error"]["code"] == -32700
