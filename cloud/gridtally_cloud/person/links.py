"""A person of the store: accounts, logins, places with their time, what names the person; and which rows are the person's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, func, or_, select

from gridtally_cloud.customers.accounts import AccountReason
from gridtally_cloud.customers.contact_tables import consumer_message
from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.tables import account, app_user, audit_row, customer
from gridtally_cloud.integrations.webhook_tables import webhook_notice
from gridtally_cloud.person.held import BY_NAME, Held, pseudonym
from gridtally_cloud.prepay.enrolment_tables import prepay_request
from gridtally_cloud.prepay.tables import payment_method
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.schema import metadata
from gridtally_cloud.store.tables import channel, meter
from gridtally_cloud.web.tables import api_token
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

Condition = ColumnElement[bool]
AHEAD_MS = 2**62
SHORTEST = 4
"""Letters of a word that is looked for in texts; a name is looked for whatever its length."""


@dataclass(frozen=True, slots=True)
class Span:
    """A usage point and its meter in the time of one account; `to_ms` None while it is open."""

    account_no: int
    usage_point_no: int
    meter_no: int
    from_ms: int
    to_ms: int | None


@dataclass(frozen=True, slots=True)
class Person:
    """`actors`: how the person is named where somebody did something, and what stands there after an erasure. `names`: words that name
    the person in texts."""

    customer_no: int
    created_ms: int
    spans: tuple[Span, ...]
    actors: tuple[tuple[str, str], ...]
    names: tuple[str, ...]

    @property
    def accounts(self) -> tuple[int, ...]:
        return tuple(span.account_no for span in self.spans)


def find(conn: Connection, customer_no: int, hold: bool = False) -> Person:
    """With `hold` nobody else changes customer or accounts until the end of the transaction. Raises RefusedCommand (unknown_customer)."""
    one = select(customer).where(customer.c.customer_no == customer_no)
    row = conn.execute(one.with_for_update() if hold else one).one_or_none()
    if row is None:
        raise RefusedCommand(AccountReason.UNKNOWN_CUSTOMER, f"there is no customer {customer_no}: the pages of the desk show the numbers")
    a = account.c
    held = select(account).where(a.customer_no == customer_no).order_by(a.account_no)
    rows = conn.execute(held.with_for_update() if hold else held).all()
    spans = tuple(Span(r.account_no, r.usage_point_no, r.meter_no, r.opened_ms, r.closed_ms) for r in rows)
    return Person(customer_no, row.created_ms, spans, _actors(conn, customer_no), _names(conn, row, rows))


def _actors(conn: Connection, customer_no: int) -> tuple[tuple[str, str], ...]:
    u, k, new = app_user.c, api_token.c, pseudonym(customer_no)
    pairs = []
    for login in conn.execute(select(u.login).where(u.customer_no == customer_no, u.role == Role.CONSUMER.value)).scalars():
        pairs += [(login, new), (f"consumer:{login}", f"consumer:{new}"), (f"user:{login}", f"user:{new}")]
    single = select(k.name).group_by(k.name).having(func.count() == 1)
    mine = select(k.token_no, k.name).where(k.customer_no == customer_no, k.name.in_(single))
    for number, name in conn.execute(mine):
        pairs += [(f"{kind}:{name}", f"{kind}:{new}.{number}") for kind in ("api", "token")]
    return tuple(pairs)


def _names(conn: Connection, row: Any, accounts: Iterable[Any]) -> tuple[str, ...]:
    """Longest first."""
    numbers = [r.account_no for r in accounts]
    u, q, m, p = app_user.c, prepay_request.c, consumer_message.c, payment_method.c
    users = conn.execute(select(u.login, u.name).where(u.customer_no == row.customer_no, u.role == Role.CONSUMER.value)).all()
    asked = conn.execute(select(q.name, q.address).where(q.account_no.in_(numbers))).all()
    people = [row.name, *(user.name for user in users), *(wish.name for wish in asked)]
    found = {row.email, row.phone, row.address, row.external_ref or "", *people, *(user.login for user in users)}
    found.update(wish.address for wish in asked)
    found.update(r.label for r in accounts)
    found.update(conn.execute(select(m.address).where(m.account_no.in_(numbers))).scalars())
    found.update(conn.execute(select(p.label).where(p.account_no.in_(numbers))).scalars())
    found.update(part for name in people for part in name.split())
    words = {text.strip() for text in found if len(text.strip()) >= SHORTEST} | {row.name.strip()} - {""}
    return tuple(sorted(words, key=len, reverse=True))


def rows_of(person: Person, held: Held) -> Condition:
    """Which rows of a table are the person's."""
    table = metadata.tables[held.table]
    if held.link in _OTHER:
        return _OTHER[held.link](person)
    if "<" in held.link:
        column, parent = held.link.split("<")
        return table.c[column].in_(select(metadata.tables[parent].c[column]).where(rows_of(person, BY_NAME[parent])))
    if "@" in held.link:
        here = table.c.shard == SHARD if "shard" in table.c else None
        place, time = held.link.split("@")
        found = or_(false(), *(_in_time(table, place, time, span) for span in person.spans))
        return found if here is None else and_(here, found)
    if held.link == "account_no":
        return table.c.account_no.in_(person.accounts)
    mine: Condition = table.c.customer_no == person.customer_no
    return and_(mine, app_user.c.role == Role.CONSUMER.value) if table is app_user else mine


def _in_time(table: Any, place: str, time: str, span: Span) -> Condition:
    at, where = table.c[time], _at_place(table.c[place], place, span)
    return and_(where, at >= span.from_ms, at < (AHEAD_MS if span.to_ms is None else span.to_ms))


def _at_place(column: Any, place: str, span: Span) -> Condition:
    """`place`: usage_point_no, meter_no or channel_no."""
    point = span.usage_point_no
    if place == "channel_no":
        return and_(column.in_(select(channel.c.channel_no).where(channel.c.usage_point_no == point)))
    if place == "meter_no":
        return or_(column == span.meter_no, column.in_(select(meter.c.meter_no).where(meter.c.usage_point_no == point)))
    return and_(column == point)


def _audit(person: Person) -> Condition:
    names = [old for old, _ in person.actors]
    subjects = [f"customer:{person.customer_no}", *(f"account:{number}" for number in person.accounts), *names]
    return or_(audit_row.c.subject.in_(subjects), audit_row.c.actor.in_(names))


def _body(person: Person) -> Condition:
    said = (f'%"account_no": {number}{end}%' for number in person.accounts for end in ",}")
    return or_(false(), *(webhook_notice.c.body.like(text) for text in said))


_OTHER = {"audit": _audit, "body": _body}
