"""What is known of model servers before anything is started."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gleitzeit.client import model_servers

TAGS = {"/api/tags": (200, b'{"models":[{"name":"a"},{"name":"b:1b"}]}')}


@contextmanager
def server(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """host:port of one that knows these paths."""

    class Scripted(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Scripted) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answers", "there", "models"),
    [
        (TAGS, True, {"a:latest", "b:1b"}),
        ({"/api/version": (200, b'{"version":"0.12.0"}')}, True, None),
        ({"/api/tags": (401, b"")}, True, None),
        ({"/api/tags": (200, b'{"models":null}')}, True, set()),
        ({"/v1/models": (200, b"{}")}, False, None),
    ],
)
def test_what_speaks_as_ollama_does(
    answers: dict[str, tuple[int, bytes]], there: bool, models: set[str] | None
) -> None:
    with server(answers) as host:
        assert model_servers.ollama_answers({"OLLAMA_HOST": host}) is there
        assert model_servers.ollama_models({"OLLAMA_HOST": host}) == models


def test_of_several_one_is_enough() -> None:
    with server(TAGS) as host:
        for environ in (
            {"GLEITZEIT_OLLAMA_URL": f"127.0.0.1:1,{host}"},
            {"GLEITZEIT_OLLAMA_DISCOVER": host.partition(":")[2]},
        ):
            assert model_servers.ollama_answers(environ)
            assert model_servers.ollama_models(environ) == {"a:latest", "b:1b"}
    assert not model_servers.ollama_answers({"GLEITZEIT_OLLAMA_URL": "127.0.0.1:1,127.0.0.1:2"})


def test_a_server_behind_tls_may_be_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        environ = {"OLLAMA_HOST": f"https://127.0.0.1:{listening.getsockname()[1]}"}
        assert model_servers.ollama_answers(environ)
        assert model_servers.ollama_models(environ) is None


def test_where_a_proxy_is_asked_nothing_is_certain() -> None:
    environ = {"OPENAI_BASE_URL": "http://127.0.0.2:1/v1"}
    assert "127.0.0.2" in model_servers.hindrance("openai", environ)
    assert model_servers.hindrance("openai", {**environ, "https_proxy": "http://proxy"}) == ""
