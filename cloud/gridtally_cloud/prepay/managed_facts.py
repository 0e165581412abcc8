"""What the MDM knows of one managed supply at a moment, for the engine: the facts, and the rules that hold for it (safety.md 17).

Unknown always means "stay on". No cut while:

* no reading is here that is as young as the policy asks, or the newest one was passed over (went back, jumped);
* the meter does not answer, has not said how its switch stands for two hours, or another serial answered in its place since;
* the concentrator is away (no policy of a cut offline applies, for the one who decides is offline), or greeted without a clock it
  believes and was not heard since for a minute: the welcome brings it the time, and it refuses a cut itself while it does not believe it;
* the store was put back from an older copy, until its concentrator has greeted, its journals are here, and the meter was read since;
* money is on its way, or the mirror of the account stands still.

Within a day of a change of tariff or policy the hourly share of a concentrator is the share of that day, so that a wrong rule does not
cut a street hour by hour; who looks at it issues the next version.

A way back asks for none of these: what the meter last said counts, however old.

Source: safety.md 5, 6, 11, 17; prepayment.md 3.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from gridtally_cloud.assets.account_config import account_config
from gridtally_cloud.commands.receipts import OPEN_STATES
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.customers.tariffs import versions_of
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay import calendars, policies, terms
from gridtally_cloud.prepay.held import held_of, protections_of
from gridtally_cloud.prepay.instruments import waiting_payments
from gridtally_cloud.prepay.managed_supply import CLOSED, SWITCH_TYPES, SWITCHES, UNKNOWN, Supply
from gridtally_cloud.prepay.restored import may_issue
from gridtally_cloud.store import meta
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import command, dcu, event, meter, meter_status
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, ClockState, CommandType
from gridtally_shared.contract.prepay_messages import CalendarDocument, Managed, PolicyDocument
from gridtally_shared.events import BY_NAME
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.prepay.calendars import Region, region_of
from gridtally_shared.prepay.facts import CutShare, Facts, facts_from, most_cuts
from gridtally_shared.prepay.in_force import InForce, in_force
from gridtally_shared.prepay.ordered import PREPAY
from gridtally_shared.prepay.policy import OfflineCut, ZeroAction
from gridtally_shared.prepay.regions import Ledger, Switch
from gridtally_shared.records import dataclass

STATUS_MS = 2 * MS_PER_HOUR
HOLDOVER_MS = 300_000
WELCOMED_MS = 60_000
NEVER_ACTED = tuple(int(s) for s in (CommandState.REFUSED, CommandState.CANCELLED))


@dataclass(frozen=True, slots=True)
class Said:
    """What people set for accounts, read once for a run."""

    policies: tuple[PolicyDocument, ...]
    calendars: tuple[CalendarDocument, ...]
    followed: Mapping[int, str]
    gone_by: Mapping[int, str]
    terms: Mapping[int, terms.SupplyTerms]


def said(conn: Connection) -> Said:
    return Said(policies.versions(conn), calendars.versions(conn), policies.followed(conn), calendars.gone_by(conn), terms.terms_of(conn))


def config_of(conn: Connection, account: Account, rules: Said, now_ms: int) -> AccountConfig:
    """The account as its concentrator would hold it, with the holds and protections that are known here."""
    no = account.account_no
    held = {*held_of(conn, no, account.account_epoch, account.policy.holds), *protections_of(conn, no, account.account_epoch, now_ms)}
    return replace(
        account_config(account), policy_id=rules.followed.get(no, ""), calendar_id=rules.gone_by.get(no, ""), holds=tuple(sorted(held)),
        managed=int(Managed.CLOUD), **asdict(rules.terms.get(no, terms.SupplyTerms())),
    )  # fmt: skip


def rules_of(config: AccountConfig, rules: Said, at_ms: int) -> InForce:
    """The policy in force. Whoever cuts from here is never offline by leave of a policy; a step of a limit is not taken from here, and
    what asked for one before the account came here does nothing (later it is refused, policies.py)."""
    found = in_force(config, rules.policies, at_ms)
    p = found.policy
    changed = replace(p, offline_cut=OfflineCut.NEVER, emergency=replace(p.emergency, step=0), zero_action=_unlimited(p.zero_action),
                      then=_unlimited(p.then))  # fmt: skip
    return replace(found, policy=changed)


def _unlimited(action: ZeroAction) -> ZeroAction:
    return ZeroAction.NONE if action is ZeroAction.LIMIT else action


@dataclass(frozen=True, slots=True)
class Known:
    """What holds for one supply through one run. `fault`: why its journal may not be believed; `read_since_ms`: readings count from then;
    `proven`: the bound meter answers, and has said how its switch stands; `waiting`: payments without an instrument."""

    config: AccountConfig
    region: Region
    interval_ms: int
    clock: ClockState
    link_up: bool
    fault: str
    read_since_ms: int
    proven: bool
    proven_since_ms: int
    waiting: int
    pending: bool
    share: CutShare


def known_of(conn: Connection, account: Account, rules: Said, now_ms: int) -> Known:
    config = config_of(conn, account, rules, now_ms)
    box = conn.execute(select(dcu).where(dcu.c.dcu == account.dcu)).first()
    interval_s = conn.execute(select(meter.c.interval_s).where(meter.c.meter_no == account.meter_no)).scalar_one()
    restored_ms = meta.restored_ms(conn) or 0
    return Known(
        config, region_of(config, rules.calendars, now_ms), interval_s * 1000, _clock(box), bool(box is not None and box.online),
        _fault(conn, account), restored_ms, _answers(conn, account.meter_no, restored_ms, now_ms), _other_serial_ms(conn, account.meter_no),
        len(waiting_payments(conn, account.account_no)), _is_pending(conn, account.meter_no, now_ms),
        _share(conn, config, rules, box.cut_share_per_hour_permille if box is not None else 0, account.dcu, now_ms),
    )  # fmt: skip


def _share(conn: Connection, config: AccountConfig, rules: Said, permille: int, dcu_name: str, now_ms: int) -> CutShare:
    hour_ms, allowed, beside = now_ms - MS_PER_HOUR, most_cuts(_meters(conn, dcu_name), permille), _on_feeder(conn, rules, config.feeder)
    changed_ms = _changed_ms(conn, config, rules, now_ms)
    behind, most = (_cuts(conn, hour_ms, meters=beside), most_cuts(len(beside), permille)) if beside else (0, None)
    breaker = now_ms - changed_ms < MS_PER_DAY and _cuts(conn, changed_ms, dcu_name=dcu_name) >= allowed
    return CutShare(_cuts(conn, hour_ms, dcu_name=dcu_name), allowed, behind, most, breaker)


def _clock(box: Row[Any] | None) -> ClockState:
    if box is None or box.clock_state is None or box.last_hello_ms is None:
        return ClockState.UNTRUSTED
    told, heard_ms = ClockState(box.clock_state), (box.last_contact_ms or 0) - box.last_hello_ms
    return ClockState.HOLDOVER if told is ClockState.UNTRUSTED and heard_ms >= WELCOMED_MS else told


def _fault(conn: Connection, account: Account) -> str:
    if not may_issue(conn, account):
        return "the store was put back from an older copy"
    return "the mirror stands still" if load(conn, account.account_no, account.account_epoch).stopped else ""


def _answers(conn: Connection, meter_no: int, restored_ms: int, now_ms: int) -> bool:
    s = meter_status.c
    row = conn.execute(select(s.at_ms, s.answering, s.received_ms).where(s.shard == SHARD, s.meter_no == meter_no)).first()
    return row is not None and row.answering and 0 <= now_ms - row.at_ms <= STATUS_MS and row.received_ms > restored_ms


def _other_serial_ms(conn: Connection, meter_no: int) -> int:
    """When another meter answered in its place last."""
    e = event.c
    mine = and_(e.shard == SHARD, e.meter_no == meter_no, e.code == BY_NAME["serial_mismatch"].code)
    return int(conn.execute(select(func.coalesce(func.max(e.at_ms), 0)).where(mine)).scalar_one())


def _is_pending(conn: Connection, meter_no: int, now_ms: int) -> bool:
    """A switch order of somebody else's is on its way."""
    c = command.c
    waits = and_(c.meter_no == meter_no, c.type.in_(SWITCH_TYPES), c.state.in_(OPEN_STATES), c.not_before_ms <= now_ms, c.cause != PREPAY)
    return conn.execute(select(c.cmd_id).where(waits).limit(1)).first() is not None


