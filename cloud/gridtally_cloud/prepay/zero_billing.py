"""The option "regular billing" at zero: an account that has come to it is moved there, as its edge asks for it (C3-A2.8c).

* The edge holds the supply meanwhile (T18) and says `billing_asked`; what counts here is the verified mirror: at zero or below, under a
  policy whose option is regular billing.
* It is a migration like any other: read, changed at the end of an interval, told. One is under way at a time.
* Who was refused one is not asked for again until the balance has been above zero: a person decides.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, select

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay import handover, migration
from gridtally_cloud.prepay.migration_rows import MigrationState, Wish, migrations
from gridtally_cloud.prepay.policies import rules_at
from gridtally_cloud.prepay.policy_tables import account_policy
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import account_mirror, journal_entry
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.prepay.policy import ZeroAction

ACTOR = "system:zero"


def carry_out(db: Database, now_ms: int) -> None:
    """The worker's part."""
    with db.read() as conn:
        due = [no for no in _at_zero(conn) if _wants_billing(conn, no, now_ms)]
    for account_no in due:
        with db.write() as conn:
            try:
                migration.ask(conn, Wish(account_no, Mode.POSTPAID), now_ms, ACTOR)
            except RefusedCommand:
                continue  # on its way already, or managed from here: nothing to ask for


def _at_zero(conn: Connection) -> list[int]:
    """Prepaid accounts with a policy whose mirror stands at zero or below."""
    a, m = account.c, account_mirror.c
    same = and_(m.shard == SHARD, m.account_no == a.account_no, m.epoch == a.account_epoch)
    query = select(a.account_no).join(account_mirror, same).join(account_policy, account_policy.c.account_no == a.account_no)
    low = query.where(a.mode == Mode.PREPAID.value, a.closed_ms.is_(None), m.balance_nano <= 0, ~m.stopped)
    return list(conn.execute(low.order_by(a.account_no)).scalars())


def _wants_billing(conn: Connection, account_no: int, now_ms: int) -> bool:
    found = account_of(conn, account_no)
    if rules_at(conn, found, now_ms).zero_action is not ZeroAction.POSTPAID or handover.pending_mode(conn, found) is not None:
        return False
    last = next(iter(migrations(conn, account_no, 1)), None)
    return last is None or last.state is not MigrationState.REFUSED or last.asked_ms < _above_zero_ms(conn, found.account_no)


def _above_zero_ms(conn: Connection, account_no: int) -> int:
    """When the balance was last above zero."""
    j = journal_entry.c
    above = select(j.at_ms).where(j.shard == SHARD, j.account_no == account_no, j.verified, j.balance_nano > 0)
    return int(conn.execute(above.order_by(j.epoch.desc(), j.seq.desc()).limit(1)).scalar_one_or_none() or 0)
