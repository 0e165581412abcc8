"""The demo's story and its chapters: who does what when, what is read from a journal, and that a thing not shown fails the run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demo.chapters import Chapters, Notice, chapters
from demo.narrator import NOT_SHOWN, lines, summary
from demo.pages import lines_of, plain
from demo.shown import EmergencyCredit, Explanation, KeypadCode, LowBalance, OfflineCut, Shown
from demo.story import AskPortal, BringCode, CutUplink, MendUplink, Pay, ReadMessage, Story, TakeEmergency
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry, Pool, Posting
from gridtally_shared.ledger.evidence import DecisionEvidence, MessageEvidence, MessageParam, SwitchEvidence, TestResult, detail

HOME = 7
OFFLINE = TestResult("offline", True, "offline since 5", (MessageParam("online", "no"),))


def entry(seq: int, kind: Kind, evidence: object = None, gseq: int = 0, postings: tuple[Posting, ...] = ()) -> LedgerEntry:
    body = detail(evidence) if evidence is not None else b""  # type: ignore[arg-type]
    return LedgerEntry(HOME, 1, seq, GENESIS, kind, seq * MS_PER_HOUR, postings, gseq=gseq, detail=body)


WHOLE_DAY = (
    entry(1, Kind.CREDIT, gseq=1),
    entry(2, Kind.NOTICE, MessageEvidence("LOW_BARE", (MessageParam("b", "60000000000"),))),
    entry(3, Kind.NOTICE, MessageEvidence("EC_OFFER", (MessageParam("b", "20000000000"),))),
    entry(4, Kind.NOTICE, MessageEvidence("EC_ON", (MessageParam("b", "20000000000"),))),
    entry(5, Kind.ENERGY, postings=(Posting(Pool.EMERGENCY, -15), Posting(Pool.ENERGY, 15))),
    entry(6, Kind.DECISION, DecisionEvidence("cut", (OFFLINE,), "T13", "acacia_lane", 1)),
    entry(7, Kind.SWITCH, SwitchEvidence(False, "done", 1, 1, 0)),
    entry(8, Kind.CREDIT, gseq=2, postings=(Posting(Pool.EMERGENCY, 15), Posting(Pool.RECEIVED, -15))),
    entry(9, Kind.SWITCH, SwitchEvidence(True, "done", 2, 0, 1)),
)


def test_the_chapters_are_read_from_the_journal_in_its_order() -> None:
    found = chapters(WHOLE_DAY)
    assert found.low is not None
    assert found.low.code == "LOW_BARE"
    assert found.offer is not None
    assert found.taken is not None
    assert (found.emergency_used_nano, found.spells, found.off_since_ms) == (15, 1, None)
    assert found.cut is not None
    assert found.cut.is_open
    assert (found.cut.seq, found.cut.param("offline", "online"), found.cut.seen("offline")) == (6, "no", "offline since 5")
    assert found.credit is not None
    assert found.credit.gseq == 2
    assert found.restored_ms == 9 * MS_PER_HOUR


def test_a_switch_that_did_not_follow_is_no_cut() -> None:
    found = chapters((*WHOLE_DAY[:6], entry(7, Kind.SWITCH, SwitchEvidence(False, "stuck", 1, 1, 1))))
    assert (found.cut, found.spells, found.off_since_ms) == (None, 0, None)


def story(days: float | None = 1) -> Story:
    return Story(0, days, HOME)


def at(hour: float) -> int:
    return int(hour * MS_PER_HOUR)


def test_the_uplink_is_away_from_the_sixth_to_the_eighteenth_hour_of_every_second_day() -> None:
    told = story(None)
    hours = {h: told.due(at(h), (), Chapters()) for h in range(0, 72, 3)}
    assert {h: acts for h, acts in hours.items() if acts} == {6: [CutUplink()], 18: [MendUplink()], 54: [CutUplink()], 66: [MendUplink()]}
    assert [told.is_offline(at(h)) for h in (5, 6, 17, 18, 60)] == [False, True, True, False, True]


def test_each_act_of_the_home_comes_once_and_the_code_only_while_offline() -> None:
    told, found = story(), Chapters(low=Notice(0, 1, "LOW", {}))
    assert told.due(at(1), (), found) == [ReadMessage()]
    found.offer = Notice(0, 2, "EC_OFFER", {})
    assert told.due(at(2), (), found) == [TakeEmergency()]
    assert told.due(at(6), (), found) == [CutUplink()]
    found.off_since_ms, found.spells = at(7), 1
    assert told.due(at(7), (), found) == []
    assert told.due(at(7.5), (), found) == [BringCode()]
    assert told.due(at(8), (), found) == []
    found.restored_ms, found.off_since_ms = at(8), None
    assert told.due(at(18), (), found) == [MendUplink()]
    assert told.due(at(18.2), ((HOME, at(7)),), found) == [], "the cloud does not know yet that it is back"
    found.off_since_ms, found.spells = at(18.5), 2
    assert told.due(at(19), ((HOME, at(18.5)),), found) == [AskPortal()]
    assert told.due(at(20.5), ((HOME, at(18.5)),), found) == [Pay(HOME)]
    assert told.due(at(21), ((HOME, at(18.5)),), found) == []


def test_other_homes_pay_two_hours_after_their_cut_also_while_the_uplink_is_away() -> None:
    told = story()
    told.due(at(6), (), Chapters())
    assert told.due(at(8), ((3, at(6)), (HOME, at(6))), Chapters()) == [Pay(3)]


ALL = Shown(
    LowBalance("2026-11-22T05:00:00+05:30", HOME, 3, "LOW", "Low balance ₹ 60.", True),
    EmergencyCredit("2026-11-22T06:00:00+05:30", "2026-11-22T06:10:00+05:30", HOME, "Emergency credit is ready.", "Done.", "20", 1),
    OfflineCut("2026-11-22T09:00:00+05:30", "2026-11-22T09:00:01+05:30", HOME, 6, "30 of 30", "offline", "acacia_lane 1", True, True),
    KeypadCode("2026-11-22T10:00:00+05:30", "2026-11-22T10:00:04+05:30", HOME, 2, "INR 130", "0400 0058 1958 3391 9013 2300", "accepted",
               "keypad", True, 3.5, 1),
    Explanation("2026-11-22T09:30:00+05:30", HOME, "http://display/", ("Off.",), "2026-11-22T19:00:00+05:30", "http://mdm/", ("Off.",)),
)  # fmt: skip


def test_nothing_is_missing_when_all_five_were_shown() -> None:
    assert ALL.missing == []
    assert [line.clock for line in lines(ALL, "Asha")] == ["05:00", "06:10", "09:00", "09:30", "10:00"]
    assert not any(NOT_SHOWN[0] in line for line in summary(ALL))


@pytest.mark.parametrize(("name", "changes"), [
    ("low_balance", {"on_page": False}), ("emergency_credit", {"used_nano": 0}), ("offline_cut", {"uplink_cut": False}),
    ("offline_cut", {"switch_open": False}), ("keypad_code", {"code": "1234"}), ("keypad_code", {"uplink_cut": False}),
    ("keypad_code", {"carrier": "mqtt"}), ("keypad_code", {"counted": 2}), ("explanation", {"display_says": ()}),
    ("explanation", {"portal_says": ()}),
])  # fmt: skip
def test_each_thing_not_shown_as_it_must_be_fails_the_run(name: str, changes: dict[str, object]) -> None:
    assert len(replace(ALL, **{name: replace(getattr(ALL, name), **changes)}).missing) == 1
    assert replace(ALL, **{name: None}).missing
    assert sum(NOT_SHOWN[0] in line for line in summary(replace(ALL, **{name: None}))) == 1
    assert sum(line.at == "" for line in lines(replace(ALL, **{name: None}), "Asha")) == 1


def test_a_page_is_read_as_a_person_sees_it() -> None:
    html = "<html><head><title>no</title></head><body><p>Off since\u00a0<b>nine</b>.</p><script>no</script><ul><li>Pay ₹&nbsp;5</li></ul>"
    assert lines_of(html) == ("Off since nine.", "Pay ₹ 5")
    assert plain(" a\n\u00a0b ") == "a b"