def _on_feeder(conn: Connection, rules: Said, feeder: str) -> tuple[int, ...]:
    numbers = [no for no, said_of in rules.terms.items() if feeder and said_of.feeder == feeder]
    a = account_table.c
    return tuple(conn.execute(select(a.meter_no).where(a.account_no.in_(numbers))).scalars()) if numbers else ()


def _meters(conn: Connection, name: str) -> int:
    query = select(func.count()).select_from(meter).where(meter.c.dcu == name, meter.c.removed_ms.is_(None))
    return int(conn.execute(query).scalar_one())


def _changed_ms(conn: Connection, config: AccountConfig, rules: Said, now_ms: int) -> int:
    """When the newest version of the account's tariff or policy began; 0 where none has."""
    tariffs = [v.from_ms for v in versions_of(conn, config.tariff_id)]
    followed = [v.from_ms for v in rules.policies if v.policy_id == config.policy_id]
    return max((from_ms for from_ms in (*tariffs, *followed) if from_ms <= now_ms), default=0)


def _cuts(conn: Connection, since_ms: int, dcu_name: str = "", meters: tuple[int, ...] = ()) -> int:
    """Cuts by these rules since then, that acted or may."""
    c = command.c
    ours = and_(c.type == int(CommandType.SWITCH_OPEN), c.cause == PREPAY, c.state.not_in(NEVER_ACTED))
    recent = and_(ours, c.issued_at_ms > since_ms)
    where = c.meter_no.in_(meters) if meters else c.dcu == dcu_name
    return int(conn.execute(select(func.count()).select_from(command).where(recent, where)).scalar_one())


