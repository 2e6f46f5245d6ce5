"""What the errors of real servers mean, in their own words."""

from typing import Any

import pytest

from gleitzeit.errors import GleitzeitError
from gz_provider_llm.errors import (
    BadRequest,
    ContextOverflow,
    ModelNotFound,
    QuotaExceeded,
    RateLimited,
    Refused,
    ServerError,
    Unauthorized,
    UnreadableOutput,
)
from gz_provider_llm.transport.refusals import meaning, said


def openai(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (429, openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), QuotaExceeded),
        (400, anthropic("invalid_request_error", "Your credit balance is too low to access the API"), QuotaExceeded),
        (402, {"error": {"message": "Insufficient credits", "code": 402}}, QuotaExceeded),
        (400, anthropic("invalid_request_error", "You have reached your specified API usage limits."), QuotaExceeded),
        (429, openai("Rate limit reached", "requests", "rate_limit_exceeded"), RateLimited),
        (429, openai("Request too large for m on tokens per min: Limit 3, Requested 5", "tokens"), ContextOverflow),
        (413, openai("Request too large for model `x` on tokens per minute", "tokens"), ContextOverflow),
        (400, [{"error": {"message": "The input token count (9) exceeds the maximum number", "code": 400}}],
         ContextOverflow),
        (400, {"code": "Client error", "error": "This model's maximum prompt length is 131072 but …"}, ContextOverflow),
        (400, openai("filtered due to the prompt", "", "content_filter"), Refused),
        (400, anthropic("invalid_request_error", "Output blocked by content filtering policy"), Refused),
        (403, {"error": {"code": 403, "message": "requires moderation and your input was flagged"}}, Refused),
        (403, openai("Country, region, or territory not supported"), Unauthorized),
        (404, anthropic("not_found_error", "model: claude-9"), ModelNotFound),
        (403, openai("Project `p` does not have access to model `m`", code="model_not_found"), ModelNotFound),
        (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this … does not exist."}},
         ModelNotFound),
        (400, {"error": {"message": "a/b is not a valid model ID", "code": 400}}, ModelNotFound),
        (404, {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError"}, ModelNotFound),
        (404, "404 page not found", BadRequest),
        (400, openai("Failed to generate JSON.", code="json_validate_failed"), UnreadableOutput),
        (400, openai("Failed to call a function.", code="tool_use_failed"), UnreadableOutput),
        (404, {"error": {"message": "No endpoints found for a/b.", "code": 404}}, ModelNotFound),
        (400, openai("The requested model 'a/b' is not supported by any provider you have enabled."), ModelNotFound),
        (403, {"error": "Your team has used all available credits or reached its monthly spending limit."},
         QuotaExceeded),
        (429, openai("Your account … is suspended", "exceeded_current_quota_error"), QuotaExceeded),
        (400, {"code": "Arrearage", "message": "Access denied, make sure your account is in good standing."},
         QuotaExceeded),
        (429, {"error": {"message": "You exceeded your current quota. Please retry in 3s.", "code": 429}}, RateLimited),
        (400, openai("Input data may contain inappropriate content.", "data_inspection_failed"), Refused),
        (400, openai("Content Exists Risk"), Refused),
        (403, {"error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, Refused),
        (498, openai("Flex tier capacity exceeded", code="capacity_exceeded"), ServerError),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}], Unauthorized),
        (422, openai("`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 …"), ContextOverflow),
        (529, anthropic("overloaded_error", "Overloaded"), ServerError),
        (500, {"error": {"message": "image input is not supported - hint: …", "type": "server_error"}}, BadRequest),
        (503, {"error": "Model a/b is currently loading", "estimated_time": 20.0}, RateLimited),
        (500, {"error": {"message": "Jinja Exception: System role not supported", "type": "server_error"}}, BadRequest),
        (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {
            "raw": '{"error":{"message":"This model\'s maximum context length is 8192 tokens."}}'}}}, ContextOverflow),
    ],
)  # fmt: skip
def test_meaning(status: int, answer: object, kind: type[GleitzeitError]) -> None:
    assert type(meaning(status, *said(answer), "http://x", None, (429,))) is kind


def test_where_to_sign_in_for_a_model_in_ollama_s_cloud() -> None:
    answer = {"error": "unauthorized", "signin_url": "https://ollama.com/connect?name=x"}
    error = meaning(401, *said(answer), "http://x", None, (429,))
    assert isinstance(error, Unauthorized)
    assert "`ollama signin`, or at https://ollama.com/connect?name=x" in error.message


def test_of_a_page_the_title_is_told() -> None:
    assert said("<html>\r\n<head><title>502 Bad\n Gateway</title></head></html>") == ("502 Bad Gateway", "")
    assert said("<p>what?") == ("<p>what?", "")


@pytest.mark.parametrize("status", [402, 429, 503, 529])
def test_who_says_when_to_come_again_is_busy(status: int) -> None:
    error = meaning(status, "in flight", "", "http://x", 2.0, (429,))
    assert isinstance(error, RateLimited)
    assert error.retry_after_seconds == 2
