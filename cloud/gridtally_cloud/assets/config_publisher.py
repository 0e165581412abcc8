"""The signed configuration of each DCU, made from the tables: meters, accounts, tariffs, policies.

* A new version is made whenever the content differs from the last one; the same content never makes one.
* It is put on the way down in the same transaction. A hello that names an older version wakes it.
* Of one DCU one transaction publishes at a time, and a version says what the tables said at one instant: a meter that is changed meanwhile
  is in all of it or in none.
* The lease to cut (safety.md 11) is renewed every day: it ends seven days after the last version a DCU received.
* The worker looks at one DCU after the other, and for a part of each second only (`Round`): with thousands of them a change goes out within
  minutes, and neither the other jobs of that worker nor the store's one writer wait for all of them.
"""

from __future__ import annotations

import hashlib
import time
from bisect import bisect_right
from dataclasses import asdict, replace

from sqlalchemy import Connection, insert, select

from gridtally_cloud.assets.account_config import account_config, prepaid_accounts, tariff_documents, with_swaps
from gridtally_cloud.assets.meter_config import meter_configs
from gridtally_cloud.prepay import calendars, keypad, policies, shared_wallets, terms
from gridtally_cloud.store import outbox
from gridtally_cloud.store.db import Database, in_turn
from gridtally_cloud.store.tables import config_version, dcu
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import DcuConfig
from gridtally_shared.signing import Signer, sign1

CONFIG_PRIORITY = 1
CUT_LEASE_DAYS = 7
TURN_S = 0.2
"""Some forty DCUs of fifty meters."""


class Round:
    """Goes on where it stopped the last time, and looks at each DCU once before it begins anew. At least one a turn."""

    def __init__(self, db: Database, signer: Signer, turn_s: float = TURN_S) -> None:
        self._db, self._signer, self._turn_s, self._last = db, signer, turn_s, ""

    def turn(self, now_ms: int) -> tuple[str, ...]:
        """The names of those that got a new version."""
        end_s, changed = time.monotonic() + self._turn_s, []
        for name in self._in_turn():
            if _publish_changed(self._db, self._signer, name, now_ms):
                changed.append(name)
            self._last = name
            if time.monotonic() >= end_s:
                break
        return tuple(changed)

    def _in_turn(self) -> list[str]:
        with self._db.read() as conn:
            names = _living(conn)
        begin = bisect_right(names, self._last)
        return [*names[begin:], *names[:begin]]


def publish_changes(db: Database, signer: Signer, now_ms: int) -> tuple[str, ...]:
    """Make and queue a new version for every DCU whose content changed. Their names."""
    with db.read() as conn:
        names = _living(conn)
    return tuple(name for name in names if _publish_changed(db, signer, name, now_ms))


def _publish_changed(db: Database, signer: Signer, name: str, now_ms: int) -> bool:
    with db.read() as conn:
        if not _differs(conn, name, now_ms):
            return False
    with db.write() as conn:
        return publish(conn, signer, name, now_ms) > 0


def publish(conn: Connection, signer: Signer, name: str, now_ms: int) -> int:
    """A new version if the content differs from the last one. Its number, or 0."""
    in_turn(conn, f"configuration of {name}")
    version, digest = _last(conn, name)
    keypad.make_keys(conn, prepaid_accounts(conn, name), now_ms)
    content = _of_one_instant(conn, name, now_ms)
    if digest_of(content) == digest:
        return 0
    config = replace(content, version=version + 1, issued_at_ms=now_ms)
    envelope = sign1(signer, "config", encode(config))
    row = {"dcu": name, "version": config.version, "digest": digest_of(content), "envelope": envelope, "issued_at_ms": now_ms}
    conn.execute(insert(config_version).values(row))
    outbox.configs_done(conn, name, config.version, now_ms)
    outbox.put(conn, name, "config", str(config.version), envelope, now_ms, CONFIG_PRIORITY)
    return config.version


def _of_one_instant(conn: Connection, name: str, now_ms: int) -> DcuConfig:
    """Read until it comes twice the same: between the end of the first time and the beginning of the second nothing of it was another. Each
    statement of a PostgreSQL transaction sees what was committed before it; on SQLite nobody writes meanwhile."""
    content = build(conn, name, now_ms)
    while conn.dialect.name != "sqlite" and (again := build(conn, name, now_ms)) != content:
        content = again
    return content


def digest_of(content: DcuConfig) -> bytes:
    return hashlib.sha256(encode(replace(content, version=0, issued_at_ms=0))).digest()


def _living(conn: Connection) -> list[str]:
    return list(conn.execute(select(dcu.c.dcu).where(dcu.c.state.in_(("enrolled", "active"))).order_by(dcu.c.dcu)).scalars())


def _differs(conn: Connection, name: str, now_ms: int) -> bool:
    return digest_of(build(conn, name, now_ms)) != _last(conn, name)[1]


def _last(conn: Connection, name: str) -> tuple[int, bytes]:
    c = config_version.c
    row = conn.execute(select(c.version, c.digest).where(c.dcu == name).order_by(c.version.desc()).limit(1)).first()
    return (row.version, bytes(row.digest)) if row else (0, b"")


def build(conn: Connection, name: str, now_ms: int) -> DcuConfig:
    """What the tables say now, with version and time of issue 0."""
    share = conn.execute(select(dcu.c.cut_share_per_hour_permille).where(dcu.c.dcu == name)).scalar_one()
    accounts = prepaid_accounts(conn, name)
    keys = keypad.keys_of(conn, accounts, now_ms)
    by_meter = {account.meter_no: account for account in accounts}
    meters = meter_configs(conn, name, by_meter)
    lease_ms = (now_ms // MS_PER_DAY + CUT_LEASE_DAYS) * MS_PER_DAY
    tariffs = tariff_documents(conn, {account.tariff_id for account in accounts}, now_ms)
    wallets = shared_wallets.wallets_of(conn, accounts)
    follows, goes_by, said = policies.followed(conn), calendars.gone_by(conn), terms.terms_of(conn)
    configs = tuple(
        replace(
            account_config(a), keypad_key=keys.get(a.account_no, b""), wallet_no=wallets.get(a.account_no, 0),
            policy_id=follows.get(a.account_no, ""), calendar_id=goes_by.get(a.account_no, ""),
            **asdict(said.get(a.account_no, terms.SupplyTerms())),
        ) for a in accounts
    )  # fmt: skip
    rules = policies.travelling(conn, {a.policy_id for a in configs}, now_ms)
    days = calendars.travelling(conn, {a.calendar_id for a in configs}, now_ms)
    return DcuConfig(0, name, 0, meters, with_swaps(conn, configs), tariffs, share, lease_ms, rules, days)
