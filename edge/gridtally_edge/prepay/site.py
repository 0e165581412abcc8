"""Work on site: a named person disables, enables or limits a supply: sets or lifts a safety or work hold, opens the switch with it,
closes what an order opened, sets a load limit.

* Nothing else lifts these holds: no payment, no time, no command, no instrument, no configuration (account_orders.py).
* The person is known here by name and proves to be the one by a PIN, which never leaves the terminal: what comes is derived from
  it, what is stored is a hash of that. Five wrong ones lock this name, as a keypad.
* The journal says who lifted what before anything follows. A close takes the next number of the switch, and only a supply that was
  opened by an order, or by nobody known, is closed so: what money, a limit or a schedule opened comes back by their own rules.
* An open goes with a hold, so that nothing brings the supply back while somebody works there. It is for safety or work, which stand
  above every protection. A limit is that of a signed order: a later one of the MDM replaces it; gas is never limited.

Source: safety.md 1, 3, 4; ETSI 5.2.13 step 1.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum
from typing import TypeVar

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import account_orders, actions, keypad_lock, meter_holds
from gridtally_edge.prepay.events import HoldAsked, PersonNamed, SiteAnswered
from gridtally_edge.prepay.keypad_lock import Lock
from gridtally_edge.prepay.rows import OrderRow, one, save
from gridtally_edge.prepay.site_rows import FieldPersonRow
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.contract.messages import AccountConfig, InstrumentType, MeterConfig
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments.details import LIFTED_ON_SITE, HoldOrder, LimitOrder
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import InstrumentEvidence, detail
from gridtally_shared.ledger.standing_orders import HOLD
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.prepay.holds import holds_against_close
from gridtally_shared.records import dataclass
from gridtally_shared.supply_test import FLOWING_W, LIVE_MV

LONGEST_NAME = 60
PROOF_BYTES = 32
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SiteOrder:
    """What a person at the box asks for. `close`: the supply is to come back after the lift; `open`: it is to go off with the hold;
    `limit_w`: a load limit instead of a hold, 0 lifts it. `meter_no`: how the supply is named where nobody pays there in advance."""

    person: str = key(0)
    proof: bytes = key(1)
    reason: str = key(2)
    on: bool = key(3, False)
    close: bool = key(4, False)
    open: bool = key(5, False)
    limit_w: int | None = key(6, None)
    meter_no: int = key(7, 0)


@dataclass(frozen=True, slots=True)
class Place:
    """A supply at this box. `account` None: another one runs it, or nobody pays there in advance; `account_no` is what it is called then, 0
    by its meter."""

    meter_no: int
    account: AccountConfig | None
    account_no: int


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to be known here; without a verifier: no more."""

    name: str = key(0)
    salt: bytes = key(1, b"")
    verifier: bytes = key(2, b"")


class SiteResult(StrEnum):
    LIFTED = "lifted"
    SET = "set"
    CLOSING = "closing"
    OPENING = "opening"
    NOT_OPENED = "not_opened"
    LIMITED = "limited"
    NOT_LIMITED = "not_limited"
    NOT_HERE = "not_here"
    NOT_HELD = "not_held"
    NOT_CLOSED = "not_closed"
    WRONG_PIN = "wrong_pin"
    LOCKED = "locked"
    UNKNOWN_PERSON = "unknown_person"
    UNKNOWN_ACCOUNT = "unknown_account"
    OTHER_REASON = "other_reason"
    MALFORMED = "malformed"
    KNOWN = "known"
    FORGOTTEN = "forgotten"


def proof_of(pin: str, salt: bytes) -> bytes:
    """What a PIN gives with the person's salt: slow on purpose, so it is made at the terminal."""
    return hashlib.scrypt(pin.encode(), salt=salt, n=2**14, r=8, p=1, dklen=PROOF_BYTES)


def verifier_of(proof: bytes) -> bytes:
    return hashlib.sha256(proof).digest()


def named(turn: Turn, event: PersonNamed) -> None:
    """Know a person, or forget him; both are told to the cloud."""
    person = _read(Person, event.text)
    if person is None or not 0 < len(person.name) <= LONGEST_NAME or not person.name.isprintable():
        _answer(turn, event.entry_id, SiteResult.MALFORMED)
        return
    if not person.verifier:
        gone = turn.db.execute("DELETE FROM field_person WHERE name = ?", (person.name,)).rowcount
        result = SiteResult.FORGOTTEN if gone else SiteResult.UNKNOWN_PERSON
    else:
        save(turn.db, FieldPersonRow(person.name, person.salt, person.verifier, turn.now_ms))
        result = SiteResult.KNOWN
    if result is not SiteResult.UNKNOWN_PERSON:
        turn.report(0, "field_person_changed", f"person={person.name} {result}")
    _answer(turn, event.entry_id, result)


