"""After an older copy of the store was put back: whom the list beside the store names is erased again."""

from __future__ import annotations

from pathlib import Path

from gridtally_cloud.person.erasing import empty_log, erase
from gridtally_cloud.person.listed import back_again
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

REASON = "an older copy of the store was put back"


@dataclass(frozen=True, slots=True)
class Result:
    done: bool
    text: str


def again(db: Database, file: Path, by: str, now_ms: int) -> tuple[Result, ...]:
    """One result a person who came back."""
    with db.read() as conn:
        found = back_again(conn, file)
    if not found:
        empty_log(db)  # an erasure that was killed at its very end left it
    return tuple(_once_more(db, file, line.customer_no, by, now_ms) for line in found)


def _once_more(db: Database, file: Path, customer_no: int, by: str, now_ms: int) -> Result:
    try:
        erase(db, file, customer_no, by, REASON, now_ms)
    except RefusedCommand as refused:
        return Result(False, f"{refused.detail}\nthen: gridtally-mdm person again")
    return Result(True, f"customer {customer_no} is erased again")
