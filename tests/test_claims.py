"""Claims on outputs: who holds them, and what a process that was killed leaves is settled by the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from codemae_geo import claims
from codemae_geo.claims import Owner, claim, find_leftovers, sweep
from codemae_geo.errors import OutputError
from codemae_geo.interrupts import uninterrupted
from codemae_geo.outputs import FolderStaging, Staging

#: makes a folder of outputs and is killed at the N-th call that changes the file system, counted from the first move
KILLED = """
import os, sys
from pathlib import Path
from codemae_geo import claims
from codemae_geo.outputs import FolderStaging

out, left = sys.argv[1], int(sys.argv[2])
rename = Path.rename

def counted(self, target):
    global left
    if left == 0:
        os.kill(os.getpid(), 9)
    left -= 1
    return rename(self, target)

with FolderStaging(out, overwrite=True) as staging:
    for name in ("a.txt", "b.txt"):
        (staging.folder / name).write_text("new")
    if left < 0:
        print("working", flush=True)
        sys.stdin.read()
    Path.rename = counted
    staging.publish_all(stale=["c.txt"])
"""


def run_killed(out: Path, moves: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, out, str(moves)], stderr=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def contents(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if p.is_file()}


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob(".*")]


@pytest.mark.parametrize("moves", range(5))
def test_killed_while_publishing(tmp_path: Path, moves: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    old = {"a.txt": "old", "b.txt": "old", "c.txt": "old"}
    for name, text in {**old, "mine.txt": "mine"}.items():
        (out / name).write_text(text)
    run_killed(out, moves)
    found = contents(out)
    assert found.pop("mine.txt") == "mine"
    assert len(set(found.values())) <= 1, f"two runs are mixed: {found}"
    sweep(tmp_path)
    assert contents(out) == {"a.txt": "new", "b.txt": "new", "mine.txt": "mine"}
    assert hidden(tmp_path) == []


def test_killed_before_a_new_folder_appears(tmp_path: Path) -> None:
    run_killed(tmp_path / "made/for/it/out", 0)
    assert hidden(tmp_path)
    with FolderStaging(tmp_path / "made/for/it/out"):
        pass
    assert list(tmp_path.iterdir()) == [], "the folders that the killed run made are gone too"


def test_a_living_run_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, out, "-1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "working\n"
        with pytest.raises(OutputError) as caught:
            FolderStaging(out)
        assert f"process {process.pid}" in str(caught.value)
        (left,) = find_leftovers(tmp_path)
        assert (left.output, left.state) == (out, "alive")
        assert not left.settle() and left.file is not None and left.file.exists()
        process.stdin.close()
    assert contents(out) == {"a.txt": "new", "b.txt": "new"}
    assert hidden(tmp_path) == []


def test_without_locks_the_owner_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_killed(tmp_path / "out", 0)
    (left,) = find_leftovers(tmp_path)
    assert left.file is not None and left.owner is not None and left.owner.state == "dead"
    text = left.file.read_text()
    monkeypatch.setattr(claims, "_try_lock", lambda descriptor: None)
    elsewhere = json.loads(text.splitlines()[0])
    elsewhere["owner"] |= {"host": "elsewhere", "boot": "another"}
    rest = "\n".join(text.splitlines()[1:]) + "\n"
    left.file.write_text("{" + json.dumps(elsewhere)[1:] + "\n" + rest)
    with pytest.raises(OutputError, match="may be writing") as caught:
        claim(tmp_path / "out")
    assert "elsewhere" in str(caught.value) and "clean force" in str(caught.value)
    left.file.write_text(text)
    with FolderStaging(tmp_path / "out") as staging:
        with pytest.raises(OutputError, match="another run is writing"):
            claim(tmp_path / "out")
        staging.publish_all()
    assert hidden(tmp_path) == []


def test_the_owner_is_told_by_more_than_its_number() -> None:
    me = Owner.me()
    assert me.state == "alive"
    assert me.started is not None
    again = Owner(me.pid, me.started - 1, me.host, me.boot, me.space, me.command, me.since)
    assert again.state == "dead", "the number was given to another process"
    before = Owner(me.pid, me.started, me.host, "before the machine started again", me.space, me.command, me.since)
    assert before.state == "dead"
    away = Owner(me.pid, me.started, "elsewhere", "another", me.space, me.command, me.since)
    assert away.state == "unknown"


def test_a_record_names_nothing_outside_its_folder(tmp_path: Path) -> None:
    """Whoever may write into a shared folder may write such a file."""
    victim = tmp_path / "victim.part"
    victim.mkdir()
    (victim / "keep").write_text("keep")
    inside = tmp_path / "inside"
    inside.mkdir()
    for number, name in enumerate(["../victim.part", str(victim), "..", "a\0b", 7, None, [["x"]]]):
        record = {"codemae_claim": 1, "owner": {}, "staging": name, "output": name, "temporary": [name]}
        (inside / f".{number}.codemae-run").write_text(json.dumps(record) + "\n")
    sweep(inside)
    assert hidden(inside) == []
    assert (victim / "keep").read_text() == "keep"
    foreign = inside / ".notes.codemae-run"
    foreign.write_text("another program's notes, long enough to be no line of ours")
    sweep(inside)
    assert foreign.exists()
    with pytest.raises(OutputError, match="another program"):
        claim(inside / "notes")


def test_old_files_go_back_where_new_ones_cannot_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.parent.name.endswith(".part"):
            raise PermissionError(13, "not allowed")
        return rename(self, target)

    with FolderStaging(out, overwrite=True) as staging:
        (staging.folder / "a.txt").write_text("new")
        monkeypatch.setattr(Path, "rename", failing)
        with pytest.raises(OutputError, match="could not write"):
            staging.publish_all()
        monkeypatch.undo()
    assert contents(out) == {"a.txt": "old"}
    assert hidden(tmp_path) == []


def test_folders_of_versions_without_claims_are_found(tmp_path: Path) -> None:
    (tmp_path / "below/.out.ab12cd_9.part").mkdir(parents=True)
    (tmp_path / "below/.out.ab12cd_9.part/half.tif").write_bytes(b"1234")
    (tmp_path / ".rsync.part").mkdir()
    (left,) = find_leftovers(tmp_path)
    assert (left.output, left.state, left.size) == (tmp_path / "below/out", "dead", 4)
    assert left.settle()
    assert hidden(tmp_path) == [".rsync.part"], "what is not named as ours stays"


def test_names_of_255_bytes(tmp_path: Path) -> None:
    with Staging(tmp_path / ("ü" * 125 + ".txt")) as staging:
        (staging.folder / staging.path.name).write_text("x")
        staging.publish(staging.path.name)
    assert [p.name for p in tmp_path.iterdir()] == ["ü" * 125 + ".txt"]


def test_signals_wait_for_the_end_of_a_moment() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
        reached.append("end")
    assert reached == ["end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


#: keeps its hidden folder with one file in it, and is killed
KEEPS = """
import os, sys
from codemae_geo.outputs import FolderStaging