def asked(turn: Turn, event: HoldAsked) -> AccountConfig | None:
    """Set or lift a hold, or a limit; the account that stands otherwise now, for the engine to look at."""
    order = _read(SiteOrder, event.text)
    if order is None:
        _answer(turn, event.entry_id, SiteResult.MALFORMED)
        return None
    place = _place(turn, event.account_no, order)
    refusal = _refusal(turn, event.account_no, order, place)
    if refusal is not None:
        _answer(turn, event.entry_id, refusal)
    elif place is None:
        _lifted_aside(turn, event, order)
    else:
        act = _limit if order.limit_w is not None else _held if order.on else _lifted
        act(turn, event, place, order)
    return turn.plan.accounts.get(place.account.account_no) if refusal is None and place is not None and place.account else None


def _place(turn: Turn, account_no: int, order: SiteOrder) -> Place | None:
    """The supply that is meant, by the number of the account or of the meter."""
    account = turn.plan.accounts.get(account_no) or turn.plan.by_meter.get(order.meter_no)
    if account is not None:
        return Place(account.meter_no, account, account.account_no)
    run = (no for no, meter in turn.plan.meters.items() if account_no and meter.run_account_no == account_no)
    meter_no = order.meter_no or next(run, 0) or (0 if order.on else meter_holds.named_so(turn, account_no, order.reason))
    return Place(meter_no, None, account_no) if meter_no in turn.plan.meters and meter_no not in turn.plan.by_meter else None


def _limit(turn: Turn, event: HoldAsked, place: Place, order: SiteOrder) -> None:
    watts, account = order.limit_w or 0, place.account
    meter = turn.plan.meters.get(place.meter_no)
    refusal = SiteResult.NOT_HERE if account is None else SiteResult.NOT_LIMITED if _has_no_limit(meter, watts) else None
    if account is None or refusal is not None:
        _answer(turn, event.entry_id, refusal or SiteResult.NOT_HERE)
        return
    said = f"limit {watts} W" if watts else "limit lifted"
    account_orders.give(turn, account, InstrumentType.LIMIT_SET, LimitOrder(watts), f"{said} on site", by=order.person, reason=order.reason)
    turn.report(account.meter_no, "limit_changed_on_site", f"account={account.account_no} limit_w={watts} by={order.person}")
    _answer(turn, event.entry_id, SiteResult.LIMITED, str(watts))


def _has_no_limit(meter: MeterConfig | None, watts: int) -> bool:
    return bool(watts) and (meter is None or meter.commodity == "gas")


def _held(turn: Turn, event: HoldAsked, place: Place, order: SiteOrder) -> None:
    _set(turn, place, order)
    why_not = _why_not_open(turn, place.meter_no) if order.open else ""
    result = SiteResult.SET if not order.open else SiteResult.NOT_OPENED if why_not else SiteResult.OPENING
    if result is SiteResult.OPENING:
        _move(turn, place, order, close=False)
    _answer(turn, event.entry_id, result, why_not)


def _lifted(turn: Turn, event: HoldAsked, place: Place, order: SiteOrder) -> None:
    held = order.reason in account_orders.holds_at(turn, place.meter_no)
    _set(turn, place, order)  # his word counts too where this box, on an old disk, does not know of the hold
    left = holds_against_close((*account_orders.holds_at(turn, place.meter_no), *meter_holds.told_at(turn, place.meter_no)))
    result = SiteResult.LIFTED if held else SiteResult.NOT_HELD
    if order.close:
        why_not = ", ".join(left) or _why_not_close(turn, place.meter_no)
        result = SiteResult.NOT_CLOSED if why_not else SiteResult.CLOSING
        _answer(turn, event.entry_id, result, why_not)
        if not why_not:
            _move(turn, place, order, close=True)
    else:
        _answer(turn, event.entry_id, result, ", ".join(left))


def _lifted_aside(turn: Turn, event: HoldAsked, order: SiteOrder) -> None:
    """A hold of an account that is set aside until the next start; nothing is closed by it."""
    for row in _left(turn, event.account_no, order):
        row.value, row.at_ms = 0, turn.now_ms
        save(turn.db, row)
        said = f"account={row.account_no} hold={order.reason} lifted by={order.person}"
        turn.report(turn.book_of(row.account_no, row.epoch).state.meter_no, "hold_changed_on_site", said)
    _answer(turn, event.entry_id, SiteResult.LIFTED)


def _left(turn: Turn, account_no: int, order: SiteOrder) -> list[OrderRow]:
    rows = [row for meter_no in turn.plan.meters for row in account_orders.left_at(turn, meter_no)]
    name = HOLD + order.reason
    is_lift = not order.on and order.limit_w is None
    return [row for row in rows if is_lift and (row.account_no, row.name) == (account_no, name)]


