"""Keypad codes: an instrument as 24 digits, for the customer whose concentrator does not hear us.

* The code is made from the instrument and the account's key whenever it is asked for; it is not stored.
* Each account has a key of its own, made before its configuration goes out. An account that is not offered codes has none
  at its edge, and gets none here.
* What a code can not say exactly (an odd amount, a refund) is refused with a sentence, never rounded.

Source: prepayment.md 5.2; safety.md 6.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import Connection, bindparam, insert, select, update

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.instrument_tables import keypad_key
from gridtally_cloud.prepay.policies import policy_at
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.code_content import value_of
from gridtally_shared.instruments.keypad_code import CodeContext, code_text, new_key
from gridtally_shared.money import display
from gridtally_shared.records import dataclass
from gridtally_shared.signing import open_unverified

k = keypad_key.c


class CodeReason(StrEnum):
    NOT_OFFERED = "codes_not_offered"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    NO_CODE = "no_code"


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """The code of one instrument. `text` is six groups of four digits."""

    account_no: int
    epoch: int
    gseq: int
    amount_nano: int
    currency: str
    text: str


@dataclass(frozen=True, slots=True)
class _Key:
    version: int
    secret: bytes
    offered: bool


def make_keys(conn: Connection, accounts: Iterable[Account], at_ms: int) -> int:
    """A key for every prepaid account that has none; number made."""
    bare = [a.account_no for a in accounts if a.is_prepaid and _newest(conn, a.account_no) is None]
    hold(conn, *bare)
    still = [account_no for account_no in bare if _newest(conn, account_no) is None]
    for account_no in still:
        _add(conn, account_no, 1, True, at_ms)
    return len(still)


def keys_of(conn: Connection, accounts: Iterable[Account], at_ms: int) -> dict[int, bytes]:
    """The keys that travel to the edge, by account; none where codes are not offered, or the policy wants none."""
    rows = ((a.account_no, _newest(conn, a.account_no)) for a in accounts if not _is_barred(conn, a.account_no, at_ms))
    return {number: row.secret for number, row in rows if row is not None and row.offered}


def offer(conn: Connection, account_no: int, offered: bool, at_ms: int, actor: str) -> None:
    """Let an account take codes, or no more. The next configuration tells its edge."""
    account = account_of(conn, account_no)
    make_keys(conn, (account,), at_ms)
    conn.execute(update(keypad_key).where(k.account_no == account_no, k.retired_ms.is_(None)).values(offered=offered))
    record(conn, at_ms, actor, "keypad.offered" if offered else "keypad.withdrawn", f"account:{account_no}")


def rotate(conn: Connection, account_no: int, at_ms: int) -> tuple[int, bytes]:
    """A new key in the place of the old one; its version and secret. The caller issues the KEY_ROTATE that carries it."""
    before = _newest(conn, account_no)
    conn.execute(update(keypad_key).where(k.account_no == account_no, k.retired_ms.is_(None)).values(retired_ms=at_ms))
    version = before.version + 1 if before else 1
    return version, _add(conn, account_no, version, before.offered if before else True, at_ms)


def code_of(conn: Connection, account_no: int, gseq: int, epoch: int | None = None) -> IssuedCode:
    """The code of an instrument. Raises RefusedCommand (unknown_account, codes_not_offered, unknown_instrument, no_code)."""
    account = account_of(conn, account_no)
    key = _newest(conn, account_no)
    if key is None or not key.offered:
        raise RefusedCommand(CodeReason.NOT_OFFERED, f"account {account_no} takes no keypad codes: they are switched off for it")
    signed = _signed(conn, account_no, account.account_epoch if epoch is None else epoch, gseq)
    if _is_barred(conn, account_no, signed.issued_at_ms):
        raise RefusedCommand(CodeReason.NOT_OFFERED, f"account {account_no} takes no keypad codes: its policy wants none")
    content = value_of(signed)
    if content is None:
        amount = display(signed.amount_nano, signed.currency)
        raise RefusedCommand(CodeReason.NO_CODE, f"instrument {gseq} of account {account_no} ({amount}) does not fit a code: it "
                             "reaches the meter by the network or as a file")  # fmt: skip
    context = CodeContext(signed.dcu, account_no, signed.account_epoch, signed.currency)
    text = code_text(key.secret, context, gseq, *content)
    return IssuedCode(account_no, signed.account_epoch, gseq, signed.amount_nano, signed.currency, text)


def _is_barred(conn: Connection, account_no: int, at_ms: int) -> bool:
    """The policy of that time has `"keypad": false`."""
    policy = policy_at(conn, account_no, at_ms)
    return policy is not None and not policy.keypad


def _signed(conn: Connection, account_no: int, epoch: int, gseq: int) -> Instrument:
    i = instrument.c
    where = (i.shard == SHARD, i.account_no == account_no, i.epoch == epoch, i.gseq == gseq)
    envelope = conn.execute(select(i.envelope).where(*where)).scalar_one_or_none()
    if envelope is None:
        raise RefusedCommand(CodeReason.UNKNOWN_INSTRUMENT, f"account {account_no} has no instrument {gseq}: look at its list")
    return decode(Instrument, open_unverified(bytes(envelope))[1])


_NEWEST = select(k.version, k.secret, k.offered).where(k.account_no == bindparam("of_account"), k.retired_ms.is_(None))


def _newest(conn: Connection, account_no: int) -> _Key | None:
    row = conn.execute(_NEWEST, {"of_account": account_no}).one_or_none()
    return _Key(row.version, bytes(row.secret), row.offered) if row else None


def _add(conn: Connection, account_no: int, version: int, offered: bool, at_ms: int) -> bytes:
    secret = new_key(os.urandom(32))
    row = {"account_no": account_no, "version": version, "secret": secret, "offered": offered, "made_ms": at_ms}
    conn.execute(insert(keypad_key).values(row))
    return secret
