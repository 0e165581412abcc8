"""Safety and work holds go along when another one comes to run an account, and when this box does: the switch stays where it is.

* An account leaves: what somebody set here, and may have set without a link, stands at its meter from now on, and the MDM hears of it.
* An account comes: what stands at its meter stands in its journal from now on. What the MDM has heard of it brings as an instrument of
  the new epoch; until that is here the hold of the meter counts.

Source: safety.md 1, 17; prepayment.md 5.8.
"""

from __future__ import annotations

from collections.abc import Mapping

from gridtally_edge.prepay import meter_holds
from gridtally_edge.prepay.account_orders import give, keep_site_holds, left_at, site_holds_of, with_orders
from gridtally_edge.prepay.rows import save
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, DcuConfig, InstrumentType, MeterConfig
from gridtally_shared.instruments.details import HoldOrder
from gridtally_shared.ledger.standing_orders import HOLD


def configured(turn: Turn, before: DcuConfig, accounts: Mapping[int, AccountConfig]) -> None:
    """Another configuration came; `before` and `accounts`: what there was."""
    gone = {account.meter_no: account for no, account in accounts.items() if no not in turn.plan.accounts}
    meter_holds.forget_said(turn, accounts.values())
    keep_site_holds(turn, before, accounts)
    for meter in turn.plan.meters.values():
        account = turn.plan.by_meter.get(meter.meter_no)
        if account is not None:
            meter_holds.forget_over(turn, account, meter)
            _taken_up(turn, account)
        else:
            meter_holds.compare(turn, meter)
            _left(turn, meter, gone.get(meter.meter_no))
    turn.plan = with_orders(turn, turn.plan)


def _taken_up(turn: Turn, account: AccountConfig) -> None:
    unheard = meter_holds.not_heard_of(turn, account)
    for reason in sorted(unheard & meter_holds.before_account(turn, account)):
        give(turn, account, InstrumentType.HOLD, HoldOrder(reason), f"hold {reason} stood before the account came here", reason=reason)


def _left(turn: Turn, meter: MeterConfig, gone: AccountConfig | None) -> None:
    """`gone`: the account that was here until now. One that was set aside comes back with the next start, and keeps its own."""
    known = {hold.reason for hold in meter.held if hold.on}
    before = [row for row in left_at(turn, meter.meter_no) if row.account_no not in turn.aside]
    for row in site_holds_of(turn, gone) if gone is not None else before:
        reason = row.name.removeprefix(HOLD)
        if reason not in known:
            seen = f"hold {reason} was set before the account went"
            meter_holds.say(turn, meter.meter_no, HoldOrder(reason), seen, account_no=row.account_no)
        row.value = 0
        save(turn.db, row)
