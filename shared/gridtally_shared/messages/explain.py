"""Why is this supply as it is? One pure function from the journal's evidence to an explanation, for display, portal and desk alike.

* It tells what happened and when, by which rule, each test with what was seen, and what brings the supply back.
* It rests on the journal's own entries (`story_of`), so the edge and the cloud say the same of the same entries. The state of the
  switch comes from its last report; what the journal can not tell is said to be unknown.
* Codes and parameters only; `telling.py` makes the words.

Source: issue 4, line 5; safety.md 1, 5, 6; prepayment.md 3.5.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry
from gridtally_shared.ledger.evidence import DecisionEvidence, MessageEvidence, SwitchEvidence, TestResult, evidence_of
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.ledger.way_back import brings_back
from gridtally_shared.prepay.money import money_rules
from gridtally_shared.prepay.ordered import NONPAYMENT
from gridtally_shared.prepay.policy import Close, Policy
from gridtally_shared.prepay.standing import Standing as EngineStanding
from gridtally_shared.prepay.zones import zone_of
from gridtally_shared.records import dataclass

TELLING_KINDS = (Kind.NOTICE, Kind.DECISION, Kind.SWITCH)
REACHED = frozenset({"done", "already"})
SEEMED_TO_FAIL = frozenset({"stuck", "no_answer", "unknown"})
"""A contactor may follow late: such a cut is the reason where the switch is open after all."""
DOWN = frozenset({"cut", "trip"})
FIELD = frozenset({"cut_by_field", "cut_called_back"})
ARMED = 2
"""The switch state of SwitchEvidence."""
CAUSES = {
    "local": "off_balance", "command": "off_order", "site": "off_order", "schedule": "off_schedule", "back_off": "off_order",
    "limit": "off_limit", NONPAYMENT: "off_balance",
}  # fmt: skip
STEPS = {"RECLOSE": "auto", "MANUAL": "button"}
ENDS_OFFER = ("EC_ON", "CREDIT")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A code of the table `why` and its parameters."""

    code: str
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Decided:
    at_ms: int
    seq: int
    cause: bytes
    evidence: DecisionEvidence


@dataclass(frozen=True, slots=True)
class Switched:
    at_ms: int
    seq: int
    cause: bytes
    evidence: SwitchEvidence


@dataclass(frozen=True, slots=True)
class Heard:
    """A message to the consumer."""

    at_ms: int
    seq: int
    code: str
    params: dict[str, str]


@dataclass(frozen=True, slots=True)
class Story:
    """What the journal says of a supply: the newest decision; the newest action that opened, and the decision behind it; the entry
    that closed last; the message of the last trip above the limit; emergency credit on offer and the limit in force (0: none);
    since when somebody is to come, because there is no switch (0: nobody); whether the last close only armed the meter."""

    decision: Decided | None = None
    opened: Switched | None = None
    opened_by: Decided | None = None
    closed_seq: int = 0
    tripped: Heard | None = None
    offer_nano: int = 0
    limit_w: int = 0
    field_ms: int = 0
    arms: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What is so beside the journal. `supply`: 'on', 'off', 'armed', 'not_fitted' or 'unknown'; `by_button`: the switch is armed, not
    closed, from afar; `money_counts`: the account is prepaid; `to_pay_nano` brings back a supply that was cut for want of money."""

    supply: str
    balance_nano: int = 0
    to_pay_nano: int = 0
    zero_action: str = "none"
    by_button: bool = False
    off_since_ms: int = 0
    money_counts: bool = True


@dataclass(frozen=True, slots=True)
class Explanation:
    """`headline` says what is so; `because` why; `remedy` what the reader can do; `rule` by which rule; `tests` what was checked."""

    headline: Sentence
    because: tuple[Sentence, ...] = ()
    remedy: tuple[Sentence, ...] = ()
    rule: Sentence | None = None
    tests: tuple[TestResult, ...] = ()


def story_of(entries: Iterable[LedgerEntry]) -> Story:
    """The story of a journal's entries, newest first; others than TELLING_KINDS are passed over, as are unreadable ones."""
    decisions: list[Decided] = []
    switched: list[Switched] = []
    messages: list[Heard] = []
    for entry in entries:
        match _read(entry):
            case DecisionEvidence() as found:
                decisions.append(Decided(entry.at_ms, entry.seq, entry.cause, found))
            case SwitchEvidence() as found:
                switched.append(Switched(entry.at_ms, entry.seq, entry.cause, found))
            case MessageEvidence() as found:
                messages.append(Heard(entry.at_ms, entry.seq, found.code, {p.name: p.value for p in found.params}))
    closed = next((s for s in switched if s.evidence.close and s.evidence.result in REACHED), None)
    closed_seq = closed.seq if closed is not None else 0
    opened = _opened(switched, closed_seq)
    return Story(
        decisions[0] if decisions else None, opened, _behind(opened, decisions), closed_seq, _newest(messages, STEPS),
        _in_force(messages, "EC_OFFER", ENDS_OFFER, "b"), _in_force(messages, "LIMIT", ("LIMIT_OFF",), "w"), _sent(decisions),
        closed is not None and closed.evidence.state_after == ARMED,
    )  # fmt: skip


