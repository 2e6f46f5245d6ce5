import logging

import msgspec
import pytest

from gleitzeit.errors import (
    ConnectionLost,
    GleitzeitError,
    InvalidParams,
    ProviderBusy,
    RemoteError,
    TaskError,
    error_for,
)
from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.codes import exception_of, failure_of
from gleitzeit.jsonrpc.messages import Failure, Lost


def data_of(failure: Failure) -> dict[str, object]:
    assert failure.data is not None
    return msgspec.json.decode(failure.data)


def test_ours_travels_with_code_message_and_data():
    failure = failure_of(ProviderBusy("full", {"retryAfterSeconds": 2}))
    assert (failure.code, failure.message) == (-30007, "full")
    assert data_of(failure) == {"name": "PROVIDER_OVERLOADED", "retryable": True, "retryAfterSeconds": 2}


def test_what_the_origin_of_an_error_said_about_retrying_is_kept():
    relayed = error_for(-29002, "no", {"retryable": False})
    assert data_of(failure_of(relayed))["retryable"] is False
    assert data_of(failure_of(TaskError("no", retryable=False)))["retryable"] is False


def test_the_text_of_a_strangers_exception_stays_here(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        failure = failure_of(RuntimeError("the password is swordfish"))
    data = data_of(failure)
    assert failure.code == -32603
    assert "swordfish" not in failure.message + repr(data)
    assert "swordfish" in caplog.text
    assert str(data["error_id"]) in caplog.text


def test_every_failure_has_an_id_of_its_own():
    error = RuntimeError("again")
    assert data_of(failure_of(error))["error_id"] != data_of(failure_of(error))["error_id"]


def test_text_that_is_no_unicode_travels_mended():
    answer = codec.encode_failure(b"1", failure_of(TaskError("no file caf\udce9", {"path": "caf\udce9"})))
    assert msgspec.json.decode(answer)["error"]["message"] == "no file caf?"


def test_data_that_cannot_travel_costs_only_the_data():
    failure = failure_of(TaskError("no", {"bad": object()}))
    assert failure.code == -29002
    assert data_of(failure) == {"name": "TASK_EXECUTION_FAILED", "retryable": True}


@pytest.mark.parametrize(("code", "kind"), [(-32602, InvalidParams), (-30007, ProviderBusy), (-1, RemoteError)])
def test_the_way_back(code: int, kind: type[GleitzeitError]):
    error = exception_of(Failure(code, "no", msgspec.Raw(b'{"a": 1}')))
    assert type(error) is kind
    assert (error.code, error.message, error.data) == (code, "no", {"a": 1})


def test_an_error_whose_data_no_computer_holds_keeps_its_words():
    error = exception_of(Failure(-1, "no", msgspec.Raw(b"[1e999]")))
    assert (error.code, error.message, error.data) == (-1, "no", None)


def test_lost_is_connection_lost():
    error = exception_of(Lost("the socket closed"))
    assert isinstance(error, ConnectionLost)
    assert error.message == "the socket closed"
