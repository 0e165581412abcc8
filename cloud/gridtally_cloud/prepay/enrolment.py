"""A request to prepay, from the portal, the desk or another program: checked, carried out at its time, confirmed, acknowledged.

* Who asks must be known: by the session of the portal, or by an identity check at the desk (customers/identity.py). Name and address
  must be those of the account. A field that is missing is named.
* No deposit is asked for. One that is held comes back as credit when the account becomes prepaid (handover.py).
* The option at zero is one the account is eligible for; its policy is kept with its version, and the account follows it from the
  beginning of the time frame on. Who is no longer eligible falls back to the programme's "none", by the signed configuration.
* A billed account is converted when its time comes, and back when it ends; it is prepaid when the mirror says so. The confirmation
  waits for a representative to acknowledge it, once, with name and time.

Source: C3-S1.1 to S1.4, S1.11, C3-IE1, IE6, C3-N3, N6.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gridtally_cloud.customers import identity, outgoing
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import customer as customer_of
from gridtally_cloud.customers.accounts import held, hold
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.eligible import check_prepaid
from gridtally_cloud.customers.model import Account, Mode
from gridtally_cloud.prepay import handover, offers, withdrawn
from gridtally_cloud.prepay.enrolment_tables import prepay_request
from gridtally_cloud.prepay.policies import follow, followed
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.prepay.policy import ZeroAction
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer


class RequestState(StrEnum):
    """STARTING: ordered, the meter has not confirmed it."""

    ASKED = "asked"
    STARTING = "starting"
    ACTIVE = "active"
    ENDED = "ended"
    REFUSED = "refused"


S = RequestState
NEXT: Mapping[RequestState, frozenset[RequestState]] = {
    S.ASKED: frozenset({S.STARTING, S.ACTIVE, S.REFUSED}),
    S.STARTING: frozenset({S.ACTIVE, S.REFUSED}),
    S.ACTIVE: frozenset({S.ENDED}),
    S.ENDED: frozenset(),
    S.REFUSED: frozenset(),
}


class EnrolReason(StrEnum):
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    WRONG_IDENTITY = "wrong_identity"
    OPEN_REQUEST = "open_request"
    NOTHING_CONFIRMED = "nothing_confirmed"
    UNKNOWN_REQUEST = "unknown_request"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `to_ms` None: until further notice. `credential`: what proved who asks. `deposit_nano`: a security deposit
    that is held, known to the desk, and comes back as credit."""

    account_no: int
    name: str
    address: str
    from_ms: int
    to_ms: int | None
    programme: str
    option: str
    source: str
    credential: str
    amount_nano: int = 0
    method: str = ""
    deposit_nano: int = 0
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a page shows it."""

    request_no: int
    wish: Wish
    policy_id: str
    policy_version: int
    state: RequestState
    reason: str
    asked_by: str
    asked_ms: int
    state_ms: int
    acknowledged_by: str
    acknowledged_ms: int | None

    @property
    def is_open(self) -> bool:
        return bool(NEXT[self.state])


REQUIRED = ("name", "address", "from_ms", "programme", "option", "credential")


def ask(conn: Connection, wish: Wish, at_ms: int, actor: str) -> Request:
    """Take a request in. Raises RefusedCommand (missing_field, bad_field, wrong_identity, open_request, not_offered, not_eligible,
    unknown_account)."""
    hold(conn, wish.account_no)
    known = _by_key(conn, wish.idempotency_key)
    if known is not None:
        return known
    _check_fields(wish, at_ms)
    account = account_of(conn, wish.account_no)
    if not identity.matches(account, customer_of(conn, account.customer_no), wish.name, wish.address):
        raise RefusedCommand(EnrolReason.WRONG_IDENTITY, f"name and address are not those of account {wish.account_no}: type them as "
                             "on the bill, or ask the desk to correct them")  # fmt: skip
    if any(r.is_open and r.state is not S.ACTIVE for r in requests(conn, wish.account_no)):
        raise RefusedCommand(EnrolReason.OPEN_REQUEST, f"account {wish.account_no} has a request on its way: wait until that is done")
    offer = offers.eligible(conn, account, wish.programme, wish.option, at_ms)
    if not account.is_prepaid:
        check_prepaid(conn, account.tariff_id, account.zone, at_ms)
    made = insert(prepay_request).values(_values(wish, offer, at_ms, actor)).returning(prepay_request.c.request_no)
    number = conn.execute(made).scalar_one()
    record(conn, at_ms, actor, "prepay.asked", f"account:{wish.account_no}", f"request {number}, {wish.option} by {wish.source}")
    return request(conn, number)


def _check_fields(wish: Wish, at_ms: int) -> None:
    for name in REQUIRED:
        if not getattr(wish, name):
            raise RefusedCommand(EnrolReason.MISSING_FIELD, f"{name.removesuffix('_ms')}: missing; a request to prepay has account, name, "
                                 "address, from, programme, option and what proves who asks")  # fmt: skip
    if wish.to_ms is not None and wish.to_ms <= max(wish.from_ms, at_ms):
        raise RefusedCommand(EnrolReason.BAD_FIELD, "to: the time frame is over before it begins; choose a later end, or none")
    if min(wish.amount_nano, wish.deposit_nano) < 0:
        raise RefusedCommand(EnrolReason.BAD_FIELD, "amount: write an amount of money above zero, or none")


def _values(wish: Wish, offer: offers.Offer, at_ms: int, actor: str) -> dict[str, Any]:
    return {
        "account_no": wish.account_no, "name": wish.name.strip(), "address": wish.address.strip(), "from_ms": wish.from_ms,
        "to_ms": wish.to_ms, "programme": wish.programme, "option": wish.option, "policy_id": offer.policy_id,
        "policy_version": offer.version, "amount_nano": wish.amount_nano, "method": wish.method, "source": wish.source,
        "deposit_nano": wish.deposit_nano, "credential": wish.credential, "state": S.ASKED.value, "asked_by": actor,
        "idempotency_key": wish.idempotency_key, "asked_ms": at_ms, "state_ms": at_ms,
    }  # fmt: skip


def acknowledge(conn: Connection, request_no: int, at_ms: int, actor: str) -> Request:
    """A representative has seen the confirmation; the first one stands. Raises RefusedCommand (nothing_confirmed, unknown_request)."""
    hold(conn, request(conn, request_no).wish.account_no)
    found = request(conn, request_no)
    if found.state not in (S.ACTIVE, S.ENDED):
        raise RefusedCommand(EnrolReason.NOTHING_CONFIRMED, f"request {request_no} is {found.state.value}: its meter has confirmed "
                             "nothing yet")  # fmt: skip
    if found.acknowledged_ms is None:
        mine = prepay_request.c.request_no == request_no
        conn.execute(update(prepay_request).where(mine).values(acknowledged_by=actor, acknowledged_ms=at_ms))
        record(conn, at_ms, actor, "prepay.acknowledged", f"account:{found.wish.account_no}", f"request {request_no}")
    return request(conn, request_no)


# ---- carried out ------------------------------------------------------------------------------------------------


def carry_out(db: Database, signer: Signer, now_ms: int) -> None:
    """The worker's part: begin what is due, note what meters confirmed, end what is over, see who is still eligible."""
    with db.read() as conn:
        if not _open(conn):
            return
    with db.write() as conn:
        for found in _open(conn):
            WORK[found.state](conn, signer, found, now_ms)