def _sent(decisions: list[Decided]) -> int:
    """Since when somebody is on the way, 0 where nobody is, or was called back."""
    newest = next((d for d in decisions if d.evidence.verdict in FIELD), None)
    return newest.at_ms if newest is not None and newest.evidence.verdict == "cut_by_field" else 0


def _opened(switched: list[Switched], closed_seq: int) -> Switched | None:
    """The newest action that opened; one that seemed to fail where it is the only one since the switch was closed."""
    done = next((s for s in switched if not s.evidence.close and s.evidence.result in REACHED), None)
    tried = next((s for s in switched if not s.evidence.close and s.evidence.result in SEEMED_TO_FAIL), None)
    if tried is not None and (done is None or done.seq < closed_seq < tried.seq):
        return tried
    return done


def _newest(messages: list[Heard], codes: Container[str]) -> Heard | None:
    return next((m for m in messages if m.code in codes), None)


def _in_force(messages: list[Heard], code: str, ends: tuple[str, ...], name: str) -> int:
    """The figure of the newest message of a code that nothing has ended since; 0 where there is none."""
    found = _newest(messages, (code, *ends))
    value = found.params.get(name, "") if found is not None and found.code == code else ""
    return int(value) if value.isdigit() else 0


def _read(entry: LedgerEntry) -> object:
    try:
        return evidence_of(entry) if entry.kind in TELLING_KINDS else None
    except ContractError:
        return None


def _behind(opened: Switched | None, decisions: list[Decided]) -> Decided | None:
    """The decision an action carried out: by its number, else the newest step down before it."""
    if opened is None or opened.evidence.origin not in ("local", "limit"):
        return None
    exact = next((d for d in decisions if d.cause and d.cause == opened.cause), None)
    return exact or next((d for d in decisions if d.seq < opened.seq and d.evidence.verdict in DOWN), None)


def explain(story: Story, standing: Standing) -> Explanation:
    """Why the supply is as it is."""
    if standing.supply == "off":
        return _off(story, standing)
    if standing.supply == "armed":
        return _ruled(Explanation(Sentence("armed"), remedy=(Sentence("button"),)), story.decision)
    if standing.supply == "unknown":
        return Explanation(Sentence("unknown"))
    return _on(story, standing)


# ---- off ------------------------------------------------------------------------------------------------------


def _off(story: Story, standing: Standing) -> Explanation:
    opened = story.opened if story.opened and story.opened.seq > story.closed_seq else None
    if _is_off_by_limit(story, opened):
        return _off_by_limit(story, opened)
    cause = CAUSES.get(opened.evidence.origin, "off_unordered") if opened else "off_unordered"
    since_ms = opened.at_ms if opened else standing.off_since_ms
    if not since_ms:
        return Explanation(Sentence("off_unknown"), remedy=(Sentence("call"),))
    headline = Sentence(cause, (("d", str(since_ms)),))
    if cause == "off_balance":
        because, remedy = _way_back(story, standing)
        return _ruled(Explanation(headline, because, remedy), story.opened_by)
    remedy = (Sentence("wait_schedule"),) if cause == "off_schedule" else (Sentence("call"),)
    return Explanation(headline, (), remedy, _action(opened), ())


