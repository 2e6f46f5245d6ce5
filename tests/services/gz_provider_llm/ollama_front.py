"""Ollama's wire in front of a real llama-server, for tests: `/api/*` of Ollama 0.12, NDJSON and errors to the letter.

Texts, token counts, JSON after a schema, embeddings and the arguments of tool calls come from real inference behind it;
what the tiny model cannot do is only claimed: a "thinking" model calls its first words thoughts, a "vision" model
checks that its images are base64. `faults` are used up by requests for inference, one each, in their order.

    python ollama_front.py http://127.0.0.1:LLAMA_PORT        and it prints its own address
"""

import base64
import contextlib
import json
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

ALL = ("completion", "tools", "thinking", "vision", "embedding")
BUSY = "server busy, please try again.  maximum pending requests exceeded"
NO_LIMIT_TOKENS = 64  # num_predict where the caller says nothing; the tiny model would never end
THOUGHTS = 3  # words


@dataclass(frozen=True)
class Refuse:
    """Answer with this status instead of doing anything."""

    status: int
    error: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BreakOff:
    """After so many lines of the stream: an error line, or the connection is cut, or nothing more is ever said."""

    lines: int
    how: str  # "error" | "cut" | "hang" | "garbage"
    error: str = "an error was encountered while running the model: unexpected EOF"


@dataclass
class Seen:
    """A request as it came."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    closed_early_at: float = 0.0
    """By the monotonic clock: when the client was found gone before its answer was whole."""
    closed_early: threading.Event = field(default_factory=threading.Event)


class OllamaFront:
    """`url` says where. Attributes may be changed while it runs. The caller calls `stop` once.

    `models` maps names to capabilities, `library` what can be pulled to sizes in bytes; `refused` are paths that this
    server does not know, with the status that it answers.
    """

    def __init__(
        self, upstream: str, *, embeddings: str = "", models: dict[str, tuple[str, ...]] | None = None
    ) -> None:
        self.upstream = upstream
        self.embeddings = embeddings
        self.models = dict(models if models is not None else {"tiny:latest": ALL})
        self.library: dict[str, int] = {}
        self.loaded: list[str] = []
        self.faults: deque[Refuse | BreakOff] = deque()
        self.refused: dict[str, int] = {}
        self.pause_seconds = 0.0  # before each line of a stream
        self.seen: list[Seen] = []
        self.running = 0
        self.most_running = 0
        self.counting = threading.Lock()
        self.ending = threading.Event()
        self.client = httpx.Client(timeout=60)
        self._server = _Server(("127.0.0.1", 0), _Exchange)
        self._server.front = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def asked(self, path: str) -> list[dict[str, Any]]:
        """The bodies of the requests to `path`."""
        return [seen.body for seen in self.seen if seen.path == path]

    def stop(self) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()
        self.client.close()


class _Server(ThreadingHTTPServer):
    front: OllamaFront
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._open.discard(request)

    def hang_up(self) -> None:
        """On everybody, as the system does when a server's process ends."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that left is nothing to report
            super().handle_error(request, client_address)


class _Failed(Exception):
    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers or {}