def _begin(conn: Connection, signer: Signer, found: Request, now_ms: int) -> None:
    if found.wish.from_ms > now_ms:
        return
    account = held(conn, found.wish.account_no)
    try:
        with conn.begin_nested():
            follow(conn, account.account_no, _eligible_policy(conn, account, found, now_ms), now_ms, "system:enrolment")
            if not account.is_prepaid:
                handover.convert(conn, signer, account.account_no, Mode.PREPAID, now_ms, "system:enrolment", found.wish.deposit_nano)
    except RefusedCommand as refused:
        _advance(conn, found, S.REFUSED, now_ms, f"{refused.reason}: {refused.detail}")
        return
    _advance(conn, found, S.ACTIVE if account.is_prepaid else S.STARTING, now_ms)


def _settle(conn: Connection, _signer: Signer, found: Request, now_ms: int) -> None:
    account = account_of(conn, found.wish.account_no)
    newest = handover.newest_order(conn, account)
    if account.is_prepaid:
        _advance(conn, found, S.ACTIVE, now_ms)
    elif newest is not None and newest.refused:
        _advance(conn, found, S.REFUSED, now_ms, f"{withdrawn.REASON}: {newest.refused}")


def _keep(conn: Connection, signer: Signer, found: Request, now_ms: int) -> None:
    """An active one: over, overtaken by another, or to be looked at for what it is eligible for."""
    account = account_of(conn, found.wish.account_no)
    if found.wish.to_ms is not None and found.wish.to_ms <= now_ms:
        if account.is_prepaid and handover.pending_mode(conn, account) is not Mode.POSTPAID:
            handover.convert(conn, signer, account.account_no, Mode.POSTPAID, now_ms, "system:enrolment")
        _advance(conn, found, S.ENDED, now_ms)
        return
    if requests(conn, account.account_no, 1)[0].request_no != found.request_no:
        return
    policy_id = _eligible_policy(conn, account, found, now_ms)
    if followed(conn).get(account.account_no) != policy_id:
        with suppress(RefusedCommand):  # it stays with what it follows
            follow(conn, account.account_no, policy_id, now_ms, "system:enrolment")
            outgoing.put(conn, account.account_no, "option_changed", f"request {found.request_no}/{now_ms}", now_ms)