with FolderStaging(sys.argv[1]) as staging:
    (staging.folder / "rows").write_text("half")
    staging.keep()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """An output whose run was killed and left something to go on with."""
    out = tmp_path / "new" / "out"
    done = subprocess.run([sys.executable, "-c", KEEPS, out], stderr=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return out


def test_a_run_goes_on_with_what_a_dead_one_kept(half: Path) -> None:
    with FolderStaging(half.with_name("other")):
        pass  # a run for another output leaves it alone
    with FolderStaging(half, resume=True) as staging:
        assert staging.inherited and (staging.folder / "rows").read_text() == "half"
        with pytest.raises(OutputError, match="another run is writing"):
            FolderStaging(half, resume=True)
        (staging.folder / "rows").rename(staging.folder / "whole")
        staging.publish_all()
    assert contents(half) == {"whole": "half"}
    assert hidden(half.parent) == []


def test_what_was_kept_is_removed_by_a_run_that_begins_again_and_by_clean(half: Path) -> None:
    (left,) = find_leftovers(half.parent)
    assert left.state == "dead" and left.settle()
    assert not half.parent.exists()


def test_a_run_that_begins_again_finds_nothing(half: Path) -> None:
    with FolderStaging(half) as staging:
        assert not staging.inherited and list(staging.folder.iterdir()) == []
    assert not half.parent.exists()


def test_an_error_keeps_what_was_kept_and_forgetting_does_not(tmp_path: Path) -> None:
    for forgets in (False, True):
        with pytest.raises(RuntimeError), FolderStaging(tmp_path / "out", resume=True) as staging:
            staging.keep()
            if forgets:
                assert staging.inherited
                staging.forget()
            raise RuntimeError
        assert bool(hidden(tmp_path)) is not forgets
