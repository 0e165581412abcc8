"""Schedules are booked and ended here, for the command line and the API alike: what is wished is checked, then kept and audited."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.exchange.contents import carried
from gridtally_cloud.exchange.formats import FORMATS
from gridtally_cloud.exchange.places import out_folder
from gridtally_cloud.exchange.points import point_of
from gridtally_cloud.exchange.recipients import known
from gridtally_cloud.exchange.schedules import EVERY, MOST_AGO, Schedule, all_schedules
from gridtally_cloud.exchange.tables import exchange_schedule
from gridtally_cloud.exchange.validated import forget
from gridtally_cloud.exchange.wanted import KINDS, PROFILE, READS, Wanted
from gridtally_cloud.store.days import zone_of
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_DUNS = re.compile(r"\d{9}|\d{13}", re.ASCII)
_AT = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Wish:
    """A schedule as a person writes it: `at` is a local time such as 06:00; a folder or a recipient."""

    name: str
    format: str
    every: str
    at: str
    zone: str
    folder: Path | None = None
    recipient: str = ""
    kind: str = PROFILE
    ago: int = 1
    points: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    by_label: bool = False
    sender: str = ""
    validated: bool = False


def book(conn: Connection, wish: Wish, in_dir: str, now_ms: int, actor: str) -> Schedule:
    """Raises ConfigError for what can not be meant, RefusedCommand for a recipient nobody knows."""
    schedule = _checked(conn, wish, in_dir, now_ms, actor)
    if conn.execute(select(exchange_schedule.c.name).where(exchange_schedule.c.name == schedule.name)).first():
        raise ConfigError("NAME", schedule.name, "there is a schedule of this name; end it first with 'export unschedule'")
    row = asdict(schedule) | {"points": " ".join(map(str, schedule.points)), "quantities": " ".join(schedule.quantities)}
    conn.execute(insert(exchange_schedule).values(row))
    told = f"{schedule.kind} as {schedule.format} every {schedule.every} {schedule.place}"
    record(conn, now_ms, actor, "export.schedule", f"schedule:{schedule.name}", told)
    return schedule


def unbook(conn: Connection, name: str, now_ms: int, actor: str) -> None:
    """What was written or queued stays. Raises ConfigError."""
    if not conn.execute(delete(exchange_schedule).where(exchange_schedule.c.name == name)).rowcount:
        there = ", ".join(schedule.name for schedule in all_schedules(conn)) or "none"
        raise ConfigError("NAME", name, f"there is no such schedule; there are: {there}")
    forget(conn, name)
    record(conn, now_ms, actor, "export.unschedule", f"schedule:{name}")


def _checked(conn: Connection, wish: Wish, in_dir: str, now_ms: int, actor: str) -> Schedule:
    at = _AT.fullmatch(wish.at)
    if not _NAME.fullmatch(wish.name):
        raise ConfigError("NAME", wish.name, "write up to 40 letters, digits, - and _")
    if at is None:
        raise ConfigError("--at", wish.at, "write a local time such as 06:00")
    for option, value, allowed in (("--format", wish.format, FORMATS), ("--kind", wish.kind, KINDS), ("--every", wish.every, EVERY)):
        _one_of(option, value, allowed)
    if not 1 <= wish.ago <= MOST_AGO:
        raise ConfigError("--ago", wish.ago, f"write 1 to {MOST_AGO}")
    points = tuple(sorted({point_of(conn, name).number for name in wish.points}))
    return Schedule(wish.name, wish.format, points, _quantities(wish), wish.every, int(at[1]) * 60 + int(at[2]), zone_of(wish.zone).key,
                    wish.ago, _place(conn, wish, in_dir), wish.by_label, now_ms, actor, wish.recipient, wish.kind,
                    _sender(conn, wish), _validated(wish))  # fmt: skip


def _sender(conn: Connection, wish: Wish) -> str:
    """The number market file names begin with."""
    if not wish.sender:
        return ""
    if not _DUNS.fullmatch(wish.sender) or wish.format != "lse":
        raise ConfigError("--sender", wish.sender, "write the DUNS number, 9 or 13 digits; only LSE files are named by it")
    other = [each.name for each in all_schedules(conn) if each.sender == wish.sender]
    if other:
        raise ConfigError("--sender", wish.sender, f"{other[0]} has this sender: two files would have one name")
    return wish.sender


def _validated(wish: Wish) -> bool:
    if wish.validated and (wish.every != "day" or wish.kind == READS):
        raise ConfigError("--validated", wish.every, "VEE judges days of intervals: use --every day, and not --kind reads")
    return wish.validated


def _one_of(option: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ConfigError(option, value, f"write one of {', '.join(allowed)}")


def _quantities(wish: Wish) -> tuple[str, ...]:
    able = carried(Wanted(wish.kind, wish.format))
    if not able:
        raise ConfigError("--kind", wish.kind, f"{wish.format} has no place for this")
    other = set(wish.quantities) - able
    if other:
        raise ConfigError("--quantity", ", ".join(sorted(other)), f"{wish.format} has no place for this")
    return tuple(sorted(set(wish.quantities)))


def _place(conn: Connection, wish: Wish, in_dir: str) -> str:
    """The folder, '' for a recipient."""
    if bool(wish.recipient) == (wish.folder is not None):
        raise ConfigError("--to", wish.recipient, "name a recipient with --to, or a folder with --folder, one of them")
    if wish.folder is not None:
        return str(out_folder(wish.folder, in_dir, "--folder"))
    known(conn, wish.recipient, hold=True)
    return ""
