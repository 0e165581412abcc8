"""Instruments: verified, applied once over all carriers, nothing lost.

* Verified over the received bytes: key, signature, then DCU, account, epoch, number, currency and the form of its type
  (instruments/forms.py). Paid money has no expiry. What it does is in effects.py.
* Credit is taken in any order within the window; a control instrument only when every number below it is used.
* An instrument that can not be applied yet is parked, not refused: its account or epoch comes with a later
  configuration, it is more than a window ahead, or before its turn. Nobody is cut while one is parked or an earlier one is
  missing.
* One that is refused uses its number in the journal, with the reason: the cloud sees it there, and nothing waits for it.
* One of a closed epoch is evidence only. The same one again changes nothing; another one with a used number is an alarm.
* A keypad code brings the same instrument without its signature: it counts once with the signed one, which must say the same.
* A refund takes at most what is there; the rest becomes a debt, never a sudden cut.

Source: prepayment.md 5.2, 5.3, 5.9; safety.md 16.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.prepay import leases, price_changes
from gridtally_edge.prepay.effects import EFFECTS, apply_effect, most_balance, refuse_number
from gridtally_edge.prepay.notices import show_on_meter
from gridtally_edge.prepay.rows import InstrumentRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.channels import MAX_PAYLOAD_BYTES
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import AccountConfig, Instrument, InstrumentType
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments.code_content import same_order
from gridtally_shared.instruments.forms import fault_of, form_of
from gridtally_shared.ledger.window import WIDTH
from gridtally_shared.records import dataclass
from gridtally_shared.signing import verify1

CHANNEL = "instrument"
PARKED_LIMIT = 10_000
MQTT, KEYPAD = "mqtt", "keypad"
CLOSED_EPOCH, NUMBER_USED, OVERFLOW = "closed epoch", "number used", "overflow"
FINAL = frozenset({CLOSED_EPOCH, NUMBER_USED, "number"})
"""Refusals that touch no number of the living epoch."""
DISAGREES = "the keypad code and the signed instrument of this number differ"


@dataclass(frozen=True, slots=True)
class Taken:
    """An instrument whose number is used now. `credited`: it brought money; `refused`: it changed nothing."""

    account_no: int
    credited: bool = False
    refused: bool = False


def arrived(turn: Turn, envelope: bytes, carrier: str = MQTT) -> Taken | None:
    """Take in an envelope, whatever carried it; what it did, if its number is used now."""
    try:
        body = _verified(turn, envelope)
        instrument = decode(Instrument, body)
    except ContractError as error:
        _refuse_unknown(turn, str(error))
        return None
    if instrument.dcu != turn.identity.dcu:
        _refuse_unknown(turn, f"addressed to {instrument.dcu}")
        return None
    return _take(turn, instrument, body, carrier)


def take_code(turn: Turn, instrument: Instrument, account: AccountConfig) -> str:
    """Take in what a keypad code stands for; its seal is checked and its number free. 'applied', 'parked', or why not: then
    nothing is stored, and the code may be typed again."""
    body, known = encode(instrument), _known(turn, instrument)
    if known is not None and known.body != body:
        if not same_order(decode(Instrument, known.body), instrument):
            _report(turn, instrument, DISAGREES, "instruments_disagree")
            return DISAGREES
        instrument, body = decode(Instrument, known.body), known.body
    reason = _why_refused(turn, instrument, account)
    if reason:
        return reason
    _take(turn, instrument, body, KEYPAD)
    after = _known(turn, instrument)
    return after.state if after else "refused"


def unpark(turn: Turn) -> list[AccountConfig]:
    """Take in what was parked and can be now; the accounts that were credited."""
    credited: list[AccountConfig] = []
    for row in some(turn.db, InstrumentRow, "WHERE state = 'parked' ORDER BY account_no, epoch, gseq"):
        taken = _take(turn, decode(Instrument, row.body), row.body, row.carrier)
        if taken is not None and taken.credited and turn.plan.accounts[taken.account_no] not in credited:
            credited.append(turn.plan.accounts[taken.account_no])
    return credited


def parked_of(turn: Turn, account_no: int) -> int:
    """Parked instruments of an account, of whatever epoch."""
    query = "SELECT count(*) FROM instrument WHERE account_no = ? AND state = 'parked'"
    return int(turn.db.execute(query, (account_no,)).fetchone()[0])


def _verified(turn: Turn, envelope: bytes) -> bytes:
    if len(envelope) > MAX_PAYLOAD_BYTES:
        raise ContractError("larger than the contract allows")
    return verify1(turn.identity.command_keys, CHANNEL, envelope)


def _take(turn: Turn, instrument: Instrument, body: bytes, carrier: str) -> Taken | None:
    known = _known(turn, instrument)
    if known is not None and (known.state != "parked" or known.body != body):
        _compare(turn, instrument, body, known)
        return None
    account = turn.plan.accounts.get(instrument.account_no)
    if account is None or instrument.account_epoch > account.account_epoch:
        _park(turn, instrument, body, "account or epoch not here yet", carrier)
        return None
    reason = _why_refused(turn, instrument, account)
    waits = "" if reason in FINAL else _waits_for(turn, instrument, account)
    if waits:
        _park(turn, instrument, body, waits, carrier)
        return None
    if reason:
        return _refuse(turn, instrument, body, reason, carrier, account)
    apply_effect(turn, account, instrument)
    _store(turn, instrument, body, "applied", "", carrier)
    show_on_meter(turn, account, at_once=True)
    return Taken(account.account_no, credited=instrument.amount_nano > 0)


def _known(turn: Turn, instrument: Instrument) -> InstrumentRow | None:
    return one(turn.db, InstrumentRow, instrument.account_no, instrument.account_epoch, instrument.gseq)


def _why_refused(turn: Turn, instrument: Instrument, account: AccountConfig) -> str:
    rules: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: instrument.account_epoch == account.account_epoch, CLOSED_EPOCH),
        (lambda: instrument.gseq >= 1, "number"),
        (lambda: not turn.book(account).state.used.is_used(instrument.gseq), NUMBER_USED),
        (lambda: instrument.currency == account.currency, "currency"),
        (lambda: instrument.type in EFFECTS, "unknown type"),
    )
    unfit = next((reason for holds, reason in rules if not holds()), "") or fault_of(instrument)
    unfit = unfit or leases.why_refused(instrument, account, turn.book(account).state)
    return unfit or _overflow(turn, instrument, account) or price_changes.why_refused(turn, instrument)


def _overflow(turn: Turn, instrument: Instrument, account: AccountConfig) -> str:
    """Money that would take the balance above what it may be is refused whole, never clipped."""
    most_nano = most_balance(turn, account)
    return OVERFLOW if 0 < instrument.amount_nano > most_nano - turn.book(account).state.balance_nano else ""


def _waits_for(turn: Turn, instrument: Instrument, account: AccountConfig) -> str:
    """Why an instrument that is sound cannot be applied yet; '' when it can."""
    used, form = turn.book(account).state.used, form_of(instrument)
    if instrument.gseq > used.prefix + WIDTH:
        return "more than a window ahead"
    return f"before its turn: {used.prefix + 1} is missing" if form and form.barrier and instrument.gseq != used.prefix + 1 else ""


def _compare(turn: Turn, instrument: Instrument, body: bytes, known: InstrumentRow) -> None:
    """The signed copy of a code already taken must say the same; it is kept in the code's place."""
    if known.body == body:
        return
    by_code = decode(Instrument, known.body)
    if not by_code.previous and same_order(by_code, instrument):
        known.body = body
        save(turn.db, known)
    else:
        was_code = not by_code.previous
        reason = DISAGREES if was_code else "number used by another instrument"
        _report(turn, instrument, reason, "instruments_disagree" if was_code else "instrument_refused")