def _set(turn: Turn, place: Place, order: SiteOrder) -> None:
    word = "set" if order.on else "lifted"
    hold, seen = HoldOrder(order.reason, order.on), f"hold {order.reason} {word} on site"
    if place.account is not None:
        account_orders.give(turn, place.account, InstrumentType.HOLD, hold, seen, by=order.person, reason=order.reason)
    else:
        meter_holds.say(turn, place.meter_no, hold, seen, order.person, place.account_no)
    turn.report(place.meter_no, "hold_changed_on_site", f"account={place.account_no} hold={order.reason} {word} by={order.person}")


def _move(turn: Turn, place: Place, order: SiteOrder, close: bool) -> None:
    action_id = actions.new_id()
    seen = f"{'close' if close else 'open'} ordered on site"
    evidence = detail(InstrumentEvidence(InstrumentType.HOLD, seen=seen, by=order.person, reason=order.reason))
    if place.account is not None:
        turn.book(place.account).add(Kind.CONTROL, turn.stamp(), meter_no=place.meter_no, cause=action_id, detail=evidence)
    else:
        meter_holds.tell(turn, place.meter_no, Kind.CONTROL, evidence, place.account_no)
    actions.order_on_site(turn, place.meter_no, place.account, action_id, close)


CLOSED_HERE = frozenset({OffReason.ORDER.value, OffReason.UNORDERED.value})


def _why_not_close(turn: Turn, meter_no: int) -> str:
    row = turn.switch(meter_no)
    live = (row.power_w or 0) > FLOWING_W or (row.load_side_mv or 0) > LIVE_MV
    rules = (
        (meter_no in turn.plan.meters, "the meter is not of this concentrator"),
        (SwitchState(row.state) is SwitchState.OPEN, "the switch is not open"),
        (row.off_reason in CLOSED_HERE, f"it is off by {row.off_reason or 'nothing'}, which gives it back by itself"),
        (not live, "there is voltage behind the switch"),
        (actions.open_action(turn, meter_no) is None, "the switch is being moved"),
    )
    return next((said for holds, said in rules if not holds), "")


def _why_not_open(turn: Turn, meter_no: int) -> str:
    state = SwitchState(turn.switch(meter_no).state)
    rules = (
        (meter_no in turn.plan.meters, "the meter is not of this concentrator"),
        (state is not SwitchState.NOT_FITTED, "the meter has no switch: open the main switch by hand"),
        (state is not SwitchState.OPEN, "the switch is open already"),
        (actions.open_action(turn, meter_no) is None, "the switch is being moved"),
    )
    return next((said for holds, said in rules if not holds), "")


# ---- who it is ----------------------------------------------------------------------------------------------------


def _refusal(turn: Turn, account_no: int, order: SiteOrder, place: Place | None) -> SiteResult | None:
    if order.reason not in LIFTED_ON_SITE:
        return SiteResult.OTHER_REASON
    if place is None and not _left(turn, account_no, order):
        return SiteResult.UNKNOWN_ACCOUNT
    person = one(turn.db, FieldPersonRow, order.person)
    if person is None:
        return SiteResult.UNKNOWN_PERSON
    stored = Lock(person.wrong, person.left_ms, person.seen_ms, person.boot_id)
    lock = keypad_lock.passed(stored, turn.identity.boot_id, turn.mono_ms or turn.now_ms)
    if lock.left_ms:
        _keep(turn, person, lock)
        return SiteResult.LOCKED
    good = hmac.compare_digest(verifier_of(order.proof), person.verifier)
    after = Lock(0, 0, lock.seen_ms, lock.boot_id) if good else keypad_lock.guessed_wrong(lock)
    _keep(turn, person, after)
    if after.left_ms:
        turn.report(0, "keypad_locked", f"person={person.name} wrong={after.wrong}")
    return None if good else SiteResult.WRONG_PIN


def _keep(turn: Turn, person: FieldPersonRow, lock: Lock) -> None:
    person.wrong, person.left_ms, person.seen_ms, person.boot_id = lock.wrong, lock.left_ms, lock.seen_ms, lock.boot_id
    save(turn.db, person)


def packed(record: SiteOrder | Person) -> str:
    """As text for the counter."""
    return encode(record).hex()


def _read(kind: type[T], text: str) -> T | None:
    try:
        return decode(kind, bytes.fromhex(text))
    except (ContractError, ValueError):
        return None


def _answer(turn: Turn, entry_id: bytes, result: SiteResult, text: str = "") -> None:
    turn.effects.append(SiteAnswered(entry_id, result.value, text))
