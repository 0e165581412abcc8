"""A load limit by command: set, changed or lifted, at once or at its time.

* It becomes the account's order (account_orders.py), as one of an instrument does: the engine puts it in force, and a step down passes
  the cut tests first (safety.md 5). DONE says that the order stands here; what holds it back is a decision in the journal.
* One that comes late never beats a limit that was ordered for a later time (safety.md 3).

Source: seed 002, functional requirements (schedule, reschedule and cancel demand limiting); C3-FR14; prepayment.md 6.1.
"""

from __future__ import annotations

from gridtally_edge.prepay.account_orders import give
from gridtally_edge.prepay.command_states import end
from gridtally_edge.prepay.rows import CommandRow
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import Command, InstrumentType
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments.details import LimitOrder, limit_of
from gridtally_shared.lifecycle import CommandState, Reason

S = CommandState
GAS = "gas"


def limit(turn: Turn, row: CommandRow, command: Command) -> None:
    try:
        order = limit_of(command.detail)
    except ContractError:
        end(turn, row, S.REFUSED, Reason.MALFORMED)
        return
    refusal = _why_not(turn, row, command, order)
    if refusal:
        end(turn, row, S.REFUSED, refusal)
        return
    account = turn.plan.by_meter[command.meter_no]
    seen = f"limit {order.limit_w} W" if order.limit_w else "limit lifted"
    give(turn, account, InstrumentType.LIMIT_SET, order, seen, row.cmd_id, reason=order.reason)
    turn.wake_at(turn.now_ms)  # the engine looks at the next tick, which comes at once
    end(turn, row, S.DONE)


def _why_not(turn: Turn, row: CommandRow, command: Command, order: LimitOrder) -> str:
    meter = turn.plan.meters.get(command.meter_no)
    rules = (
        (command.meter_no in turn.plan.by_meter and meter is not None, Reason.UNSUPPORTED),
        (not order.limit_w or (meter is not None and meter.commodity != GAS), Reason.NO_FLOW_LIMIT),
        (not _is_superseded(turn, row), Reason.SUPERSEDED),
    )
    return next((reason for holds, reason in rules if not holds), "")


def _is_superseded(turn: Turn, row: CommandRow) -> bool:
    query = "SELECT 1 FROM command WHERE meter_no = ? AND type = ? AND state = ? AND not_before_ms > ? LIMIT 1"
    return turn.db.execute(query, (row.meter_no, row.type, int(S.DONE), row.not_before_ms)).fetchone() is not None
