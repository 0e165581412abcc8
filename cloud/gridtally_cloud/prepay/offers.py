"""What a programme offers at zero, and to whom: option, the policy it stands for, and what an account must be for it.

* An option is the `zero_action` of a policy of the catalogue; a policy that does something else can not stand for it.
* Every programme has the option "none" first: it is what an account falls back to that is no longer fit for its own.
* What an account follows travels to its meter in the signed configuration; nothing else changes what happens at zero.

Source: C3-N3, C3-S1.4; prepayment.md 3.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

from sqlalchemy import Connection, select

from gridtally_cloud.billing.overdue import arrears_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.enrolment_tables import programme_option
from gridtally_cloud.prepay.model import SupplyState
from gridtally_cloud.prepay.policies import versions
from gridtally_cloud.prepay.replenish_rules import methods
from gridtally_cloud.prepay.wallet import balance
from gridtally_cloud.store.db import upsert
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.prepay.document import policy_of
from gridtally_shared.prepay.in_force import active
from gridtally_shared.prepay.policy import ZeroAction
from gridtally_shared.records import dataclass

PROTECTING = frozenset({"medical", "priority", "regulator", "dispute"})
"""Holds that stand for a household, not for a day."""


class Need(StrEnum):
    SWITCH = "switch"
    NOT_PROTECTED = "not_protected"
    STORED_METHOD = "stored_method"
    NO_ARREARS = "no_arrears"


class OfferReason(StrEnum):
    NOT_OFFERED = "not_offered"
    NOT_ELIGIBLE = "not_eligible"
    NO_FALLBACK = "no_fallback"
    OTHER_ACTION = "other_action"
    UNKNOWN_NEED = "unknown_need"


@dataclass(frozen=True, slots=True)
class Offer:
    """`version` is the one in force now; `missing` what the account lacks, empty where it may be chosen."""

    programme: str
    option: ZeroAction
    policy_id: str
    version: int
    missing: tuple[Need, ...]


def _has_switch(conn: Connection, account: Account, _at_ms: int) -> bool:
    return balance(conn, account.account_no).supply is not SupplyState.NOT_FITTED


def _not_protected(_conn: Connection, account: Account, _at_ms: int) -> bool:
    return not PROTECTING & set(account.policy.holds)


def _has_method(conn: Connection, account: Account, _at_ms: int) -> bool:
    return bool(methods(conn, account.account_no))


def _not_overdue(conn: Connection, account: Account, at_ms: int) -> bool:
    """What is arranged or not late yet keeps no option away."""
    return account.is_prepaid or not arrears_of(conn, account, at_ms).overdue_nano


HOLDS: Mapping[Need, Callable[[Connection, Account, int], bool]] = {
    Need.SWITCH: _has_switch,
    Need.NOT_PROTECTED: _not_protected,
    Need.STORED_METHOD: _has_method,
    Need.NO_ARREARS: _not_overdue,
}


def set_option(conn: Connection, programme: str, policy_id: str, needs: tuple[str, ...], at_ms: int, actor: str) -> ZeroAction:
    """Offer what a policy does at zero in a programme. Raises RefusedCommand (not_offered, no_fallback, unknown_need)."""
    documents = versions(conn, policy_id)
    if not documents:
        raise RefusedCommand(OfferReason.NOT_OFFERED, f"there is no policy {policy_id!r}: load it first (gridtally-mdm policy)")
    option = policy_of(documents[-1].document).zero_action
    unknown = set(needs) - set(Need)
    if unknown:
        raise RefusedCommand(OfferReason.UNKNOWN_NEED, f"{', '.join(sorted(unknown))}: choose of {', '.join(Need)}")
    if option is not ZeroAction.NONE and ZeroAction.NONE not in [o for o, _, _ in _rows(conn, programme)]:
        raise RefusedCommand(OfferReason.NO_FALLBACK, f"programme {programme!r} has no option \"none\" yet: offer that first; it is "
                             "what an account falls back to that is no longer eligible")  # fmt: skip
    row = {"programme": programme, "option": option.value, "policy_id": policy_id, "needs": ",".join(needs), "changed_ms": at_ms}
    upsert(conn, programme_option, row)
    record(conn, at_ms, actor, "programme.offered", f"programme:{programme}", f"{option.value} by {policy_id}")
    return option


def _rows(conn: Connection, programme: str = "") -> list[tuple[ZeroAction, str, tuple[str, str]]]:
    p = programme_option.c
    query = select(programme_option).order_by(p.programme, p.option)
    rows = conn.execute(query.where(p.programme == programme) if programme else query)
    return [(ZeroAction(r.option), r.policy_id, (r.programme, r.needs)) for r in rows]


def offers(conn: Connection, account: Account, at_ms: int) -> tuple[Offer, ...]:
    """Every option there is, in force and in the account's currency, and what the account lacks for it; the mildest first."""
    made = (_offer(conn, account, row, at_ms) for row in _rows(conn))
    return tuple(sorted((o for o in made if o is not None), key=lambda o: (o.programme, o.option is not ZeroAction.NONE, o.option)))


def _offer(conn: Connection, account: Account, row: tuple[ZeroAction, str, tuple[str, str]], at_ms: int) -> Offer | None:
    option, policy_id, (programme, needs) = row
    document = active(policy_id, versions(conn, policy_id), at_ms)
    if document is None or policy_of(document.document).currency != account.currency:
        return None
    asked = tuple(Need(name) for name in needs.split(",") if name)
    return Offer(programme, option, policy_id, document.version, tuple(n for n in asked if not HOLDS[n](conn, account, at_ms)))


def eligible(conn: Connection, account: Account, programme: str, option: str, at_ms: int) -> Offer:
    """The offer an account may take. Raises RefusedCommand (not_offered, not_eligible)."""
    found = next((o for o in offers(conn, account, at_ms) if (o.programme, o.option) == (programme, option)), None)
    if found is None:
        raise RefusedCommand(OfferReason.NOT_OFFERED, f"programme {programme!r} does not offer {option!r} to this account: choose another")
    if found.missing:
        raise RefusedCommand(OfferReason.NOT_ELIGIBLE, f"account {account.account_no} can not have {option!r} in programme "
                             f"{programme!r}: {', '.join(found.missing)}. Choose another option")  # fmt: skip
    return found
