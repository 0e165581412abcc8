"""Names of serial ports: the stable one of an unstable path, and who holds a port that is busy.

* ttyUSB0 becomes ttyUSB1 when an adapter is plugged in again; the links below /dev/serial/by-id (by the adapter's own
  number) and by-path (by the socket it is in) do not change.
* Who holds a port is what /proc tells of processes whose files we may see; "" where it does not.
"""

from __future__ import annotations

import os
from pathlib import Path

STABLE_FOLDERS = (Path("/dev/serial/by-id"), Path("/dev/serial/by-path"))
PROC = Path("/proc")


def stable_name(device: str, folders: tuple[Path, ...] = STABLE_FOLDERS) -> str:
    """A stable link to the same port, "" when there is none or `device` is no bare port."""
    if os.path.islink(device):
        return ""
    wanted = os.path.realpath(device)
    for folder in folders:
        for link in sorted(folder.iterdir()) if folder.is_dir() else ():
            if os.path.realpath(link) == wanted:
                return str(link)
    return ""


def advice_on_name(device: str, folders: tuple[Path, ...] = STABLE_FOLDERS) -> str:
    """What to write instead of `device`, "" when its name is as good as any."""
    stable = stable_name(device, folders)
    return f"{device} may get another name when it is plugged in again: write {stable}" if stable else ""


def holder_of(device: str, proc: Path = PROC) -> str:
    """`name (process 123)` of another process that has the port open."""
    wanted = os.path.realpath(device)
    for process in proc.iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid() and _has_open(process, wanted):
            return f"{_name(process)} (process {process.name})"
    return ""


def _has_open(process: Path, wanted: str) -> bool:
    try:
        return any(os.readlink(link) == wanted for link in (process / "fd").iterdir())
    except OSError:  # not ours to see, or gone meanwhile
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a program"
