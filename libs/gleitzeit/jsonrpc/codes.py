"""Between exceptions and JSON-RPC error objects: what leaves for the wire, and what an error object from the wire means
here.
"""

import itertools
import logging
import traceback
import zlib

import msgspec
from msgspec import Raw

from gleitzeit.errors import (
    ConnectionLost,
    GleitzeitError,
    InvalidRequest,
    MethodNotFound,
    ParseError,
    error_for,
)
from gleitzeit.jsonrpc.messages import Failure, Lost

logger = logging.getLogger(__name__)

PARSE_ERROR = ParseError.code
INVALID_REQUEST = InvalidRequest.code
METHOD_NOT_FOUND = MethodNotFound.code
INTERNAL_ERROR = GleitzeitError.code

# The words of the specification's own examples; what exactly is wrong stands in `data.reason`.
PARSE_ERROR_TEXT = "Parse error"
INVALID_REQUEST_TEXT = "Invalid Request"
METHOD_NOT_FOUND_TEXT = "Method not found"

_error_numbers = itertools.count(1)


def failure_of(error: BaseException) -> Failure:
    """The error object for an exception that ended a method.

    Ours travels with its code, message and data, plus `name` and `retryable` in data. Of any other exception nothing
    leaves this process but an `error_id`, under which it is logged here with its traceback.
    """
    if isinstance(error, GleitzeitError):
        return Failure(error.code, error.message, _data_of(error))
    text = "".join(traceback.format_exception(error))
    # The same error has the same first half, so that repetitions are seen as such; no chance is needed to make an id.
    error_id = f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}-{next(_error_numbers)}"
    logger.error("error_id %s: %s", error_id, text)
    data = {"error_id": error_id, "name": GleitzeitError.name, "retryable": False}
    return Failure(INTERNAL_ERROR, "internal error", Raw(msgspec.json.encode(data)))


def _data_of(error: GleitzeitError) -> Raw:
    about = {"name": error.name, "retryable": error.retryable}
    try:
        return Raw(msgspec.json.encode({**about, **(error.data or {})}))
    except (TypeError, ValueError, OverflowError, RecursionError):
        # The code and the message matter more than data that cannot travel.
        logger.exception("the data of %s cannot be encoded as JSON", error.name)
        return Raw(msgspec.json.encode(about))


def exception_of(reply: Failure | Lost) -> GleitzeitError:
    """The exception that a caller gets for an answer that is no result."""
    if isinstance(reply, Lost):
        return ConnectionLost(reply.reason)
    try:
        data = msgspec.json.decode(reply.data) if reply.data is not None else None
    except msgspec.ValidationError:  # a number that no computer holds; what the error says beside it counts
        data = None
    return error_for(reply.code, reply.message, data)