# ---- the facts ------------------------------------------------------------------------------------------------


def facts_of(known: Known, supply: Supply, state: LedgerState, rules: InForce, now_ms: int, topup_nano: int = 0,
             settled: bool = True) -> Facts:  # fmt: skip
    """`topup_nano`: the credit that was just applied. `settled` False: more is to be written in this run, so nothing is switched yet."""
    fresh = supply.good_ms > known.read_since_ms
    return replace(
        facts_from(known.config, now_ms, state, _switch(known, supply), supply, known.share),
        policy_known=rules.known,
        last_topup_nano=topup_nano,
        ledger=Ledger.RECOVERING if known.fault else Ledger.OK, ledger_fault=known.fault,
        register_held=supply.held,
        clock=known.clock,
        uncertainty_ms=HOLDOVER_MS if known.clock is ClockState.HOLDOVER else 0,
        reading_age_ms=now_ms - supply.good_ms if fresh else None,
        interval_ms=known.interval_ms,
        serial_proven=known.proven and supply.good_ms > known.proven_since_ms,
        parked=known.waiting,
        link_up=known.link_up, offline_since_ms=now_ms, cloud_seen_ms=now_ms,
        lease_until_ms=now_ms + HOLDOVER_MS,
        moving=supply.order_id is not None,
        pending_action=known.pending or not settled,
        region=known.region,
    )  # fmt: skip


def _switch(known: Known, supply: Supply) -> Switch:
    """An open switch stays known: whoever is paid gets his supply back. A closed one of which nothing is heard is not known."""
    is_old = supply.switch >= CLOSED and not known.proven
    return SWITCHES[UNKNOWN if is_old else supply.switch]