def _is_off_by_limit(story: Story, opened: Switched | None) -> bool:
    """A trip ordered here, or one of the meter's own limiter, of which there is only the message."""
    if opened is not None:
        return opened.evidence.origin == "limit"
    return story.tripped is not None and story.tripped.seq > story.closed_seq


def _off_by_limit(story: Story, opened: Switched | None) -> Explanation:
    trip = story.tripped if story.tripped and story.tripped.seq > story.closed_seq else None
    since_ms = opened.at_ms if opened else trip.at_ms if trip else 0
    comes_back = trip is not None and STEPS[trip.code] == "auto" and "t" in trip.params
    remedy = Sentence("reduce_wait", (("t", trip.params["t"]),)) if trip and comes_back else Sentence("reduce_button")
    said = Explanation(Sentence("off_limit", (("d", str(since_ms)),)), _limit(story), (remedy,))
    return _ruled(said, story.opened_by if opened else None)


def _way_back(story: Story, standing: Standing) -> tuple[tuple[Sentence, ...], tuple[Sentence, ...]]:
    kept = _kept_by(story)
    if standing.to_pay_nano > 0:
        turn = tuple(_kept(t) for t in kept if t.name == "turn")
        return turn, _to_pay(story, standing, frozenset(t.name for t in kept))
    if not kept:
        return (), (Sentence("paid"),)
    because = (Sentence("paid_kept"), *(_kept(t) for t in kept))
    return because, tuple(dict.fromkeys(REMEDY_OF.get(t.name, Sentence("call")) for t in kept))


def _to_pay(story: Story, standing: Standing, kept: frozenset[str]) -> tuple[Sentence, ...]:
    ways = (("holds" in kept, "pay_call"), ("turn" in kept, "pay_turn"), (standing.by_button or story.arms, "pay_button"))
    way = next((way for applies, way in ways if applies), "pay")
    pay = Sentence(way, (("a", str(standing.to_pay_nano)),))
    return (pay, *_offer(story))


def _kept_by(story: Story) -> tuple[TestResult, ...]:
    """What keeps a paid supply off, by the newest decision about it."""
    newest, opened = story.decision, story.opened
    if newest is None or opened is None or newest.seq < opened.seq or newest.evidence.verdict != "restore_held":
        return ()
    return tuple(t for t in newest.evidence.tests if not t.holds)


def _kept(test: TestResult) -> Sentence:
    code = f"kept_{test.name}" if test.name in REMEDY_OF else "held_checks"
    return Sentence(code, tuple((p.name, p.value) for p in test.params))


REMEDY_OF = {
    "holds": Sentence("call"),
    "remote_close": Sentence("press_page"),
    "load_side": Sentence("source_off"),
    "stuck": Sentence("try_again"),
    "pending": Sentence("try_again"),
    "turn": Sentence("try_again"),
}


# ---- on -------------------------------------------------------------------------------------------------------


def _on(story: Story, standing: Standing) -> Explanation:
    at_rest = "not_fitted" if standing.supply == "not_fitted" else "on"
    if not standing.money_counts or standing.balance_nano > 0:
        return _on_and_paid(story, at_rest)
    if standing.supply == "not_fitted":
        return _without_switch(story, standing)
    newest = story.decision
    if newest is not None and newest.evidence.verdict == "held" and newest.seq > story.closed_seq:
        failed = tuple(t for t in newest.evidence.tests if not t.holds)
        return _ruled(Explanation(Sentence("on_held"), _held(failed), _topup(story)), newest)
    code = f"on_{standing.zero_action}" if standing.zero_action in ("none", "postpaid", "replenish") else "on_zero"
    said = Explanation(Sentence(code), _limit(story), _topup(story))
    return _ruled(said, newest if newest is not None and newest.evidence.verdict == "limit" else None)


