"""Dark for a time that was booked at another box, and over by now: no schedule of it came along, so nobody here would end it.

The supply comes back through the restore tests, as at the end of any such time. First the box waits for a while: a schedule that
goes on comes with the same link as the configuration.

Source: prepayment.md 5.8, T28; safety.md 1.
"""

from __future__ import annotations

from gridtally_edge.prepay import actions
from gridtally_edge.prepay.schedules import tests_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import DecisionEvidence, detail
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.schedules.document import Action

WAIT_MS = 30 * 60_000
LEFT = """SELECT meter_no FROM switch WHERE off_reason = ? AND NOT EXISTS
    (SELECT 1 FROM schedule WHERE schedule.meter_no = switch.meter_no AND action = ?)"""


def light(turn: Turn) -> None:
    """Close what is off by a schedule that is not here."""
    for (meter_no,) in turn.db.execute(LEFT, (OffReason.SCHEDULE.value, int(Action.OFF))).fetchall():
        seen = f"left_dark:{meter_no}"
        if not turn.fact(seen):
            turn.remember(seen, turn.now_ms)
        elif turn.since_ms(seen) >= WAIT_MS:
            _close(turn, meter_no)


def _close(turn: Turn, meter_no: int) -> None:
    account = turn.plan.by_meter.get(meter_no)
    if account is None or actions.open_action(turn, meter_no) is not None:
        return
    tests = tests_of(turn, account, close=True)
    if all(test.holds for test in tests):
        action_id = actions.new_id()
        evidence = detail(DecisionEvidence("restore", tests, "T28", reason="a schedule of another box"))
        turn.book(account).add(Kind.DECISION, turn.stamp(), meter_no=meter_no, cause=action_id, detail=evidence)
        actions.order_by_schedule(turn, account, True, action_id, turn.now_ms + actions.RESTORE_WINDOW_MS)
