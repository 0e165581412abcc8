"""A supply's days under a policy, told as a table: when, what happens, where funds and supply stand then, what is done.

    2026-03-02 11:00 | balance 20         | in_credit full |
    2026-03-02 12:00 | balance 0          | exhausted cut_due | tell_low tell_zero order_open
    2026-03-02 12:01 | opened             | exhausted cut |

What may happen: `balance X` (of the ledger), `used X` (of the emergency credit), `credit X`, `accept`, `opened`, `closed`,
`offline`, `online`, `hours N` (the forecast), `flag F`, `weather` and `calm` (the hold), `uncertain`, `wait`; several with commas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.money import nano
from gridtally_shared.prepay.engine import Step, advance
from gridtally_shared.prepay.facts import Facts, Happening, OffReason
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.prepay.regions import Switch
from gridtally_shared.prepay.standing import Standing, standing_from, standing_text
from gridtally_shared.prepay.zones import zone_of


@dataclass(frozen=True, slots=True)
class Line:
    at: str
    what: str
    stands: str
    done: str


def lines_of(path: Path) -> tuple[Line, ...]:
    rows = (row for row in path.read_text(encoding="utf-8").splitlines() if row.strip() and not row.startswith("#"))
    return tuple(Line(*(cell.strip() for cell in row.split("|"))) for row in rows)


def settings_of(path: Path) -> dict[str, str]:
    """What the lines `#: name value` say of the account."""
    rows = (row[2:].split(maxsplit=1) for row in path.read_text(encoding="utf-8").splitlines() if row.startswith("#:"))
    return {row[0]: row[1] for row in rows}


class Supply:
    """One supply, driven by the words of a table."""

    def __init__(self, policy: Policy, zone: str, **account: object) -> None:
        self.policy, self.zone = policy, zone
        behind = AccountConfig(101, 1, 1, policy.currency, zone, "home", 0, keypad_key=b"k" * 16 if policy.keypad else b"")
        self.facts = Facts(
            replace(behind, policy_id=policy.code, **account), 0, clock=ClockState.TRUSTED, reading_age_ms=0, serial_proven=True,
            link_up=True, switch=Switch.CLOSED, cuts_allowed=10, balance_nano=nano("100"),
        )  # fmt: skip
        self.standing = Standing()
        self.happening: Happening | None = None

    def tell(self, at: str, what: str) -> Step:
        zone = zone_of(self.zone)
        now_ms = int(datetime.fromisoformat(at).replace(tzinfo=zone).timestamp() * 1000)
        self.happening = None
        seen_ms = now_ms if self.facts.link_up else self.facts.offline_since_ms
        self.facts = replace(self.facts, now_ms=now_ms, cloud_seen_ms=seen_ms, lease_until_ms=now_ms + 7 * MS_PER_DAY)
        for word in what.split(","):
            verb, _, value = word.strip().partition(" ")
            VERBS[verb](self, value)
        step = advance(self.standing, self.facts, self.policy, self.happening)
        self.standing = standing_from(standing_text(step.standing), step.standing.decision)
        assert self.standing == step.standing
        return step

    def _credit(self, value: str) -> None:
        amount_nano = nano(value)
        repaid_nano = min(self.facts.emergency_nano, max(0, amount_nano + min(0, self.facts.balance_nano)))
        self.facts = replace(
            self.facts, balance_nano=self.facts.balance_nano + amount_nano - repaid_nano, last_topup_nano=amount_nano,
            emergency_nano=self.facts.emergency_nano - repaid_nano,
        )  # fmt: skip
        self.happening = Happening.CREDITED

    def _accept(self, value: str) -> None:
        self.happening = Happening.EMERGENCY_ACCEPTED

    def _change(self, **changes: object) -> None:
        self.facts = replace(self.facts, **changes)

    def _account(self, **changes: object) -> None:
        self.facts = replace(self.facts, account=replace(self.facts.account, **changes))


VERBS: dict[str, Callable[[Supply, str], None]] = {
    "balance": lambda s, v: s._change(balance_nano=nano(v)),
    "used": lambda s, v: s._change(emergency_nano=nano(v)),
    "credit": Supply._credit,
    "accept": Supply._accept,
    "opened": lambda s, v: s._change(switch=Switch.OPEN, off_reason=OffReason.BALANCE, off_since_ms=s.facts.now_ms),
    "closed": lambda s, v: s._change(switch=Switch.CLOSED, off_reason=OffReason.NONE),
    "armed": lambda s, v: s._change(switch=Switch.ARMED, off_reason=OffReason.NONE),
    "offline": lambda s, v: s._change(link_up=False, offline_since_ms=s.facts.now_ms),
    "online": lambda s, v: s._change(link_up=True, cloud_seen_ms=s.facts.now_ms),
    "hours": lambda s, v: s._change(time_left_ms=int(v) * MS_PER_HOUR),
    "flag": lambda s, v: s._account(flags=(v,)),
    "weather": lambda s, v: s._account(holds=("weather",)),
    "calm": lambda s, v: s._account(holds=()),
    "uncertain": lambda s, v: s._change(clock=ClockState.UNTRUSTED),
    "certain": lambda s, v: s._change(clock=ClockState.TRUSTED),
    "wait": lambda s, v: None,
}


def told(step: Step) -> tuple[str, str]:
    """Where it stands, and what is done, as a line of the table says it."""
    r = step.standing.regions
    stands = f"{r.funds.value} {r.entitlement.value}{f' {r.reason}' if r.reason else ''}"
    return stands, " ".join(e.value for f in step.fired for e in f.effects if e.value != "load_rules")
