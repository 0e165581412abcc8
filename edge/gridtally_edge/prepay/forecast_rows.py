"""The forecast of each account in money.db: its load history, the mark of the last reading, the time left as it was made last."""

from __future__ import annotations

import sqlite3
from typing import ClassVar

from gridtally_edge.prepay.rows import Row, one
from gridtally_shared.forecast.timeleft import Basis, TimeLeft
from gridtally_shared.records import dataclass

FORECAST: tuple[str, ...] = (
    """CREATE TABLE forecast (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, history TEXT NOT NULL, read_ms INTEGER NOT NULL, register_wh INTEGER NOT NULL,
        hour_wh INTEGER, due INTEGER NOT NULL, balance_nano INTEGER NOT NULL, as_of_ms INTEGER NOT NULL, central_ms INTEGER,
        cautious_ms INTEGER, basis TEXT NOT NULL, fault TEXT NOT NULL, PRIMARY KEY (account_no, epoch)
    ) STRICT, WITHOUT ROWID""",
)


@dataclass(slots=True)
class ForecastRow(Row):
    """`read_ms` to `hour_wh` are the mark of the last reading taken in, `balance_nano` the balance then; `due` says that the forecast
    waits to be made anew."""

    TABLE: ClassVar[str] = "forecast"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch")

    account_no: int
    epoch: int
    history: str = ""
    read_ms: int = 0
    register_wh: int = 0
    hour_wh: int | None = None
    due: int = 1
    balance_nano: int = 0
    as_of_ms: int = 0
    central_ms: int | None = None
    cautious_ms: int | None = None
    basis: str = Basis.NONE.value
    fault: str = ""


def kept(db: sqlite3.Connection, account_no: int, epoch: int) -> TimeLeft | None:
    """The forecast of an account as it was made last; None where none can be told."""
    return left_of(one(db, ForecastRow, account_no, epoch))


def left_of(row: ForecastRow | None) -> TimeLeft | None:
    if row is None or row.fault or row.basis == Basis.NONE.value:
        return None
    return TimeLeft(row.as_of_ms, row.central_ms, row.cautious_ms, Basis(row.basis))
