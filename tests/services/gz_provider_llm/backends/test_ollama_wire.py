"""What goes over Ollama's wire, without one."""

from typing import Any

import pytest

from gz_provider_llm.backends import ollama_wire as wire
from gz_provider_llm.errors import BadRequest
from gz_provider_llm.shapes.files import Image
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest, Message, Tool, ToolCall
from gz_provider_llm.shapes.results import Usage

QUESTION = Message(role="user", content="Why?")
LOOK_UP = Tool("look_up", "Look a word up.", {"type": "object", "properties": {"word": {"type": "string"}}})


def chat(*messages: Message, **more: Any) -> dict[str, Any]:
    return wire.chat_body(ChatRequest(model="tiny", messages=messages or (QUESTION,), **more))


def generate(*messages: Message, **more: Any) -> dict[str, Any]:
    return wire.generate_body(ChatRequest(model="tiny", messages=messages or (QUESTION,), **more))


def test_nothing_is_sent_that_was_not_said() -> None:
    assert chat() == {"model": "tiny", "messages": [{"role": "user", "content": "Why?"}], "stream": True}


def test_sampling_goes_into_the_options() -> None:
    body = chat(
        temperature=0.0, max_tokens=5, top_p=0.5, top_k=3, seed=0, repeat_penalty=1.1, presence_penalty=0.1,
        frequency_penalty=0.2, num_ctx=2048, stop=("a", "b"),
    )  # fmt: skip
    assert body["options"] == {
        "temperature": 0.0, "num_predict": 5, "top_p": 0.5, "top_k": 3, "seed": 0, "repeat_penalty": 1.1,
        "presence_penalty": 0.1, "frequency_penalty": 0.2, "num_ctx": 2048, "stop": ["a", "b"],
    }  # fmt: skip


def test_given_options_come_last_and_find_their_place() -> None:
    body = chat(seed=1, options={"seed": 2, "mirostat": 1, "keep_alive": "1h", "think": False})
    assert body["options"] == {"seed": 2, "mirostat": 1}
    assert (body["keep_alive"], body["think"]) == ("1h", False)


@pytest.mark.parametrize(
    ("effort", "think"), [("none", False), ("minimal", "low"), ("medium", "medium"), ("xhigh", "high"), ("max", "high")]
)
def test_reasoning_effort(effort: str, think: Any) -> None:
    assert chat(reasoning_effort=effort)["think"] == think
    request = ChatRequest(model="tiny", messages=(QUESTION,), reasoning_effort=effort)
    assert "think" not in wire.chat_body(request, {"reasoning_effort"})


def test_formats() -> None:
    schema = {"type": "object"}
    assert chat(json=True)["format"] == "json"
    assert chat(json=True, json_schema=schema)["format"] == schema
    assert generate(json=True, json_schema=schema)["format"] == schema


def test_images_are_plain_base64() -> None:
    image = Image("image/png", "iVBORw0KGgo=")
    seen = Message(role="user", content="What is it?", images=(image,))
    assert chat(seen)["messages"][0]["images"] == ["iVBORw0KGgo="]
    assert generate(seen)["images"] == ["iVBORw0KGgo="]


def test_tools_and_their_calls() -> None:
    called = Message(role="assistant", tool_calls=(ToolCall("call_1", "look_up", {"word": "sea"}),))
    answered = Message(role="tool", content="water", tool_call_id="call_1")
    spoilt = Message(role="assistant", tool_calls=(ToolCall("call_2", "look_up", "{'word'"),))
    body = chat(QUESTION, called, answered, spoilt, tools=(LOOK_UP,))
    function = {"name": "look_up", "description": "Look a word up.", "parameters": LOOK_UP.parameters}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["messages"][1]["tool_calls"] == [
        {"id": "call_1", "function": {"name": "look_up", "arguments": {"word": "sea"}}}
    ]
    told = {"role": "tool", "content": "water", "tool_call_id": "call_1", "tool_name": "look_up"}
    assert body["messages"][2] == told
    assert body["messages"][3]["tool_calls"][0]["function"]["arguments"] == {"arguments": "{'word'"}


def test_a_choice_of_tools_is_made_by_what_is_shown() -> None:
    other = Tool("other", "", {})
    assert "tools" not in chat(tools=(LOOK_UP,), tool_choice="none")
    (shown,) = chat(tools=(LOOK_UP, other), tool_name="other")["tools"]
    assert shown["function"]["name"] == "other"


