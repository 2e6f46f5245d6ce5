"""Files that a model is asked about are read where the author is: its provider has none of them."""

import asyncio
import base64
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.support import Stack, gz

from gleitzeit.client import Client
from gleitzeit.errors import DocumentError
from gleitzeit.transport import connect

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Repeats(BaseHTTPRequestHandler):
    """A model that says what it was told: text, and `<image/png>` for an image."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = asked["messages"][-1]["content"]
        parts = said if isinstance(said, list) else [{"type": "text", "text": said}]
        text = "".join(p["text"] if p["type"] == "text" else f"<{p['image_url']['url'][5:14]}>" for p in parts)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        answer = json.dumps({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repeats)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, model: str, root: Path) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("stack") / "state"
    environ = {"OPENAI_BASE_URL": model, "OPENAI_API_KEY": "none"}
    stack = Stack(state, "--provider", "openai", "--allow-root", str(root), environ=environ)
    yield stack
    stack.stop()


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with await Client.connect(await asyncio.to_thread(lambda: stack.url)) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where no process of the stack has ever been."""
    folder = tmp_path / "author"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "a.txt").write_text("ay")
    (folder / "docs" / "ü b.txt").write_text("bee")
    (folder / "docs" / "data.bin").write_bytes(b"\0\1\2")
    (folder / "docs" / "picture.dat").write_bytes(PNG)
    return folder


ASKED = {"model": "m", "prompt": "Say it.", "stream": False}


def task(id: str, method: str = "llm/chat", **params: Any) -> dict[str, Any]:
    return {"id": id, "method": method, "params": {**ASKED, **params}}


def tasks() -> list[dict[str, Any]]:
    return [
        task("folder", batch_mode=True, directory="docs", file_pattern="*"),
        task("images", "llm/vision", batch_mode=True, image_paths=["docs/picture.dat", "docs/a.txt"]),
        task("single", file_path="docs/a.txt"),
        task("several", files=["docs/a.txt", "docs/ü b.txt"], image_path="docs/picture.dat"),
        {**task("each", file_path="${item.path}"), "for_each": {"glob": "docs/*.txt"}},
    ]


def text(*files: str) -> str:
    contents = {"docs/a.txt": "ay", "docs/ü b.txt": "bee"}
    return "Say it." + "".join(f"\n\nFile content from {file}:\n{contents[file]}" for file in files)


def check(results: dict[str, Any]) -> None:
    folder = results["folder"]["result"]
    assert folder["docs/a.txt"] == {"status": "success", "content": text("docs/a.txt")}
    assert folder["docs/ü b.txt"]["content"] == text("docs/ü b.txt")
    assert folder["docs/picture.dat"]["content"] == "Say it.<image/png>"
    assert "docs/data.bin is neither a text nor an image" in folder["docs/data.bin"]["error"]
    assert results["folder"]["summary"] == {"total": 4, "successful": 3, "failed": 1}
    images = results["images"]["result"]
    assert images["docs/picture.dat"]["content"] == "Say it.<image/png>"
    assert "docs/a.txt is no image" in images["docs/a.txt"]["error"]
    assert results["single"]["response"] == text("docs/a.txt")
    assert results["several"]["response"] == text("docs/a.txt", "docs/ü b.txt") + "<image/png>"
    assert results["each"] == [text("docs/a.txt"), text("docs/ü b.txt")]


async def test_nothing_of_it_is_there_any_more_when_it_runs(client: Client, folder: Path) -> None:
    document = folder / "w.json"
    document.write_text(json.dumps({"name": "files", "tasks": tasks()}))
    submitted = await client.submit(document, hold=True)
    shutil.rmtree(folder)
    await client.resume(submitted.workflow_id)
    result = await client.wait(submitted.workflow_id, timeout_seconds=60)
    check(result.raise_for_status().results)


def test_the_command_sends_them_too(stack: Stack, folder: Path, tmp_path: Path) -> None:
    (folder / "w.json").write_text(json.dumps({"name": "files", "tasks": tasks()}))
    (tmp_path / "elsewhere").mkdir()
    arguments = ("run", str(folder / "w.json"), "-o", "json", "--url", stack.url)
    done = gz(*arguments, state=stack.state, cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout)["results"])


async def test_who_only_names_them_is_served_from_the_allowed_folders(
    stack: Stack, client: Client, folder: Path, root: Path
) -> None:
    shutil.copytree(folder / "docs", root / "docs", dirs_exist_ok=True)
    (root / "docs" / "out").symlink_to("/etc/hostname")
    os.mkfifo(root / "docs" / "fifo")
    connection = await connect(stack.url)
    try:
        params = {"definition": {"name": "raw", "tasks": tasks()}, "hold": True}
        submitted = await connection.call("workflow.submit", params)
        assert [words.partition(":")[0] for words in submitted["warnings"]] == ["docs/fifo", "docs/out"]
        shutil.rmtree(root / "docs")
        await connection.call("workflow.resume", {"workflow_id": submitted["workflow_id"]})
        result = await client.wait(submitted["workflow_id"], timeout_seconds=60)
        check(result.raise_for_status().results)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("params", "path", "words"),
    [
        ({"file_path": "../x"}, ("file_path",), "leads upwards"),
        ({"file_path": "/etc/hostname"}, ("file_path",), "none of the folders"),
        ({"files": ["out"]}, ("files", 0), "by a link"),
        ({"image_path": "fifo"}, ("image_path",), "no regular file"),
        ({"batch_mode": True, "files": ["fifo"]}, ("files", 0), "no regular file"),
        ({"batch_mode": True, "directory": "..", "file_pattern": "*"}, ("directory",), "leads upwards"),
        ({"batch_mode": True, "directory": ".", "file_pattern": "../*"}, ("directory",), "leads out"),
    ],
)
async def test_what_leads_elsewhere_is_refused(
    client: Client, root: Path, params: dict[str, Any], path: tuple[Any, ...], words: str
) -> None:
    if not (root / "fifo").exists():
        os.mkfifo(root / "fifo")
        (root / "out").symlink_to("/etc/hostname")
    with pytest.raises(DocumentError) as caught:
        await client.submit_definition({"name": "x", "tasks": [task("t", **params)]})
    assert caught.value.data is not None
    (problem,) = caught.value.data["problems"]
    assert (tuple(problem["path"]), words in problem["message"]) == (("tasks", 0, "params", *path), True), problem
