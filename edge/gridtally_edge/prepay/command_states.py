"""The states of one command at the edge and its receipts: the only place that changes a CommandRow's state.

* A receipt leaves in the urgent lane, in the transaction that changed the state, and holds message id, meter id and time
  (C3-FR15).
* Waiting is told once: DELIVERED, with the reason `clock_untrusted` while a scheduled command is held for want of a clock.
"""

from __future__ import annotations

from dataclasses import replace

from gridtally_edge.prepay.rows import CommandRow, save
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Command, CommandReceipt, EntryKind, Lane
from gridtally_shared.lifecycle import CommandState

MOST_TRIES = 3
RETRY_MS = 45_000
S = CommandState


def command_of(row: CommandRow) -> Command:
    """The command as it was signed, with the end this edge gives it (guards.expiry_ms)."""
    return replace(decode(Command, row.body), expires_ms=row.expires_ms)


def move(turn: Turn, row: CommandRow, state: CommandState, reason: str = "") -> None:
    """On to a state that is not the end; told when state or reason are new."""
    changed = (row.state, row.reason) != (state, reason)
    row.state, row.reason = state, reason
    if changed:
        row.at_ms = turn.now_ms
    save(turn.db, row)
    if changed:
        send_receipt(turn, row)


def end(turn: Turn, row: CommandRow, state: CommandState, reason: str = "", result: bytes = b"") -> None:
    row.state, row.reason, row.result, row.due_ms, row.at_ms = state, str(reason), result, None, turn.now_ms
    save(turn.db, row)
    send_receipt(turn, row)


def wait(turn: Turn, row: CommandRow, due_ms: int, reason: str = "") -> None:
    """Come back to it at `due_ms`. One that has begun keeps its state."""
    row.due_ms = due_ms
    if row.state == S.EXECUTING:
        save(turn.db, row)
    else:
        move(turn, row, S.DELIVERED, str(reason))


def send_receipt(turn: Turn, row: CommandRow) -> None:
    receipt = CommandReceipt(row.cmd_id, row.meter_no, row.state, row.at_ms, row.reason, row.result)
    turn.outbox.append(EntryKind.COMMAND_RECEIPT, receipt, Lane.URGENT, turn.now_ms)
