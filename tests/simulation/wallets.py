"""A wallet that several homes live on: what people do with it, what the MDM's worker does of it, and what must hold.

* The truth is the world's own: what was paid in and given back, what was signed as leases, what the journals returned.
* A lease is out from the moment it is signed until the journal of its box gives it back, or says that it refused it. One that opens the
  epoch of another box is the one that was out before.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cbor2
from sqlalchemy import Connection

from gridtally_cloud.prepay import shared_wallets
from gridtally_cloud.store.db import Database
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.signing import open_unverified
from simulation import watch

if TYPE_CHECKING:
    from simulation.cloud import CloudNode
    from simulation.world import World

WALLET = 1
DETAIL = 11
NUMBER = 1
GIVES_BACK = (watch.RETURN_KIND, watch.MODE_KIND)


# ---- the MDM ------------------------------------------------------------------------------------------------------


def opened(conn: Connection, world: World) -> None:
    """The wallet of a world, and who lives on it from the beginning."""
    money, now_ms = world.plan.money, world.plan.start_ms
    if money.family:
        shared_wallets.open_wallet(conn, "family", "INR", now_ms, "desk", money.credit_nano)
        for place in money.family:
            shared_wallets.join(conn, WALLET, world.plan.homes[place].account_no, now_ms, "desk")


def turn(db: Database, signer: Any, now_ms: int) -> None:
    """The worker's job."""
    with db.read() as conn:
        if not shared_wallets.any_open(conn):
            return
    with db.write() as conn:
        shared_wallets.take_returns(conn, now_ms)
        shared_wallets.grant_due(conn, signer, now_ms)


# ---- people -------------------------------------------------------------------------------------------------------


def cash(world: World, milli: int) -> None:
    """Somebody pays for all; the clerk presses the button twice."""
    world.payments_made += 1
    reference, amount_nano = f"slip {world.payments_made}", milli * 1_000_000

    def pay(conn: Connection) -> bool:
        return shared_wallets.pay_in(conn, WALLET, amount_nano, reference, world.now_ms, "desk")

    if world.cloud._do(pay):
        world.wallet_paid_nano += amount_nano
        world.counts.payments += 1
    world.cloud._do(pay)
    world.cloud.beat()


def back(world: World, place: int) -> None:
    """The desk asks a home to give back what it has not used."""
    account_no = world.plan.homes[place % len(world.plan.homes)].account_no
    if account_no in members(world.cloud):
        world.cloud.ask_back(account_no)
    world.cloud.beat()


def join(world: World, place: int) -> None:
    """Another home comes to live on the wallet, with whatever it has of its own."""
    account_no = world.plan.homes[place % len(world.plan.homes)].account_no
    world.cloud._do(lambda conn: shared_wallets.join(conn, WALLET, account_no, world.now_ms, "desk"))
    world.cloud.config_due = True
    world.cloud.beat()


