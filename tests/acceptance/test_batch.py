"""Batches of files between real processes: by the command, the client, a document, and by one who only names them."""

import asyncio
import csv
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.acceptance.support import Stack, gz, wait_for

from gleitzeit.client import BatchResult, Client
from gleitzeit.errors import DocumentError

CODE = "if 'bad' in context['content']: raise ValueError('it is bad')\nresult = context['content'].upper()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "deep").mkdir()
    (folder / "a.txt").write_text("ay")
    (folder / "b.txt").write_text("bad")
    (folder / "deep" / "c.txt").write_text("sea ${env.HOME}")
    (folder / "secret.md").symlink_to("/etc/hostname")
    os.mkfifo(folder / "fifo.md")
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("stack") / "state"
    stack = Stack(state, "--provider", "echo,python", "--allow-root", str(folder))
    yield stack
    stack.stop()


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with await Client.connect(await asyncio.to_thread(lambda: stack.url)) as client:
        yield client


async def calls(client: Client) -> int:
    return sum(provider["started"] for provider in (await client.call("provider.list"))["providers"])


async def test_partial_success_is_a_result_and_a_second_run_does_what_is_missing(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    first = await client.batch_python(folder, CODE, pattern="**/*.txt", batch_id="letters")
    statuses = {Path(path).name: result.status for path, result in first.results.items()}
    assert statuses == {"a.txt": "success", "b.txt": "failed", "c.txt": "success"}
    assert (first.summary.total, first.summary.successful, first.summary.failed) == (3, 2, 1)
    assert first.results[str(folder / "deep" / "c.txt")].content == "SEA ${ENV.HOME}"
    assert "it is bad" in first.results[str(folder / "b.txt")].error
    saved(first, tmp_path)

    before = await calls(client)
    (folder / "b.txt").write_text("good")
    second = await client.batch_python(folder, CODE, pattern="**/*.txt", batch_id="letters")
    assert second.summary.failed == 0
    assert second.results[str(folder / "b.txt")].content == "GOOD"
    assert await calls(client) == before + 1
    (folder / "b.txt").write_text("bad")


def saved(batch: BatchResult, folder: Path) -> None:
    for name in ("r.json", "r.jsonl", "r.csv", "r.md"):
        batch.save(folder / name)
    assert json.loads((folder / "r.json").read_text())["summary"]["successful"] == 2
    lines = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["a.txt", "b.txt", "c.txt"]
    with (folder / "r.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["success", "failed", "success"]
    assert "**failed:** ValueError: it is bad" in (folder / "r.md").read_text()


def test_the_command(stack: Stack, folder: Path, tmp_path: Path) -> None:
    message = "message=${item.name} says ${item.content}"
    arguments = ("batch", str(folder), "--pattern", "*.txt", "--method", "echo/echo", "-p", message, "--url", stack.url)
    done = gz(*arguments, state=stack.state)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [f"{folder}/a.txt:", "a.txt says ay"]
    assert "2 of 2 files went well" in done.stderr
    done = gz(*arguments, "--out", str(tmp_path / "r.jsonl"), "--batch-id", "mine", state=stack.state)
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2
    assert gz(*arguments, "--out", "r.xml", state=stack.state).returncode == 2
    assert "no folder" in gz("batch", "/no/such", "--prompt", "x", state=stack.state).stderr
    assert "what is to be asked" in gz("batch", str(folder), state=stack.state).stderr
    none = gz("batch", str(folder), "--pattern", "*.none", "--prompt", "x", state=stack.state)
    assert (none.returncode, "no file" in none.stderr) == (0, True)


async def test_a_document_of_type_batch(client: Client, stack: Stack, folder: Path, tmp_path: Path) -> None:
    document = tmp_path / "batch.yaml"
    document.write_text(
        f"name: Letters\ntype: batch\nprotocol: python/v1\nbatch: {{directory: {folder}, pattern: '*.txt'}}\n"
        "template:\n  method: execute\n  code: result = context['file_name'] + ' ' + context['content']\n"
    )
    done = await asyncio.to_thread(gz, "run", str(document), "--url", client.url, state=stack.state)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{folder}/a.txt:", "a.txt ay", f"{folder}/b.txt:", "b.txt bad"]
    assert "2 of 2 files went well" in done.stderr
    told = await asyncio.to_thread(gz, "run", str(document), "-o", "json", "--url", client.url, state=stack.state)
    answer = json.loads(told.stdout)
    assert answer.keys() >= {"batch_id", "created_at", "summary", "parameters", "results", "workflow_id"}
    assert answer["results"][f"{folder}/a.txt"] == {"status": "success", "content": "a.txt ay"}
    assert (answer["summary"]["total"], answer["parameters"]["pattern"]) == (2, "*.txt")


async def test_a_document_whose_files_all_fail_fails(
    client: Client, stack: Stack, folder: Path, tmp_path: Path
) -> None:
    document, out = tmp_path / "batch.yaml", tmp_path / "results.md"
    text = f"type: batch\nid: half\nbatch: {{directory: {folder}, pattern: '%s'}}\ntemplate: "
    text += json.dumps({"method": "python/execute", "code": CODE})
    document.write_text(text % "*.txt")
    arguments = ("run", str(document), "--url", stack.url, "--output-file", str(out))
    done = await asyncio.to_thread(gz, *arguments, state=stack.state)
    assert (done.returncode, "1 of 2 files went well" in done.stderr) == (0, True), done.stderr
    assert out.read_text().startswith("# half\n")
    document.write_text(text % "b.txt")
    done = await asyncio.to_thread(gz, *arguments, state=stack.state)
    assert (done.returncode, "0 of 1 files went well" in done.stderr) == (1, True), done.stderr
    assert "it is bad" in done.stderr


async def test_who_only_names_files_is_served_from_the_allowed_folders(client: Client, folder: Path) -> None:
    def named(directory: str, pattern: str) -> dict[str, object]:
        template = {"method": "echo/echo", "message": "${file.name}: ${file.content}"}
        return {"name": "n", "type": "batch", "batch": {"directory": directory, "pattern": pattern},
                "template": template}  # fmt: skip

    submitted = await client.submit_definition(named(str(folder), "**/*"))
    result = await client.wait(submitted.workflow_id, timeout_seconds=60)
    assert {Path(path).name: one["content"] for path, one in result.value("process").items()} == {
        "a.txt": "a.txt: ay", "b.txt": "b.txt: bad", "c.txt": "c.txt: sea ${env.HOME}"
    }  # fmt: skip
    assert list(submitted.warnings) == [
        f"{folder}/fifo.md: no regular file; it is left out",
        f"{folder}/secret.md: a link that leads out of the folder; it is left out",
    ]
    for directory, words in (
        (f"{folder}/..", "leads upwards"),
        ("/etc", "none of the folders"),
        (f"{folder}/fifo.md", "no folder"),
        (f"{folder}/gone", "No such file"),
    ):
        with pytest.raises(DocumentError) as caught:
            await client.submit_definition(named(directory, "*"))
        assert caught.value.data is not None
        assert words in caught.value.data["problems"][0]["message"]


async def test_validating_finds_the_files_too(client: Client, folder: Path) -> None:
    template = {"method": "echo/echo", "message": "${file.name}"}
    document = {"name": "n", "type": "batch", "batch": {"directory": str(folder)}, "template": template}
    assert (await client.validate(document)).valid
    document["batch"] = {"directory": "/etc"}
    answer = await client.validate(document)
    assert "none of the folders" in answer.problems[0]["message"]


def test_batches_are_listed_shown_exported_and_gone_on_with(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "list"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text(name)
    flag = tmp_path / "flag"
    code = f"import os\nassert not context['file_name'].startswith('b') or os.path.exists({str(flag)!r}), 'no flag'\n"
    code += "result = context['content']"
    common = ("--url", stack.url)
    method = ("--method", "python/execute", "-p", f"code={json.dumps(code)}", "--batch-id", "flags")
    done = gz("batch", "./list", *method, *common, state=stack.state, cwd=tmp_path)
    assert (done.returncode, "2 of 3 files went well" in done.stderr) == (0, True), done.stderr

    rows = json.loads(gz("batch", "list", "-o", "json", *common, state=stack.state).stdout)
    assert (rows[0]["batch_id"], rows[0]["status"]) == ("flags", "completed")
    assert gz("batch-list", "-o", "id", *common, state=stack.state).stdout.splitlines()[0] == "flags"
    shown = gz("batch", "show", "flags", *common, state=stack.state)
    assert "list/a.txt:\na.txt\n" in shown.stdout
    assert "2 of 3 files went well, 1 failed; `gz batch resume flags`" in shown.stderr
    out = tmp_path / "flags.csv"
    assert gz("batch", "export", rows[0]["workflow_id"], "--out", str(out), *common, state=stack.state).returncode == 0
    with out.open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["success", "failed", "success"]

    flag.touch()
    (folder / "a.txt").unlink()
    resumed = gz("batch", "resume", "flags", "-o", "json", *common, state=stack.state)
    assert resumed.returncode == 0, resumed.stderr
    answer = json.loads(resumed.stdout)
    assert answer["summary"]["successful"] == 3
    assert answer["results"]["list/b.txt"] == {"status": "success", "content": "b.txt"}
    history = gz("batch", "list", "-o", "json", *common, state=stack.state).stdout
    assert [row["batch_id"] for row in json.loads(history)[:2]] == ["flags", "flags"]
    unknown = gz("batch", "show", "unknown", *common, state=stack.state)
    assert (unknown.returncode, "there is no batch 'unknown'" in unknown.stderr) == (3, True)


async def test_who_waits_for_a_batch_waits_for_a_coordinator_that_is_started_again(tmp_path: Path) -> None:
    folder, document, mark = tmp_path / "many", tmp_path / "many.yaml", tmp_path / "mark"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.txt").write_text(str(number))
    code = f"import time; open({str(mark)!r}, 'w').close(); time.sleep(1); result = context['content']"
    batch = {"directory": str(folder), "pattern": "*.txt", "max_parallel": 1}
    template = {"method": "python/execute", "params": {"code": code}}
    document.write_text(json.dumps({"name": "many", "type": "batch", "batch": batch, "template": template}))
    stack = Stack(tmp_path / "state", "--provider", "python", environ={"GLEITZEIT_RESTART_MAX_SECONDS": "0.2"})
    try:
        async with await Client.connect(await asyncio.to_thread(lambda: stack.url)) as client:
            asking = asyncio.create_task(client.batch_python(folder, code, pattern="*.txt"))
            waiting = asyncio.create_task(asyncio.to_thread(gz, "run", str(document), state=stack.state))
            await asyncio.to_thread(wait_for, mark.exists)
            await asyncio.to_thread(stack.kill, "gz_coordinator")
            ran = await waiting
            assert ran.returncode == 0, ran.stderr
            assert "6 of 6 files went well" in ran.stderr
            assert (await asking).summary.successful == 6
    finally:
        assert stack.stop() == 0


async def test_a_batch_without_an_id_is_given_one(client: Client, folder: Path) -> None:
    template = {"method": "echo/echo", "message": "${file.name}"}
    document = {"name": "n", "type": "batch", "batch": {"directory": str(folder)}, "template": template}
    submitted = await client.submit_definition(document)
    await client.wait(submitted.workflow_id, timeout_seconds=60)
    page = await client.call("batch.get", {"batch_id": submitted.workflow_id, "limit": 1})
    assert page["batch_id"].startswith("batch-20")
    assert (list(page["results"]), page["next"]) == ([f"{folder}/a.txt"], 1)
    assert page["parameters"]["directory"] == str(folder)
    rest = await client.call("batch.get", {"batch_id": page["batch_id"], "after": 1})
    assert (list(rest["results"]), "next" in rest) == ([f"{folder}/b.txt"], False)
