"""The catalogue that the single rules of an `AccountConfig` stand for, where it names no policy document."""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter

from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.prepay.policy import Close, Low, Notice, OfflineCut, Policy, Restore, ZeroAction
from gridtally_shared.prepay.protection import plain_hours

PLAIN = "plain"


def plain_policy(account: AccountConfig) -> Policy:
    """A word this version does not know means: do not cut."""
    return _policy(*_RULES(account))


_RULES = attrgetter("currency", "zero_action", "offline_cut", "offline_grace_h", "low_balance_nano", "notice_lead_s", "protected_hours",
                    "restore_min_nano", "arm_only")  # fmt: skip


@lru_cache(maxsize=4096)
def _policy(
    currency: str, zero_action: str, offline_cut: str, offline_grace_h: int, low_nano: int, notice_s: int, hours: tuple[str, ...],
    restore_nano: int, arm_only: bool,
) -> Policy:  # fmt: skip
    """Made once for all accounts of the same rules."""
    return Policy(
        PLAIN, currency=currency,
        zero_action=ZeroAction(zero_action) if zero_action in {z.value for z in ZeroAction} else ZeroAction.NONE,
        offline_cut=OfflineCut(offline_cut) if offline_cut in {o.value for o in OfflineCut} else OfflineCut.NEVER,
        offline_grace_h=offline_grace_h,
        low=Low(money_nano=(low_nano,)),
        notice=Notice(lead_s=notice_s),
        protected=plain_hours(hours),
        restore=Restore(max(1, restore_nano), close=Close.ARM if arm_only else Close.CLOSE),
    )  # fmt: skip
