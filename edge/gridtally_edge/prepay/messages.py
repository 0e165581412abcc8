"""What becomes of a message to the consumer: delivered, displayed, read, accepted or declined, expired; each told to the cloud.

* Delivered is when it is stored here, with its journal entry or its command. Displayed is when the consumer's own page or topic
  showed it. Read, accepted and declined are the consumer's word; expired is one nobody read in its time, or answered where it asks.
* A message only goes on, never back; a word to somebody else's message is no word.
* A message that asks for nothing, or was answered, may be saved or deleted: who does that has read it. A deleted one is not shown any
  more, a saved one stays beyond its time (ETSI 5.2.12 step 5).
* A message of a command tells its states as receipts; the others, and what was seen of them, as events.

Source: prepayment.md 6.3; ETSI 5.2.16; C3-FR5, C3-A2.3.
"""

from __future__ import annotations

from dataclasses import replace

from gridtally_edge.prepay import commands
from gridtally_edge.prepay.events import MessageSaid, MessageSeen
from gridtally_edge.prepay.rows import MessageRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.messages.order import ANSWERS, FILED, WORDS

DELIVERED, EXPIRED = "", "expired"
ORDER = (DELIVERED, *WORDS)


def said(turn: Turn, event: MessageSaid) -> None:
    """A display showed a message, or its consumer said something to it."""
    row = one(turn.db, MessageRow, event.message_no)
    if row is None or row.account_no != event.account_no:
        return
    if event.word in FILED:
        _file(turn, row, event)
        return
    if not _goes_on(row.state, event.word):
        return
    _move(turn, row, event.word)
    if row.cmd_id and event.word != "displayed":
        commands.message_seen(turn, MessageSeen(row.cmd_id, {"accepted": True, "declined": False}.get(event.word)))


def _file(turn: Turn, row: MessageRow, event: MessageSaid) -> None:
    if row.filed in (event.word, "deleted") or (row.asks and row.state not in ANSWERS):
        return
    if _goes_on(row.state, "read"):
        said(turn, replace(event, word="read"))
        row = one(turn.db, MessageRow, event.message_no) or row
    row.filed = event.word
    save(turn.db, row)
    _report(turn, row, event.word)


def expire(turn: Turn) -> None:
    """Messages whose time is over and that nobody has read, or that ask for an answer nobody gave."""
    clause = "WHERE until_ms > 0 AND until_ms < ? AND (state IN ('', 'displayed') OR (state = 'read' AND asks = 1))"
    for row in some(turn.db, MessageRow, clause, turn.now_ms):
        _move(turn, row, EXPIRED)


def _goes_on(state: str, word: str) -> bool:
    if word not in WORDS or state not in ORDER or state in ANSWERS:
        return False
    return ORDER.index(word) > ORDER.index(state)


def _move(turn: Turn, row: MessageRow, state: str) -> None:
    row.state, row.state_ms = state, turn.now_ms
    save(turn.db, row)
    _report(turn, row, state)


def _report(turn: Turn, row: MessageRow, state: str) -> None:
    entry = f"entry={row.entry} " if row.entry else ""
    turn.report(row.meter_no, "message_state", f"account={row.account_no} message={row.message_no} code={row.code} {entry}state={state}")
