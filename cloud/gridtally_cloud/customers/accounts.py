"""Customers and their accounts (service agreements): who may see what, and the row behind every edge configuration.

* Refusals are `RefusedCommand` with a code of `AccountReason` and a sentence in `detail`.
* Currency, zone and usage point of an account never change; everything else is a new configuration version.
* Whoever moves an account's money, or changes how it is run, holds its row from before the first look to his commit: account rows by
  number first, then mirrors, books, meters and numbers.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, String, Table, bindparam, cast, insert, or_, select, update

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.eligible import check_prepaid
from gridtally_cloud.customers.model import Account, Customer, Mode, Policy, User
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.customers.tables import customer as customer_table
from gridtally_cloud.store.tables import meter, usage_point
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass


class AccountReason(StrEnum):
    UNKNOWN_ACCOUNT = "unknown_account"
    UNKNOWN_CUSTOMER = "unknown_customer"
    METER_IN_USE = "meter_in_use"
    METER_NOT_PROVISIONED = "meter_not_provisioned"
    BAD_POLICY = "bad_policy"


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What opening an account needs. `account_no` 0 lets the store choose."""

    customer_no: int
    usage_point_no: int
    meter_no: int
    mode: Mode
    tariff_id: str
    currency: str
    zone: str
    language: str
    label: str
    opened_at_ms: int
    policy: Policy = field(default_factory=Policy)
    pin_hash: str = ""
    account_no: int = 0


ZERO_ACTIONS = ("none", "disconnect")
OFFLINE_CUTS = ("never", "grace", "allowed")


def _join(text: tuple[str, ...]) -> str:
    return ",".join(text)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def policy_from(row: Row[Any]) -> Policy:
    return Policy(row.low_balance_nano, row.zero_action, row.offline_cut, row.offline_grace_h, _split(row.protected_hours),
                  _split(row.holds), row.restore_min_nano, row.arm_only, row.notice_lead_s)  # fmt: skip


def policy_values(policy: Policy) -> dict[str, Any]:
    """Columns of a policy. Raises RefusedCommand (bad_policy)."""
    if policy.zero_action not in ZERO_ACTIONS or policy.offline_cut not in OFFLINE_CUTS:
        raise RefusedCommand(AccountReason.BAD_POLICY, f"{policy.zero_action}/{policy.offline_cut}: zero_action is one of "
                             f"{', '.join(ZERO_ACTIONS)}, offline_cut one of {', '.join(OFFLINE_CUTS)}")  # fmt: skip
    return {
        "low_balance_nano": policy.low_balance_nano, "zero_action": policy.zero_action, "offline_cut": policy.offline_cut,
        "offline_grace_h": policy.offline_grace_h, "protected_hours": _join(policy.protected_hours),
        "holds": _join(policy.holds), "restore_min_nano": policy.restore_min_nano, "arm_only": policy.arm_only,
        "notice_lead_s": policy.notice_lead_s,
    }  # fmt: skip


def _from(a: Table = account_table, c: Table = customer_table) -> Any:
    columns = (*a.c, c.c.name.label("customer_name"), usage_point.c.address.label("place"), meter.c.serial, meter.c.dcu)
    joined = a.join(c, c.c.customer_no == a.c.customer_no)
    joined = joined.join(usage_point, usage_point.c.usage_point_no == a.c.usage_point_no)
    return select(*columns).select_from(joined.join(meter, meter.c.meter_no == a.c.meter_no))


_ALL = _from().order_by(account_table.c.account_no)
_ONE = _from().where(account_table.c.account_no == bindparam("number"))
_OF_DCU = _ALL.where(meter.c.dcu == bindparam("of_dcu"), account_table.c.closed_ms.is_(None))
_CUSTOMER = select(customer_table).where(customer_table.c.customer_no == bindparam("number"))


def _account(row: Row[Any]) -> Account:
    return Account(
        row.account_no, row.customer_no, row.customer_name, row.usage_point_no, row.place, row.meter_no, row.serial,
        row.dcu or "", Mode(row.mode), row.tariff_id, row.currency, row.zone, row.language, row.label, row.account_epoch,
        policy_from(row), row.pin_hash, row.opened_ms, row.closed_ms,
    )  # fmt: skip


def create_customer(conn: Connection, name: str, at_ms: int, actor: str, *, email: str = "", phone: str = "",
                    address: str = "", language: str = "en", external_ref: str | None = None) -> Customer:  # fmt: skip
    values = {"name": name, "email": email, "phone": phone, "address": address, "language": language,
              "external_ref": external_ref, "created_ms": at_ms}  # fmt: skip
    row = conn.execute(insert(customer_table).values(values).returning(customer_table)).one()
    record(conn, at_ms, actor, "customer.created", f"customer:{row.customer_no}")
    return _customer(row)


def _customer(row: Row[Any]) -> Customer:
    return Customer(row.customer_no, row.name, row.email, row.phone, row.address, row.language)


def customer(conn: Connection, customer_no: int) -> Customer:
    """Raises RefusedCommand (unknown_customer)."""
    row = conn.execute(_CUSTOMER, {"number": customer_no}).one_or_none()
    if row is None:
        raise RefusedCommand(AccountReason.UNKNOWN_CUSTOMER, f"there is no customer {customer_no}")
    return _customer(row)


