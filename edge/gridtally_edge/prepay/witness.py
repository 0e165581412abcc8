"""The register as a witness against the disk: after a start it says whether somebody lived here while this disk did not look.

* A grid that was off stops the box and the meters alike: the register stands where it stood. A disk of earlier, or a box that alone was
  off, finds it moved by what this home uses in that time. Then credit may have come that this journal does not know, and no chain
  shows it while the cloud is away: nobody is cut offline until the cloud has spoken (its mirror heals the journal, recovery.py).
* How long it was is told by a believed clock only; until then the first register after the start is kept in memory.
* Shorter than `LEAST_MS` is left to the pause after each start (upkeep.py): there the minutes before and behind an outage weigh too much.

Source: prepayment.md 3.3 T27 and the table of failures ("register gap").
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.ledger.replay import LedgerState

LEAST_MS = 6 * MS_PER_HOUR
LEAST_WH = 500
USUAL_SHARE = 2
"""A gap is one half of what is usually used in its time, and at least `LEAST_WH`."""

_FACT = "unseen:"


def look(turn: Turn, account: AccountConfig, book: Book, register_wh: int, at_ms: int, last_good_ms: int) -> None:
    """A good register, before it is charged. The first ones after a start are compared with where the journal stands."""
    number = account.account_no
    stood = turn.witness.get(number, (book.state.register_wh or 0, last_good_ms))
    if stood is None:
        return
    if turn.clock.state is ClockState.UNTRUSTED:
        turn.witness = {**turn.witness, number: stood}
        return
    turn.witness = {**turn.witness, number: None}
    if not turn.link.online and is_gap(book.state, register_wh - stood[0], at_ms - stood[1] if stood[1] else LEAST_MS):
        turn.remember(f"{_FACT}{number}", register_wh - stood[0])
        turn.link = replace(turn.link, unseen=turn.link.unseen | {number})


def is_gap(state: LedgerState, moved_wh: int, elapsed_ms: int) -> bool:
    """Whether this home went on living in that time. `state`: the journal as it stands."""
    days = max(1, (state.charged_day or 0) - (state.opened_day or 0))
    usual_wh = state.charged_wh * elapsed_ms // (days * MS_PER_DAY)
    return elapsed_ms >= LEAST_MS and moved_wh >= max(LEAST_WH, usual_wh // USUAL_SHARE)


def stored(db: sqlite3.Connection) -> frozenset[int]:
    """The accounts that waited for the cloud when the box stopped."""
    rows = db.execute("SELECT name FROM fact WHERE name LIKE ? AND value > 0", (f"{_FACT}%",))
    return frozenset(int(name.removeprefix(_FACT)) for (name,) in rows)


def the_cloud_spoke(turn: Turn) -> None:
    """What it knows more than this disk is in its heads."""
    for account_no in turn.link.unseen:
        turn.remember(f"{_FACT}{account_no}", 0)
    turn.link = replace(turn.link, unseen=frozenset())
