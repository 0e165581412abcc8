"""Why a supply is off: for each cause what happened, the rule with its tests, and what brings it back; in three languages."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from gridtally_shared.ledger.entries import Kind, LedgerEntry
from gridtally_shared.ledger.evidence import DecisionEvidence, Evidence, MessageEvidence, MessageParam, SwitchEvidence, TestResult, detail
from gridtally_shared.messages.catalogue import LANGUAGES, table
from gridtally_shared.messages.explain import Explanation, Standing, explain, story_of
from gridtally_shared.messages.telling import told
from gridtally_shared.messages.words import Words
from gridtally_shared.money import nano

T = 1_772_430_000_000
KINDS = {DecisionEvidence: Kind.DECISION, SwitchEvidence: Kind.SWITCH, MessageEvidence: Kind.NOTICE}
SPENT = TestResult("allowance", True, "exhausted", (MessageParam("funds", "exhausted"), MessageParam("balance_nano", str(-nano("4.20")))))
CUT = DecisionEvidence("cut", (SPENT, TestResult("pending", True)), "T11", "plain", 3)
OPENED = SwitchEvidence(False, "done", 7, origin="local")
OFF = Standing("off", -nano("4.20"), nano("4.21"))
PAID = Standing("off", nano("50"), 0)


def why(standing: Standing, *evidence: Evidence) -> Explanation:
    """Oldest first; a decision and the switch action behind it share their cause."""
    entries = [
        LedgerEntry(101, 1, seq, bytes(32), KINDS[type(e)], T + seq * 60_000, meter_no=1, cause=b"c", detail=detail(e))
        for seq, e in enumerate(evidence, 1)
    ]  # fmt: skip
    return explain(story_of(reversed(entries)), standing)


def failing(name: str, params: dict[str, str]) -> TestResult:
    return TestResult(name, False, "", tuple(MessageParam(*p) for p in params.items()))


def kept(name: str, **params: str) -> DecisionEvidence:
    return DecisionEvidence("restore_held", (failing(name, params),), "T16b")


def held(name: str, **params: str) -> DecisionEvidence:
    return DecisionEvidence("held", (SPENT, failing(name, params)), "T12", "plain", 1)


def message(code: str, **params: str) -> MessageEvidence:
    return MessageEvidence(code, tuple(MessageParam(*p) for p in params.items()))


NIGHT = {"why": "hours", "spans": "18:00-09:00"}
BY_FIELD = DecisionEvidence("cut_by_field", (SPENT, failing("switch", {})), "T18c", "plain", 3)
ARMED = SwitchEvidence(True, "done", 6, state_after=2, origin="local")

CASES: dict[str, tuple[Standing, tuple[Evidence, ...], str, tuple[str, ...], tuple[str, ...]]] = {
    "cut": (OFF, (CUT, OPENED), "off_balance", (), ("pay",)),
    "cut, by button": (Standing("off", -1, 2, by_button=True), (CUT, OPENED), "off_balance", (), ("pay_button",)),
    "cut, offer": (OFF, (CUT, OPENED, message("EC_OFFER", b="5")), "off_balance", (), ("pay", "emergency")),
    "cut, offer gone": (OFF, (message("EC_OFFER", b="5"), message("EC_ON", b="5"), CUT, OPENED), "off_balance", (), ("pay",)),
    "cut that came late": (OFF, (CUT, SwitchEvidence(False, "stuck", 7, origin="local")), "off_balance", (), ("pay",)),
    "paid": (PAID, (CUT, OPENED), "off_balance", (), ("paid",)),
    "paid, tamper": (PAID, (CUT, OPENED, kept("holds", holds="tamper")), "off_balance", ("paid_kept", "kept_holds"), ("call",)),
    "unpaid, tamper": (OFF, (CUT, OPENED, kept("holds", holds="tamper")), "off_balance", (), ("pay_call",)),
    "paid, nobody at home": (
        PAID, (CUT, OPENED, kept("remote_close")), "off_balance", ("paid_kept", "kept_remote_close"), ("press_page",)
    ),
    "paid, inverter": (PAID, (CUT, OPENED, kept("load_side")), "off_balance", ("paid_kept", "kept_load_side"), ("source_off",)),
    "paid, stuck": (PAID, (CUT, OPENED, kept("stuck")), "off_balance", ("paid_kept", "kept_stuck"), ("try_again",)),
    "commanded": (PAID, (SwitchEvidence(False, "done", 8, origin="command"),), "off_order", (), ("call",)),
    "schedule": (PAID, (SwitchEvidence(False, "done", 8, origin="schedule"),), "off_schedule", (), ("wait_schedule",)),
    "trip": (
        PAID, (message("LIMIT", w="2000"), message("RECLOSE", t="120000"), SwitchEvidence(False, "done", 9, origin="limit")),
        "off_limit", ("limit",), ("reduce_wait",),
    ),
    "trip, by hand": (PAID, (message("MANUAL"), SwitchEvidence(False, "done", 9, origin="limit")), "off_limit", (), ("reduce_button",)),
    "trip of the meter": (PAID, (message("RECLOSE", t="120000"),), "off_limit", (), ("reduce_wait",)),
    "nobody's": (Standing("off", 1, off_since_ms=T), (CUT, OPENED, SwitchEvidence(True, "done", 8)), "off_unordered", (), ("call",)),
    "nothing known": (Standing("off", 1), (), "off_unknown", (), ("call",)),
    "fault": (Standing("unknown"), (), "unknown", (), ()),
    "armed": (Standing("armed", 1), (CUT, OPENED), "armed", (), ("button",)),
    "hours": (
        Standing("on", -1), (held("protected_hours", why="hours", spans="09:00-18:00"),), "on_held", ("held_protected_hours",), ("topup",)
    ),
    "holiday": (Standing("on", -1), (held("protected_hours", why="holiday", spans=""),), "on_held", ("held_protected_day",), ("topup",)),
    "medical": (Standing("on", -1), (held("holds", holds="medical"),), "on_held", ("held_holds",), ("topup",)),
    "unknown clock": (Standing("on", -1), (held("clock"),), "on_held", ("held_checks",), ("topup",)),
    "zero, nothing": (Standing("on", -1, zero_action="none"), (), "on_none", (), ("topup",)),
    "zero, billing": (Standing("on", -1, zero_action="postpaid"), (), "on_postpaid", (), ("topup",)),
    "zero, wallet": (Standing("on", -1, zero_action="replenish"), (), "on_replenish", (), ("topup",)),
    "zero, limit": (Standing("on", -1, zero_action="limit"), (message("LIMIT", w="500"),), "on_zero", ("limit",), ("topup",)),
    "zero, no switch": (Standing("not_fitted", -1), (), "on_zero", ("not_fitted",), ("topup",)),
    "zero, no switch, as it is held": (Standing("not_fitted", -1), (held("switch"),), "on_zero", ("not_fitted",), ("topup",)),
    "zero, no switch, at night": (
        Standing("not_fitted", -1), (DecisionEvidence("held", (failing("protected_hours", NIGHT), failing("switch", {}))),),
        "on_zero", ("not_fitted", "held_protected_hours"), ("topup",),
    ),
    "somebody comes": (Standing("not_fitted", -1, 2), (held("switch"), BY_FIELD), "on_zero", ("field",), ("pay_field",)),
    "somebody was called back": (
        Standing("not_fitted", -1, 2), (BY_FIELD, DecisionEvidence("cut_called_back"), held("flags", flags="medical")),
        "on_zero", ("not_fitted", "held_flags"), ("topup",),
    ),
    "released, in turn": (OFF, (CUT, OPENED, kept("turn", at_ms=str(T))), "off_balance", ("kept_turn",), ("pay_turn",)),
    "cut, armed before": (OFF, (ARMED, CUT, OPENED), "off_balance", (), ("pay_button",)),
    "limited": (Standing("on", 1), (message("LIMIT", w="500"),), "on_limited", ("limit",), ()),
    "limit lifted": (Standing("on", 1), (message("LIMIT", w="500"), message("LIMIT_OFF")), "on", (), ()),
    "billed": (Standing("on", -1, money_counts=False), (), "on", (), ()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_cause_has_its_explanation_and_its_way_back(case: str) -> None:
    standing, evidence, headline, because, remedy = CASES[case]
    said = why(standing, *evidence)
    assert said.headline.code == headline
    assert tuple(s.code for s in said.because) == because
    assert tuple(s.code for s in said.remedy) == remedy


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_explanation_is_words_in_every_language(language: str) -> None:
    words = Words(language, "INR", ZoneInfo("Asia/Kolkata"))
    for standing, evidence, *_ in CASES.values():
        said = told(why(standing, *evidence), words)
        assert not {said.headline, *said.because, *said.remedy, said.rule} & table("why").keys()


def test_a_cut_tells_rule_step_tests_and_amount() -> None:
    said = told(why(OFF, CUT, OPENED), Words("en", "INR", ZoneInfo("Asia/Kolkata")))
    assert said.text.replace("\xa0", " ") == (
        "Off since 02.03.2026 11:12 because the balance was used up. Pay ₹ 4.21 and it comes back by itself."
    )
    assert said.rule.startswith("By rule plain, version 3, step T11, on ")
    assert said.tests_title == "2 of 2 checks met"
    assert next((t.mark, t.asked, t.seen.replace("\xa0", " ")) for t in said.tests) == ("Yes", "The money is used up", "−₹ 4.20")


def test_a_test_of_a_later_version_shows_as_it_was_stored() -> None:
    newer = DecisionEvidence("cut", (TestResult("moon", True, "full"),), "T11", "plain", 3)
    assert told(why(OFF, newer, OPENED), Words("en", "INR")).tests[0].asked == "moon"