def open_account(conn: Connection, new: NewAccount, actor: str) -> Account:
    """Open a service agreement. Raises RefusedCommand when its meter already serves an open account, and for a prepaid one
    whose meter no concentrator serves, where the money would have nowhere to go, or whose tariff a balance can not be charged by."""
    t = account_table.c
    hold_meter(conn, new.meter_no)
    taken = conn.execute(select(t.account_no).where(t.meter_no == new.meter_no, t.closed_ms.is_(None))).scalar_one_or_none()
    if taken is not None:
        raise RefusedCommand(AccountReason.METER_IN_USE, f"meter {new.meter_no} already serves account {taken}: close that first")
    served = select(meter.c.dcu).where(meter.c.meter_no == new.meter_no, meter.c.removed_ms.is_(None))
    if new.mode is Mode.PREPAID and conn.execute(served).scalar_one_or_none() is None:
        raise RefusedCommand(AccountReason.METER_NOT_PROVISIONED, f"meter {new.meter_no} is not provisioned for prepayment: no "
                             "concentrator serves it; install it and bind it to one first")  # fmt: skip
    if new.mode is Mode.PREPAID:
        check_prepaid(conn, new.tariff_id, new.zone, new.opened_at_ms)
    values = {
        "customer_no": new.customer_no, "usage_point_no": new.usage_point_no, "meter_no": new.meter_no, "mode": new.mode.value,
        "tariff_id": new.tariff_id, "currency": new.currency, "zone": new.zone, "language": new.language, "label": new.label,
        "pin_hash": new.pin_hash, "opened_ms": new.opened_at_ms, **policy_values(new.policy),
        **({"account_no": new.account_no} if new.account_no else {}),
    }  # fmt: skip
    number = conn.execute(insert(account_table).values(values).returning(t.account_no)).scalar_one()
    record(conn, new.opened_at_ms, actor, "account.opened", f"account:{number}", new.mode.value)
    return account(conn, number)


def hold_meter(conn: Connection, meter_no: int) -> None:
    """Until this transaction ends nobody else lets an account or a schedule have this meter."""
    conn.execute(select(meter.c.meter_no).where(meter.c.meter_no == meter_no).with_for_update(key_share=True))


def set_policy(conn: Connection, account_no: int, policy: Policy, at_ms: int, actor: str) -> Account:
    """Change what happens at zero; the configuration publisher brings it to the edge."""
    before = account(conn, account_no)
    conn.execute(update(account_table).where(account_table.c.account_no == account_no).values(policy_values(policy)))
    record(conn, at_ms, actor, "account.policy", f"account:{account_no}", f"{before.policy} -> {policy}")
    return account(conn, account_no)


def account(conn: Connection, account_no: int) -> Account:
    """Raises RefusedCommand (unknown_account)."""
    row = conn.execute(_ONE, {"number": account_no}).one_or_none()
    if row is None:
        raise RefusedCommand(AccountReason.UNKNOWN_ACCOUNT, f"there is no account {account_no}: check the number on the bill")
    return _account(row)


_HOLD = (select(account_table.c.account_no).where(account_table.c.account_no.in_(bindparam("numbers", expanding=True)))
         .order_by(account_table.c.account_no).with_for_update(key_share=True))  # fmt: skip


def hold(conn: Connection, *numbers: int) -> None:
    """Until this transaction ends nobody else moves money of these accounts, or changes their mode, meter or epoch. On SQLite nobody
    could."""
    if conn.dialect.name != "sqlite" and numbers:
        conn.execute(_HOLD, {"numbers": sorted(set(numbers))}).all()


def held(conn: Connection, account_no: int) -> Account:
    """An account as it is, and stays until this transaction ends. Raises RefusedCommand (unknown_account)."""
    hold(conn, account_no)
    return account(conn, account_no)


def accounts_of_dcu(conn: Connection, dcu: str) -> tuple[Account, ...]:
    """Open accounts whose meter this DCU serves, by number."""
    return tuple(_account(r) for r in conn.execute(_OF_DCU, {"of_dcu": dcu}))


def all_accounts(conn: Connection) -> tuple[Account, ...]:
    return tuple(_account(r) for r in conn.execute(_ALL))


def list_accounts_for(conn: Connection, user: User) -> tuple[Account, ...]:
    """A consumer's own accounts; all accounts for staff."""
    if user.is_staff:
        return all_accounts(conn)
    query = _ALL.where(account_table.c.customer_no == user.customer_no)
    return tuple(_account(r) for r in conn.execute(query))


def may_see(conn: Connection, user: User, account_no: int) -> bool:
    """Whether this user may see the account. Check it before every page and call about an account."""
    t = account_table.c
    owner = conn.execute(select(t.customer_no).where(t.account_no == account_no)).scalar_one_or_none()
    return owner is not None and (user.is_staff or owner == user.customer_no)


def find_accounts(conn: Connection, text: str, limit: int = 50) -> tuple[Account, ...]:
    """Accounts by number, customer name, address, meter serial or phone, for the desk."""
    pattern = "%" + text.strip().replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_") + "%"
    fields = (customer_table.c.name, usage_point.c.address, meter.c.serial, customer_table.c.phone, account_table.c.label,
              cast(account_table.c.account_no, String))  # fmt: skip
    matching = or_(*(f.ilike(pattern, escape="\\") for f in fields))
    return tuple(_account(r) for r in conn.execute(_ALL.where(matching).limit(limit)))
