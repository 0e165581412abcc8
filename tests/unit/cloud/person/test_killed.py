"""`gridtally-mdm person erase` is killed (-9) at a statement of its own, while the MDM has the store open: the same command goes on.

The child kills itself as SQLite begins a named statement, so that each point of the erasure is met: before anything is written, in the
middle, before and after the list beside the store is written, before and after the transaction ends.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.cli import main
from gridtally_cloud.person import listed
from gridtally_cloud.store.db import Database
from support.stores import ON_POSTGRES
from support.two_people import OMAR, ZERLINA, all_rows, two_people, words_left

pytestmark = pytest.mark.skipif(ON_POSTGRES, reason="the child kills itself at statements of SQLite")

CHILD = """
import os, signal, sys
from sqlalchemy import Engine, event
from gridtally_cloud.cli import main
steps = sys.argv[1].split(">")

def seen(statement):
    if statement.startswith(steps[0]):
        del steps[0]
        if not steps:
            os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "connect", lambda connection, _record: connection.set_trace_callback(seen))
main(sys.argv[2:])
"""
ERASE = ("person", "erase", "1", "--apply", "--reason", "letter of Zerlina Quasthoff", "--by", "dora")
AGAIN = ("person", "again")
LISTED, ENDED = "INSERT INTO erasure>COMMIT", "PRAGMA wal_checkpoint"
"""Statements, one after the other, with the last of which it dies: the list is written, or the transaction has ended."""
CASES = (
    ("PRAGMA secure_delete", ERASE), ("UPDATE>UPDATE>DELETE>DELETE", ERASE), ("INSERT INTO erasure", ERASE), (LISTED, ERASE),
    (LISTED, AGAIN), (ENDED, ERASE), (ENDED, AGAIN),
)  # fmt: skip


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """Open as in a running MDM, so that no other process is the last one to close it."""
    db = two_people(tmp_path)
    (tmp_path / "mdm.toml").write_text(f'data_dir = "{tmp_path}"\n[store]\nurl = "{db.url}"\n')
    with db.read() as conn:
        conn.exec_driver_sql("SELECT 1")
    yield db
    db.close()


def _said(folder: Path, *words: str) -> int:
    return main(["--config", str(folder / "mdm.toml"), *words])


def _in_files(folder: Path) -> list[tuple[str, str]]:
    """What of her is in the bytes of the store, its log included."""
    files = {path.name: path.read_bytes() for path in folder.glob("mdm.db*")}
    assert any(OMAR.name.encode() in data for data in files.values())
    return [(name, word) for name, data in files.items() for word in ZERLINA.words if word.encode() in data]


@pytest.mark.parametrize(("at", "on"), CASES)
def test_what_a_kill_left_the_same_command_finishes(db: Database, tmp_path: Path, at: str, on: tuple[str, ...]) -> None:
    before = all_rows(db)
    call = (sys.executable, "-c", CHILD, at, "--config", str(tmp_path / "mdm.toml"), *ERASE)
    assert subprocess.run(call, capture_output=True, check=False).returncode == -signal.SIGKILL
    done = at == ENDED
    assert (words_left(db, ZERLINA) == []) is done
    assert done or all_rows(db) == before
    assert _said(tmp_path, *on) == 0
    assert words_left(db, ZERLINA) == []
    assert _in_files(tmp_path) == []
    assert len(listed.lines(tmp_path / listed.NAME)) == 1
    after = all_rows(db)
    assert len(after["audit_row"]) == len(before["audit_row"]) + 1
    lost = [row for name, rows in before.items() for row in rows if OMAR.name in str(row) and row not in after[name]]
    assert lost == []
