"""People, their logins, and the accounts (service agreements) they hold: the records the services return.

* A prepaid account is one service agreement at one usage point (architecture.md 7); it has one currency for life.
* `actor` in every writing call is the login of the person, or 'system', who caused it; it goes to the audit rows.
"""

from __future__ import annotations

from enum import StrEnum

from gridtally_shared.records import dataclass


class Role(StrEnum):
    """What a login may do. A consumer sees his own accounts, the desk all of them, operations the field, admin users."""

    CONSUMER = "consumer"
    DESK = "desk"
    OPERATIONS = "operations"
    ADMIN = "admin"


STAFF = frozenset({Role.DESK, Role.OPERATIONS, Role.ADMIN})


class Mode(StrEnum):
    PREPAID = "prepaid"
    POSTPAID = "postpaid"


class LoginOutcome(StrEnum):
    OK = "ok"
    WRONG = "wrong"
    LOCKED = "locked"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class User:
    """`must_change`: every page but the password form redirects until a new password is set."""

    user_id: int
    login: str
    name: str
    role: Role
    language: str
    active: bool
    must_change: bool
    customer_no: int | None
    created_at_ms: int

    @property
    def is_staff(self) -> bool:
        return self.role in STAFF


@dataclass(frozen=True, slots=True)
class LoginResult:
    """`user` only with OK. A locked or unknown login looks like a wrong password to the page; `retry_after_s` is 0
    unless the lock-out is to be shown."""

    outcome: LoginOutcome
    user: User | None = None
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """`touch_due`: the last use on record is old enough that the page should call `touch_session`."""

    session_no: int
    user_id: int
    created_at_ms: int
    seen_at_ms: int
    source: str
    agent: str
    touch_due: bool = False


@dataclass(frozen=True, slots=True)
class AuditRow:
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Customer:
    customer_no: int
    name: str
    email: str
    phone: str
    address: str
    language: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What may happen at zero, as the edge gets it (`AccountConfig`)."""

    low_balance_nano: int = 2_000_000_000
    zero_action: str = "none"
    offline_cut: str = "never"
    offline_grace_h: int = 0
    protected_hours: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    restore_min_nano: int = 1
    arm_only: bool = False
    notice_lead_s: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """A service agreement with what a page needs of its customer, usage point and meter."""

    account_no: int
    customer_no: int
    customer_name: str
    usage_point_no: int
    address: str
    meter_no: int
    meter_serial: str
    dcu: str
    mode: Mode
    tariff_id: str
    currency: str
    zone: str
    language: str
    label: str
    account_epoch: int
    policy: Policy
    pin_hash: str
    opened_at_ms: int
    closed_at_ms: int | None

    @property
    def is_prepaid(self) -> bool:
        return self.mode is Mode.PREPAID
