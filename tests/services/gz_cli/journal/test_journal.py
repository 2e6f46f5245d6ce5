"""`gz journal`, on journals that earlier versions and other servers have."""

import asyncio
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace
from tests.servers import Postgres, Redis
from tests.services.gz_cli import here
from tests.small_disks import fill, make_read_only, small_disk

from gleitzeit.journal.base import Append, Find, Summary
from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.journal.sqlite_tables import FORMAT, format_of
from gleitzeit.model.blobs import name_of
from gleitzeit.model.definition import Definition, TaskDefinition
from gleitzeit.model.schedules import (
    AnyScheduleFact,
    Checkpoint,
    ScheduleDefinition,
    ScheduleFired,
    SchedulePaused,
    ScheduleSet,
)
from gz_cli.journal.access import KINDS

EVERY_SECOND = ScheduleDefinition("", Definition("d", (TaskDefinition("a", "echo/echo"),)), every_seconds=1.0)
FIXTURE = Path(__file__).parents[3] / "libs/journal/fixtures/format-1.db"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GLEITZEIT_STATE", str(tmp_path / "state"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    copy = tmp_path / "journal.db"
    shutil.copy(FIXTURE, copy)
    return copy


def gz(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    return here.gz(capsys, "journal", *arguments)


def test_an_older_file_is_migrated_and_kept(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    before = file.read_bytes()
    code, _, err = gz(capsys, "migrate", "--journal", f"sqlite://{file}")
    assert code == 0, err
    assert f"from format 1 to {FORMAT}" in err
    assert (format_of(file), format_of(file.with_name("journal.db.format-1"))) == (FORMAT, 1)
    assert len(before) == file.with_name("journal.db.format-1").stat().st_size
    assert "present format" in gz(capsys, "migrate", "--journal", f"sqlite://{file}")[2]


def test_one_on_a_disk_that_can_only_be_read_is_looked_at(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        url = f"sqlite://{shutil.copy(file, disk)}"
        make_read_only(disk)
        code, _, err = gz(capsys, "check", "--journal", url)
        assert code == 0, err
        assert "3 workflow" in err
        code, _, err = gz(capsys, "export", tmp_path / "out.jsonl", "--journal", url)
        assert code == 0, err
        assert os.listdir(disk) == [file.name]


def test_an_export_for_which_there_is_no_room_is_named_and_leaves_the_disk_as_it_was(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        fill(disk)
        code, _, err = gz(capsys, "export", disk / "out.jsonl", "--journal", f"sqlite://{file}")
        assert code == 2
        assert f"{disk}/out.jsonl cannot be written: No space left" in err
        assert os.listdir(disk) == ["ballast"]


def test_a_sound_journal_is_found_sound(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    code, out, err = gz(capsys, "check", "--journal", f"sqlite://{file}")
    assert (code, out) == (0, ""), err
    assert "3 workflow" in err
    assert "0 streams cannot be read" in err


def test_damage_is_named_and_only_what_is_damaged_is_left_out(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    gz(capsys, "migrate", "--journal", f"sqlite://{file}")
    with closing(sqlite3.connect(file)) as connection, connection:
        (name,) = connection.execute("SELECT name FROM stream WHERE key = 'References'").fetchone()
        connection.execute(
            "UPDATE record SET body = replace(body, 'Graz', 'Bonn') WHERE id ="
            " (SELECT record FROM tail JOIN stream ON id = stream WHERE key = 'References')"
        )
    code, out, _ = gz(capsys, "check", "--journal", f"sqlite://{file}")
    assert code == 1
    assert name in out
    assert len(out.splitlines()) == 1
    code, _, err = gz(capsys, "export", tmp_path / "export", "--journal", f"sqlite://{file}")
    assert code == 1
    assert name in err
    assert (tmp_path / "export").read_text().count('"stream"') >= 2


def test_schedules_are_rebuilt(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A coordinator begins with what the row says of it, and would fire again what its events say was fired."""
    asyncio.run(_with_schedules(tmp_path / "journal.db"))
    code, out, err = gz(capsys, "check", "--journal", f"sqlite://{tmp_path / 'journal.db'}")
    assert code == 1
    assert "4 schedules" in err
    assert dict(line.split(": ", 1) for line in out.splitlines()) == {
        "$schedule/behind": "its row says decided 1000, its events 3000",
        "$schedule/headless": "a schedule begins with ScheduleSet, not with ScheduleFired",
        "$schedule/unasked": "no time of schedule unasked waits",
    }


async def _with_schedules(file: Path) -> None:
    begun = [ScheduleSet(1_000, replace(EVERY_SECOND, name=name)) for name in ("sound", "behind", "unasked")]
    fired, dequeued = ScheduleFired(3_000, 3_000, "wf-1", "due"), ScheduleFired(3_000, 2_000, "wf-2", "queued")
    streams: dict[str, tuple[AnyScheduleFact, ...]] = {
        "sound": (begun[0], fired), "behind": (begun[1], fired), "unasked": (begun[2], dequeued), "headless": (fired,)
    }  # fmt: skip
    at = {"sound": Checkpoint(2, 1, 1_000, 3_000, fired=1, last_workflow="wf-1", last_fired_at=3_000)}
    journal = SqliteJournal(file)
    await journal.claim("me")
    for name, facts in streams.items():
        stands = Raw(msgspec.json.encode(at.get(name, Checkpoint(2, 1, 1_000, 1_000, fired=1))))
        row = Summary(f"$schedule/{name}", "schedule", name, "active", True, 1_000, 3_000, counts=stands)
        await journal.append([Append(row.stream, 1, tuple(msgspec.json.encode(fact) for fact in facts), row)])
    await journal.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_an_export_goes_into_any_journal_and_comes_out_the_same(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    target = f"sqlite://{tmp_path}/new.db"
    if kind != "sqlite":
        server: Postgres | Redis = request.getfixturevalue(kind)
        target = server.place()
    first, second = tmp_path / "first", tmp_path / "second"
    assert gz(capsys, "export", first, "--journal", f"sqlite://{file}")[0] == 0
    code, _, err = gz(capsys, "import", first, "--journal", target)
    assert code == 0, err
    assert gz(capsys, "export", second, "--journal", target)[0] == 0
    assert contents(second) == contents(first)
    assert "were there already" in gz(capsys, "import", first, "--journal", target)[2]
    assert gz(capsys, "check", "--journal", target)[0] == 0


async def test_a_journal_goes_round_all_kinds_and_stays_the_same(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path, postgres: Postgres, redis: Redis
) -> None:
    """Each kind into each other; what cannot be read is left behind at once, and only that."""
    first = f"sqlite://{file}"
    bad = await with_all_kinds(file)
    kinds = {"sqlite": lambda: f"sqlite://{tmp_path}/next.db", "postgres": postgres.place, "redis": redis.place}
    exports = [tmp_path / "first"]
    code, _ = await in_thread(capsys, "export", str(exports[0]), "--journal", first)
    assert code == 1
    for kind in ("postgres", "redis", "sqlite", "redis", "postgres", "sqlite"):
        (tmp_path / "next.db").unlink(missing_ok=True)
        url = kinds[kind]()
        assert (await in_thread(capsys, "import", str(exports[-1]), "--journal", url))[0] == 0
        assert await in_thread(capsys, "check", "--journal", url) == (0, "")
        exports.append(tmp_path / f"{len(exports)}")
        assert (await in_thread(capsys, "export", str(exports[-1]), "--journal", url))[0] == 0
        assert contents(exports[-1]) == contents(exports[0])
    lines = [json.loads(line) for line in exports[-1].read_text().splitlines()]
    streams = {line["stream"]: line for line in lines if "stream" in line}
    assert {line["summary"]["kind"] for line in streams.values()} >= {"workflow", "template", "schedule", "drain"}
    assert bad not in streams
    assert sum("blob" in line for line in lines) == 2
    assert any(line["summary"]["active"] for line in streams.values())


async def with_all_kinds(file: Path) -> str:
    """To what the file has come a template, a schedule, a drain, a running workflow with a large blob, and a damaged
    one, whose id is returned."""
    journal = SqliteJournal(file)
    await journal.claim("test")
    content = os.urandom(1_500_000)
    blob = name_of(content)
    for offset in range(0, len(content), 1 << 20):
        await journal.put(blob, len(content), offset, content[offset : offset + (1 << 20)], 1)
    (known, *_) = await journal.find(Find("workflow", statuses=("completed",)))
    event = json.dumps({"value": {"$blob": blob, "size_bytes": len(content)}}).encode()
    put = replace(EVERY_SECOND, name="x", inputs=Raw(event))
    paused = tuple(msgspec.json.encode(fact) for fact in (ScheduleSet(5, put), SchedulePaused(5)))
    at = {"schedule": Raw(msgspec.json.encode(Checkpoint(2, 1, 5, 5, paused=True)))}
    for kind in ("template", "schedule", "drain"):
        name, events = f"${kind}/x", paused if kind == "schedule" else (event, b'{"n":2}')
        counts = at.get(kind, Raw(b"{}"))
        row = Summary(name, kind, "x", "stored", kind == "schedule", 5, 5, due_at=7, expires_at=9, counts=counts)
        await journal.append([Append(name, 1, events, row, (blob,))])
    events = tuple(record.event for record in await journal.read(known.stream))
    bad = msgspec.structs.replace(known, stream="wf-damaged", active=True, status="running")
    await journal.append([Append("wf-damaged", 1, events, bad)])
    await journal.append(
        [Append("wf-running", 1, events[:1], msgspec.structs.replace(bad, stream="wf-running", status="pending"))]
    )
    await journal.close()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "UPDATE record SET body = substr(body, 2) WHERE id ="
            " (SELECT record FROM tail JOIN stream ON id = stream WHERE name = 'wf-damaged')"
        )
    return "wf-damaged"


def contents(path: Path) -> list[str]:
    return sorted(line for line in path.read_text().splitlines() if '"exported_at"' not in line)


def test_a_file_that_was_cut_or_changed_is_refused(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    export, target = tmp_path / "export", f"sqlite://{tmp_path}/new.db"
    gz(capsys, "export", export, "--journal", f"sqlite://{file}")
    whole = export.read_text()
    export.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    code, _, err = gz(capsys, "import", export, "--journal", target)
    assert code != 0
    assert "cut off" in err
    export.write_text(whole.replace("Graz", "Bonn"))
    assert "damaged" in gz(capsys, "import", export, "--journal", f"sqlite://{tmp_path}/other.db")[2]
    export.write_text('{"something": "else"}\n')
    assert "no export" in gz(capsys, "import", export, "--journal", f"sqlite://{tmp_path}/third.db")[2]


async def filled(file: Path) -> list[str]:
    """Ended and unfinished workflows, one of them with a child, an id of its own and a blob."""
    journal = SqliteJournal(file)
    await journal.claim("test")
    blob = name_of(b"large")
    await journal.put(blob, 5, 0, b"large", 1)
    for number in range(6):
        name = f"wf-{number}"
        row = Summary(name, "workflow", "", "completed" if number else "running", not number, number, number * 1000)
        await journal.append([Append(name, 1, (b"{}",), row, (blob,) if number == 1 else ())])
    await journal.append([Append("$id/wf-1", 1, (), Summary("$id/wf-1", "own-id", "x", "submitted", False, 1, 1))])
    await journal.append([Append("wf-1~a~1", 1, (b"{}",), Summary("wf-1~a~1", "child", "", "completed", False, 1, 1))])
    await journal.close()
    return [f"wf-{number}" for number in range(6)]


async def test_what_has_ended_is_forgotten_by_age_and_number(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "other.db"
    await filled(file)
    url = f"sqlite://{file}"
    assert await in_thread(capsys, "prune", "--keep", "2", "--dry-run", "--journal", url) == (0, "wf-3\nwf-2\nwf-1\n")
    assert (await in_thread(capsys, "prune", "--keep", "2", "--journal", url))[0] == 0
    journal = SqliteJournal(file)
    await journal.claim("test")
    assert [row.stream for row in await journal.find(Find("workflow"))] == ["wf-5", "wf-4", "wf-0"]
    assert await journal.find(Find("own-id")) == await journal.find(Find("child")) == []
    assert await journal.size(name_of(b"large")) is None
    await journal.close()
    assert (await in_thread(capsys, "prune", "--older-than", "1d", "--journal", url))[0] == 0
    await journal.claim("test")
    assert [row.stream for row in await journal.find(Find("workflow"))] == ["wf-0"]
    for command in (["check"], ["prune", "--keep", "0"]):
        assert (await in_thread(capsys, *command, "--journal", url))[0] == 2, "it is in use, which is no damage"
    await journal.close()
    assert (await in_thread(capsys, "prune", "--journal", url))[0] == 2


async def in_thread(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """A command has a loop of its own."""
    code, out, _ = await asyncio.to_thread(gz, capsys, *arguments)
    return code, out


def test_a_line_of_an_export_is_plain_json(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    code, out, _ = gz(capsys, "export", "--journal", f"sqlite://{file}")
    assert code in (0, 1)
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[0]["gleitzeit_journal"] == 1
    assert lines[-1]["end"]["streams"] == len({line["stream"] for line in lines if "stream" in line})


def test_whatever_coordinators_write_is_looked_at() -> None:
    """The kind of a stream is the second argument of its summary, or of what makes it."""
    services = Path(__file__).parents[4] / "services/gz_coordinator"
    text = "\n".join(file.read_text() for file in services.rglob("*.py"))
    kinds = set(re.findall(r'^(?:KIND|CHILD|OWN_ID) = "([a-z-]+)"', text, re.MULTILINE))
    kinds |= set(re.findall(r'Summary\([^,()]+, "([a-z-]+)"', text))
    assert {"drain", "child", "own-id", "cluster", "provider"} <= kinds
    assert kinds <= set(KINDS)
