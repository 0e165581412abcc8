"""The watched folder: each file that is complete is taken in once and goes to done/ or refused/ with a report beside it.

* Complete is a file that nobody changed for `still_s` seconds. Names that begin with a dot or end in .part, .tmp or .filepart wait:
  who renames into the folder is never read half.
* Sources are the folder itself and the folders within it. `folder.toml` in one says what its files do not (docs/exchange.md).
* A file goes to .work/ by one rename; its result is committed with its values; then its report is written and it is moved. After a
  kill the next turn goes on where that one ended: a file without a result is taken, one with a result is only moved.
* One turn at a time: a lock on the folder, which the system lets go with the process.
* A file on which three turns ended without a result is refused: it would stop all others.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from gridtally_cloud.exchange import folder_rows
from gridtally_cloud.exchange.bringing import Brought, Habit, bring
from gridtally_cloud.exchange.dates import ORDERS
from gridtally_cloud.exchange.folder_report import text_of
from gridtally_cloud.exchange.folder_rows import FileRow, State
from gridtally_cloud.exchange.formats import FORMATS, LARGEST_BYTES
from gridtally_cloud.exchange.record import Clock, Problem
from gridtally_cloud.exchange.units import INTERVAL_QUANTITIES, UNITS
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

log = logging.getLogger(__name__)

HABITS = "folder.toml"
WORK, DONE, REFUSED, LOCK = ".work", "done", "refused", ".lock"
TARGETS = {State.TAKEN: DONE, State.REFUSED: REFUSED}
UNFINISHED = (".part", ".tmp", ".filepart")
TOP = "_"
"""The folder itself, as a name within .work/."""
TRIES = 3
A_TURN = 50
CHOICES = {"format": ("auto", *FORMATS), "clock": tuple(c.value for c in Clock), "dates": ORDERS,
           "unit": tuple(unit.name for unit in UNITS.values()), "quantity": ("import", "export", *INTERVAL_QUANTITIES)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Watched:
    """The folder, how long a file must be left alone, and the zone of files that do not tell theirs."""

    folder: Path
    still_s: int
    zone: str


@dataclass(frozen=True, slots=True)
class File:
    """A file with the source it came from, empty for the folder itself."""

    path: Path
    source: str


def turn(db: Database, watched: Watched, now_ms: int, real_s: float) -> tuple[FileRow, ...]:
    """Finish what a killed turn left, then take what is complete. Nothing where another process does. `real_s` is the time of the file
    system. Raises ConfigError where the folder can not be used."""
    with _locked(watched.folder) as is_ours:
        return tuple(_turn(db, watched, now_ms, real_s)) if is_ours else ()


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    try:
        for name in (WORK, DONE, REFUSED):
            (folder / name).mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise ConfigError("exchange.in_dir", str(folder), f"this folder can not be used ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _turn(db: Database, watched: Watched, now_ms: int, real_s: float) -> Iterator[FileRow]:
    left = list(_left(watched.folder))
    folder_rows.mark_gone(db, {(file.source, _shown(file.path.name)) for file in left}, now_ms)
    for file in left:
        yield from _finish(db, watched, file, now_ms)
    for file in complete(watched, real_s)[:A_TURN]:
        claimed = _claimed(watched.folder, file)
        if claimed is not None:
            yield from _finish(db, watched, claimed, now_ms)


# ---- what is there --------------------------------------------------------------------------------------------


def _left(folder: Path) -> Iterator[File]:
    for place in sorted((folder / WORK).iterdir()):
        yield from (File(path, "" if place.name == TOP else place.name) for path in sorted(place.iterdir()))


def waiting(watched: Watched) -> list[File]:
    """Files that are not taken up yet, oldest first."""
    found = [(info.st_mtime_ns, File(path, source)) for source, place in _sources(watched.folder) for path, info in _files(place)]
    return [file for _, file in sorted(found, key=lambda pair: (pair[0], str(pair[1].path)))]


def complete(watched: Watched, real_s: float) -> list[File]:
    return [file for file in waiting(watched) if _is_still(file.path, watched.still_s, real_s)]


def _sources(folder: Path) -> Iterator[tuple[str, Path]]:
    yield "", folder
    for place in sorted(folder.iterdir()):
        if place.is_dir() and not place.is_symlink() and not place.name.startswith((".", TOP)) and place.name not in (DONE, REFUSED):
            yield place.name, place


def _files(place: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in place.iterdir():
        if path.name.startswith(".") or path.name.endswith(UNFINISHED) or path.name == HABITS:
            continue
        with suppress(FileNotFoundError):
            info = path.lstat()
            if stat.S_ISREG(info.st_mode):
                yield path, info


def _is_still(path: Path, still_s: int, real_s: float) -> bool:
    """A time in the future is that of another machine's clock: only what lies far off is old."""
    with suppress(FileNotFoundError):
        info = path.lstat()
        return all(abs(real_s - at) >= still_s for at in (info.st_mtime, info.st_ctime))
    return False


