"""From what is stored to what the engine looks at: the facts of one supply.

The engine itself is `gridtally_shared.prepay.engine`; nothing is decided here.
"""

from __future__ import annotations

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.actions import open_action
from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.instruments import parked_of
from gridtally_edge.prepay.limiting import watched
from gridtally_edge.prepay.notices import left_ms
from gridtally_edge.prepay.recovery import region_of
from gridtally_edge.prepay.recovery_rows import RecoveryRow
from gridtally_edge.prepay.rows import ScheduleRow, some
from gridtally_edge.prepay.rules import local_of
from gridtally_edge.prepay.turn import CONFIG_NAMED, Turn
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.prepay.facts import CutShare, Facts, Happening, facts_from
from gridtally_shared.prepay.in_force import InForce
from gridtally_shared.prepay.regions import Ledger, Schedule, Switch
from gridtally_shared.records import changed
from gridtally_shared.schedules.document import Action

CATCHING_UP_MS = 10 * 60_000
"""A close that is paid waits no longer for what the box does not know yet."""
FIRST_WORD_MS = 2 * 60_000
"""Nor for the cloud's first word, from a start on."""
SWITCHES: dict[SwitchState, Switch] = {
    SwitchState.OPEN: Switch.OPEN,
    SwitchState.CLOSED: Switch.CLOSED,
    SwitchState.ARMED: Switch.ARMED,
    SwitchState.NOT_FITTED: Switch.NOT_FITTED,
    SwitchState.UNKNOWN: Switch.UNKNOWN,
}


def facts_of(turn: Turn, account: AccountConfig, rules: InForce, happening: Happening | None = None) -> Facts:
    book, row, clock, meter = turn.book(account), turn.switch(account.meter_no), turn.clock, turn.plan.meters[account.meter_no]
    moving = open_action(turn, account.meter_no) is not None
    limit = watched(turn, account, moving)
    return changed(
        facts_from(account, turn.now_ms, book.state, SWITCHES[SwitchState(row.state)], row, _share(turn, account)),
        policy_known=rules.known,
        last_topup_nano=_newest_topup(turn, account) if happening is Happening.CREDITED else 0,
        time_left_ms=left_ms(turn, account) if rules.policy.low.hours else None,
        ledger=region_of(book.row.ledger_fault), ledger_fault=book.row.ledger_fault,
        register_held=book.row.held,
        boundary=book.state.mode == account.mode,
        tariff_known=account.tariff_id in turn.plan.tariffs,
        clock=clock.state, uncertainty_ms=clock.uncertainty_ms,
        reading_age_ms=turn.now_ms - row.register_ms if row.register_ms else None,
        interval_ms=meter.interval_s * 1000,
        serial_proven=row.serial == meter.serial,
        parked=parked_of(turn, account.account_no), catching_up=_is_catching_up(turn, book),
        link_up=turn.link.online, offline_since_ms=turn.link.offline_since_ms,
        started=turn.link.waited_ms is not None or account.account_no in turn.link.unseen,
        cloud_seen_ms=_cloud_seen_ms(turn),
        lease_until_ms=lease_until_ms(turn), config_behind=turn.fact(CONFIG_NAMED) > turn.plan.config.version,
        moving=moving,
        pending_action=_is_waited_for(turn, account.meter_no),
        power_w=row.power_w, load_side_mv=row.load_side_mv,
        demand_over=limit.demand_over, demand_w=limit.demand_w, over_for_ms=limit.over_for_ms,
        limits=limit.limits, limit_for_ms=limit.limit_for_ms, limiter=limit.limiter,
        schedule=schedule_of(turn, account.meter_no),
        region=local_of(turn, account),
    )  # fmt: skip


def _is_catching_up(turn: Turn, book: Book) -> bool:
    """Whether entries that only the mirror has, or instruments before one that came, are on their way, or the first word after a start is,
    which says whether there are such: a hold may be among them. Nobody waits for them without a link, nor longer than they take."""
    if turn.link.up and turn.link.waited_ms is not None and turn.link.waited_ms < FIRST_WORD_MS:
        return True
    key = (book.row.account_no, book.row.epoch)
    since: list[int] = []
    if turn.link.online and region_of(book.row.ledger_fault) is Ledger.RECOVERING:
        since += [row.since_ms for row in some(turn.db, RecoveryRow, "WHERE account_no = ? AND epoch = ?", *key)]
    if turn.link.online and book.state.used.bitmap:
        early = "SELECT min(at_ms) FROM instrument WHERE account_no = ? AND epoch = ? AND gseq > ? AND state = 'applied'"
        since += [int(ms) for (ms,) in turn.db.execute(early, (*key, book.state.used.prefix)) if ms is not None]
    return any(0 <= turn.now_ms - ms < CATCHING_UP_MS for ms in since)


def _share(turn: Turn, account: AccountConfig) -> CutShare:
    feeder = turn.plan.on_feeder(account.feeder)
    behind, allowed = (_cuts_last_hour(turn, feeder), turn.plan.most_cuts(len(feeder))) if feeder else (0, None)
    return CutShare(_cuts_last_hour(turn), turn.plan.cuts_allowed, behind, allowed, bool(turn.fact("breaker_tripped")))


def schedule_of(turn: Turn, meter_no: int) -> Schedule:
    """A supply that a schedule keeps on is not cut (prepayment.md 3.5)."""
    rows = some(turn.db, ScheduleRow, "WHERE meter_no = ? AND stage <> 'over'", meter_no)
    if any(row.running and row.action == Action.SUPPLY for row in rows):
        return Schedule.RUNNING
    return Schedule.PENDING if rows else Schedule.NONE


def _newest_topup(turn: Turn, account: AccountConfig) -> int:
    query = "SELECT amount_nano FROM instrument WHERE account_no = ? AND epoch = ? AND state = 'applied' ORDER BY gseq DESC LIMIT 1"
    found = turn.db.execute(query, (account.account_no, account.account_epoch)).fetchone()
    return max(0, found[0]) if found else 0


def lease_until_ms(turn: Turn) -> int:
    """The right to cut ends by itself: the lease of the configuration, or the same length since the cloud last spoke."""
    seen_ms = _cloud_seen_ms(turn)
    renewed_ms = seen_ms + turn.plan.lease_length_ms if seen_ms and turn.plan.lease_length_ms else 0
    return max(turn.plan.config.cut_lease_until_ms, renewed_ms)


def _cloud_seen_ms(turn: Turn) -> int:
    """A moment still to come was told by a clock that was ahead: it makes the right to cut no longer."""
    return turn.fact("cloud_seen_ms") if turn.since_ms("cloud_seen_ms") < turn.now_ms else 0


def _is_waited_for(turn: Turn, meter_no: int) -> bool:
    """A switch command that was accepted and waits for its turn."""
    query = "SELECT 1 FROM command WHERE meter_no = ? AND state < 20 AND type IN (1, 2) AND due_ms <= ? LIMIT 1"
    return turn.db.execute(query, (meter_no, turn.now_ms)).fetchone() is not None


def _cuts_last_hour(turn: Turn, meters: frozenset[int] | None = None) -> int:
    """Local cuts, of these meters or of all, that acted or may have; an order that was withdrawn or never reached its meter
    does not count."""
    query = """SELECT meter_no FROM action WHERE origin = 'local' AND close = 0 AND created_ms > ?
        AND result IN ('', 'done', 'stuck', 'unknown')"""
    found = turn.db.execute(query, (turn.now_ms - MS_PER_HOUR,)).fetchall()
    return sum(meters is None or meter_no in meters for (meter_no,) in found)
