"""A wallet that several accounts live on: chunks of it are lent to their edges, and never more than it holds.

* The wallet is the sum of its entries: what was paid in, less what is lent, and what came back. With its credit line it is never
  below zero: a chunk is granted under the wallet's row lock, whole or as far as the money goes. Accounts are held before wallets.
* An ask is answered once, by its number; of several that are open the newest. A chunk is three days of a heavy day's use (nine in ten days
  are lighter), at least a mean day, at most what the account may hold. An ask that finds no money, or its account billed, stays open and
  is answered when some comes, or when it pays ahead.
* Money comes back only by what the mirror shows: a RETURN, the MODE that ends prepayment, the CLOSE of an epoch, or a lease the edge
  refused. Time gives nothing back. What a concentrator that was replaced had of it goes along to the next one (replaced.py).
* A lease that the mirror shows and this store does not know, as it was put back from an older copy, is booked then.

Source: prepayment.md 5.4.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, String, and_, bindparam, cast, exists, func, insert, literal, or_, select, update

from gridtally_cloud.customers.accounts import held, hold
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.ingest.tables import lease_ask
from gridtally_cloud.prepay import policies
from gridtally_cloud.prepay.handover_tables import is_managed
from gridtally_cloud.prepay.instrument_tables import shared_wallet, wallet_entry, wallet_member
from gridtally_cloud.prepay.instruments import Source, issue
from gridtally_cloud.prepay.restored import may_issue
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import insert_new
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import LeaseGrant
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, entry_from
from gridtally_shared.ledger.evidence import refusal_of
from gridtally_shared.money import MAX_NANO, NANO, display
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

DAYS, HISTORY_DAYS = 3, 30
USING = (int(Kind.ENERGY), int(Kind.FIXED), int(Kind.TAX))
GIVING_BACK = (int(Kind.RETURN), int(Kind.CLOSE), int(Kind.MODE))
e, w, m, a, j = wallet_entry.c, shared_wallet.c, wallet_member.c, lease_ask.c, journal_entry.c


@dataclass(frozen=True, slots=True)
class WalletView:
    """A wallet for people: paid in, lent and not given back, what may still be lent (its credit line counted in)."""

    wallet_no: int
    name: str
    currency: str
    paid_nano: int
    lent_nano: int
    free_nano: int
    accounts: tuple[int, ...]


class WalletReason(StrEnum):
    ALREADY_MEMBER = "already_member"
    LENT = "lent"
    UNKNOWN_WALLET = "unknown_wallet"
    OTHER_CURRENCY = "other_currency"
    NOT_PREPAID = "not_prepaid"
    MANAGED = "managed"


def open_wallet(conn: Connection, name: str, currency: str, at_ms: int, actor: str, credit_nano: int = 0) -> int:
    """A new wallet; its number."""
    values = {"name": name, "currency": currency, "credit_nano": credit_nano, "made_ms": at_ms}
    number = int(conn.execute(insert(shared_wallet).values(values).returning(w.wallet_no)).scalar_one())
    record(conn, at_ms, actor, "wallet.opened", f"wallet:{number}", name)
    return number


def join(conn: Connection, wallet_no: int, account_no: int, at_ms: int, actor: str) -> None:
    """Let a prepaid account live on the wallet. Raises RefusedCommand (unknown_wallet, other_currency, not_prepaid, managed)."""
    account, wallet = held(conn, account_no), _wallet(conn, wallet_no)
    if not account.is_prepaid:
        raise RefusedCommand(WalletReason.NOT_PREPAID, f"account {account_no} is not prepaid: it needs no wallet")
    if is_managed(conn, account_no):
        raise RefusedCommand(WalletReason.MANAGED, f"account {account_no} is managed from here, and only a concentrator asks a wallet for "
                             "money: give it back to its concentrator first")  # fmt: skip
    if account.currency != wallet.currency:
        raise RefusedCommand(WalletReason.OTHER_CURRENCY, f"wallet {wallet_no} holds {wallet.currency}, account {account_no} pays in "
                             f"{account.currency}")  # fmt: skip
    standing = wallet_of(conn, account_no)
    if standing is not None:
        raise RefusedCommand(WalletReason.ALREADY_MEMBER, f"account {account_no} lives on wallet {standing} already")
    conn.execute(insert(wallet_member).values(account_no=account_no, wallet_no=wallet_no))
    record(conn, at_ms, actor, "wallet.joined", f"account:{account_no}", f"wallet {wallet_no}")


def wallets_of(conn: Connection, accounts: tuple[Account, ...]) -> dict[int, int]:
    """Which wallet each account lives on, for the configuration."""
    numbers = [account.account_no for account in accounts]
    return {r.account_no: r.wallet_no for r in conn.execute(select(wallet_member).where(m.account_no.in_(numbers)))}


_WALLET = select(m.wallet_no).where(m.account_no == bindparam("of_account"))


def wallet_of(conn: Connection, account_no: int) -> int | None:
    """The wallet an account lives on."""
    return conn.execute(_WALLET, {"of_account": account_no}).scalar_one_or_none()


def view(conn: Connection, wallet_no: int) -> WalletView:
    """Raises RefusedCommand (unknown_wallet)."""
    row = _wallet(conn, wallet_no)
    sums = select(e.kind, func.sum(e.amount_nano)).where(e.wallet_no == wallet_no).group_by(e.kind)
    by_kind: dict[str, int] = {kind: int(total) for kind, total in conn.execute(sums)}
    paid_nano = by_kind.get("paid", 0) + by_kind.get("repaid", 0)
    lent_nano = -by_kind.get("lease", 0) - by_kind.get("return", 0)
    members = conn.execute(select(m.account_no).where(m.wallet_no == wallet_no).order_by(m.account_no)).scalars()
    return WalletView(wallet_no, row.name, row.currency, paid_nano, lent_nano, free_nano(conn, wallet_no), tuple(members))


def pay_in(conn: Connection, wallet_no: int, amount_nano: int, reference: str, at_ms: int, actor: str) -> bool:
    """Book money paid in, once per reference; False for one booked before. Raises RefusedCommand (unknown_wallet)."""
    _wallet(conn, wallet_no)
    if not _book(conn, wallet_no, "paid", amount_nano, f"paid|{reference}", at_ms):
        return False
    record(conn, at_ms, actor, "wallet.paid", f"wallet:{wallet_no}", reference)
    return True


def pay_out(conn: Connection, wallet_no: int, amount_nano: int, reference: str, at_ms: int, actor: str) -> bool:
    """Money that is not lent leaves the wallet at the desk, nothing of its credit line, once per reference; False for one booked before.
    Raises RefusedCommand (unknown_wallet, lent)."""
    _hold_wallet(conn, wallet_no)
    if conn.execute(select(e.entry_no).where(e.reference == f"paid out|{reference}")).first() is not None:
        return False
    _check_free(conn, wallet_no, amount_nano, free_nano(conn, wallet_no) - int(_wallet(conn, wallet_no).credit_nano))
    _book(conn, wallet_no, "repaid", -amount_nano, f"paid out|{reference}", at_ms)
    record(conn, at_ms, actor, "wallet.paid_out", f"wallet:{wallet_no}", reference)
    return True


def give_back(conn: Connection, payment_no: int, refund_no: int, amount_nano: int, at_ms: int) -> None:
    """Money of a payment leaves the wallet it went into. Raises RefusedCommand (lent) where that much is not there."""
    paid = conn.execute(select(wallet_entry).where(e.reference == f"paid|payment|{payment_no}")).one()
    _hold_wallet(conn, paid.wallet_no)
    _check_free(conn, paid.wallet_no, amount_nano, free_nano(conn, paid.wallet_no))
    _book(conn, paid.wallet_no, "repaid", -amount_nano, f"refund|{refund_no}", at_ms)


def _check_free(conn: Connection, wallet_no: int, amount_nano: int, there_nano: int) -> None:
    if amount_nano > there_nano:
        most = display(max(0, there_nano), _wallet(conn, wallet_no).currency)
        raise RefusedCommand(WalletReason.LENT, f"wallet {wallet_no} can give back at most {most}: the rest is lent to its accounts")


def free_nano(conn: Connection, wallet_no: int) -> int:
    """What may still be lent."""
    total = conn.execute(select(func.coalesce(func.sum(e.amount_nano), 0)).where(e.wallet_no == wallet_no)).scalar_one()
    return int(total) + int(_wallet(conn, wallet_no).credit_nano)


def grant_due(conn: Connection, signer: Signer, at_ms: int) -> int:
    """Answer the open asks as far as the money goes; how many."""
    query = select(lease_ask, m.wallet_no).join(wallet_member, m.account_no == a.account_no)
    asks = conn.execute(query.where(a.shard == SHARD, a.settled_ms.is_(None)).order_by(a.received_ms, a.account_no, a.number)).all()
    hold(conn, *(ask.account_no for ask in asks))
    newest = {ask.account_no: ask for ask in sorted(asks, key=lambda ask: (ask.epoch, ask.number))}
    return sum(_grant(conn, signer, ask, at_ms) if newest[ask.account_no] is ask else _settled(conn, ask, at_ms) for ask in asks)


def take_returns(conn: Connection, at_ms: int) -> int:
    """Book what the mirror shows as given back; how many."""
    return sum(_give_back(conn, entry_from(bytes(row.body)), row.wallet_no, at_ms) for row in _returns(conn))


def any_open(conn: Connection) -> bool:
    """Whether a wallet has an ask to answer or a return to book."""
    asks = select(a.number).where(a.shard == SHARD, a.settled_ms.is_(None)).limit(1)
    return conn.execute(asks).first() is not None or bool(_returns(conn))


def ask_back(conn: Connection, signer: Signer, account_no: int, at_ms: int) -> int:
    """Have an edge give back what it has not used; the instrument's number."""
    return issue(conn, signer, held(conn, account_no), InstrumentType.LEASE_RETURN, 0, Source(f"return|{account_no}|{at_ms}"), at_ms)