WORK = {S.ASKED: _begin, S.STARTING: _settle, S.ACTIVE: _keep}


def _eligible_policy(conn: Connection, account: Account, found: Request, now_ms: int) -> str:
    """The policy of the chosen option, or that of "none" for an account which may no longer have it."""
    mine = {o.option: o for o in offers.offers(conn, account, now_ms) if o.programme == found.wish.programme}
    chosen = mine.get(ZeroAction(found.wish.option))
    if chosen is not None and not chosen.missing:
        return chosen.policy_id
    return mine[ZeroAction.NONE].policy_id if ZeroAction.NONE in mine else found.policy_id


def _advance(conn: Connection, found: Request, to: RequestState, at_ms: int, reason: str = "") -> None:
    if to not in NEXT[found.state]:
        raise ValueError(f"request {found.request_no}: {found.state.value} to {to.value}")
    mine = prepay_request.c.request_no == found.request_no
    conn.execute(update(prepay_request).where(mine).values(state=to.value, reason=reason[:300], state_ms=at_ms))
    record(conn, at_ms, "system:enrolment", f"prepay.{to.value}", f"account:{found.wish.account_no}", f"request {found.request_no}")
    outgoing.put(conn, found.wish.account_no, f"prepay_{to.value}", f"request {found.request_no}", at_ms)


# ---- as pages show them ------------------------------------------------------------------------------------------


def requests(conn: Connection, account_no: int, limit: int = 20) -> tuple[Request, ...]:
    """Requests of an account, newest first."""
    r = prepay_request.c
    rows = conn.execute(select(prepay_request).where(r.account_no == account_no).order_by(r.request_no.desc()).limit(limit))
    return tuple(_request(row) for row in rows)


def request(conn: Connection, request_no: int) -> Request:
    """Raises RefusedCommand (unknown_request)."""
    row = conn.execute(select(prepay_request).where(prepay_request.c.request_no == request_no)).one_or_none()
    if row is None:
        raise RefusedCommand(EnrolReason.UNKNOWN_REQUEST, f"there is no request {request_no}: see those of the account")
    return _request(row)


def _open(conn: Connection) -> tuple[Request, ...]:
    r = prepay_request.c
    rows = conn.execute(select(prepay_request).where(r.state.in_([s.value for s in WORK])).order_by(r.account_no, r.request_no))
    return tuple(_request(row) for row in rows)


def _by_key(conn: Connection, key: str | None) -> Request | None:
    row = conn.execute(select(prepay_request).where(prepay_request.c.idempotency_key == key)).one_or_none() if key else None
    return _request(row) if row is not None else None


def _request(r: Row[Any]) -> Request:
    wish = Wish(r.account_no, r.name, r.address, r.from_ms, r.to_ms, r.programme, r.option, r.source, r.credential, r.amount_nano,
                r.method, r.deposit_nano, r.idempotency_key)  # fmt: skip
    return Request(r.request_no, wish, r.policy_id, r.policy_version, RequestState(r.state), r.reason, r.asked_by, r.asked_ms, r.state_ms,
                   r.acknowledged_by, r.acknowledged_ms)  # fmt: skip
