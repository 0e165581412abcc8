"""What `gridtally doctor` reports: checks of an installation, from the entry points of the group `gridtally.doctor`.

Each entry point is a function () -> list[Check]. A check that fails says what to do about it in `remedy`.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Callable
from typing import TypeAlias

from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `message` says what was seen, `remedy` what to do (empty where `ok`)."""

    name: str
    ok: bool
    message: str
    remedy: str = ""


OURS = "gridtally"
"""How our own pages name themselves in the Server header."""


def port_check(name: str, host: str, port: int, setting: str) -> Check:
    """Whether our pages can listen there: the port is free, or it is ours already."""
    place = f"{host}:{port}"
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        return Check(name, True, f"{place} is free")
    except OSError as error:
        if _answers_as_ours(host, port):
            return Check(name, True, f"{place} is served by gridtally")
        return Check(name, False, f"{place}: {error.strerror}", f"stop the other program, or choose another {setting}")


def _answers_as_ours(host: str, port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection(host, port, timeout=2)
        try:
            connection.request("HEAD", "/")
            return (connection.getresponse().getheader("Server") or "").startswith(OURS)
        finally:
            connection.close()
    return False


Checkup: TypeAlias = Callable[[], list[Check]]


def failed(checks: list[Check]) -> int:
    """How many checks did not pass."""
    return sum(not check.ok for check in checks)


def table(checks: list[Check]) -> str:
    """The checks as aligned lines, each remedy below its failure."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:{width}}  {check.message}")
        if check.remedy and not check.ok:
            lines.append(f"      {'':{width}}  -> {check.remedy}")
    return "\n".join(lines)
