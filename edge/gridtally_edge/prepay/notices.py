"""Messages to the consumer: stored for the page, written to the journal, announced to further carriers.

When something is told is the engine's matter (`gridtally_shared.prepay.transitions`): LOW at each low level of a spell, which
is the notice the cut tests ask for; ZERO at each crossing of zero, whether or not a cut follows and whether or not the
uplink is there (seed 002, information exchanged, step 7).
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from gridtally_edge.prepay.events import Announce, ShowOnMeter
from gridtally_edge.prepay.forecast_rows import left_of
from gridtally_edge.prepay.forecasting import is_near
from gridtally_edge.prepay.rows import MessageRow, save
from gridtally_edge.prepay.rules import local_of, policy_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.ledger.entries import Kind, LedgerEntry
from gridtally_shared.ledger.evidence import MessageEvidence, MessageParam, detail
from gridtally_shared.messages.order import MessageOrder
from gridtally_shared.prepay.lasting import told_span_ms
from gridtally_shared.prepay.policy import AlertTo

SHOW_EVERY_MS = MS_PER_HOUR


def tell(turn: Turn, account: AccountConfig, code: str, **params: int | str) -> None:
    """Tell a consumer: money parameters in nano, times and spans in ms, as decimal text; names as they are."""
    pairs = tuple((name, str(value)) for name, value in sorted(params.items()))
    evidence = MessageEvidence(code, tuple(MessageParam(*p) for p in pairs))
    entry = turn.book(account).add(Kind.NOTICE, turn.stamp(), meter_no=account.meter_no, detail=detail(evidence))
    shown = MessageRow(None, account.account_no, account.meter_no, turn.now_ms, code, json.dumps(dict(pairs)), entry=named(entry))
    save(turn.db, shown)
    turn.effects.append(Announce(account.account_no, account.meter_no, code, pairs))
    show_alert(turn, account)


def note(turn: Turn, account: AccountConfig, order: MessageOrder) -> str:
    """A message of a command in the journal: every message stands there with its code and the time here (C3-FR5). The entry's name."""
    evidence = MessageEvidence(order.code or "TEXT", order.params)
    return named(turn.book(account).add(Kind.NOTICE, turn.stamp(), meter_no=account.meter_no, detail=detail(evidence)))


def named(entry: LedgerEntry) -> str:
    """An entry of an account's journal, as epoch and number: what was said of a message names it so."""
    return f"{entry.epoch}/{entry.seq}"


def show_on_meter(turn: Turn, account: AccountConfig, at_once: bool = False) -> None:
    """The meter's own display is written after each credit, and hourly while it is read or at the policy's time of day; with every
    reading when the last money is near. Once in a turn: what stands at its end (face.py)."""
    book = turn.book(account)
    if at_once or is_near(turn, account) or _is_time(turn, account, book.row.shown_ms):
        book.row.shown_ms = turn.now_ms
        show = ShowOnMeter(account.meter_no, book.state.balance_nano, turn.now_ms)
        turn.effects = [e for e in turn.effects if not (isinstance(e, ShowOnMeter) and e.meter_no == show.meter_no)]
        turn.effects.append(show)


def show_alert(turn: Turn, account: AccountConfig) -> None:
    """A new message goes to the meter's display at once, where the policy sends them there (C3-IE7)."""
    if AlertTo.METER in policy_of(turn, account).policy.alerts:
        show_on_meter(turn, account, at_once=True)


def show_at_its_time(turn: Turn, account: AccountConfig) -> None:
    """The daily showing, whether or not the meter is read just then (C3-FR9)."""
    if policy_of(turn, account).policy.show_at is not None and _is_time(turn, account, turn.book(account).row.shown_ms):
        show_on_meter(turn, account, at_once=True)


def _is_time(turn: Turn, account: AccountConfig, shown_ms: int) -> bool:
    minute, zone = policy_of(turn, account).policy.show_at, local_of(turn, account).zone
    if minute is None or zone is None:
        return turn.now_ms - shown_ms >= SHOW_EVERY_MS
    now = datetime.fromtimestamp(turn.now_ms / 1_000, zone)
    today = now.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)
    return shown_ms < int((today if today <= now else today - timedelta(days=1)).timestamp()) * 1_000


def left_ms(turn: Turn, account: AccountConfig) -> int | None:
    """How long the balance will last, told with caution; None where that can not be said or where readings are older than two
    intervals."""
    meter = turn.plan.meters.get(account.meter_no)
    if meter is None:
        return None
    read_ms = turn.switch(account.meter_no).register_ms
    return told_span_ms(left_of(turn.forecast(account)), turn.now_ms, read_ms, meter.interval_s * 1000)


def warn(turn: Turn, account: AccountConfig) -> None:
    """The message of a low balance, with the time left where it can be said."""
    balance_nano, span_ms = turn.book(account).state.balance_nano, left_ms(turn, account)
    if span_ms is None:
        tell(turn, account, "LOW_BARE", b=balance_nano)
    else:
        tell(turn, account, "LOW", b=balance_nano, t=span_ms)
    turn.report(account.meter_no, "low_balance", f"account={account.account_no} balance_nano={balance_nano}")
