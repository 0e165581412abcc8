"""A PostgreSQL of our own for a run of tests: a cluster in a temporary folder, reached over a socket in it, gone at the end.

* `GRIDTALLY_STORE=postgresql` has `stores.py` take it instead of an SQLite file.
* PostgreSQL refuses to run as root; then it runs as the system's user `postgres`.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine, text

from gridtally_cloud.store import meta
from gridtally_cloud.store.db import Database

PORT = 5432
TEMPLATE = "empty"
_numbers = itertools.count(1)


def fresh_database() -> Database:
    """A prepared store of its own."""
    name = f"store_{os.getpid()}_{next(_numbers)}"
    _run(f"CREATE DATABASE {name} TEMPLATE {_template()}")
    return Database(_url(name))


def _url(name: str) -> str:
    return f"postgresql+psycopg://gridtally@/{name}?host={_cluster()}&port={PORT}"


def _run(statement: str) -> None:
    engine = create_engine(_url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.execute(text(statement))
    engine.dispose()


@cache
def _cluster() -> Path:
    """The folder of the running server's socket."""
    folder = Path(tempfile.mkdtemp(prefix="gridtally-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    _server("initdb", "-D", folder / "data", "-A", "trust", "-U", "gridtally", "-E", "UTF8", "--no-sync")
    options = f"-k {folder} -p {PORT} -c listen_addresses= -c max_connections=200"
    _server("pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
    atexit.register(_stop, folder)
    return folder


@cache
def _template() -> str:
    _run(f"CREATE DATABASE {TEMPLATE}")
    db = Database(_url(TEMPLATE))
    meta.prepare(db)
    db.close()
    return TEMPLATE


def _stop(folder: Path) -> None:
    _server("pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


def _server(program: str, *words: object) -> None:
    """Raises CalledProcessError with what the program said."""
    command = [_program(program), *map(str, words)]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")


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
