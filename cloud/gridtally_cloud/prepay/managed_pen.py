"""The pen of a managed account's journal: what instruments, readings and days write, by the concentrator's own rules (safety.md 17).

* The engine, the money order and the entries are those of the concentrator (`gridtally_shared`); `rules` gives what the policy says of
  the money at a moment.
* A register that went back or jumped beyond what a service can carry is held: nothing is charged by it, and nobody is cut, until a
  plausible reading comes. That one charges all of it.

Source: prepayment.md 3.4, 5.5, 5.7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from typing import Any

from gridtally_cloud.customers.model import Account
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.charges import charges_of, opening_detail, record_of
from gridtally_shared.ledger.charges import detail_of as charge_detail
from gridtally_shared.ledger.correction import corrected
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, Posting, move
from gridtally_shared.ledger.evidence import InstrumentEvidence, MessageEvidence, MessageParam
from gridtally_shared.ledger.evidence import detail as evidence_bytes
from gridtally_shared.ledger.money_order import MoneyRules, bring, collect, owed, spend, take_back, top_up
from gridtally_shared.ledger.register import possible_wh
from gridtally_shared.ledger.replay import LedgerState, apply
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import day_of, version_at
from gridtally_shared.tariff.lines import Line
from gridtally_shared.tariff.running import Running, Terms, begun, cycle_is_due, day_is_due, days, parts_of, used
from gridtally_shared.tariff.terms import Plan

T = InstrumentType
WENT_BACK, JUMPED = "went_back", "jumped"


@dataclass(slots=True)
class Pen:
    """`carried`: the open cycle of the epoch before. `told`: the terms the journal names; others are told with the next charge. `good_ms`:
    the newest reading that was charged, moved or not. `held`: why charging is held, since `held_wh`. `most_nano`: what the account may
    hold at most."""

    account: Account
    plan: Plan
    terms: Terms
    state: LedgerState
    opening_wh: int | None
    begins_ms: int
    running: Running | None
    carried: Running | None
    told: Terms | None
    rules: Callable[[int], MoneyRules]
    most_nano: int
    good_ms: int = 0
    held: str = ""
    held_wh: int | None = None
    written: list[bytes] = field(default_factory=list)

    # ---- money

    def use(self, made: Instrument) -> bool:
        """What an instrument does to the money; what orders something of a supply is noted. Whether it brought money: what an epoch
        brings along is none."""
        rules, at_ms = self.rules(made.issued_at_ms), made.issued_at_ms
        kind, postings, detail = _effect(self.state, rules, made, self.most_nano)
        period = rules.period if kind is Kind.CREDIT and made.type in CREDITS else 0
        self.add(kind, at_ms, postings, gseq=made.gseq, cause=made.payment_ref, detail=detail, period=period)
        code = _told(made, kind)
        if code:
            self.tell(at_ms, code, a=abs(made.amount_nano), b=self.state.balance_nano)
        return made.amount_nano > 0 and made.type != T.OPENING and kind is not Kind.CONTROL

    def tell(self, at_ms: int, code: str, **params: int) -> None:
        """A message to the consumer: money in nano, times and spans in ms, as decimal text."""
        pairs = tuple(MessageParam(name, str(value)) for name, value in sorted(params.items()))
        self.add(Kind.NOTICE, at_ms, detail=evidence_bytes(MessageEvidence(code, pairs)))

    # ---- energy and days

    def read(self, at_ms: int, wh: int) -> str:
        """Charge a reading of the register; why it is held, where that is news."""
        if self.state.register_wh is None:
            self._open(at_ms, wh)
        last_ms = max(self.state.register_at_ms, self.good_ms)
        if at_ms < last_ms:
            return ""
        held = self._judged(at_ms - last_ms, wh)
        if held:
            is_news = held != self.held
            self.held, self.held_wh = held, wh if is_news else self.held_wh
            return held if is_news else ""
        self.begin_days(at_ms)
        moved_wh = wh - (self.state.register_wh or 0)
        if moved_wh or cycle_is_due(self.plan, self._going(), at_ms):
            self._charge(last_ms, at_ms, moved_wh)
        self.good_ms, self.held, self.held_wh = at_ms, "", None
        self._collect(at_ms)
        return ""

    def _judged(self, elapsed_ms: int, wh: int) -> str:
        register_wh = self.state.register_wh or 0
        if wh < register_wh:
            return WENT_BACK
        still_beyond = self.held == JUMPED and self.held_wh is not None and wh >= self.held_wh
        return JUMPED if still_beyond or wh - register_wh > possible_wh(elapsed_ms) else ""

    def _collect(self, at_ms: int) -> None:
        """The debt by time, once a collection period, out of what is there."""
        rules = self.rules(at_ms)
        postings = collect(self.state, rules) if owed(self.state, Pool.DEBT_TIME) else ()
        if postings:
            self.add(Kind.DEBT, at_ms, postings, period=rules.period)

    def _open(self, at_ms: int, wh: int) -> None:
        begins_wh = wh if self.opening_wh is None or self.opening_wh > wh else self.opening_wh
        begins_ms = at_ms if begins_wh == wh else min(self.begins_ms, at_ms)
        charged_ms = min(self.carried.state.until_ms, begins_ms) if self.carried else begins_ms
        self.running, self.told = self.carried, self.carried.terms if self.carried else None
        detail = opening_detail(self.carried) if self.carried else b""
        self.add(Kind.OPEN, begins_ms, register_before_wh=begins_wh, register_after_wh=begins_wh,
                  day_after=day_of(charged_ms - 1, self.plan.zone), detail=detail)  # fmt: skip

    def _going(self) -> Running:
        if self.running is None:
            self.running = begun(self.plan, self.terms, self.state.register_at_ms, (self.state.charged_day or 0) + 1)
        return self.running

    def begin_days(self, until_ms: int) -> None:
        """The fixed part of the days that began, whether or not the meter answers."""
        if self.state.register_wh is None or not day_is_due(self.plan, self._going(), until_ms):
            return
        self.running, lines = days(self.plan, self._going(), until_ms)
        if lines:
            self._priced(Kind.FIXED, until_ms, lines, 0, day_after=day_of(until_ms - 1, self.plan.zone))

    def _charge(self, from_ms: int, at_ms: int, wh: int) -> None:
        for part in parts_of(self.plan, max(from_ms, self._going().state.counted_ms), at_ms, wh):
            self.running, lines = used(self.plan, self._going(), part.from_ms, part.to_ms, part.wh)
            before = self.state.register_wh or 0
            if lines:
                since_ms = part.from_ms if part.from_ms != self.state.register_at_ms else 0
                self._priced(Kind.ENERGY, part.to_ms, lines, since_ms, register_before_wh=before, register_after_wh=before + part.wh)

    def _priced(self, kind: Kind, at_ms: int, lines: tuple[Line, ...], from_ms: int, **fields: Any) -> None:
        record = record_of(lines, from_ms)
        fresh = record if self.told == self.terms else replace(record, terms=(self.terms,))
        self.told = self.terms
        version = self.plan.versions[version_at(self.plan, max(at_ms - 1, 0))].number
        postings = spend(self.state, self.rules(at_ms), charges_of(self.plan, lines))
        self.add(kind, at_ms, postings, tariff_version=version, detail=charge_detail(fresh), **fields)

    def add(self, kind: Kind, at_ms: int, postings: tuple[Posting, ...] = (), **fields: Any) -> None:
        entry = LedgerEntry(self.account.account_no, self.account.account_epoch, self.state.seq + 1, self.state.head, kind, at_ms, postings,
                            meter_no=self.account.meter_no, **fields)  # fmt: skip
        self.state = apply(self.state, entry)
        self.written.append(entry.to_bytes())


CREDITS = frozenset({T.CREDIT, T.CREDIT_KWH, T.CREDIT_TIME})
DEBTS = {"time": Pool.DEBT_TIME, "payment": Pool.DEBT_PAYMENT}
OVERFLOW = "overflow"
Effect = tuple[Kind, tuple[Posting, ...], bytes]


def _effect(state: LedgerState, rules: MoneyRules, made: Instrument, most_nano: int) -> Effect:
    kind, amount_nano = InstrumentType(made.type), made.amount_nano
    if 0 < amount_nano > most_nano - state.balance_nano:
        return _refused(made, OVERFLOW)
    match kind:
        case T.CREDIT | T.CREDIT_KWH | T.CREDIT_TIME:
            return Kind.CREDIT, top_up(state, rules, amount_nano), made.detail
        case T.REFUND:
            return Kind.REFUND, take_back(state, -amount_nano), b""
        case T.OPENING:
            return Kind.CREDIT, bring(state, rules, amount_nano), b""
        case T.DEBT:
            return Kind.DEBT, move(Pool.TRANSFER, DEBTS[detail_of(made).by], amount_nano), made.detail
        case T.CORRECTION:
            return Kind.CORRECTION, corrected(state, amount_nano), made.detail
        case T.CREDIT_CLEAR:
            return Kind.TRANSFER, move(Pool.PAID, Pool.TRANSFER, max(0, state.pools.get(Pool.PAID, 0))), b""
    return _refused(made, "managed" if amount_nano else "")


def _refused(made: Instrument, reason: str) -> Effect:
    """Its number is used; it moves nothing. Without a reason it is an order, kept here for its concentrator."""
    return Kind.CONTROL, (), evidence_bytes(InstrumentEvidence(made.type, reason, made.amount_nano, seen="kept by the cloud"))


def _told(made: Instrument, kind: Kind) -> str:
    """The message an instrument gives. What an epoch brings along is no payment, and is not told as one."""
    if kind is Kind.CORRECTION:
        return "CORRECTED" if made.amount_nano > 0 else "CORRECTED_DEBT"
    if made.type == T.TEST:
        return "TEST"
    return "CREDIT" if kind is Kind.CREDIT and made.type in CREDITS else ""
