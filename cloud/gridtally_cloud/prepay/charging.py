"""Where a prepaid account's charging stands, as its mirrored journal tells it: slabs, remainders and terms of now.

* The price shown and every estimate begin here, so that they say what the concentrator charges next.
* The journal is walked with the engine the concentrator uses. How far is kept now and then by a job, so that nobody who looks waits for
  a year of entries; a mark that does not fit the mirror is passed over and the journal walked from its first entry.
* Versions of the tariff that the journal does not name yet begin when they were issued to begin.

Source: prepayment.md 5.5, 5.7; C3-S1.3, C3-N4.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from sqlalchemy import Connection, and_, func, select

from gridtally_cloud.billing.rerate import issued_plan
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tables import account as agreement
from gridtally_cloud.customers.tariffs import versions_of
from gridtally_cloud.ingest.mirror import load, state_bytes, state_from, verified
from gridtally_cloud.prepay.charging_tables import account_charging
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database, upsert
from gridtally_cloud.store.tables import account_mirror, journal_entry
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.charges import CHARGES
from gridtally_shared.ledger.entries import OWN, entry_from
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.ledger.rerating import Walk, rerated
from gridtally_shared.prepay.zones import zone_of
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import day_of, starts_at
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.prices import Coming, coming
from gridtally_shared.tariff.quote import Quote, quote_of
from gridtally_shared.tariff.running import Running, Terms, TermVersion, begun, under
from gridtally_shared.tariff.running_text import running_from, running_text
from gridtally_shared.tariff.terms import Plan

KEEP_EVERY = 96
AT_ONCE = 2000
"""Entries in one transaction of the job."""
ACCOUNTS_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Charging:
    plan: Plan
    running: Running


def charging_of(conn: Connection, account: Account) -> Charging | None:
    """None where the journal holds no charge by terms yet, or names a tariff that was never issued."""
    running = walk_of(conn, account.account_no, account.account_epoch).running if account.is_prepaid else None
    if running is None:
        return None
    terms = terms_now(conn, account, running.terms)
    so_far, plan = issued_plan(conn, running.terms), issued_plan(conn, terms)
    return Charging(plan, under(so_far, running, terms)) if so_far and plan else None


def begun_before(conn: Connection, account_no: int, epoch: int) -> int:
    """The newest epoch before this one in which a register was read. One whose box died before that leaves what it was given."""
    earlier = range(epoch - 1, 0, -1)
    return next((number for number in earlier if load(conn, account_no, number).state.opened_wh is not None), epoch - 1)


def price_now(conn: Connection, account: Account, at_ms: int) -> Quote | None:
    """The account's price of an instant, in its slab; None where nothing is charged yet."""
    found = charging_of(conn, account)
    return quote_of(found.plan, found.running, at_ms) if found else None


def prices_coming(conn: Connection, account: Account, at_ms: int) -> tuple[Coming, ...]:
    """What the next kWh costs from the start of each version still to come; of the first slab where nothing is charged here."""
    found = charging_of(conn, account)
    if found is not None:
        return coming(found.plan, found.running, at_ms)
    issued = versions_of(conn, account.tariff_id)
    plan = pinned_plan(issued, account.zone)
    return coming(plan, begun(plan, Terms(account.tariff_id, account.zone), at_ms, 0), at_ms)


def cost_of_day_nano(conn: Connection, account: Account, at_ms: int) -> int:
    """What charges took of the balance since local midnight; the display counts the same entries."""
    zone, j = zone_of(account.zone), journal_entry.c
    if zone is None:
        return 0
    since_ms = starts_at(day_of(at_ms, zone), zone)
    mine = and_(j.shard == SHARD, j.account_no == account.account_no, j.epoch == account.account_epoch, j.verified)
    query = select(j.body).where(mine, j.kind.in_([int(k) for k in CHARGES]), j.at_ms > since_ms)
    return -sum(p.amount_nano for body in conn.execute(query).scalars() for p in entry_from(body).postings if p.pool in OWN)


def terms_now(conn: Connection, account: Account, so_far: Terms | None) -> Terms:
    """What the concentrator prices with: the versions it named as it named them, and those that came since."""
    issued = versions_of(conn, account.tariff_id)
    if so_far is None or (so_far.tariff_id, so_far.zone) != (account.tariff_id, account.zone):
        return Terms(account.tariff_id, account.zone, tuple(TermVersion(d.version, d.from_ms) for d in issued))
    newest = max(v.version for v in so_far.versions)
    further = tuple(TermVersion(d.version, d.from_ms) for d in issued if d.version > newest)
    return replace(so_far, versions=(*so_far.versions, *further)) if further else so_far


# ---- the walk and how far it was kept ---------------------------------------------------------------------------


def walk_of(conn: Connection, account_no: int, epoch: int, most: int | None = None) -> Walk:
    """The journal of an epoch walked to its end, or `most` entries on."""
    walk = _kept(conn, account_no, epoch) or Walk(LedgerState(account_no, epoch))
    entries = islice(verified(conn, account_no, epoch, walk.state.seq + 1), most)
    return rerated(walk, entries, lambda terms: issued_plan(conn, terms))


def _kept(conn: Connection, account_no: int, epoch: int) -> Walk | None:
    a, j = account_charging.c, journal_entry.c
    row = conn.execute(select(account_charging).where(a.shard == SHARD, a.account_no == account_no, a.epoch == epoch)).first()
    if row is None:
        return None
    there = select(j.body).where(j.shard == SHARD, j.account_no == account_no, j.epoch == epoch, j.seq == row.seq, j.verified)
    body = conn.execute(there).scalar_one_or_none()
    if body is None or entry_from(bytes(body)).entry_hash != bytes(row.head):
        return None
    try:
        running = running_from(row.running) if row.running else None
    except ContractError:
        return None
    plan = issued_plan(conn, running.terms) if running else None
    state = state_from(conn, account_no, epoch, bytes(row.state))
    return Walk(state, running, plan) if (running is None or plan) and state.seq == row.seq else None


def keep(db: Database) -> int:
    """Walk on where the mirror went on by many entries; how many accounts."""
    with db.read() as conn:
        behind = _behind(conn)
    for account_no, epoch in behind:
        with db.write() as conn:
            _keep(conn, account_no, epoch)
    return len(behind)


def _behind(conn: Connection) -> list[tuple[int, int]]:
    a, m, mine = account_charging.c, account_mirror.c, agreement.c
    now = and_(mine.account_no == m.account_no, mine.account_epoch == m.epoch)
    same = and_(a.shard == m.shard, a.account_no == m.account_no, a.epoch == m.epoch)
    joined = account_mirror.join(agreement, now).outerjoin(account_charging, same)
    far = m.seq - func.coalesce(a.seq, 0) >= KEEP_EVERY
    query = select(m.account_no, m.epoch).select_from(joined).where(m.shard == SHARD, far).order_by(m.account_no)
    return [(row.account_no, row.epoch) for row in conn.execute(query.limit(ACCOUNTS_AT_ONCE))]


def _keep(conn: Connection, account_no: int, epoch: int) -> None:
    walk = walk_of(conn, account_no, epoch, AT_ONCE)
    upsert(conn, account_charging, {
        "shard": SHARD, "account_no": account_no, "epoch": epoch, "seq": walk.state.seq, "head": walk.state.head,
        "state": state_bytes(walk.state), "running": running_text(walk.running) if walk.running else "",
    })  # fmt: skip