class _Cut(Exception):
    """The connection is to be closed as it is."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    body: dict[str, Any]
    seen: Seen

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve({"/": self._root, "/api/tags": self._tags, "/api/ps": self._ps, "/api/version": self._version}, {})

    def do_HEAD(self) -> None:
        self._serve({"/": self._root}, {})

    def do_POST(self) -> None:
        inference = {"/api/chat": self._chat, "/api/generate": self._generate, "/api/embed": self._embed}
        self._serve({"/api/show": self._show, "/api/pull": self._pull}, inference)

    @property
    def front(self) -> OllamaFront:
        return self.server.front

    def _serve(self, quick: dict[str, Any], inference: dict[str, Any]) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.body = json.loads(raw) if raw else {}
        except ValueError as error:
            return self._json({"error": str(error)}, 400)
        self.seen = Seen(self.path, self.body, dict(self.headers.items()))
        self.front.seen.append(self.seen)
        try:
            if self.path in self.front.refused:
                status = self.front.refused[self.path]
                return self._plain(f"{status} {'page not found' if status == 404 else 'method not allowed'}", status)
            if self.path in inference:
                return self._infer(inference[self.path])
            if self.path not in quick:
                return self._plain("404 page not found", 404)
            quick[self.path]()
        except _Failed as failed:
            self._json({"error": str(failed)}, failed.status, failed.headers)
        except _Cut:
            self.close_connection = True

    def _infer(self, what: Any) -> None:
        fault = self.front.faults.popleft() if self.front.faults else None
        if isinstance(fault, Refuse):
            raise _Failed(fault.status, fault.error, fault.headers)
        with self.front.counting:
            self.front.running += 1
            self.front.most_running = max(self.front.most_running, self.front.running)
        try:
            what(fault)
        except (BrokenPipeError, ConnectionResetError):
            self.seen.closed_early_at = time.monotonic()
            self.seen.closed_early.set()
            raise
        finally:
            with self.front.counting:
                self.front.running -= 1

    # What is asked

    def _root(self) -> None:
        self._plain("Ollama is running", 200)

    def _version(self) -> None:
        self._json({"version": "0.12.6"})

    def _tags(self) -> None:
        self._json({"models": [{**_described(name), "modified_at": _now()} for name in self.front.models]})

    def _ps(self) -> None:
        expires = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        loaded = [name for name in self.front.loaded if name in self.front.models]
        more = {"expires_at": expires, "size_vram": 0, "context_length": 4096}
        self._json({"models": [{**_described(name), **more} for name in loaded]})

    def _show(self) -> None:
        name = self._model()
        self._json(
            {
                "modelfile": f"FROM {name}",
                "parameters": 'stop    "<|im_end|>"',
                "template": "{{ .Prompt }}",
                "details": _described(name)["details"],
                "model_info": {"general.architecture": "llama", "llama.context_length": 32768},
                "capabilities": list(self.front.models[name]),
                "modified_at": _now(),
            }
        )

    def _pull(self) -> None:
        name = _full(self.body.get("model") or self.body.get("name") or "")
        self._lines(self._pulled(name), None)

    def _pulled(self, name: str) -> Iterator[dict[str, Any]]:
        yield {"status": "pulling manifest"}
        if name not in self.front.library and name not in self.front.models:
            yield {"error": "pull model manifest: file does not exist"}
            return
        total = self.front.library.get(name, 1000)
        digest = "sha256:" + "ab" * 32
        for part in range(5):
            layer = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total}
            yield layer | ({"completed": total * part // 4} if part else {})
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        self.front.models.setdefault(name, ("completion",))
        yield {"status": "success"}

    def _chat(self, fault: BreakOff | None) -> None:
        name = self._model()
        messages = self.body.get("messages") or []
        if not messages:
            self._load(name)
            return self._json(self._line(name, True, message=_said(""), done_reason="load"))
        if "completion" not in self.front.models[name]:
            raise _Failed(400, f'"{self.body["model"]}" does not support chat')
        asked = [self._message(name, message) for message in messages]
        self._able(name)
        self._load(name)
        tools = self.body.get("tools")
        if tools and messages[-1]["role"] != "tool":
            return self._lines(self._called(name, asked, tools[0]["function"]), fault)
        self._lines(self._words(name, asked, lambda word, kind: {"message": _said(word, kind)}), fault)

    def _generate(self, fault: BreakOff | None) -> None:
        name = self._model()
        prompt = self.body.get("prompt", "")
        if not prompt:
            self._load(name)
            return self._json(self._line(name, True, response="", done_reason="load"))
        self._able(name)
        self._load(name)
        system = [{"role": "system", "content": self.body["system"]}] if self.body.get("system") else []
        user = self._message(name, {"role": "user", "content": prompt, "images": self.body.get("images")})

        def say(word: str, kind: str) -> dict[str, Any]:
            return {"response": "", "thinking": word} if kind == "thinking" else {"response": word}

        self._lines(self._words(name, [*system, user], say), fault)

    def _embed(self, fault: BreakOff | None) -> None:
        name = self._model()
        if "embedding" not in self.front.models[name]:
            raise _Failed(501, "this model does not support embeddings")
        given = self.body.get("input", [])
        self._load(name)
        begun = time.monotonic_ns()
        found = self.front.client.post(f"{self.front.embeddings}/v1/embeddings", json={"input": given})
        if found.status_code != 200:
            raise _Failed(400, "the input length exceeds the context length")
        answer = found.json()
        self._json(
            {
                "model": self.body["model"],
                "embeddings": [entry["embedding"] for entry in answer["data"]],
                "total_duration": time.monotonic_ns() - begun,
                "load_duration": 1_000_000,
                "prompt_eval_count": answer["usage"]["prompt_tokens"],
            }
        )

    # How it is answered

    def _model(self) -> str:
        given = self.body.get("model") or self.body.get("name") or ""
        if not given:
            raise _Failed(400, "model is required")
        name = _full(given)
        if name not in self.front.models:
            raise _Failed(404, f"model '{given}' not found")
        return name

    def _able(self, name: str) -> None:
        able = self.front.models[name]
        if self.body.get("think") and "thinking" not in able:
            raise _Failed(400, f'"{self.body["model"]}" does not support thinking')
        if self.body.get("tools") and "tools" not in able:
            raise _Failed(400, f"registry.ollama.ai/library/{name} does not support tools")

    def _load(self, name: str) -> None:
        if name not in self.front.loaded:
            self.front.loaded.append(name)

    def _message(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """For the server behind, which cannot see: images become their sizes."""
        text = message.get("content", "")
        for image in message.get("images") or []:
            try:
                size = len(base64.b64decode(image, validate=True))
            except ValueError:
                raise _Failed(400, "illegal base64 data at input byte 4") from None
            if "vision" not in self.front.models[name]:
                raise _Failed(500, "this model is missing data required for image input")
            text += f"\n[an image of {size} bytes]"
        for call in message.get("tool_calls") or []:
            assert isinstance(call["function"]["arguments"], dict), "arguments are an object on this wire"
            text += json.dumps(call["function"])
        return {"role": message["role"], "content": text}

    def _upstream(self, messages: list[dict[str, Any]], schema: Any) -> dict[str, Any]:
        options = dict(self.body.get("options") or {})
        limit = options.get("num_predict", NO_LIMIT_TOKENS)
        asked: dict[str, Any] = {"messages": messages, "max_tokens": limit}
        for theirs in ("temperature", "top_p", "top_k", "seed", "stop", "repeat_penalty"):
            if theirs in options:
                asked[theirs] = options[theirs]
        if schema == "json":
            asked["response_format"] = {"type": "json_object"}
        elif schema:
            asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "format", "schema": schema}}
        return asked

    def _words(self, name: str, messages: list[dict[str, Any]], say: Any) -> Iterator[dict[str, Any]]:
        begun = time.monotonic_ns()
        asked = self._upstream(messages, self.body.get("format"))
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        reason, usage, thoughts = "stop", {}, THOUGHTS if self.body.get("think") else 0
        with self.front.client.stream("POST", f"{self.front.upstream}/v1/chat/completions", json=asked) as answer:
            if answer.status_code != 200:
                raise _Failed(answer.status_code, json.loads(answer.read())["error"]["message"])
            for line in answer.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line[6:])
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    reason = choice["finish_reason"] or reason
                    if word := choice["delta"].get("content"):
                        yield self._line(name, False, **say(word, "thinking" if thoughts > 0 else "content"))
                        thoughts -= 1
        yield self._line(name, True, **say("", "content"), done_reason=reason, **_measured(begun, usage))

    def _called(self, name: str, messages: list[dict[str, Any]], function: dict[str, Any]) -> Iterator[dict[str, Any]]:
        begun = time.monotonic_ns()
        asked = self._upstream(messages, function["parameters"]) | {"max_tokens": 500}
        answer = self.front.client.post(f"{self.front.upstream}/v1/chat/completions", json=asked).json()
        arguments = json.loads(answer["choices"][0]["message"]["content"])
        call = {"function": {"name": function["name"], "arguments": arguments}}
        yield self._line(name, False, message={**_said(""), "tool_calls": [call]})
        yield self._line(name, True, message=_said(""), done_reason="stop", **_measured(begun, answer["usage"]))

    def _line(self, name: str, done: bool, **more: Any) -> dict[str, Any]:
        return {"model": self.body["model"], "created_at": _now(), **more, "done": done}

    def _lines(self, lines: Iterator[dict[str, Any]], fault: BreakOff | None) -> None:
        """As NDJSON, or as one object where no stream was asked for. An error before the first line has a status."""
        if self.body.get("stream", True):
            return self._stream(lines, fault)
        if fault is not None:
            raise _Failed(500, fault.error)
        whole: dict[str, Any] = {}
        for line in lines:
            if "error" in line:
                raise _Failed(500, line["error"])
            _merge(whole, line)
        self._json(whole)

    def _stream(self, lines: Iterator[dict[str, Any]], fault: BreakOff | None) -> None:
        first = next(lines)  # what fails here has a status of its own
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, line in enumerate(_chain(first, lines)):
            if fault is not None and number == fault.lines:
                self._break_off(fault)
                if fault.how != "garbage":
                    break
            self._wait(self.front.pause_seconds)
            self._chunk(json.dumps(line).encode() + b"\n")
        self._chunk(b"")

    def _break_off(self, fault: BreakOff) -> None:
        if fault.how == "error":
            self._chunk(json.dumps({"error": fault.error}).encode() + b"\n")
        elif fault.how == "garbage":
            self._chunk(b"{nonsense\n")
        elif fault.how == "hang":
            self._wait(60)
        else:
            raise _Cut

    def _wait(self, seconds: float) -> None:
        """The client may leave meanwhile, which is noticed at once."""
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0 and not self.front.ending.is_set():
            if select.select([self.connection], [], [], min(rest, 0.05))[0]:
                raise BrokenPipeError

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._answer(json.dumps(value).encode(), "application/json; charset=utf-8", status, headers or {})

    def _plain(self, text: str, status: int) -> None:
        self._answer(text.encode(), "text/plain", status, {})

    def _answer(self, data: bytes, content_type: str, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _said(word: str, kind: str = "content") -> dict[str, Any]:
    message = {"role": "assistant", "content": word if kind == "content" else ""}
    return message if kind == "content" else {**message, "thinking": word}


def _measured(begun_ns: int, usage: dict[str, int]) -> dict[str, int]:
    total = time.monotonic_ns() - begun_ns
    return {
        "total_duration": total,
        "load_duration": total // 10,
        "prompt_eval_count": usage["prompt_tokens"],
        "prompt_eval_duration": total // 10,
        "eval_count": usage["completion_tokens"],
        "eval_duration": total // 2,
    }


def _merge(whole: dict[str, Any], line: dict[str, Any]) -> None:
    """Texts grow, everything else is what was said last."""
    for key, value in line.items():
        if isinstance(value, dict) and key in whole:
            _merge(whole[key], value)
        elif key in ("content", "thinking", "response") and key in whole:
            whole[key] += value
        else:
            whole[key] = value


def _chain(first: dict[str, Any], rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rest


def _described(name: str) -> dict[str, Any]:
    family = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"]}
    details = {**family, "parameter_size": "159K", "quantization_level": "F32"}
    return {"name": name, "model": name, "size": 769_056, "digest": "cd" * 32, "details": details}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    print(OllamaFront(sys.argv[1], embeddings=sys.argv[1]).url, flush=True)
    threading.Event().wait()