def _without_switch(story: Story, standing: Standing) -> Explanation:
    """Nothing is switched here: the protections, or that somebody is to come."""
    newest = story.decision
    if story.field_ms:
        pay = Sentence("pay_field", (("a", str(standing.to_pay_nano)),)) if standing.to_pay_nano > 0 else Sentence("topup")
        said = Explanation(Sentence("on_zero"), (Sentence("field", (("d", str(story.field_ms)),)),), (pay, *_offer(story)))
        return _ruled(said, newest)
    is_held = newest is not None and newest.evidence.verdict == "held"
    failed = tuple(t for t in newest.evidence.tests if not t.holds and t.name != "switch") if newest and is_held else ()
    protected = _held(failed) if failed else ()
    said = Explanation(Sentence("on_zero"), (Sentence("not_fitted"), *protected), _topup(story))
    return _ruled(said, newest if is_held else None)


def _on_and_paid(story: Story, code: str) -> Explanation:
    limited = _limit(story)
    return Explanation(Sentence("on_limited" if limited and code == "on" else code), limited)


def _limit(story: Story) -> tuple[Sentence, ...]:
    return (Sentence("limit", (("w", str(story.limit_w)),)),) if story.limit_w else ()


def _topup(story: Story) -> tuple[Sentence, ...]:
    return (Sentence("topup"), *_offer(story))


def _offer(story: Story) -> tuple[Sentence, ...]:
    return (Sentence("emergency", (("b", str(story.offer_nano)),)),) if story.offer_nano else ()


PROTECTED = ("protected_hours", "flags", "holds", "weather", "conversion", "schedule", "notice")


def _held(failed: tuple[TestResult, ...]) -> tuple[Sentence, ...]:
    """The protections by name; everything else is one sentence, the tests stand below it."""
    named = {t.name: t for t in failed if t.name in PROTECTED}
    said = tuple(_protection(named[name]) for name in PROTECTED if name in named)
    return said if len(named) == len(failed) else (*said, Sentence("held_checks"))


def _protection(test: TestResult) -> Sentence:
    params = {p.name: p.value for p in test.params}
    if test.name == "protected_hours" and not (params.get("why") == "hours" and params.get("spans")):
        return Sentence("held_protected_day")
    return Sentence(f"held_{test.name}", tuple(params.items()))


def _ruled(said: Explanation, decided: Decided | None) -> Explanation:
    """With the rule a decision followed, and its tests."""
    if decided is None:
        return said
    e = decided.evidence
    params = (("policy", e.policy), ("version", str(e.policy_version)), ("step", e.transition), ("d", str(decided.at_ms)))
    rule = Sentence("rule", params) if e.policy_version else Sentence("rule_plain", params[2:])
    return replace(said, rule=rule if e.transition else None, tests=e.tests)


def _action(opened: Switched | None) -> Sentence | None:
    if opened is None:
        return None
    code = "commanded" if opened.evidence.origin in ("command", NONPAYMENT) else "ordered"
    return Sentence(code, (("n", str(opened.evidence.counter)), ("d", str(opened.at_ms))))


def standing_of(account: AccountConfig, policy: Policy, ledger: LedgerState, supply: str, off_since_ms: int, now_ms: int) -> Standing:
    """What is so beside the journal, from what edge and cloud both know of an account."""
    rules = money_rules(policy, PLAIN_STANDING, zone_of(account.zone), now_ms)
    return Standing(
        supply, ledger.balance_nano, brings_back(ledger, rules, max(1, policy.restore.min_balance_nano)), policy.zero_action.value,
        account.arm_only or policy.restore.close is Close.ARM, off_since_ms, account.mode == AccountMode.PREPAID,
    )  # fmt: skip


PLAIN_STANDING = EngineStanding()
