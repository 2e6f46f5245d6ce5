from pathlib import Path
from typing import Any

import pytest
from samples import IMAGE, PNG, encoded

from gz_provider_llm.backends import anthropic, ollama_wire
from gz_provider_llm.backends.openai import OpenAI
from gz_provider_llm.errors import BadRequest
from gz_provider_llm.shapes.files import Files, Image
from gz_provider_llm.shapes.requests import ChatRequest, Message, Tool, ToolCall, chat_request, embed_request
from gz_provider_llm.transport.http import Http

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "a.txt").write_text("alpha")
    (tmp_path / "b.txt").write_text("beta")
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "scan").write_bytes(PNG)
    return Files(tmp_path)


def asked(files: Files, **params: Any) -> ChatRequest:
    return chat_request({"prompt": "hi", **params}, "m", files)


def user(content: str, *images: Image) -> Message:
    return Message(role="user", content=content, images=images)


@pytest.mark.parametrize(
    ("params", "messages"),
    [
        ({"prompt": "hi"}, [user("hi")]),
        ({"prompt": {"a": [1]}}, [user('{"a":[1]}')]),
        ({"prompt": "hi", "system": "be brief"}, [Message(role="system", content="be brief"), user("hi")]),
        ({"messages": [{"role": "user", "content": "a"}], "prompt": "b"}, [user("a"), user("b")]),
        (
            {"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": 3}]},
            [Message(role="system", content="s"), user("3")],
        ),
        ({"messages": [{"role": "user", "content": ["x", {"type": "no part"}]}]}, [user('["x",{"type":"no part"}]')]),
        ({"messages": [{"role": "user", "content": "a", "images": [encoded(PNG)]}]}, [user("a", IMAGE)]),
        ({"prompt": "hi", "file_path": "a.txt"}, [user("hi\n\nFile content from a.txt:\nalpha")]),
        (
            {"prompt": "hi", "files": ["a.txt", "b.txt"]},
            [user("hi\n\nFile content from a.txt:\nalpha\n\nFile content from b.txt:\nbeta")],
        ),
        ({"file_path": "a.txt"}, [user("File content from a.txt:\nalpha")]),
        ({"prompt": "hi", "file_path": "a.png"}, [user("hi", IMAGE)]),
        ({"prompt": "hi", "image_path": "scan"}, [user("hi", IMAGE)]),
        ({"prompt": "hi", "image_paths": ["scan", "a.png"]}, [user("hi", IMAGE, IMAGE)]),
        ({"prompt": "hi", "image_path": IMAGE.data_url}, [user("hi", IMAGE)]),
        ({"prompt": "hi", "image_paths": ["https://x.org/a"]}, [user("hi", Image("", "", "https://x.org/a"))]),
        ({"prompt": "hi", "images": ["a.png", encoded(PNG), IMAGE.data_url]}, [user("hi", IMAGE, IMAGE, IMAGE)]),
        ({"prompt": "hi", "image_data": encoded(PNG)}, [user("hi", IMAGE)]),
    ],
)
def test_messages(files: Files, params: dict[str, Any], messages: list[Message]) -> None:
    assert list(chat_request(params, "m", files).messages) == messages


def test_parts_as_openai_writes_them(files: Files) -> None:
    parts = [
        {"type": "text", "text": "what"},
        {"type": "image_url", "image_url": {"url": IMAGE.data_url}},
        {"type": "text", "text": "is it?"},
        {"type": "image_url", "image_url": "a.png"},
    ]
    request = chat_request({"messages": [{"role": "user", "content": parts}]}, "m", files)
    assert request.messages == (user("what\nis it?", IMAGE, IMAGE),)


PDF = Image("application/pdf", encoded(b"%PDF-1.7 all text"))


def test_parts_as_others_write_them(files: Files) -> None:
    parts = [
        {"type": "input_text", "text": "what"},
        {"type": "input_image", "image_url": IMAGE.data_url},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE.data_base64}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "is it?"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF.data_base64}},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF.data_url}},
    ]
    request = chat_request({"messages": [{"role": "user", "content": parts}]}, "m", files)
    there, paper = Image("", "", "https://x/y.png"), Image("application/pdf", "", "https://x/y.pdf")
    assert request.messages == (user("what\nis it?", IMAGE, IMAGE, there, PDF, paper, PDF),)
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    with pytest.raises(BadRequest, match="part of type input_audio"):
        chat_request({"messages": [{"role": "user", "content": [sound]}]}, "m", files)
    rows = [{"type": "image", "size": 3}, {"type": "file", "name": "x"}]  # the result of another task
    request = chat_request({"messages": [{"role": "user", "content": rows}]}, "m", files)
    assert request.messages[0].content.startswith('[{"type":"image"')


def test_a_pdf_goes_along_where_it_is_read(files: Files) -> None:
    (files.directory / "a.pdf").write_bytes(b"%PDF-1.7 all text")
    given = {"path": "b.pdf", "content": PDF.data_base64}
    request = chat_request({"prompt": "what", "file_path": "a.pdf", "files": [given]}, "m", files)
    assert request.messages == (user("what", PDF, PDF),)
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF.data_base64}
    (turn,) = anthropic.chat_body(request)["messages"]
    assert turn["content"][:2] == [{"type": "document", "source": source}] * 2
    openai = OpenAI(Http("http://127.0.0.1:1/v1"), is_openai=True)
    part = openai.chat_body(request)["messages"][0]["content"][1]
    assert part == {"type": "file", "file": {"filename": "document.pdf", "file_data": PDF.data_url}}
    with pytest.raises(BadRequest, match="ollama reads no PDF"):
        ollama_wire.chat_body(request)