def refund(world: World, percent: int) -> None:
    """A part of the newest payment into the wallet goes back."""
    query = "SELECT payment_no, amount_nano FROM payment WHERE purpose = 'wallet' ORDER BY payment_no DESC LIMIT 1"
    row = world.cloud.eye.execute(query).fetchone()
    if row:
        world.cloud.refund(row[0], row[1] * percent // 100)
    world.cloud.beat()


def members(cloud: CloudNode) -> set[int]:
    return {row[0] for row in cloud.eye.execute("SELECT account_no FROM wallet_member")}


# ---- what must hold -----------------------------------------------------------------------------------------------


def paid_in_nano(world: World) -> int:
    """What is in the wallet and out of it: what was paid, less what was given back."""
    query = """SELECT coalesce(sum(amount_nano), 0) FROM payment WHERE purpose = 'wallet'"""
    back_query = "SELECT coalesce(sum(r.amount_nano), 0) FROM refund r JOIN payment p USING (payment_no) WHERE p.purpose = 'wallet'"
    eye = world.cloud.eye
    return world.wallet_paid_nano + int(eye.execute(query).fetchone()[0]) - int(eye.execute(back_query).fetchone()[0])


def leases(world: World) -> Iterator[tuple[tuple[int, int, int], int, int]]:
    """Every lease that was signed: account, epoch and number of its instrument; the number of the ask; the amount."""
    for key, issued in world.cloud_watch.issued.items():
        if issued.type == InstrumentType.LEASE:
            yield key, number_of(issued.envelope), issued.amount_nano


@lru_cache(maxsize=4096)
def number_of(envelope: bytes) -> int:
    """The ask that a lease answers; 0 for what was out already."""
    return int(cbor2.loads(cbor2.loads(open_unverified(envelope)[1])[DETAIL]).get(NUMBER, 0))


def out_nano(world: World) -> int:
    """What is out: signed, and neither given back nor refused, by the journals of the boxes."""
    refused = set(refusals(world))
    lent = sum(amount for key, number, amount in leases(world) if number and key not in refused)
    carried_back = sum(amount for key, number, amount in leases(world) if not number and key in refused)
    return lent - carried_back - returned_nano(world)


def refusals(world: World) -> Iterator[tuple[int, int, int]]:
    for key, lines in told(world):
        for line in lines:
            if line.kind == watch.CONTROL and line.gseq and isinstance(line.detail, dict) and line.detail.get(1):
                yield (*key, line.gseq)


def returned_nano(world: World) -> int:
    return sum(
        -amount for _, lines in told(world) for line in lines if line.kind in GIVES_BACK
        for pool, amount in line.postings if pool == watch.RESERVED
    )  # fmt: skip


def told(world: World) -> Iterator[tuple[watch.Account, list[watch.Line]]]:
    """The journals that count: those of the box that is there, and, of one that is gone, what the mirror has."""
    newest = dict(world.cloud.eye.execute("SELECT account_no, account_epoch FROM account").fetchall())
    for key in sorted({*world.edge_watch.books, *world.cloud_watch.mirror}):
        book = world.edge_watch.books.get(key)
        if key[1] < newest[key[0]]:
            yield key, gone(world, key)
        elif book is not None:
            yield key, book.lines


def gone(world: World, key: watch.Account) -> list[watch.Line]:
    """What the mirror has of an epoch that is over."""
    if key not in world.gone:
        query = "SELECT seq, body FROM journal_entry WHERE account_no = ? AND epoch = ? AND verified ORDER BY seq"
        book = watch.Book()
        for seq, body in world.cloud.eye.execute(query, key):
            watch.EdgeWatch()._fold(key, book, seq, body, 0)
        world.gone[key] = book.lines
    return world.gone[key]


def never_more(world: World) -> Iterator[str]:
    """What is out is never more than what was paid in, with the credit line."""
    if not world.plan.money.family or world.rolled_back:
        return
    most, out = paid_in_nano(world) + world.plan.money.credit_nano, out_nano(world)
    if out > most:
        yield f"the wallet holds {most}, and {out} of it is lent"


def nothing_lost(world: World) -> Iterator[str]:
    """In the end the wallet says of itself what is true: what is not out is there. What a box had left when it died is what the next began
    with."""
    if not world.plan.money.family:
        return
    there = int(world.cloud.eye.execute("SELECT coalesce(sum(amount_nano), 0) FROM wallet_entry").fetchone()[0])
    if there != paid_in_nano(world) - out_nano(world):
        yield f"the wallet says {there}, but {paid_in_nano(world)} was paid in and {out_nano(world)} is out"
    yield from _gone_along(world)


def _gone_along(world: World) -> Iterator[str]:
    journals = dict(told(world))
    for (account_no, epoch), lines in journals.items():
        if (account_no, epoch + 1) not in journals:
            continue
        had = sum(amount for line in lines for pool, amount in line.postings if pool == watch.RESERVED)
        used = {line.gseq for line in lines if line.gseq}
        waited = sum(amount for key, _, amount in leases(world) if key[:2] == (account_no, epoch) and key[2] not in used)
        came = sum(amount for key, number, amount in leases(world) if key[:2] == (account_no, epoch + 1) and not number)
        if came != had + waited:
            yield f"account {account_no}: {had} of the wallet was there and {waited} on its way when epoch {epoch} ended, {came} came along"


def nobody_starves(world: World) -> Iterator[str]:
    """Who lives on a wallet that has money has some of it, and who is billed has none."""
    if not world.plan.money.family or world.edge.config is None:
        return
    free = paid_in_nano(world) + world.plan.money.credit_nano - out_nano(world)
    for account in world.edge.config.accounts:
        key = (account.account_no, account.account_epoch)
        book = world.edge_watch.books.get(key)
        if book is None or account.account_no not in members(world.cloud):
            continue
        if book.mode and book.pool(watch.RESERVED):
            yield f"account {key[0]} is billed and keeps {book.pool(watch.RESERVED)} of the wallet"
        if not book.mode and book.opened_wh is not None and book.balance <= 0 and free > 0:
            yield f"account {key[0]} has {book.balance}, and the wallet it lives on has {free} to lend"
