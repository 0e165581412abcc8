"""The supply of a managed account as it is known here: what its meter said of the switch, and what became of orders (safety.md 17).

* A state counts by its own time: an older word never takes the place of a newer one. Of several orders of one moment each is told.
* An order has no end until its receipt is here, or its time is over and the meter has spoken since: nothing is ordered twice meanwhile.
* A switch that opened while such a cut had no answer was opened by it. One that nobody ordered open is left alone.

Source: prepayment.md T19 to T21, 5.9; safety.md 3.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from sqlalchemy import Connection, and_, select

from gridtally_cloud.commands import states
from gridtally_cloud.commands.model import CommandView
from gridtally_cloud.prepay import site_words
from gridtally_cloud.prepay.managed_tables import managed_supply
from gridtally_cloud.store import outbox
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import command, meter_status
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.prepay.ordered import PREPAY
from gridtally_shared.prepay.regions import Switch
from gridtally_shared.records import dataclass

S = CommandState
SWITCH_TYPES = (int(CommandType.SWITCH_OPEN), int(CommandType.SWITCH_CLOSE))
OPEN, CLOSED, ARMED, NOT_FITTED, UNKNOWN = range(5)
SWITCHES = (Switch.OPEN, Switch.CLOSED, Switch.ARMED, Switch.NOT_FITTED, Switch.UNKNOWN)
"""By their numbers on the wire."""
RETRY_FIRST_MS, CUT_RETRY_MOST_MS, CLOSE_RETRY_MOST_MS, STUCK_CUT_MS = 45_000, MS_PER_HOUR, 300_000, MS_PER_DAY
REISSUE_MS = 60_000
MAY_HAVE_ACTED = frozenset({Reason.NO_RECEIPT, Reason.NO_ANSWER, Reason.METER_FAULT, Reason.SWITCH_STUCK})


@dataclass(slots=True)
class Supply:
    """`held`, `held_wh` and `good_ms` are the pen's; `order_id` is the order under way, None where none is; `others_ms` the newest order of
    somebody else's that was taken in. `late_cut`: the concentrator that ran the account before had decided a cut whose end was never
    told."""

    account_no: int
    epoch: int
    standing: str = ""
    decision: str = ""
    held: str = ""
    held_wh: int | None = None
    good_ms: int = 0
    switch: int = UNKNOWN
    switch_ms: int = 0
    off_reason: str = ""
    off_since_ms: int = 0
    closed_by_order_ms: int | None = None
    others_ms: int = 0
    resyncs: int = 0
    retries: int = 0
    stuck_until_ms: int = 0
    fault: str = ""
    arms: bool | None = None
    order_id: bytes | None = None
    order_close: bool = False
    late_cut: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """An order of ours has ended. `reached`: the switch is where it was to be; `cmd_id` the command that told."""

    cmd_id: bytes
    evidence: SwitchEvidence
    reached: bool


def supply_of(conn: Connection, account_no: int, epoch: int) -> Supply | None:
    """The row of this epoch; None before its first run."""
    t = managed_supply.c
    row = conn.execute(select(managed_supply).where(t.account_no == account_no, t.epoch == epoch)).first()
    return Supply(**row._mapping) if row is not None else None


def save(conn: Connection, supply: Supply) -> None:
    upsert(conn, managed_supply, asdict(supply))


def newest_of(conn: Connection, order_id: bytes) -> CommandView | None:
    """The command that stands for an order now: an overtaken one is issued again under it."""
    c = command.c
    of_order = select(c.cmd_id).where(c.order_id == order_id, c.type.in_(SWITCH_TYPES))
    cmd_id = conn.execute(of_order.order_by(c.counter.desc(), c.issued_at_ms.desc()).limit(1)).scalar_one_or_none()
    return states.find(conn, bytes(cmd_id)) if cmd_id else None


# ---- what happened at the switch ------------------------------------------------------------------------------


def observe(conn: Connection, supply: Supply, meter_no: int, now_ms: int) -> Ended | None:
    """Take in what is known by now: orders of other people, the end of our own, what the meter said. Our order's end, if it has come."""
    _others(conn, supply, meter_no)
    ended = _own(conn, supply, now_ms)
    _status(conn, supply, meter_no)
    if ended is None and supply.order_id is not None:
        ended = _resolved(conn, supply, now_ms)
    return ended


