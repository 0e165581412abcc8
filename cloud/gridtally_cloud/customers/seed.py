"""A street put into the MDM: customers, usage points, meters, accounts, tariff, logins. For the demo and the tests.

* Idempotent: what is there by its serial, login or receipt number stays as it is; a second run changes nothing.
* Homes are named and addressed by their place in the street, so that every run has the same people.
* The last homes are postpaid; a home may be cut at zero only if it is named in `cut_serials` and its meter has a switch.
* An opening credit is a real cash payment of any size with a receipt number, not a balance written down.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, insert, select, update

from gridtally_cloud.customers import accounts, service, tariffs
from gridtally_cloud.customers.accounts import NewAccount
from gridtally_cloud.customers.model import Mode, Policy, Role
from gridtally_cloud.customers.street_file import StreetMeter
from gridtally_cloud.customers.tables import account, customer, tariff_version
from gridtally_cloud.customers.users import user_row
from gridtally_cloud.prepay.capture import pay_at_desk
from gridtally_cloud.prepay.settings import Limits, Payments
from gridtally_cloud.store.db import Database, insert_new
from gridtally_cloud.store.tables import dcu, meter, usage_point
from gridtally_shared.money import MAX_NANO, NANO
from gridtally_shared.pins import hash_pin
from gridtally_shared.records import dataclass

ACTOR = "import-street"

DEMO_TARIFF = (
    '{"kind": "flat", "name": "Home", "currency": "INR", "energy_per_kwh": "7.00", "fixed_per_day": "2.50", "tax_percent": "5"}'
)

PEOPLE = (
    "Asha Rao", "Bilal Khan", "Carmen Ortega", "Deepak Menon", "Elena Vidal", "Farah Siddiqui", "Gita Sharma", "Hugo Marín",
    "Imran Ali", "Jaya Pillai", "Kiran Desai", "Lucía Romero", "Meera Nair", "Nikhil Joshi", "Omar Haddad", "Priya Gupta",
    "Quim Serra", "Ravi Kumar", "Sara Lozano", "Tara Singh", "Usha Iyer", "Vikram Patel", "Waheeda Begum", "Yusuf Sheikh",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SeedUser:
    """A login to be made. `serial` ties a consumer to the home of that meter, `display_pin` opens its local balance page."""

    login: str
    name: str
    role: Role
    password: str
    serial: str = ""
    language: str = "en"
    must_change: bool = False
    display_pin: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the street is set up. `languages` go round the homes. `installed_ms`: since when the meters hang there, None for
    today; what a meter kept from before is set aside."""

    dcu: str
    zone: str = "Asia/Kolkata"
    currency: str = "INR"
    tariff_id: str = "home"
    tariff: str = DEMO_TARIFF
    street_name: str = "Acacia Lane"
    postpaid: int = 2
    cut_serials: frozenset[str] = frozenset()
    opening_credit_nano: int = 0
    low_balance_nano: int = 50 * NANO
    languages: tuple[str, ...] = ("en",)
    users: tuple[SeedUser, ...] = ()
    installed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SeededHome:
    serial: str
    meter_no: int
    account_no: int
    customer_no: int
    mode: Mode
    is_new: bool


def seed_street(db: Database, payments: Payments, street: tuple[StreetMeter, ...], plan: Plan, at_ms: int, *,
                real_ms: int | None = None) -> tuple[SeededHome, ...]:  # fmt: skip
    """Put the street in. `at_ms` is business time; logins are stamped with `real_ms`."""
    with db.write() as conn:
        insert_new(conn, dcu, [{"dcu": plan.dcu, "site": plan.street_name, "created_ms": at_ms}])
        _tariff(conn, plan, at_ms)
        homes = tuple(_home(conn, payments, place, m, plan, len(street), at_ms) for place, m in enumerate(street))
    by_serial = {home.serial: home.customer_no for home in homes}
    for user in plan.users:
        _user(db, user, by_serial.get(user.serial), at_ms if real_ms is None else real_ms)
    return homes


def _tariff(conn: Connection, plan: Plan, at_ms: int) -> None:
    if conn.execute(select(tariff_version.c.version).where(tariff_version.c.tariff_id == plan.tariff_id)).first() is None:
        tariffs.add_tariff(conn, plan.tariff_id, 0, plan.tariff, at_ms, ACTOR)


