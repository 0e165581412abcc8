"""The catalogue that the single rules of an `AccountConfig` stand for, where it names no policy document."""

from __future__ import annotations

from functools import lru_cache

from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.prepay.policy import Close, Low, Notice, OfflineCut, Policy, Restore, ZeroAction
from gridtally_shared.prepay.protection import plain_hours

PLAIN = "plain"


@lru_cache(maxsize=4096)
def plain_policy(account: AccountConfig) -> Policy:
    """A word this version does not know means: do not cut."""
    known = {z.value for z in ZeroAction}
    return Policy(
        PLAIN, currency=account.currency,
        zero_action=ZeroAction(account.zero_action) if account.zero_action in known else ZeroAction.NONE,
        offline_cut=OfflineCut(account.offline_cut) if account.offline_cut in {o.value for o in OfflineCut} else OfflineCut.NEVER,
        offline_grace_h=account.offline_grace_h,
        low=Low(money_nano=(account.low_balance_nano,)),
        notice=Notice(lead_s=account.notice_lead_s),
        protected=plain_hours(account.protected_hours),
        restore=Restore(max(1, account.restore_min_nano), close=Close.ARM if account.arm_only else Close.CLOSE),
    )  # fmt: skip