def test_there_are_no_tools_of_the_server_s_own() -> None:
    with pytest.raises(BadRequest, match="leave browser_search out"):
        chat(tools=(Tool("browser_search", "", {}, own={"type": "browser_search"}),))


def test_a_conversation_for_a_server_without_chat() -> None:
    system = Message(role="system", content="Be brief.")
    assert generate(system, QUESTION) == {"model": "tiny", "prompt": "Why?", "system": "Be brief.", "stream": True}
    talk = generate(QUESTION, Message(role="assistant", content="Because."), Message(role="user", content="Really?"))
    assert talk["prompt"] == "User: Why?\n\nAssistant: Because.\n\nUser: Really?\n\nAssistant:"
    assert generate(raw=True)["raw"] is True
    with pytest.raises(BadRequest, match="no tools"):
        generate(tools=(LOOK_UP,))


def test_embeddings() -> None:
    request = EmbedRequest(model="tiny", inputs=("a", "b"), dimensions=8, options={"truncate": False, "num_ctx": 64})
    assert wire.embed_body(request) == {
        "model": "tiny", "input": ["a", "b"], "dimensions": 8, "truncate": False, "options": {"num_ctx": 64},
    }  # fmt: skip


def grown(*lines: dict[str, Any]) -> wire.Answer:
    answer = wire.Answer()
    for line in lines:
        answer.add(line)
    return answer


def test_an_answer_grows() -> None:
    answer = wire.Answer()
    assert answer.add({"message": {"content": "", "thinking": "Hm."}, "done": False}) == ""
    likely = [{"token": "Be", "logprob": -0.5}]
    assert answer.add({"message": {"content": "Be"}, "logprobs": likely, "done": False}) == "Be"
    assert answer.add({"message": {"content": "cause"}, "done": False}) == "cause"
    assert not answer.done
    last = {"load_duration": 2_000_000, "prompt_eval_duration": 500_000, "eval_duration": 3_000_000}
    answer.add({"message": {"content": ""}, "done": True, "done_reason": "length", "eval_count": 2, **last})
    assert answer.done
    result = answer.result("tiny", "here:1")
    assert (result.content, result.reasoning, result.finish_reason) == ("Because", "Hm.", "length")
    assert result.logprobs == likely
    assert result.usage == Usage(0, 2), "a prompt that the server remembers is not counted again"
    assert result.timings_ms == {"load": 2.0, "prompt": 0.5, "generate": 3.0}
    assert (result.model, result.provider_id) == ("tiny", "here:1")


def test_an_answer_of_generate_and_one_without_counts() -> None:
    result = grown({"response": "Hi", "thinking": "Hm", "done": False}, {"response": "", "done": True}).result("x", "")
    assert (result.content, result.reasoning, result.usage, result.finish_reason) == ("Hi", "Hm", None, "stop")


def test_tool_calls_in_an_answer() -> None:
    call = {"function": {"name": "look_up", "arguments": {"word": "sea"}}}
    lines = [{"message": {"content": "", "tool_calls": [call]}}, {"message": {"content": "", "tool_calls": [call]}}]
    result = grown(*lines, {"message": {"content": ""}, "done": True, "done_reason": "stop"}).result("tiny", "")
    assert [call.id for call in result.tool_calls] == ["call_1", "call_2"]
    assert result.tool_calls[0] == ToolCall("call_1", "look_up", {"word": "sea"})
    assert result.finish_reason == "tool_calls"


def test_arguments_as_text_are_read() -> None:
    answer = wire.Answer()
    answer.add({"message": {"tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}, "done": True})
    assert answer.result("m", "").tool_calls[0].arguments == {"a": 1}


def test_a_download_counts_all_its_layers() -> None:
    download = wire.Download()
    assert download.add({"status": "pulling manifest"}) == (0, None, "pulling manifest")
    download.add({"status": "pulling a", "digest": "a", "total": 100, "completed": 100})
    assert download.add({"status": "pulling b", "digest": "b", "total": 300}) == (100, 400, "pulling b")
    assert download.add({"status": "pulling b", "digest": "b", "total": 300, "completed": 50})[:2] == (150, 400)
    assert not download.done
    download.add({"status": "success"})
    assert download.done
