"""Credit instruments: verified, applied once, nothing lost.

* Verified over the received bytes: key, signature, then DCU, account, epoch, currency, amount and the window of used
  numbers. Paid money has no expiry.
* An instrument that can not be applied yet is parked, not refused: its account or epoch comes with a later
  configuration, or it is more than a window ahead. Nobody is cut while one is parked or an earlier one is missing.
* One of a closed epoch is evidence only. The same one again changes nothing; another one with a used number is an alarm.
* A refund takes at most what is there; the rest becomes a debt, never a sudden cut.

Source: prepayment.md 5.2, 5.3, 5.9; safety.md 16.
"""

from __future__ import annotations

from gridtally_edge.prepay.notices import show_on_meter, tell, watch_balance
from gridtally_edge.prepay.rows import InstrumentRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.channels import MAX_PAYLOAD_BYTES
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import AccountConfig, Instrument, InstrumentType
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, Pool, Posting, move
from gridtally_shared.ledger.window import WIDTH
from gridtally_shared.signing import verify1

CHANNEL = "instrument"
PARKED_LIMIT = 10_000


def arrived(turn: Turn, envelope: bytes) -> AccountConfig | None:
    """Take in an envelope; the account whose balance changed, if one did."""
    try:
        body = _verified(turn, envelope)
        instrument = decode(Instrument, body)
    except ContractError as error:
        _refuse_unknown(turn, str(error))
        return None
    if instrument.dcu != turn.identity.dcu:
        _refuse_unknown(turn, f"addressed to {instrument.dcu}")
        return None
    return _take(turn, instrument, body)


def unpark(turn: Turn) -> list[AccountConfig]:
    """Apply what was parked and can be applied now; the accounts whose balance changed."""
    changed: list[AccountConfig] = []
    for row in some(turn.db, InstrumentRow, "WHERE state = 'parked' ORDER BY account_no, epoch, gseq"):
        account = _take(turn, decode(Instrument, row.body), row.body)
        if account is not None and account not in changed:
            changed.append(account)
    return changed


def parked_of(turn: Turn, account_no: int) -> int:
    """Parked instruments of an account, of whatever epoch."""
    query = "SELECT count(*) FROM instrument WHERE account_no = ? AND state = 'parked'"
    return int(turn.db.execute(query, (account_no,)).fetchone()[0])


def _verified(turn: Turn, envelope: bytes) -> bytes:
    if len(envelope) > MAX_PAYLOAD_BYTES:
        raise ContractError("larger than the contract allows")
    return verify1(turn.identity.command_keys, CHANNEL, envelope)


def _take(turn: Turn, instrument: Instrument, body: bytes) -> AccountConfig | None:
    known = one(turn.db, InstrumentRow, instrument.account_no, instrument.account_epoch, instrument.gseq)
    if known is not None and (known.state != "parked" or known.body != body):
        _compare(turn, instrument, body, known)
        return None
    account = turn.plan.accounts.get(instrument.account_no)
    if account is None or instrument.account_epoch > account.account_epoch:
        _park(turn, instrument, body, "account or epoch not here yet")
        return None
    reason = _why_refused(turn, instrument, account)
    if reason:
        _refuse(turn, instrument, body, reason)
        return None
    used = turn.book(account).state.used
    if instrument.gseq > used.prefix + WIDTH:
        _park(turn, instrument, body, "more than a window ahead")
        return None
    _apply(turn, instrument, body, account)
    return account


def _why_refused(turn: Turn, instrument: Instrument, account: AccountConfig) -> str:
    amount = instrument.amount_nano
    fits = {InstrumentType.CREDIT: amount > 0, InstrumentType.REFUND: amount < 0, InstrumentType.OPENING: True}
    rules = (
        (instrument.account_epoch == account.account_epoch, "closed epoch"),
        (instrument.currency == account.currency, "currency"),
        (instrument.type in fits, "unknown type"),
        (fits.get(InstrumentType(instrument.type), False) if instrument.type in fits else False, "amount"),
        (instrument.gseq >= 1, "number"),
        (not turn.book(account).state.used.is_used(instrument.gseq) if instrument.gseq >= 1 else False, "number used"),
    )
    return next((reason for holds, reason in rules if not holds), "")


def _apply(turn: Turn, instrument: Instrument, body: bytes, account: AccountConfig) -> None:
    book = turn.book(account)
    is_refund = instrument.type == InstrumentType.REFUND
    postings = _postings(instrument, book.state.balance_nano)
    book.add(
        Kind.REFUND if is_refund else Kind.CREDIT, turn.stamp(), postings,
        meter_no=account.meter_no, gseq=instrument.gseq, cause=instrument.payment_ref,
    )  # fmt: skip
    _store(turn, instrument, body, "applied", "")
    watch_balance(turn, account)
    if not is_refund and instrument.amount_nano > 0:
        tell(turn, account, "CREDIT", a=instrument.amount_nano, b=book.state.balance_nano)
    show_on_meter(turn, account, at_once=True)


def _postings(instrument: Instrument, balance_nano: int) -> tuple[Posting, ...]:
    if instrument.type == InstrumentType.CREDIT:
        return move(Pool.RECEIVED, Pool.PAID, instrument.amount_nano)
    if instrument.type == InstrumentType.OPENING:
        return move(Pool.TRANSFER, Pool.PAID, instrument.amount_nano)
    owed = -instrument.amount_nano
    taken = min(owed, max(0, balance_nano))
    rows = ((Pool.PAID, -taken), (Pool.DEBT, taken - owed), (Pool.RECEIVED, owed))
    return tuple(Posting(pool, amount) for pool, amount in rows if amount)


def _compare(turn: Turn, instrument: Instrument, body: bytes, known: InstrumentRow) -> None:
    if known.body != body:
        _report(turn, instrument, "number used by another instrument")


def _park(turn: Turn, instrument: Instrument, body: bytes, reason: str) -> None:
    waiting = int(turn.db.execute("SELECT count(*) FROM instrument WHERE state = 'parked'").fetchone()[0])
    if waiting >= PARKED_LIMIT:
        _report(turn, instrument, "too many parked; it is sent again until it is seen in the journal")
        return
    _store(turn, instrument, body, "parked", reason)


def _refuse(turn: Turn, instrument: Instrument, body: bytes, reason: str) -> None:
    if instrument.gseq >= 1 and reason != "number used":
        _store(turn, instrument, body, "refused", reason)
    _report(turn, instrument, reason)


def _store(turn: Turn, instrument: Instrument, body: bytes, state: str, reason: str) -> None:
    key = (instrument.account_no, instrument.account_epoch, instrument.gseq)
    save(turn.db, InstrumentRow(*key, body, state, reason, instrument.amount_nano, turn.now_ms))


def _report(turn: Turn, instrument: Instrument, reason: str) -> None:
    account = turn.plan.accounts.get(instrument.account_no)
    where = f"account={instrument.account_no} epoch={instrument.account_epoch} gseq={instrument.gseq}"
    turn.report(account.meter_no if account else 0, "instrument_refused", f"{where} reason={reason}")


def _refuse_unknown(turn: Turn, reason: str) -> None:
    """Nothing of an unverified envelope may be believed, and a flood of them may not fill the store."""
    turn.report_seldom("instrument_refused", f"reason={reason[:200]}")