def _home(conn: Connection, payments: Payments, place: int, item: StreetMeter, plan: Plan, homes: int,
          at_ms: int) -> SeededHome:  # fmt: skip
    name = PEOPLE[place % len(PEOPLE)] + ("" if place < len(PEOPLE) else f" {place // len(PEOPLE) + 1}")
    address, language = f"{place + 1} {plan.street_name}", plan.languages[place % len(plan.languages)]
    customer_no = _customer(conn, name, address, language, f"street:{item.serial}", at_ms)
    meter_no, point_no = _meter(conn, item, plan, address, at_ms)
    known = conn.execute(select(account.c.account_no, account.c.mode).where(account.c.meter_no == meter_no)).first()
    if known is not None:
        return SeededHome(item.serial, meter_no, known.account_no, customer_no, Mode(known.mode), False)
    mode = Mode.POSTPAID if place >= homes - plan.postpaid else Mode.PREPAID
    opened = accounts.open_account(conn, NewAccount(
        customer_no, point_no, meter_no, mode, plan.tariff_id, plan.currency, plan.zone, language, address, at_ms,
        _policy(plan, item), _pin_hash(plan, item.serial),
    ), ACTOR)  # fmt: skip
    if plan.opening_credit_nano and mode is Mode.PREPAID:
        any_amount = replace(payments, limits={plan.currency: Limits(1, MAX_NANO)})
        pay_at_desk(conn, any_amount, opened.account_no, plan.opening_credit_nano, f"opening-{item.serial}", at_ms, ACTOR)
    return SeededHome(item.serial, meter_no, opened.account_no, customer_no, mode, True)


def _policy(plan: Plan, item: StreetMeter) -> Policy:
    if item.serial in plan.cut_serials and item.has_switch:
        return Policy(low_balance_nano=plan.low_balance_nano, zero_action="disconnect", offline_cut="allowed")
    return Policy(low_balance_nano=plan.low_balance_nano)


def _pin_hash(plan: Plan, serial: str) -> str:
    pin = next((user.display_pin for user in plan.users if user.serial == serial), "")
    return hash_pin(pin) if pin else ""


def _customer(conn: Connection, name: str, address: str, language: str, external_ref: str, at_ms: int) -> int:
    known = conn.execute(select(customer.c.customer_no).where(customer.c.external_ref == external_ref)).scalar_one_or_none()
    if known is not None:
        return int(known)
    made = accounts.create_customer(conn, name, at_ms, ACTOR, address=address, language=language, external_ref=external_ref)
    return made.customer_no


def _meter(conn: Connection, item: StreetMeter, plan: Plan, address: str, at_ms: int) -> tuple[int, int]:
    """Number and usage point of the meter; one already there is kept and given a usage point if it has none."""
    row = conn.execute(select(meter).where(meter.c.serial == item.serial)).one_or_none()
    if row is not None and row.usage_point_no is not None:
        return row.meter_no, row.usage_point_no
    point = insert(usage_point).values(label=address, address=address, zone=plan.zone, created_ms=at_ms)
    point_no = conn.execute(point.returning(usage_point.c.usage_point_no)).scalar_one()
    if row is not None:
        conn.execute(update(meter).where(meter.c.meter_no == row.meter_no).values(usage_point_no=point_no))
        return row.meter_no, point_no
    installed_ms = at_ms if plan.installed_ms is None else plan.installed_ms
    new = insert(meter).values(serial=item.serial, driver=item.driver, dcu=plan.dcu, usage_point_no=point_no, label=address,
                               installed_ms=installed_ms).returning(meter.c.meter_no)  # fmt: skip
    return conn.execute(new).scalar_one(), point_no


def _user(db: Database, user: SeedUser, customer_no: int | None, at_ms: int) -> None:
    with db.read() as conn:
        known = user_row(conn, user.login) is not None
    if not known:
        service.create_user(db, user.login, user.name, user.role, user.password, at_ms, ACTOR, language=user.language,
                            customer_no=customer_no, must_change=user.must_change)  # fmt: skip
