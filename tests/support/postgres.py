"""A PostgreSQL of our own for a run of tests: a cluster in a temporary folder, reached over a socket in it, gone at the end.

* `GRIDTALLY_STORE=postgresql` has `stores.py` take it instead of an SQLite file. Each worker of a run has its own.
* It lives in memory where the system has room there: a database is some 350 files, which some disks take a second to make.
* A database that no test holds any longer is dropped when the next one is made: each takes 13 MB.
* It does not sync to disk, as no test pulls the plug on the server itself.
* PostgreSQL refuses to run as root; then it runs as the system's user `postgres`.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shlex
import shutil
import subprocess
import tempfile
import weakref
from functools import cache
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from gridtally_cloud.store import meta
from gridtally_cloud.store.db import Database

PORT = 5432
TEMPLATE = "empty"
MEMORY = Path("/dev/shm")
ROOM = 2 << 30
_numbers = itertools.count(1)
_left: list[str] = []


def fresh_database(template: str = "") -> Database:
    """A prepared store of its own, or one with all that is in another database."""
    db = Database(_url(_copied(template or _template())))
    weakref.finalize(db, _left.append, _name(db)).atexit = False
    return db


def kept_copy(db: Database) -> str:
    """A database to begin others from, with what is in this one now. Nobody may be inside a transaction."""
    db.close()
    return _copied(_name(db))


def put_back(db: Database, template: str) -> None:
    """The store is what the other database is, as after a restore."""
    db.close()
    _run(f"DROP DATABASE {_name(db)} WITH (FORCE)")
    _run(f"CREATE DATABASE {_name(db)} TEMPLATE {template} STRATEGY file_copy")


def _copied(template: str) -> str:
    while _left:
        _run(f"DROP DATABASE IF EXISTS {_left.pop()} WITH (FORCE)")
    name = f"store_{next(_numbers)}"
    _run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return name


def _name(db: Database) -> str:
    return str(db.engine.url.database)


def _url(name: str) -> str:
    return f"postgresql+psycopg://gridtally@/{name}?host={_cluster()}&port={PORT}"


def _run(statement: str) -> None:
    with _server_engine().connect() as conn:
        conn.execute(text(statement))


@cache
def _server_engine() -> Engine:
    engine = create_engine(_url("postgres"), isolation_level="AUTOCOMMIT")
    atexit.register(engine.dispose)
    return engine


@cache
def _cluster() -> Path:
    """The folder of the running server's socket."""
    folder = Path(tempfile.mkdtemp(prefix="gridtally-pg-", dir=_in_memory()))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    _server("initdb", "-D", folder / "data", "-A", "trust", "-U", "gridtally", "-E", "UTF8", "--no-sync")
    options = f"-k {folder} -p {PORT} -c listen_addresses= -c max_connections=200 -c fsync=off"
    _end_with_us(folder)
    _server("pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
    return folder


def _in_memory() -> Path | None:
    return MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free > ROOM else None


@cache
def _template() -> str:
    _run(f"CREATE DATABASE {TEMPLATE}")
    db = Database(_url(TEMPLATE))
    meta.prepare(db)
    db.close()
    return TEMPLATE


def _end_with_us(folder: Path) -> None:
    """A process of its own waits for the end of this one, killed or not, stops the server and clears the folder."""
    stop = shlex.join(_command("pg_ctl", "-D", folder / "data", "-m", "immediate", "stop"))
    script = f"cat; {stop} >/dev/null 2>&1; rm -rf {shlex.quote(str(folder))}"
    waiting = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True)
    assert waiting.stdin
    atexit.register(waiting.wait, 30)
    atexit.register(waiting.stdin.close)


def _server(program: str, *words: object) -> None:
    """Raises CalledProcessError with what the program said."""
    subprocess.run(_command(program, *words), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")


def _command(program: str, *words: object) -> list[str]:
    command = [_program(program), *map(str, words)]
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


def _program(name: str) -> str:
    found = shutil.which(name) or next((str(p) for p in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    if found is None:
        raise FileNotFoundError(f"{name} is not here: sudo apt-get install postgresql")
    return found


def is_here() -> bool:
    try:
        return bool(_program("initdb"))
    except FileNotFoundError:
        return False