def carry_over(conn: Connection, signer: Signer, account: Account, amount_nano: int, at_ms: int) -> None:
    """What another concentrator had of the wallet goes along to the account's present one: it is lent already."""
    grant = LeaseGrant(int(wallet_of(conn, account.account_no) or 0), 0)
    issue(conn, signer, account, InstrumentType.LEASE, amount_nano, Source(f"lease along|{account.account_epoch}"), at_ms, grant)


def chunk_nano(conn: Connection, account: Account, at_ms: int) -> int:
    """Three heavy days, at least one mean day; without history what warns of a low balance, at least one unit."""
    days = _days(conn, account, at_ms)
    if not days:
        return max(NANO, account.policy.low_balance_nano)
    heavy = sorted(days)[max(0, -(-len(days) * 9 // 10) - 1)]
    return max(DAYS * heavy, sum(days) // len(days), NANO)


def _grant(conn: Connection, signer: Signer, ask: Any, at_ms: int) -> int:
    account = held(conn, ask.account_no)
    _hold_wallet(conn, ask.wallet_no)
    reference = _lease_ref(ask.account_no, ask.epoch, ask.number)
    amount_nano = min(chunk_nano(conn, account, at_ms), _most_nano(conn, account, at_ms), free_nano(conn, ask.wallet_no))
    living = ask.epoch == account.account_epoch and bool(account.dcu)
    if living and (not account.is_prepaid or amount_nano <= 0 or not may_issue(conn, account)):
        return 0
    if living and _book(conn, ask.wallet_no, "lease", -amount_nano, reference, at_ms):
        grant = LeaseGrant(ask.wallet_no, ask.number)
        issue(conn, signer, account, InstrumentType.LEASE, amount_nano, Source(reference), at_ms, grant)
    return _settled(conn, ask, at_ms)


def _settled(conn: Connection, ask: Any, at_ms: int) -> int:
    key = (a.shard == SHARD, a.account_no == ask.account_no, a.epoch == ask.epoch, a.number == ask.number)
    conn.execute(update(lease_ask).where(*key).values(settled_ms=at_ms))
    return 1


def _most_nano(conn: Connection, account: Account, at_ms: int) -> int:
    """What the account may hold: a larger chunk would be refused for ever."""
    most_nano = policies.rules_at(conn, account, at_ms).topup.max_balance_nano
    return MAX_NANO if most_nano is None else most_nano


def mirrored(conn: Connection, entry: LedgerEntry) -> None:
    """The mirror shows money coming in from elsewhere: a lease that is booked here, but for a store that was put back."""
    if not entry.detail:
        return
    grant, amount_nano = decode(LeaseGrant, entry.detail), -sum(p.amount_nano for p in entry.postings if p.pool == Pool.TRANSFER)
    if grant.number and conn.execute(select(w.wallet_no).where(w.wallet_no == grant.wallet_no)).first() is not None:
        _book(conn, grant.wallet_no, "lease", -amount_nano, _lease_ref(entry.account_no, entry.epoch, grant.number), entry.at_ms)


def _give_back(conn: Connection, entry: LedgerEntry, wallet_no: int, at_ms: int) -> int:
    reference = f"return|{entry.account_no}|{entry.epoch}|{entry.seq}"
    return int(_book(conn, wallet_no, "return", _given_back(conn, entry), reference, at_ms))


def _returns(conn: Connection) -> list[Any]:
    """Entries that may give money back to a wallet and are not booked yet."""
    reference = literal("return|") + cast(j.account_no, String) + "|" + cast(j.epoch, String) + "|" + cast(j.seq, String)
    i = instrument.c
    same = and_(i.shard == j.shard, i.account_no == j.account_no, i.epoch == j.epoch, i.gseq == j.gseq)
    said_no = and_(j.kind == int(Kind.CONTROL), exists().where(same, i.type == int(InstrumentType.LEASE)))
    query = select(j.body, m.wallet_no).join(wallet_member, m.account_no == j.account_no).outerjoin(wallet_entry, e.reference == reference)
    rows = conn.execute(query.where(j.shard == SHARD, j.verified, or_(j.kind.in_(GIVING_BACK), said_no), e.entry_no.is_(None))).all()
    return [row for row in rows if _given_back(conn, entry_from(bytes(row.body))) > 0]


def _given_back(conn: Connection, entry: LedgerEntry) -> int:
    return _refused_lease(conn, entry) if entry.kind == Kind.CONTROL else _unreserved(entry)


def _lease_ref(account_no: int, epoch: int, number: int) -> str:
    return f"lease|{account_no}|{epoch}|{number}"


def _unreserved(entry: LedgerEntry) -> int:
    return -sum(p.amount_nano for p in entry.postings if p.pool == Pool.RESERVED)


def _refused_lease(conn: Connection, entry: LedgerEntry) -> int:
    if not refusal_of(entry):
        return 0
    i = instrument.c
    where = (i.shard == SHARD, i.account_no == entry.account_no, i.epoch == entry.epoch, i.gseq == entry.gseq)
    query = select(i.amount_nano).where(*where, i.type == int(InstrumentType.LEASE))
    return int(conn.execute(query).scalar_one_or_none() or 0)


def _days(conn: Connection, account: Account, at_ms: int) -> list[int]:
    """What each of the last days with any use cost."""
    day = (j.at_ms - j.at_ms % MS_PER_DAY).label("day")
    query = select(func.sum(-j.paid_nano)).where(
        j.shard == SHARD, j.account_no == account.account_no, j.kind.in_(USING), j.verified, j.at_ms > at_ms - HISTORY_DAYS * MS_PER_DAY
    )
    return [int(cost) for cost in conn.execute(query.group_by(day)).scalars() if cost > 0]


def _book(conn: Connection, wallet_no: int, kind: str, amount_nano: int, reference: str, at_ms: int) -> bool:
    row = {"wallet_no": wallet_no, "kind": kind, "amount_nano": amount_nano, "reference": reference, "at_ms": at_ms}
    return insert_new(conn, wallet_entry, [row]) > 0


def _hold_wallet(conn: Connection, wallet_no: int) -> None:
    """Until this transaction ends nobody else takes money out of it; what is paid in may come."""
    conn.execute(select(w.wallet_no).where(w.wallet_no == wallet_no).with_for_update(key_share=True))


def _wallet(conn: Connection, wallet_no: int) -> Any:
    row = conn.execute(select(shared_wallet).where(w.wallet_no == wallet_no)).one_or_none()
    if row is None:
        raise RefusedCommand(WalletReason.UNKNOWN_WALLET, f"there is no wallet {wallet_no}")
    return row