def _others(conn: Connection, supply: Supply, meter_no: int) -> None:
    c = command.c
    mine = and_(c.meter_no == meter_no, c.type.in_(SWITCH_TYPES), c.state == int(S.DONE), c.cause != PREPAY)
    query = select(c.type, c.completed_at_ms).where(mine, c.completed_at_ms > supply.others_ms).order_by(c.completed_at_ms)
    for row in conn.execute(query).all():
        close, supply.others_ms = row.type == CommandType.SWITCH_CLOSE, row.completed_at_ms
        if row.completed_at_ms >= supply.switch_ms:
            _moved(supply, close, CLOSED if close else OPEN, row.completed_at_ms, OffReason.ORDER)
        elif not close and _is_told_late(conn, supply, meter_no, row.completed_at_ms):
            supply.off_reason = OffReason.ORDER.value
        supply.closed_by_order_ms = row.completed_at_ms if close else None
    for at_ms, close in site_words.moves_since(conn, meter_no, supply.others_ms):
        _moved_on_site(supply, close, at_ms)


def _moved_on_site(supply: Supply, close: bool, at_ms: int) -> None:
    """For somebody who works there. The meter may have said before us that it is open: it was he."""
    supply.others_ms, was_he = at_ms, not close and supply.off_reason == OffReason.UNORDERED.value
    if at_ms >= supply.switch_ms or was_he:
        _moved(supply, close, CLOSED if close else OPEN, max(at_ms, supply.switch_ms), OffReason.ORDER)
        supply.closed_by_order_ms = at_ms if close else None


def _is_told_late(conn: Connection, supply: Supply, meter_no: int, opened_ms: int) -> bool:
    """The meter said that it is off before the receipt of who had ordered it was here, and nobody closed it since."""
    c = command.c
    closed = and_(c.meter_no == meter_no, c.type == int(CommandType.SWITCH_CLOSE), c.state == int(S.DONE), c.completed_at_ms > opened_ms)
    off = supply.off_reason != OffReason.NONE.value and supply.off_since_ms >= opened_ms
    return off and conn.execute(select(c.cmd_id).where(closed).limit(1)).first() is None


def _own(conn: Connection, supply: Supply, now_ms: int) -> Ended | None:
    view = newest_of(conn, supply.order_id) if supply.order_id else None
    if supply.order_id and view is None:
        supply.order_id = None  # this store was put back from a copy that is older than its receipts
    if view is None or not view.ended:
        return None
    return _ended(conn, supply, view, now_ms)


def _ended(conn: Connection, supply: Supply, view: CommandView, now_ms: int) -> Ended | None:
    evidence = evidence_in(view)
    if view.state is S.DONE:
        state = evidence.state_after if evidence.state_after != UNKNOWN else CLOSED if supply.order_close else OPEN
        if view.state_at_ms >= supply.switch_ms:
            _moved(supply, supply.order_close, state, view.state_at_ms, OffReason.BALANCE)
        return _close_order(supply, Ended(view.cmd_id, evidence, True))
    if _comes_again(view, supply.order_close, now_ms) or (not supply.order_close and _may_have_acted(conn, view)):
        return None
    _back_off(supply, view, now_ms)
    return _close_order(supply, Ended(view.cmd_id, evidence, False))


def _comes_again(view: CommandView, close: bool, now_ms: int) -> bool:
    """An overtaken order is issued again under its number (commands/receipts.py); a close waits a minute for that, no longer."""
    until_ms = min(view.expires_ms, view.state_at_ms + REISSUE_MS) if close else view.expires_ms
    return view.state is S.REFUSED and view.reason == Reason.OVERTAKEN and now_ms < until_ms


def _may_have_acted(conn: Connection, view: CommandView) -> bool:
    """A cut of which nobody knows: the meter has to speak first. One that never left the house, or was refused, is none."""
    sent = outbox.attempts_of(conn, "command", view.cmd_id.hex()) > 0
    return sent and view.state in (S.FAILED, S.EXPIRED) and view.reason in MAY_HAVE_ACTED


