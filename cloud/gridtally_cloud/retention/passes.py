"""Passes of deletion: each rule goes over its rows once a day, lot by lot, by whichever worker has it.

* A lot is one transaction: it takes the rule's row, looks at a bounded number of rows, deletes what is due, and notes how far it came. What
  arrives in between waits for one lot at most. Killed at any point, the next worker goes on from there when the lease has ended.
* A rule that fails is told in the log and stops no other. A pass that deleted anything stands in the audit.

Source: architecture.md 6 (jobs).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.exc import OperationalError

from gridtally_cloud.customers.audit import record
from gridtally_cloud.retention.deleting import Step, delete_lot
from gridtally_cloud.retention.due import SOURCES
from gridtally_cloud.retention.rules import cut_ms
from gridtally_cloud.retention.tables import retention_pass
from gridtally_cloud.store.db import Database, insert_new
from gridtally_cloud.store.work import Hand
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.records import dataclass

log = logging.getLogger(__name__)

EVERY_MS = MS_PER_DAY
ROWS_A_LOT, LOTS_A_TURN = 1_000, 4
"""A lot takes some hundredths of a second; between two turns a worker takes in what arrived."""

BY_WHOM = "system:worker"
_p = retention_pass.c


@dataclass(frozen=True, slots=True)
class Pass:
    """How far a rule's pass is. `after` None: none is under way; `deleted` is of this one, or the last."""

    owner: str
    until_ms: int
    after: tuple[Any, ...] | None
    deleted: int
    done_ms: int | None

    def is_waiting(self, now_ms: int) -> bool:
        """It was begun, or it is time for the next."""
        return self.after is not None or self.done_ms is None or now_ms - self.done_ms >= EVERY_MS

    def is_free(self, hand: Hand, now_ms: int) -> bool:
        return self.owner in ("", hand.owner) or self.until_ms <= now_ms


NONE = Pass("", 0, None, 0, None)


def known_passes(conn: Connection) -> dict[str, Pass]:
    return {row.rule: _pass(row) for row in conn.execute(select(retention_pass))}


def turn(db: Database, now_ms: int, days: Mapping[str, int], hand: Hand) -> bool:
    """A few lots of what waits. True while there is more."""
    with db.read() as conn:
        known = known_passes(conn)
    states = {name: known.get(name, NONE) for name in SOURCES if days[name]}
    names = [name for name, each in states.items() if each.is_waiting(now_ms) and each.is_free(hand, now_ms)]
    lots = 0
    for name in names:
        while lots < LOTS_A_TURN:
            lots += 1
            try:
                step = one_lot(db, name, days[name], now_ms, hand, BY_WHOM)
            except OperationalError:
                raise
            except Exception:
                log.exception("old rows could not be deleted", extra={"rule": name})
                break
            if step is None or step.after is None:
                break
        else:
            return True
    return False


def one_lot(db: Database, name: str, days: int, now_ms: int, hand: Hand, by: str, anew: bool = False) -> Step | None:
    """One lot of a rule; None where another worker has it, or nothing waits. `anew`: a pass is begun whenever the last one was,
    and goes to the end."""
    with db.write() as conn:
        held = _taken(conn, name, now_ms, hand)
        if held is None or not (anew or held.is_waiting(now_ms)):
            return None
        step = delete_lot(conn, SOURCES[name], held.after or (), cut_ms(days, now_ms), ROWS_A_LOT, whole=anew)
        deleted = step.deleted + (held.deleted if held.after is not None else 0)
        if step.after is None:
            values = {"owner": "", "until_ms": 0, "after": "", "done_ms": now_ms}
            if deleted:
                record(conn, now_ms, by, "retention.deleted", f"retention:{name}", f"{deleted} rows older than {days} days")
        else:
            values = {"owner": hand.owner, "until_ms": now_ms + hand.lease_ms, "after": json.dumps(list(step.after))}
        conn.execute(update(retention_pass).where(_p.rule == name).values(**values, deleted=deleted))
        return step


def _taken(conn: Connection, name: str, now_ms: int, hand: Hand) -> Pass | None:
    """The rule's row for this transaction; passed over where another has it."""
    insert_new(conn, retention_pass, [{"rule": name, "owner": "", "until_ms": 0, "after": "", "deleted": 0}])
    free = or_(_p.owner.in_(("", hand.owner)), _p.until_ms <= now_ms)
    row = conn.execute(select(retention_pass).where(_p.rule == name, free).with_for_update(skip_locked=True)).one_or_none()
    return None if row is None else _pass(row)


def _pass(row: Any) -> Pass:
    return Pass(row.owner, row.until_ms, tuple(json.loads(row.after)) if row.after else None, row.deleted, row.done_ms)
