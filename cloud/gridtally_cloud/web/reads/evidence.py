"""Why a supply is on or off, from the account's mirrored journal: the last decision and switch action with their tests."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, and_, select

from gridtally_cloud.assets.account_config import account_config
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.model import BalanceView
from gridtally_cloud.prepay.policies import followed, versions
from gridtally_cloud.prepay.wallet import ledger_state, messages
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, entry_from
from gridtally_shared.ledger.evidence import DecisionEvidence, SwitchEvidence, evidence_of
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.messages.explain import TELLING_KINDS, Explanation, explain, standing_of, story_of
from gridtally_shared.prepay.emergency import NONE, TOLD, EmergencyNow, emergency_now
from gridtally_shared.prepay.in_force import in_force
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.records import dataclass

KINDS = (int(Kind.DECISION), int(Kind.SWITCH))
LOOKED_AT, SWITCHES = 60, 4
"""As many entries as the display looks at."""
LOOK_BACK = 500
"""A restore that is tried again and again leaves many entries between a cut and now."""


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """Exactly one of `decision` and `switch` is set; both None when the entry can not be read."""

    epoch: int
    seq: int
    at_ms: int
    decision: DecisionEvidence | None
    switch: SwitchEvidence | None


def evidence(conn: Connection, account_no: int, limit: int = 6) -> tuple[EvidenceRow, ...]:
    """Newest first; and, however far back it lies, the last action that opened the switch."""
    rows = _newest(conn, account_no, KINDS, limit)
    if any(_opened(row) for row in rows):
        return rows
    further = _newest(conn, account_no, (int(Kind.SWITCH),), LOOK_BACK)
    return (*rows, *(row for row in further if _opened(row)))[: len(rows) + 1]


def _newest(conn: Connection, account_no: int, kinds: tuple[int, ...], limit: int) -> tuple[EvidenceRow, ...]:
    j = journal_entry.c
    query = select(j.epoch, j.seq, j.at_ms, j.body).where(j.shard == SHARD, j.account_no == account_no, j.kind.in_(kinds))
    rows = conn.execute(query.order_by(j.epoch.desc(), j.seq.desc()).limit(limit))
    return tuple(_row(r.epoch, r.seq, r.at_ms, r.body) for r in rows)


def _opened(row: EvidenceRow) -> bool:
    return row.switch is not None and not row.switch.close


def _row(epoch: int, seq: int, at_ms: int, body: bytes) -> EvidenceRow:
    try:
        found = evidence_of(entry_from(body))
    except ContractError:
        found = None
    decision = found if isinstance(found, DecisionEvidence) else None
    return EvidenceRow(epoch, seq, at_ms, decision, found if isinstance(found, SwitchEvidence) else None)


def why(supply: str) -> str:
    """The key of a short word for a meter without an account."""
    return "off_unknown" if supply == "off" else supply


def explanation(conn: Connection, account: Account, view: BalanceView, now_ms: int) -> Explanation:
    """Why the account's supply is as it is: the same function and the same entries as on the display."""
    j = journal_entry.c
    kinds, epoch = [int(k) for k in TELLING_KINDS], account.account_epoch
    mine = and_(j.shard == SHARD, j.account_no == account.account_no, j.epoch == epoch)
    newest = conn.execute(select(j.seq, j.body).where(mine, j.kind.in_(kinds)).order_by(j.seq.desc()).limit(LOOKED_AT)).all()
    if len(newest) == LOOKED_AT:
        older = select(j.seq, j.body).where(mine, j.kind == int(Kind.SWITCH), j.seq < newest[-1].seq)
        newest = [*newest, *conn.execute(older.order_by(j.seq.desc()).limit(SWITCHES)).all()]
    policy = policy_of(conn, account, now_ms)
    ledger = ledger_state(conn, account.account_no, epoch) or LedgerState(account.account_no, epoch)
    what_is = standing_of(account_config(account), policy, ledger, view.supply.value, view.supply_as_of_ms, now_ms)
    return explain(story_of(entry_from(row.body) for row in newest), what_is)


def policy_of(conn: Connection, account: Account, now_ms: int) -> Policy:
    """The rules in force for the account."""
    followed_id = followed(conn).get(account.account_no, "")
    config = replace(account_config(account), policy_id=followed_id)
    return in_force(config, versions(conn, followed_id) if followed_id else (), now_ms).policy


def emergency_of(conn: Connection, account: Account, now_ms: int) -> EmergencyNow:
    """The emergency credit, as the journal's messages and pools tell it."""
    ledger = ledger_state(conn, account.account_no, account.account_epoch)
    if not account.is_prepaid or ledger is None:
        return EmergencyNow(NONE)
    told = (TOLD[n.code] for n in messages(conn, account.account_no, LOOKED_AT) if n.kind == "notice" and n.code in TOLD)
    return emergency_now(policy_of(conn, account, now_ms), ledger, next(told, ""))
