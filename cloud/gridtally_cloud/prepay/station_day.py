"""A pay station's business day, its end-of-day file, and how often it may call.

* A day is local to the station. After its close the file stands as it was given out; what comes later belongs to the next day.
* The file has a line for each payment and reversal, and a total for each currency, so that the agent's books can be compared
  line by line. A reversal stands in the day of its payment: a closed day has none.
* Calls are counted by the minute and kind, in the store, so that any number of processes count together. Look-ups that find
  nothing have a smaller limit of their own: account numbers are not to be guessed.

Source: seed 002 C3-BR3.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.prepay.tables import payment, station_call, station_day, station_payment
from gridtally_cloud.store.days import date_of, day_of
from gridtally_cloud.store.db import add_all
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text
from gridtally_shared.records import dataclass

MINUTE_MS = 60_000
CALLS_A_MINUTE: dict[str, int] = {"lookup": 60, "miss": 10, "pay": 30, "reverse": 6, "day": 10}
TURN = "turn"
COLUMNS = ("line", "receipt", "at_ms", "account_no", "amount", "currency", "method", "key", "reason")

_s, _p, _c = station_payment.c, payment.c, station_call.c


class StationReason(StrEnum):
    NOT_FOUND = "not_found"
    UNKNOWN_METHOD = "unknown_method"
    BAD_KEY = "bad_key"
    TOO_LATE = "reversal_too_late"
    DAY_CLOSED = "day_closed"
    REFUNDED = "already_refunded"
    CREDIT_USED = "credit_used"
    DAY_AHEAD = "day_ahead"


@dataclass(frozen=True, slots=True)
class Station:
    """One operator's token. `zone`: where its business day begins and ends."""

    token_no: int
    name: str
    zone: str

    @property
    def actor(self) -> str:
        return f"station:{self.token_no} {self.name}"


@dataclass(frozen=True, slots=True)
class Total:
    """What one currency comes to."""

    currency: str
    payments: int
    taken_nano: int
    reversals: int
    returned_nano: int

    @property
    def owed_nano(self) -> int:
        """What the agent hands over."""
        return self.taken_nano - self.returned_nano


def take_turn(conn: Connection, station: Station) -> None:
    """Bookings and the close of one station wait for each other on this row."""
    add_all(conn, station_call, [{"token_no": station.token_no, "kind": TURN, "window_ms": 0, "calls": 1}], ("calls",))


def today(station: Station, at_ms: int) -> str:
    return date_of(day_of(at_ms, station.zone)).isoformat()


def open_day(conn: Connection, station: Station, at_ms: int) -> str:
    """The business day a booking of now belongs to: today, or the next one that is not closed."""
    day = day_of(at_ms, station.zone)
    while is_closed(conn, station, date_of(day).isoformat()):
        day += 1
    return date_of(day).isoformat()


def is_closed(conn: Connection, station: Station, day: str) -> bool:
    return _file(conn, station, day) is not None


def close_day(conn: Connection, station: Station, day: str, at_ms: int) -> str:
    """Close a day and give its file; again gives the same file. Raises RefusedCommand (day_ahead)."""
    take_turn(conn, station)
    if day > today(station, at_ms):
        raise RefusedCommand(StationReason.DAY_AHEAD, f"{day} has not begun at this station: close a day at its end")
    if not is_closed(conn, station, day):
        row = {"token_no": station.token_no, "day": day, "file": day_file(conn, station, day), "closed_ms": at_ms}
        conn.execute(insert(station_day).values(row))
        record(conn, at_ms, station.actor, "station.closed", f"station:{station.token_no}", day)
    return day_file(conn, station, day)


def day_file(conn: Connection, station: Station, day: str) -> str:
    """The day as CSV: as it was given out at its close, or as it stands."""
    kept = _file(conn, station, day)
    if kept is not None:
        return kept
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = _rows(conn, station, day)
    writer.writerows(line for row in rows for line in _lines(row))
    writer.writerows(_total_line(total) for total in _totals(rows))
    return text.getvalue()


def totals(conn: Connection, station: Station, day: str) -> tuple[Total, ...]:
    """What a day comes to, by currency."""
    return tuple(_totals(_rows(conn, station, day)))


def _file(conn: Connection, station: Station, day: str) -> str | None:
    d = station_day.c
    return conn.execute(select(d.file).where(d.token_no == station.token_no, d.day == day)).scalar_one_or_none()


def _rows(conn: Connection, station: Station, day: str) -> list[Row[Any]]:
    query = select(station_payment, _p.account_no, _p.amount_nano, _p.currency, _p.method).join(payment, _p.payment_no == _s.payment_no)
    return list(conn.execute(query.where(_s.token_no == station.token_no, _s.day == day).order_by(_s.payment_no)))


def _lines(row: Row[Any]) -> Iterator[tuple[Any, ...]]:
    what = (row.account_no, decimal_text(row.amount_nano), row.currency, row.method, row.key)
    yield ("payment", row.payment_no, row.at_ms, *what, "")
    if row.reversed_ms is not None:
        yield ("reversal", row.payment_no, row.reversed_ms, row.account_no, decimal_text(-row.amount_nano), *what[2:],
               _plain(row.reversal_reason or ""))  # fmt: skip


def _plain(text: str) -> str:
    """Typed text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


def _totals(rows: list[Row[Any]]) -> Iterator[Total]:
    for currency in sorted({row.currency for row in rows}):
        taken = [row.amount_nano for row in rows if row.currency == currency]
        back = [row.amount_nano for row in rows if row.currency == currency and row.reversed_ms is not None]
        yield Total(currency, len(taken), sum(taken), len(back), sum(back))


def _total_line(total: Total) -> tuple[Any, ...]:
    text = f"{total.payments} payments, {total.reversals} reversals"
    return ("total", "", "", "", decimal_text(total.owed_nano), total.currency, "", "", text)


# ---- how often ------------------------------------------------------------------------------------------------


def wait_s(conn: Connection, token_no: int, kind: str, real_ms: int) -> int:
    """Count one call; the seconds to wait where there were too many in this minute, else 0."""
    window_ms = real_ms // MINUTE_MS * MINUTE_MS
    mine = (_c.token_no == token_no, _c.kind == kind)
    conn.execute(delete(station_call).where(*mine, _c.window_ms < window_ms))
    add_all(conn, station_call, [{"token_no": token_no, "kind": kind, "window_ms": window_ms, "calls": 1}], ("calls",))
    calls = conn.execute(select(_c.calls).where(*mine, _c.window_ms == window_ms)).scalar_one()
    return (window_ms + MINUTE_MS - real_ms + 999) // 1000 if calls > CALLS_A_MINUTE[kind] else 0


def is_guessing(conn: Connection, token_no: int, real_ms: int) -> bool:
    """Too many look-ups of this minute found nothing."""
    window_ms = real_ms // MINUTE_MS * MINUTE_MS
    query = select(_c.calls).where(_c.token_no == token_no, _c.kind == "miss", _c.window_ms == window_ms)
    return (conn.execute(query).scalar_one_or_none() or 0) >= CALLS_A_MINUTE["miss"]
