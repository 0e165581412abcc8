"""A move from bills to prepayment or back as it is kept: its states, what was wished, where it stands; who asks is told of each step.

Source: BYPL-13.9, 14.10.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, select, update

from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.prepay import policies
from gridtally_cloud.prepay.migration_tables import mode_migration
from gridtally_cloud.prepay.wallet import balance
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text
from gridtally_shared.records import dataclass

ACTOR = "system:migration"


class MigrationState(StrEnum):
    ASKED = "asked"
    INSTALLING = "installing"
    READING = "reading"
    CHECKING = "checking"
    CHANGING = "changing"
    VERIFYING = "verifying"
    DONE = "done"
    REFUSED = "refused"


S = MigrationState
NEXT: Mapping[MigrationState, frozenset[MigrationState]] = {
    S.ASKED: frozenset({S.INSTALLING, S.READING, S.CHANGING, S.REFUSED}),
    S.INSTALLING: frozenset({S.CHANGING, S.REFUSED}),
    S.READING: frozenset({S.CHECKING}),
    S.CHECKING: frozenset({S.CHANGING, S.REFUSED}),
    S.CHANGING: frozenset({S.VERIFYING, S.REFUSED}),
    S.VERIFYING: frozenset({S.DONE}),
    S.DONE: frozenset(),
    S.REFUSED: frozenset(),
}


class MigrationReason(StrEnum):
    BAD_PROFILE = "bad_profile"
    OPEN_MIGRATION = "open_migration"
    UNKNOWN_MIGRATION = "unknown_migration"


@dataclass(frozen=True, slots=True)
class Profile:
    """What the account is to be: the policy it follows and its tariff ('' for the present ones), when a low balance is told.
    `tariff_before` is the one it had, which it has again where nothing comes of the change."""

    policy_id: str = ""
    tariff_id: str = ""
    low_balance_nano: int | None = None
    tariff_before: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    account_no: int
    to_mode: Mode
    profile: Profile = Profile()
    deposit_nano: int = 0
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Migration:
    """`changed_ms` and `changed_wh` are of the one reading that closes one way of paying and opens the other; `balance_nano` is what
    was carried over to the bills."""

    migration_no: int
    wish: Wish
    state: MigrationState
    reason: str
    order_no: int | None
    gseq: int | None
    asked_by: str
    asked_ms: int
    state_ms: int
    changed_ms: int | None
    changed_wh: int | None
    balance_nano: int | None


def keep(conn: Connection, found: Migration, **values: Any) -> None:
    conn.execute(update(mode_migration).where(mode_migration.c.migration_no == found.migration_no).values(values))


def advance(conn: Connection, found: Migration, to: MigrationState, at_ms: int, reason: str) -> None:
    if to not in NEXT[found.state]:
        raise ValueError(f"migration {found.migration_no}: {found.state.value} to {to.value}")
    keep(conn, found, state=to.value, reason=reason[:300], state_ms=at_ms)
    no = found.wish.account_no
    record(conn, at_ms, ACTOR, f"migration.{to.value}", f"account:{no}", f"migration {found.migration_no} {reason}".strip()[:300])
    now = migration(conn, found.migration_no)
    announce(conn, Topic.MIGRATION_CHANGED, f"migration {found.migration_no} {to.value}", at_ms, f"/migrations/{found.migration_no}",
             _told(conn, now))  # fmt: skip


def _told(conn: Connection, now: Migration) -> dict[str, str | int | bool | None]:
    """The completion with the consumer's profile and the meter's data (BYPL-13.9, 14.10)."""
    account = accounts.account(conn, now.wish.account_no)
    return {
        "migration_no": now.migration_no, "state": now.state.value, "reason": now.reason, "account_no": account.account_no,
        "customer": account.customer_name, "address": account.address, "to_mode": now.wish.to_mode.value, "mode": account.mode.value,
        "tariff_id": account.tariff_id, "policy_id": policies.followed(conn).get(account.account_no, ""),
        "low_balance": decimal_text(account.policy.low_balance_nano), "meter_no": account.meter_no, "meter_serial": account.meter_serial,
        "changed_ms": now.changed_ms, "register_wh": now.changed_wh,
        "carried": None if now.balance_nano is None else decimal_text(now.balance_nano),
        "balance": decimal_text(balance(conn, account.account_no).balance_nano),
    }  # fmt: skip


def migrations(conn: Connection, account_no: int, limit: int = 20) -> tuple[Migration, ...]:
    """Those of an account, newest first."""
    m = mode_migration.c
    rows = conn.execute(select(mode_migration).where(m.account_no == account_no).order_by(m.migration_no.desc()).limit(limit))
    return tuple(_migration(r) for r in rows)


def moving(conn: Connection, account_no: int) -> Migration | None:
    """The one of an account that is not over."""
    return next((m for m in migrations(conn, account_no, 1) if NEXT[m.state]), None)


def migration(conn: Connection, migration_no: int) -> Migration:
    """Raises RefusedCommand (unknown_migration)."""
    row = conn.execute(select(mode_migration).where(mode_migration.c.migration_no == migration_no)).one_or_none()
    if row is None:
        raise RefusedCommand(MigrationReason.UNKNOWN_MIGRATION, f"there is no migration {migration_no}: see those of the account")
    return _migration(row)


def under_way(conn: Connection) -> tuple[Migration, ...]:
    m = mode_migration.c
    rows = conn.execute(select(mode_migration).where(m.state.in_([s.value for s, after in NEXT.items() if after])).order_by(m.migration_no))
    return tuple(_migration(r) for r in rows)


def by_key(conn: Connection, key: str | None) -> Migration | None:
    row = conn.execute(select(mode_migration).where(mode_migration.c.idempotency_key == key)).one_or_none() if key else None
    return _migration(row) if row is not None else None


def _migration(r: Row[Any]) -> Migration:
    wish = Wish(r.account_no, Mode(r.to_mode), Profile(**json.loads(r.profile)), r.deposit_nano, r.idempotency_key)
    return Migration(r.migration_no, wish, MigrationState(r.state), r.reason, r.order_no, r.gseq, r.asked_by, r.asked_ms, r.state_ms,
                     r.changed_ms, r.changed_wh, r.balance_nano)  # fmt: skip