def _status(conn: Connection, supply: Supply, meter_no: int) -> None:
    s = meter_status.c
    row = conn.execute(select(meter_status).where(s.shard == SHARD, s.meter_no == meter_no)).first()
    if row is None or row.at_ms <= supply.switch_ms or row.switch == UNKNOWN or not row.answering:
        return
    was_off = supply.off_reason != OffReason.NONE.value
    if row.switch == OPEN and not was_off:
        cut = supply.late_cut or (supply.order_id is not None and not supply.order_close)
        reason = OffReason.BALANCE if cut else OffReason.UNORDERED
        supply.off_reason, supply.off_since_ms = reason.value, row.at_ms
    elif row.switch != OPEN and was_off:
        supply.resyncs += int(supply.off_reason == OffReason.BALANCE.value and supply.order_id is None)
        supply.off_reason, supply.off_since_ms = OffReason.NONE.value, 0
    supply.late_cut = supply.late_cut and row.switch != OPEN
    supply.switch, supply.switch_ms = row.switch, row.at_ms


def _resolved(conn: Connection, supply: Supply, now_ms: int) -> Ended | None:
    """The meter spoke after the last moment at which our order could act."""
    view = newest_of(conn, supply.order_id) if supply.order_id else None
    if view is None or not view.ended:
        return None
    over_ms = view.expires_ms if view.state is S.EXPIRED else view.state_at_ms
    if supply.switch_ms <= over_ms or supply.switch == UNKNOWN:
        return None
    reached = supply.switch == OPEN
    result, how = "done" if reached else "no_answer", "resolved by reading the switch"
    seen = replace(evidence_in(view), result=result, state_after=supply.switch, fault=how)
    if not reached:
        _back_off(supply, view, now_ms)
    return _close_order(supply, Ended(view.cmd_id, seen, reached))


def _close_order(supply: Supply, ended: Ended) -> Ended:
    supply.order_id = None
    _note_evidence(supply, ended)
    return ended


def _note_evidence(supply: Supply, ended: Ended) -> None:
    seen = ended.evidence
    if ended.reached:
        supply.retries, supply.stuck_until_ms, supply.fault = 0, 0, ""
    if seen.result == Reason.SWITCH_STUCK or seen.result == "stuck":
        supply.fault = "stuck"
    if seen.state_after == ARMED:
        supply.arms = True
    elif seen.result == "needs_presence":
        supply.arms = False


def _moved(supply: Supply, close: bool, state: int, at_ms: int, reason: OffReason) -> None:
    supply.switch, supply.switch_ms, supply.late_cut = state, at_ms, False
    if close:
        supply.off_reason, supply.off_since_ms, supply.resyncs = OffReason.NONE.value, 0, 0
    else:
        supply.off_reason, supply.off_since_ms, supply.closed_by_order_ms = reason.value, at_ms, None


def _back_off(supply: Supply, view: CommandView, now_ms: int) -> None:
    """Pauses after an order that failed; the longest before a cut of a switch that did not move. What was taken back needs none."""
    if view.state is S.CANCELLED:
        return
    if view.reason == Reason.SWITCH_STUCK and not supply.order_close:
        supply.stuck_until_ms = now_ms + STUCK_CUT_MS
        return
    most_ms = CLOSE_RETRY_MOST_MS if supply.order_close else CUT_RETRY_MOST_MS
    supply.stuck_until_ms = now_ms + min(most_ms, RETRY_FIRST_MS << min(supply.retries, 10))
    supply.retries += 1


def evidence_in(view: CommandView) -> SwitchEvidence:
    """What the concentrator saw, as the account's own action; where it told nothing, how the command ended."""
    close = view.type is CommandType.SWITCH_CLOSE
    try:
        seen = decode(SwitchEvidence, view.result)
    except ContractError:
        seen = SwitchEvidence(close, view.reason or view.state.name.lower(), view.switch_counter)
    return replace(seen, close=close, origin="local")

