"""The register of the network: transformers, what hangs behind them since when, and which feeders an operator's token may see.

* An installation report names meter, transformer, feeder and register: its transformer has to be in the register, on that feeder. Until
  the first rating is entered nobody keeps the register, and transformers come into it with the reports.
* What hung behind a transformer during a time is told with its part of that time: nothing is counted before it was moved there.

Source: ETSI TR 102 691, 5.2.10; BYPL 12.3, 13.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.grid.tables import grid_operator, grid_place, transformer
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import usage_point
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

NAME = re.compile(r"[A-Za-z0-9._/-]{1,40}")


class Level(StrEnum):
    FEEDER = "feeders"
    TRANSFORMER = "transformers"


class GridReason(StrEnum):
    BAD_NAME = "bad_name"
    BAD_RATING = "bad_rating"
    UNKNOWN_POINT = "unknown_usage_point"
    UNKNOWN_TRANSFORMER = "unknown_transformer"
    UNKNOWN_FEEDER = "unknown_feeder"
    WRONG_FEEDER = "wrong_feeder"
    NOT_YOURS = "not_your_feeder"


@dataclass(frozen=True, slots=True)
class Transformer:
    """`rating_va` None: unknown; `meter_point_no` None: it has no meter of its own."""

    name: str
    feeder: str
    rating_va: int | None = None
    meter_point_no: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a usage point hangs; of an installation report with the meter and the register it began with."""

    usage_point_no: int
    transformer: str
    from_ms: int
    meter_serial: str
    register_wh: int | None


@dataclass(frozen=True, slots=True)
class Member:
    """A usage point behind it, and when within the time asked for."""

    usage_point_no: int
    zone: str
    from_ms: int
    to_ms: int


def put(conn: Connection, wanted: Transformer, now_ms: int, actor: str) -> None:
    """Add or change a transformer. Raises RefusedCommand (bad_name, bad_rating, unknown_usage_point)."""
    if not (NAME.fullmatch(wanted.name) and NAME.fullmatch(wanted.feeder)):
        raise RefusedCommand(GridReason.BAD_NAME, "transformer and feeder are up to 40 letters, digits, . _ / and -")
    if wanted.rating_va is not None and wanted.rating_va <= 0:
        raise RefusedCommand(GridReason.BAD_RATING, "a rating is above zero VA; leave it out where it is not known")
    if wanted.meter_point_no is not None:
        _check_point(conn, wanted.meter_point_no)
    upsert(conn, transformer, {"name": wanted.name, "feeder": wanted.feeder, "rating_va": wanted.rating_va,
                               "meter_point_no": wanted.meter_point_no, "made_ms": now_ms, "made_by": actor})  # fmt: skip
    record(conn, now_ms, actor, "grid.transformer", f"transformer:{wanted.name}", f"feeder {wanted.feeder}, {wanted.rating_va or '?'} VA")


def place(conn: Connection, usage_point_no: int, name: str, from_ms: int, actor: str, now_ms: int, serial: str = "",
          register_wh: int | None = None) -> None:  # fmt: skip
    """From then on it hangs behind this transformer. Raises RefusedCommand (unknown_usage_point, unknown_transformer)."""
    _check_point(conn, usage_point_no)
    found = find(conn, name)
    upsert(conn, grid_place, {"usage_point_no": usage_point_no, "from_ms": from_ms, "transformer": found.name, "meter_serial": serial,
                              "register_wh": register_wh, "noted_by": actor})  # fmt: skip
    record(conn, now_ms, actor, "grid.place", f"usage-point:{usage_point_no}", f"{found.name}, feeder {found.feeder}")


def take_report(conn: Connection, usage_point_no: int, report: Mapping[str, Any], now_ms: int, actor: str) -> None:
    """What an installation report says of the network. Raises RefusedCommand (unknown_transformer, wrong_feeder, bad_name)."""
    name, feeder = str(report["transformer"]), str(report["feeder"])
    if _comes_by_reports(conn, name):
        put(conn, Transformer(name, feeder), now_ms, actor)
    found = find(conn, name)
    if found.feeder != feeder:
        raise RefusedCommand(GridReason.WRONG_FEEDER, f"feeder: transformer {name} is on feeder {found.feeder}, not {feeder}")
    place(conn, usage_point_no, name, now_ms, actor, now_ms, str(report["meter_serial"]), int(report["register_wh"]))


