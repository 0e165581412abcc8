"""CPU time of the PostgreSQL beside a benchmark, which works in processes of its own."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine, text


@cache
def _postmaster(url: str) -> int:
    engine = create_engine(url)
    with engine.connect() as conn:
        backend = int(conn.execute(text("SELECT pg_backend_pid()")).scalar_one())
        parent = int(_fields(backend)[1])
    engine.dispose()
    return parent


def _fields(pid: int) -> list[str]:
    """Those of /proc/<pid>/stat after the name: state, parent, ..."""
    status = Path(f"/proc/{pid}/stat").read_text()
    return status[status.rindex(")") + 2 :].split()


def server_s(url: str) -> float:
    """CPU seconds so far of the server at that address: of all its processes, those that ended included."""
    server = _postmaster(url)
    ticks = sum(int(each) for each in _fields(server)[11:15])
    for name in os.listdir("/proc"):
        try:
            fields = _fields(int(name)) if name.isdigit() else []
        except OSError:
            continue  # it ended meanwhile
        if fields and int(fields[1]) == server:
            ticks += sum(int(each) for each in fields[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")