def test_a_file_belongs_to_the_last_question(files: Files) -> None:
    said = [{"role": role, "content": role} for role in ("user", "assistant", "user", "assistant")]
    request = chat_request({"messages": said, "file_path": "a.txt"}, "m", files)
    assert [message.content.count("alpha") for message in request.messages] == [0, 0, 1, 0]


def test_there_must_be_a_question(files: Files) -> None:
    with pytest.raises(BadRequest, match="nothing to answer"):
        chat_request({"messages": [{"role": "system", "content": "be brief"}]}, "m", files)
    with pytest.raises(BadRequest, match=r"cannot read gone\.txt"):
        chat_request({"prompt": "x", "file_path": "gone.txt"}, "m", files)


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "f", "description": "d", "parameters": SCHEMA},
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}},
        {"name": "f", "description": "d", "input_schema": SCHEMA},
        {"name": "f", "description": "d", "inputSchema": SCHEMA},
    ],
)
def test_tools_of_every_maker(files: Files, tool: dict[str, Any]) -> None:
    assert asked(files, tools=[tool]).tools == (Tool("f", "d", SCHEMA),)


def test_a_tool_that_its_server_has(files: Files) -> None:
    given = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    (tool,) = chat_request({"prompt": "x", "tools": [given]}, "m", files).tools
    assert (tool.name, tool.own) == ("web_search", given)
    (tool,) = chat_request({"prompt": "x", "tools": [{"type": "browser_search"}]}, "m", files).tools
    assert (tool.name, tool.own) == ("browser_search", {"type": "browser_search"})


def test_a_tool_without_params(files: Files) -> None:
    assert asked(files, tools=[{"name": "f"}]).tools == (Tool("f", "", {"type": "object", "properties": {}}),)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", ("auto", "")),
        ("any", ("required", "")),
        ({"type": "any"}, ("required", "")),
        ({"name": "f"}, ("", "f")),
        ({"type": "tool", "name": "f"}, ("", "f")),
        ({"type": "function", "function": {"name": "f"}}, ("", "f")),
    ],
)
def test_tool_choice(files: Files, given: Any, expected: tuple[str, str]) -> None:
    request = asked(files, tool_choice=given)
    assert (request.tool_choice, request.tool_name) == expected
    with pytest.raises(BadRequest):
        asked(files, tool_choice={})


def called(id: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "w", "arguments": arguments}}


def test_a_conversation_with_tools(files: Files) -> None:
    said = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "name": "w", "arguments": {"city": "Kiel"}}]},
        {"role": "tool", "tool_call_id": "1", "name": "w", "content": {"degrees": 7}},
        {"role": "assistant", "content": None, "tool_calls": [called("2", '{"city":"Bonn"}')]},
        {"role": "assistant", "tool_calls": [called("3", "{broken")]},
    ]
    messages = chat_request({"messages": said}, "m", files).messages
    assert messages[1].tool_calls == (ToolCall("1", "w", {"city": "Kiel"}),)
    assert (messages[2].content, messages[2].tool_call_id, messages[2].name) == ('{"degrees":7}', "1", "w")
    assert messages[3].tool_calls == (ToolCall("2", "w", {"city": "Bonn"}),)
    assert messages[4].tool_calls == (ToolCall("3", "w", "{broken"),)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, (False, None, False)),
        ("text", (False, None, False)),
        ({"type": "text"}, (False, None, False)),
        ("json", (True, None, False)),
        ("json_object", (True, None, False)),
        ({"type": "json_object"}, (True, None, False)),
        (SCHEMA, (True, SCHEMA, False)),
        ({"type": "json_schema", "schema": SCHEMA, "strict": True}, (True, SCHEMA, True)),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, (True, SCHEMA, False)),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": True}}, (True, SCHEMA, True)),
    ],
)
def test_response_format(files: Files, given: Any, expected: tuple[Any, ...]) -> None:
    request = asked(files, response_format=given)
    assert (request.json, request.json_schema, request.json_strict) == expected


def test_a_response_format_without_its_schema(files: Files) -> None:
    with pytest.raises(BadRequest, match="needs a schema"):
        asked(files, response_format={"type": "json_schema"})


def test_what_is_not_said_is_not_set(files: Files) -> None:
    assert asked(files) == ChatRequest(model="m", messages=(user("hi"),))
    request = asked(files, temperature=0, seed=0, stop="END", stream=False, options={"mirostat": 1}, raw=True)
    assert (request.temperature, request.seed, request.stop) == (0, 0, ("END",))
    assert (request.stream, request.options, request.raw) == (False, {"mirostat": 1}, True)
    assert asked(files, stop=["a", "b"]).stop == ("a", "b")


@pytest.mark.parametrize(
    ("params", "inputs"),
    [
        ({"text": "a"}, ("a",)),
        ({"input": ["a", "b"]}, ("a", "b")),
        ({"prompt": "a"}, ("a",)),
        ({"input": {"a": 1}}, ('{"a":1}',)),
        ({"input": [1, "b"]}, ("1", "b")),
        ({"file_path": "a.txt"}, ("alpha",)),
    ],
)
def test_texts_to_embed(files: Files, params: dict[str, Any], inputs: tuple[str, ...]) -> None:
    assert embed_request(params, "m", files).inputs == inputs


def test_nothing_to_embed(files: Files) -> None:
    with pytest.raises(BadRequest, match="nothing to embed"):
        embed_request({"input": []}, "m", files)
