"""The meters in the configuration of a DCU.

Of those whose account it does not run it is told who does, and what keeps the supply off. So a DCU with an old disk, or another one, knows
of the holds that only a person on site lifts (prepay/site_words.py), and a person there is told what else stands against a close.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from gridtally_cloud.customers.accounts import policy_from
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay.handover_tables import CLOUD, account_swap
from gridtally_cloud.prepay.held import held_of
from gridtally_cloud.prepay.site_words import Word, said_at, stands_by
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import meter
from gridtally_shared.contract.messages import InstrumentType, MeterConfig
from gridtally_shared.contract.prepay_messages import MeterHold
from gridtally_shared.prepay.holds import holds_against_close

HEARD = 8
"""So many of the newest entries about a hold are named: what a box said and we took is among them, but for a disk that is older still."""


def meter_configs(conn: Connection, dcu: str, by_meter: Mapping[int, Account]) -> tuple[MeterConfig, ...]:
    """`by_meter`: the accounts it runs."""
    rows = conn.execute(select(meter).where(meter.c.dcu == dcu, meter.c.removed_ms.is_(None)).order_by(meter.c.meter_no)).all()
    said, run = said_at(conn, dcu), _run_from_here(conn, dcu)
    return tuple(_elsewhere(conn, m, run.get(m.meter_no), said.get(m.meter_no, ())) if m.meter_no not in by_meter
                 else _there(conn, m, by_meter[m.meter_no], said.get(m.meter_no, ())) for m in rows)  # fmt: skip


def _there(conn: Connection, m: Row[Any], run: Account, said: Sequence[Word]) -> MeterConfig:
    """This DCU runs the account, whose journal says what stands: of what was said before, one with an old disk hears if it is over."""
    known = held_of(conn, run.account_no, run.account_epoch, run.policy.holds) if said else ()
    held = (MeterHold(reason, reason in known, _heard(said, reason)) for reason in sorted({word.reason for word in said}))
    return MeterConfig(m.meter_no, m.serial, run.account_no, m.interval_s, m.commodity, held=tuple(held))


def _elsewhere(conn: Connection, m: Row[Any], run: Row[Any] | None, said: Sequence[Word]) -> MeterConfig:
    """No account of this DCU is behind it."""
    stands, named = stands_by(said), [word for word in said if not word.over]
    if run is not None and (said or run.is_held):
        known = held_of(conn, run.account_no, run.account_epoch, policy_from(run).holds)
        stands, named = frozenset(holds_against_close(known)), [*said]
    held = (MeterHold(reason, reason in stands, _heard(said, reason)) for reason in sorted(stands | {word.reason for word in named}))
    return MeterConfig(m.meter_no, m.serial, 0, m.interval_s, m.commodity, run.account_no if run is not None else 0, tuple(held))


def _run_from_here(conn: Connection, dcu: str) -> dict[int, Row[Any]]:
    """Accounts by meter; `is_held`: there may be a hold that no entry of the DCU told."""
    a, i = account.c, instrument.c
    mine = (i.shard == SHARD, i.account_no == a.account_no, i.epoch == a.account_epoch, i.type == int(InstrumentType.HOLD))
    query = (
        select(account, or_(select(i.gseq).where(*mine).exists(), a.holds != "").label("is_held"))
        .join(account_swap, account_swap.c.account_no == a.account_no).join(meter, meter.c.meter_no == a.meter_no)
        .where(account_swap.c.kind == CLOUD, a.closed_ms.is_(None), meter.c.dcu == dcu)
    )  # fmt: skip
    return {row.meter_no: row for row in conn.execute(query)}


def _heard(said: Iterable[Word], reason: str) -> tuple[bytes, ...]:
    return tuple(word.entry_id for word in said if word.reason == reason)[-HEARD:]
