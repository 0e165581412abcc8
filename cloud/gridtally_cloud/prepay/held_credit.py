"""The credit a meter holds beside the one of the books: read with the other data before an account leaves prepayment (BYPL-14.3).

* A meter that only shows a balance says which one, and of what moment. The journal's mirror says what it stood at then.
* The concentrator writes it with readings and credits, so what the journal stood at in the interval before counts too; rounded down to
  the meter's unit.
* A meter without such an object holds none: there is nothing to compare. A difference is a sentence for a person; nothing is moved.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.customers.model import Account
from gridtally_cloud.meters.reported import settings_in
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.errors import ContractError
from gridtally_shared.meter_settings import HeldCredit, Setting, SettingKind, unpacked
from gridtally_shared.money import decimal_text

ASKED = (Setting(int(SettingKind.HELD_CREDIT)),)
AROUND_MS = 900_000
SAME_MS = 1_000


def held_in(result: bytes) -> HeldCredit | None:
    """What the meter holds, from the answer to a read of it; None where it has no such object."""
    try:
        found = [unpacked(s) for s in settings_in(result) if s.kind == SettingKind.HELD_CREDIT and s.body]
    except ContractError:
        return None
    return next((one for one in found if isinstance(one, HeldCredit)), None)


def difference(conn: Connection, account: Account, held: HeldCredit) -> str:
    """How the meter's credit differs from the books at its moment; '' where it does not."""
    stood = _stood_at(conn, account, held.at_ms)
    if any(amount_nano // held.unit_nano * held.unit_nano == held.balance_nano for amount_nano in stood):
        return ""
    books = decimal_text(stood[-1]) if stood else "nothing yet"
    return f"the meter holds {decimal_text(held.balance_nano)}, the books stood at {books} then"


def _stood_at(conn: Connection, account: Account, at_ms: int) -> list[int]:
    """The balances of the interval that ends with this moment, the one at its beginning first."""
    j = journal_entry.c
    mine = (j.shard == SHARD, j.account_no == account.account_no, j.epoch == account.account_epoch, j.verified, j.at_ms <= at_ms + SAME_MS)
    before = select(j.balance_nano).where(*mine, j.at_ms <= at_ms - AROUND_MS).order_by(j.seq.desc()).limit(1)
    within = select(j.balance_nano).where(*mine, j.at_ms > at_ms - AROUND_MS).order_by(j.seq)
    return [int(x) for query in (before, within) for x in conn.execute(query).scalars() if x is not None]
