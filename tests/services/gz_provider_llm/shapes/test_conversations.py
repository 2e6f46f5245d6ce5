"""Conversations in which calls of tools and their results are parts of messages."""

from typing import Any

import pytest

from gz_provider_llm.shapes.conversations import unfolded
from gz_provider_llm.shapes.files import Files
from gz_provider_llm.shapes.requests import Message, ToolCall, chat_request

CALL = {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "S"}
TEXT = {"type": "text", "text": "I look."}
RESULT = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "7"}]}


def test_a_conversation_of_anthropic_s(tmp_path: Any) -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [THOUGHT, TEXT, CALL]},
        {"role": "user", "content": [RESULT, {"type": "text", "text": "and?"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "2"}]},
    ]
    asked = chat_request({"messages": messages}, "m", Files(tmp_path))
    assert asked.messages == (
        Message(role="user", content="hi"),
        Message(
            role="assistant",
            content="I look.",
            tool_calls=(ToolCall("1", "f", {"x": 1}),),
            reasoning="hm",
            thinking_blocks=(THOUGHT,),
        ),
        Message(role="tool", content="7", tool_call_id="1"),
        Message(role="user", content="and?"),
        Message(role="tool", content="", tool_call_id="2"),
    )


@pytest.mark.parametrize(
    "content",
    ["hi", None, 5, [TEXT], [{"type": "tool_use", "count": 3}], [{"type": "tool_result"}, 7], [THOUGHT], []],
)
def test_what_is_none_stays_as_it_is(content: Any) -> None:
    message = {"role": "user", "content": content}
    assert list(unfolded(message)) == [message]
