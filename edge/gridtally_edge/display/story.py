"""Why this supply is as it is, from the account's own journal: what `gridtally_shared.messages.explain` is given here."""

from __future__ import annotations

import sqlite3

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.rows import AccountRow, SwitchRow
from gridtally_edge.prepay.told import story_rows
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.ledger.entries import entry_from
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.messages.explain import Explanation, Standing, Story, explain, standing_of, story_of
from gridtally_shared.prepay.policy import Policy

SUPPLY: dict[SwitchState, str] = {
    SwitchState.OPEN: "off",
    SwitchState.CLOSED: "on",
    SwitchState.ARMED: "armed",
    SwitchState.NOT_FITTED: "not_fitted",
    SwitchState.UNKNOWN: "unknown",
}


def story(db: sqlite3.Connection, row: AccountRow) -> Story:
    """What the newest messages, decisions and switch actions say."""
    return story_of(entry_from(r.body) for r in story_rows(db, row))


def explained(db: sqlite3.Connection, row: AccountRow, what_is: Standing) -> Explanation:
    return explain(story(db, row), what_is)


def standing(config: AccountConfig, policy: Policy, ledger: LedgerState, switch: SwitchRow, now_ms: int) -> Standing:
    return standing_of(config, policy, ledger, SUPPLY[SwitchState(switch.state)], switch.off_since_ms, now_ms)
