"""Where the engine of an account begins that was run by its concentrator until now: nothing is told twice, nothing cut twice.

* The regions are found by the engine itself, over the mirrored journal of the epoch before: the same money gives the same regions.
* A warning counts only where the journal shows it: nobody is cut by a notice that was never given.
* Why a switch is open is what the last switch action says. A cut that was decided and whose end was never told may still be seen.

Source: safety.md 17; prepayment.md 5.8.
"""

from __future__ import annotations

from dataclasses import field, replace

from sqlalchemy import Connection

from gridtally_cloud.ingest.mirror import verified
from gridtally_cloud.prepay.managed_facts import Said, rules_of
from gridtally_cloud.prepay.managed_supply import SWITCHES, Supply, supply_of
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool
from gridtally_shared.ledger.evidence import DecisionEvidence, Evidence, MessageEvidence, SwitchEvidence, evidence_of
from gridtally_shared.ledger.replay import LedgerState, apply
from gridtally_shared.prepay.due import is_at_rest, quiet_above_nano
from gridtally_shared.prepay.engine import advance
from gridtally_shared.prepay.facts import CutShare, Happening, OffReason, facts_from
from gridtally_shared.prepay.regions import Entitlement, Funds
from gridtally_shared.prepay.standing import Standing, standing_from, standing_text
from gridtally_shared.records import dataclass

LOW = frozenset({"LOW", "LOW_BARE"})
REACHED = frozenset({"done", "already"})
NO_CUTS = CutShare(0, 0, 0, None, False)
"""Nothing is decided while the past is gone through, so no share is asked."""
OFF_BY = {"local": OffReason.BALANCE, "limit": OffReason.LIMIT, "schedule": OffReason.SCHEDULE, "command": OffReason.ORDER,
          "site": OffReason.ORDER}  # fmt: skip


@dataclass(slots=True)
class _Walk:
    """`supply`: the switch as the epoch before saw it. `warned`: the warnings of this spell, `zero_told` whether its zero was told."""

    config: AccountConfig
    said: Said
    state: LedgerState
    supply: Supply
    standing: Standing = field(default_factory=Standing)
    warned: list[int] = field(default_factory=list)
    zero_told: bool = False

    def go_on(self, earlier: Supply) -> None:
        """The epoch in between began where the MDM had left the supply."""
        self.standing = standing_from(earlier.standing)
        first_ms, last_ms, count = self.standing.notice_ms, self.standing.last_notice_ms, self.standing.notices
        self.warned = [first_ms, *[last_ms or first_ms] * (count - 1)] if first_ms is not None else []
        self.zero_told = self.standing.zero_since_ms is not None
        mine = self.supply
        mine.switch, mine.switch_ms, mine.off_since_ms, mine.off_reason = (
            earlier.switch, earlier.switch_ms, earlier.off_since_ms, earlier.off_reason)  # fmt: skip

    def take(self, entry: LedgerEntry) -> None:
        self.state = apply(self.state, entry)
        evidence = _evidence(entry)
        if isinstance(evidence, SwitchEvidence):
            self._switched(entry, evidence)
        elif isinstance(evidence, DecisionEvidence):
            self.supply.late_cut = self.supply.late_cut or evidence.verdict == "cut"
        elif isinstance(evidence, MessageEvidence):
            self._told(entry, evidence.code)
        if self.state.opened_wh is not None:
            self._step(entry, _happening(entry, evidence), _span_in(evidence))

    def _switched(self, entry: LedgerEntry, evidence: SwitchEvidence) -> None:
        mine = self.supply
        mine.late_cut = False
        if evidence.result not in REACHED:
            return
        mine.switch, mine.switch_ms = evidence.state_after, entry.at_ms
        mine.off_reason = "" if evidence.close else OFF_BY.get(evidence.origin, OffReason.UNORDERED).value
        mine.off_since_ms = 0 if evidence.close else entry.at_ms

    def _told(self, entry: LedgerEntry, code: str) -> None:
        if code in LOW:
            self.warned.append(entry.at_ms)
        self.zero_told = self.zero_told or code == "ZERO"

    def _step(self, entry: LedgerEntry, happening: Happening | None, left_ms: int | None) -> None:
        policy = rules_of(self.config, self.said, entry.at_ms).policy
        rich = self.state.balance_nano > quiet_above_nano(policy, self.standing)
        if happening is None and rich and is_at_rest(self.standing) and not self.supply.off_reason and left_ms is None:
            return
        topup_nano = sum(p.amount_nano for p in entry.postings if p.pool == Pool.PAID and p.amount_nano > 0) if happening else 0
        seen = facts_from(self.config, entry.at_ms, self.state, SWITCHES[self.supply.switch], self.supply, NO_CUTS)
        facts = replace(seen, last_topup_nano=topup_nano, clock=ClockState.TRUSTED, pending_action=True, time_left_ms=left_ms)
        self.standing = advance(self.standing, facts, policy, happening).standing
        if self.standing.regions.funds is Funds.IN_CREDIT:
            self.warned.clear()
        if self.standing.zero_since_ms is None:
            self.zero_told = False

    def result(self) -> Standing:
        told = replace(
            self.standing, notices=len(self.warned), notice_ms=self.warned[0] if self.warned else None,
            last_notice_ms=self.warned[-1] if self.warned else None, told=self.standing.told if self.warned else (),
            zero_since_ms=self.standing.zero_since_ms if self.zero_told else None, decision="",
        )  # fmt: skip
        r = told.regions
        funds = r.funds if self.warned or r.funds is Funds.EC_IN_USE else Funds.IN_CREDIT
        entitlement = r.entitlement if r.entitlement in (Entitlement.CUT, Entitlement.GRACE) else Entitlement.FULL
        return replace(told, regions=replace(r, funds=funds, entitlement=entitlement, reason="", step=0))


def begin(conn: Connection, config: AccountConfig, said: Said) -> Supply:
    """The supply as the epoch before left it; an empty one where there was none."""
    no, epoch = config.account_no, config.account_epoch
    walk = _Walk(replace(config, account_epoch=epoch - 1), said, LedgerState(no, epoch - 1), Supply(no, epoch))
    earlier = supply_of(conn, no, epoch - 2)
    if earlier is not None:
        walk.go_on(earlier)
    for entry in verified(conn, no, epoch - 1, 1):
        walk.take(entry)
    return replace(walk.supply, standing=standing_text(walk.result()), others_ms=walk.supply.switch_ms)


def _happening(entry: LedgerEntry, evidence: Evidence | None) -> Happening | None:
    if entry.kind == Kind.CREDIT:
        return Happening.CREDITED
    accepted = isinstance(evidence, MessageEvidence) and evidence.code == "EC_ON"
    return Happening.EMERGENCY_ACCEPTED if accepted else None


def _span_in(evidence: Evidence | None) -> int | None:
    """The time left as a warning told it: the levels in hours that it crossed were told by it."""
    if not isinstance(evidence, MessageEvidence) or evidence.code not in LOW:
        return None
    span = next((p.value for p in evidence.params if p.name == "t"), "")
    return int(span) if span.isdigit() and len(span) < 19 else None


def _evidence(entry: LedgerEntry) -> Evidence | None:
    try:
        return evidence_of(entry)
    except ContractError:
        return None
