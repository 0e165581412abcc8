"""Which catalogue holds for an account now: the versions of its policy document, or the single rules of its record.

* The version whose day came last holds; among several of one day the highest. Versions only rise with time (I25): one below a
  version that was already in force is passed over.
* A document that can not be read, or is not here, is no leave to cut: the policy counts as unknown (cut test "policy"), and
  the plain rules go on for notices and restoring.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.errors import ConfigError
from gridtally_shared.prepay.document import policy_of
from gridtally_shared.prepay.plain import plain_policy
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class InForce:
    """`known` False: the account names a catalogue that is not here, or not readable; nobody is cut by it."""

    policy: Policy
    known: bool = True


def in_force(account: AccountConfig, documents: tuple[PolicyDocument, ...], now_ms: int) -> InForce:
    if not account.policy_id:
        return InForce(plain_policy(account))
    document = active(account.policy_id, documents, now_ms)
    policy = _read(document.document, document.version) if document is not None else None
    if policy is None or policy.currency != account.currency:
        return InForce(replace(plain_policy(account), code=account.policy_id), False)
    return InForce(policy)


def active(policy_id: str, documents: tuple[PolicyDocument, ...], now_ms: int) -> PolicyDocument | None:
    """The version in force, None before the first day of all."""
    found: PolicyDocument | None = None
    for document in sorted(documents, key=lambda d: (d.from_ms, d.version)):
        begun = document.policy_id == policy_id and document.from_ms <= now_ms
        if begun and (found is None or document.version > found.version):
            found = document
    return found


@lru_cache(maxsize=256)
def _read(text: str, version: int) -> Policy | None:
    try:
        return policy_of(text, version)
    except ConfigError:
        return None
