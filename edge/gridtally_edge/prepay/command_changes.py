"""Commands that change other commands: cancelled, or moved to another time by one that takes their place.

* The edge decides the race: what has not begun is cancelled; of what has begun or ended the sender is told how it stands.
* Messages overtake each other: a cancelled command that has not come yet leaves its mark, and never runs when it comes.
* A command that names a `target` takes its place in one transaction: both never run, and never neither.

Source: C3-FR14; architecture.md 3; prepayment.md 5.9.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.prepay import schedules
from gridtally_edge.prepay.command_states import end, send_receipt
from gridtally_edge.prepay.command_switch import SWITCHES
from gridtally_edge.prepay.rows import CommandRow, one, save
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Command, CommandReceipt
from gridtally_shared.lifecycle import TERMINAL, CommandState, Reason

S = CommandState
NOT_BEGUN = frozenset({S.ACCEPTED, S.DELIVERED, S.DISPLAYED, S.READ})
Withdraw = Callable[[Turn, CommandRow], bool]
"""Ends a command that is being executed, where its kind allows that; False where it goes on."""


def cancel(turn: Turn, row: CommandRow, command: Command, withdraw: Withdraw) -> None:
    """The CANCEL command: the target's own receipt says CANCELLED; refused, it carries the target's receipt."""
    standing = withdrawn(turn, command, Reason.CANCELLED, withdraw)
    if standing is None:
        end(turn, row, S.DONE)
    else:
        end(turn, row, S.REFUSED, Reason.TOO_LATE, standing)


def withdrawn(turn: Turn, command: Command, reason: Reason, withdraw: Withdraw) -> bytes | None:
    """Take the target back. None when it will not run; otherwise the receipt that says how it stands."""
    target = one(turn.db, CommandRow, command.target)
    if target is None:
        _mark(turn, command, reason)
    elif target.meter_no != command.meter_no:
        return b""
    elif _is_waiting(target):
        turn.db.execute("DELETE FROM message WHERE cmd_id = ?", (target.cmd_id,))
        schedules.forget(turn, target.cmd_id)
        end(turn, target, S.CANCELLED, reason)
    elif target.state == S.CANCELLED or (target.state not in TERMINAL and withdraw(turn, target)):
        return None
    else:
        return encode(CommandReceipt(target.cmd_id, target.meter_no, target.state, target.at_ms, target.reason, target.result))
    return None


def _is_waiting(target: CommandRow) -> bool:
    """Not begun, or a switch order between two tries of which none has reached the meter."""
    between = target.state == S.EXECUTING and target.due_ms is not None and target.type in SWITCHES
    return target.state in NOT_BEGUN or between


def _mark(turn: Turn, command: Command, reason: Reason) -> None:
    """Stands for a command that is still on its way: when it comes, it is answered with this and nothing else happens."""
    mark = CommandRow(command.target, b"", command.meter_no, 0, S.CANCELLED, reason, b"", turn.now_ms, command.expires_ms)
    save(turn.db, mark)
    send_receipt(turn, mark)