def _park(turn: Turn, instrument: Instrument, body: bytes, reason: str, carrier: str) -> None:
    waiting = int(turn.db.execute("SELECT count(*) FROM instrument WHERE state = 'parked'").fetchone()[0])
    if waiting >= PARKED_LIMIT:
        _report(turn, instrument, "too many parked; it is sent again until it is seen in the journal")
        return
    _store(turn, instrument, body, "parked", reason, carrier)


def _refuse(
    turn: Turn, instrument: Instrument, body: bytes, reason: str, carrier: str, account: AccountConfig
) -> Taken | None:
    """Refused for good: the number is used in the journal, with the reason, so that nothing waits for it."""
    if reason not in FINAL:
        refuse_number(turn, account, instrument, reason)
        if instrument.type == InstrumentType.LEASE:
            leases.refused(turn, instrument)
    if reason != NUMBER_USED and instrument.gseq >= 1:
        _store(turn, instrument, body, "refused", reason, carrier)
    _report(turn, instrument, reason)
    return None if reason in FINAL else Taken(account.account_no, refused=True)


def _store(turn: Turn, instrument: Instrument, body: bytes, state: str, reason: str, carrier: str) -> None:
    key = (instrument.account_no, instrument.account_epoch, instrument.gseq)
    save(turn.db, InstrumentRow(*key, body, state, reason, instrument.amount_nano, turn.now_ms, carrier))


def _report(turn: Turn, instrument: Instrument, reason: str, event: str = "instrument_refused") -> None:
    account = turn.plan.accounts.get(instrument.account_no)
    where = f"account={instrument.account_no} epoch={instrument.account_epoch} gseq={instrument.gseq}"
    turn.report(account.meter_no if account else 0, event, f"{where} reason={reason}")


def _refuse_unknown(turn: Turn, reason: str) -> None:
    """Nothing of an unverified envelope may be believed, and a flood of them may not fill the store."""
    turn.report_seldom("instrument_refused", f"reason={reason[:200]}")