# ---- one file -------------------------------------------------------------------------------------------------


def _claimed(folder: Path, file: File) -> File | None:
    """Out of everybody's reach; None where it is gone, or where one of its name is not finished yet."""
    place = folder / WORK / (file.source or TOP)
    place.mkdir(exist_ok=True)
    if (place / file.path.name).exists():
        return None
    with suppress(FileNotFoundError):
        file.path.rename(place / file.path.name)
        return File(place / file.path.name, file.source)
    return None


def _finish(db: Database, watched: Watched, file: File, now_ms: int) -> Iterator[FileRow]:
    """Result, report, move; whatever of it is not done yet."""
    try:
        data = _bytes(file.path)
        row = folder_rows.taken_up(db, file.source, _shown(file.path.name), hashlib.sha256(data).hexdigest(), len(data), now_ms)
        if row.state is State.WORKING:
            row = _result(db, watched, file, row, data, now_ms)
        _move(watched.folder, file, row)
        folder_rows.mark_moved(db, row.number, now_ms)
        yield row
    except OperationalError:
        raise
    except OSError:
        log.exception("a file of the watched folder can not be read or moved; it is tried again", extra={"file": _shown(file.path.name)})
    except Exception:
        log.exception("a file of the watched folder could not be taken in; it is tried again", extra={"file": _shown(file.path.name)})


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_BYTES + 1)


def _result(db: Database, watched: Watched, file: File, row: FileRow, data: bytes, now_ms: int) -> FileRow:
    def keep(conn: Connection, brought: Brought) -> None:
        folder_rows.keep(conn, row, brought, text_of(row, brought), now_ms)

    habit = _habit(watched.folder / file.source)
    if row.tries > TRIES:
        habit = Problem(0, "file", "", f"{TRIES} times the MDM ended while it took this in; look into its log, or cut the file by month")
    if isinstance(habit, Problem):
        with db.write() as conn:
            keep(conn, Brought((habit,)))
    else:
        bring(db, data, row.name, habit, watched.zone, now_ms, keep)
    return folder_rows.row_of(db, row.number)


def _habit(place: Path) -> Habit | Problem:
    """What folder.toml says, or what is wrong with it."""
    try:
        said = tomllib.loads((place / HABITS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Habit()
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Problem(0, HABITS, "", f"it can not be read: {error}")
    known = {field.name for field in fields(Habit)}
    for key, value in said.items():
        allowed = CHOICES.get(key, ())
        if key not in known:
            return Problem(0, f"{HABITS}, {key}", str(value), f"write one of {', '.join(sorted(known))}")
        if type(value) not in (str, int) or (allowed and str(value) not in allowed):
            return Problem(0, f"{HABITS}, {key}", str(value), f"write {', '.join(allowed) or 'a text'}")
    return Habit(**{key: str(value) for key, value in said.items()})


def _move(folder: Path, file: File, row: FileRow) -> None:
    """Report first, so that no file lies there without one."""
    place = folder / TARGETS[row.state]
    target = place / row.kept_name
    report = target.with_name(target.name + ".report.txt")
    beside = report.with_name(f".{row.number}.part")
    with beside.open("w", encoding="utf-8") as out:
        out.write(row.report)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(report)
    file.path.replace(target)
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _shown(name: str) -> str:
    """A file name as text that can be stored and printed."""
    return "".join(c if c.isprintable() else "?" for c in os.fsencode(name).decode("utf-8", "replace"))