def place_of(conn: Connection, usage_point_no: int) -> Place | None:
    """The newest."""
    p = grid_place.c
    row = conn.execute(select(grid_place).where(p.usage_point_no == usage_point_no).order_by(p.from_ms.desc()).limit(1)).first()
    return None if row is None else Place(row.usage_point_no, row.transformer, row.from_ms, row.meter_serial, row.register_wh)


def find(conn: Connection, name: str) -> Transformer:
    """Raises RefusedCommand (unknown_transformer)."""
    row = conn.execute(select(transformer).where(transformer.c.name == name)).one_or_none()
    if row is None:
        raise RefusedCommand(GridReason.UNKNOWN_TRANSFORMER,
                             f"transformer: {name!r} is not in the register: gridtally-mdm grid transformer {name} FEEDER")  # fmt: skip
    return _transformer(row)


def transformers(conn: Connection, feeder: str = "") -> tuple[Transformer, ...]:
    """By feeder and name."""
    query = select(transformer).order_by(transformer.c.feeder, transformer.c.name)
    rows = conn.execute(query.where(transformer.c.feeder == feeder) if feeder else query)
    return tuple(_transformer(row) for row in rows)


def asked(conn: Connection, level: Level, name: str) -> tuple[Transformer, ...]:
    """The transformers a question is about. Raises RefusedCommand (unknown_transformer, unknown_feeder)."""
    if level is Level.TRANSFORMER:
        return (find(conn, name),)
    found = transformers(conn, name)
    if not found:
        raise RefusedCommand(GridReason.UNKNOWN_FEEDER, f"there is no feeder {name!r} in the register of the network")
    return found


def members(conn: Connection, named: Sequence[Transformer], from_ms: int, to_ms: int) -> tuple[Member, ...]:
    """Usage points behind these transformers in [from_ms, to_ms), each with its part of it."""
    p, u, names = grid_place.c, usage_point.c, {t.name for t in named}
    ever = select(p.usage_point_no).where(p.transformer.in_(names), p.from_ms < to_ms)
    query = select(grid_place, u.zone).join(usage_point, u.usage_point_no == p.usage_point_no)
    rows = conn.execute(query.where(p.usage_point_no.in_(ever), p.from_ms < to_ms).order_by(p.usage_point_no, p.from_ms)).all()
    return tuple(m for m in _spans(rows, names, to_ms) if m.to_ms > from_ms and m.from_ms < to_ms)


def _spans(rows: Sequence[Any], names: set[str], to_ms: int) -> Iterator[Member]:
    for row, following in zip_longest(rows, rows[1:]):
        same = following is not None and following.usage_point_no == row.usage_point_no
        if row.transformer in names:
            yield Member(row.usage_point_no, row.zone, row.from_ms, following.from_ms if same and following is not None else to_ms)


def _comes_by_reports(conn: Connection, name: str) -> bool:
    """Nobody has entered a rating yet, and the name is new."""
    kept = conn.execute(select(transformer.c.name).where(transformer.c.rating_va.is_not(None)).limit(1)).first()
    known = conn.execute(select(transformer.c.name).where(transformer.c.name == name)).first()
    return kept is None and known is None


def _check_point(conn: Connection, usage_point_no: int) -> None:
    if conn.execute(select(usage_point.c.zone).where(usage_point.c.usage_point_no == usage_point_no)).first() is None:
        raise RefusedCommand(GridReason.UNKNOWN_POINT, f"there is no usage point {usage_point_no}")


def _transformer(row: Any) -> Transformer:
    return Transformer(row.name, row.feeder, row.rating_va, row.meter_point_no)


# ---- operators ------------------------------------------------------------------------------------------------


def bind_token(conn: Connection, token_no: int, feeders: Sequence[str]) -> None:
    """The token sees these feeders only; with none, all."""
    conn.execute(delete(grid_operator).where(grid_operator.c.token_no == token_no))
    if feeders:
        conn.execute(insert(grid_operator), [{"token_no": token_no, "feeder": feeder} for feeder in sorted(set(feeders))])


def feeders_of(conn: Connection, token_no: int) -> frozenset[str]:
    """What a token is bound to; empty: it sees all."""
    return frozenset(conn.execute(select(grid_operator.c.feeder).where(grid_operator.c.token_no == token_no)).scalars())


def check_scope(conn: Connection, token_no: int, named: Sequence[Transformer]) -> None:
    """Raises RefusedCommand (not_your_feeder)."""
    mine = feeders_of(conn, token_no)
    other = sorted({t.feeder for t in named} - mine) if mine else []
    if other:
        raise RefusedCommand(GridReason.NOT_YOURS, f"this token is for feeder {', '.join(sorted(mine))}, not for {', '.join(other)}")
