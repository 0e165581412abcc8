"""Policies in the cloud: versions as stored, which account follows which, and what of them travels in a DCU's configuration.

* Versions are added, never changed; each is in force from its `from_ms`, the start of a quarter of an hour, until the next
  one. A version begins after the one before it and not in the past (I25).
* An account follows a policy of its own currency. A sample follows only into trials: its `source` says what is missing.
* A policy that limits a load is kept by a concentrator only: an account that the MDM runs (prepay/managed.py) does not follow one, and a
  policy it follows gets no such version. What nobody carries out is refused, not taken and left undone.
* To the edge travel the version in force and all that are still to come; the configuration that carries them is signed.

Source: prepayment.md 3.6.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from gridtally_cloud.assets.account_config import account_config
from gridtally_cloud.customers.accounts import held
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.handover_tables import is_managed, managed_ones
from gridtally_cloud.prepay.policy_tables import account_policy, policy_version
from gridtally_cloud.store.db import in_turn
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.prepay.document import canonical, policy_of
from gridtally_shared.prepay.in_force import active, in_force
from gridtally_shared.prepay.policy import Policy, ZeroAction

BOUNDARY_MS = 900_000


class PolicyReason(StrEnum):
    UNKNOWN_POLICY = "unknown_policy"
    POLICY_IN_THE_PAST = "policy_in_the_past"
    NOT_AT_A_BOUNDARY = "not_at_a_boundary"
    OTHER_CURRENCY = "other_currency"
    LIMITS = "limits_at_zero"


def add_policy(conn: Connection, from_ms: int, document: str, at_ms: int, actor: str) -> PolicyDocument:
    """Add the next version of the policy that the document names. Raises ConfigError for one that is not understood,
    RefusedCommand for a time at which it can not begin, and for one that limits accounts which are managed from here."""
    text = canonical(document)
    policy_id, p = policy_of(text).code, policy_version.c
    in_turn(conn, f"policy {policy_id}")
    number, begun_ms = conn.execute(select(func.max(p.version), func.max(p.from_ms)).where(p.policy_id == policy_id)).one()
    if from_ms % BOUNDARY_MS:
        raise RefusedCommand(PolicyReason.NOT_AT_A_BOUNDARY, f"policy {policy_id}: a version begins with a quarter of an hour")
    if from_ms < at_ms - BOUNDARY_MS or (begun_ms is not None and from_ms <= begun_ms):
        raise RefusedCommand(PolicyReason.POLICY_IN_THE_PAST, f"policy {policy_id}: choose a later time than now and than version {number}")
    _check_managed(conn, policy_id, text)
    made = PolicyDocument(policy_id, (number or 0) + 1, from_ms, text)
    conn.execute(insert(policy_version).values(policy_id=policy_id, version=made.version, from_ms=from_ms, document=text, created_ms=at_ms))
    record(conn, at_ms, actor, "policy.added", f"policy:{policy_id}", f"version {made.version} from {from_ms}")
    return made


def follow(conn: Connection, account_no: int, policy_id: str, at_ms: int, actor: str) -> None:
    """Let an account follow a policy; "" lets it go back to its own rules. Raises RefusedCommand."""
    currency = held(conn, account_no).currency
    if policy_id:
        newest = versions(conn, policy_id)
        if not newest:
            raise RefusedCommand(PolicyReason.UNKNOWN_POLICY, f"there is no policy {policy_id!r}; load it first")
        if policy_of(newest[-1].document).currency != currency:
            raise RefusedCommand(PolicyReason.OTHER_CURRENCY, f"policy {policy_id} is not in {currency}, account {account_no} is")
        if is_managed(conn, account_no) and will_limit(conn, policy_id, at_ms):
            raise RefusedCommand(PolicyReason.LIMITS, f"policy {policy_id} limits the load, which only a concentrator can do: give account "
                                 f"{account_no} back to its concentrator first")  # fmt: skip
    conn.execute(delete(account_policy).where(account_policy.c.account_no == account_no))
    if policy_id:
        conn.execute(insert(account_policy).values(account_no=account_no, policy_id=policy_id, since_ms=at_ms))
    record(conn, at_ms, actor, "account.follows", f"account:{account_no}", policy_id or "its own rules")


def limits_load(policy: Policy) -> bool:
    """Whether it steps a load down, at zero or while emergency credit is in use."""
    return policy.emergency.step > 0 or ZeroAction.LIMIT in (policy.zero_action, policy.then)


def will_limit(conn: Connection, policy_id: str, at_ms: int) -> bool:
    """Whether the version in force limits, or one to come; "" is no policy."""
    return bool(policy_id) and any(limits_load(policy_of(document.document)) for document in _needed(conn, policy_id, at_ms))


def _check_managed(conn: Connection, policy_id: str, text: str) -> None:
    followers = select(account_policy.c.account_no).where(account_policy.c.policy_id == policy_id)
    managed = managed_ones(conn) & set(conn.execute(followers).scalars()) if limits_load(policy_of(text)) else frozenset()
    if managed:
        raise RefusedCommand(PolicyReason.LIMITS, f"policy {policy_id} would limit the load of {len(managed)} accounts managed from here "
                             f"(the first is {min(managed)}), which only a concentrator can do: give them back first")  # fmt: skip


def followed(conn: Connection) -> dict[int, str]:
    """The policy of each account that follows one."""
    return {row.account_no: row.policy_id for row in conn.execute(select(account_policy))}


_FOLLOWED = select(account_policy.c.policy_id).where(account_policy.c.account_no == bindparam("of_account"))


def policy_at(conn: Connection, account_no: int, at_ms: int) -> Policy | None:
    """The policy an account follows at a time; None where it follows none, or none is in force yet."""
    policy_id = conn.execute(_FOLLOWED, {"of_account": account_no}).scalar_one_or_none()
    document = active(policy_id, versions(conn, policy_id), at_ms) if policy_id else None
    return policy_of(document.document, document.version) if document is not None else None


def rules_at(conn: Connection, agreement: Account, at_ms: int) -> Policy:
    """What holds for an account at a time, as its concentrator sees it: the policy it follows, or the single rules of its record."""
    policy_id = conn.execute(_FOLLOWED, {"of_account": agreement.account_no}).scalar_one_or_none() or ""
    documents = versions(conn, policy_id) if policy_id else ()
    return in_force(replace(account_config(agreement), policy_id=policy_id), documents, at_ms).policy


def versions(conn: Connection, policy_id: str = "") -> tuple[PolicyDocument, ...]:
    """Versions of one policy or of all, oldest first."""
    p = policy_version.c
    query = select(policy_version).order_by(p.policy_id, p.version)
    rows = conn.execute(query.where(p.policy_id == policy_id) if policy_id else query)
    return tuple(PolicyDocument(row.policy_id, row.version, row.from_ms, row.document) for row in rows)


def travelling(conn: Connection, policy_ids: set[str], at_ms: int) -> tuple[PolicyDocument, ...]:
    """What a DCU needs of these policies: the version in force and those to come."""
    return tuple(document for policy_id in sorted(policy_ids - {""}) for document in _needed(conn, policy_id, at_ms))


def _needed(conn: Connection, policy_id: str, at_ms: int) -> tuple[PolicyDocument, ...]:
    documents = versions(conn, policy_id)
    now = active(policy_id, documents, at_ms)
    return tuple(d for d in documents if now is None or d.version >= now.version)
