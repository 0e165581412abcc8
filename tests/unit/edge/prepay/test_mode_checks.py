"""Before the way of paying changes the meter is asked; one that refuses keeps the account as it was (ETSI 5.2.5, alternative 2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_edge.display.account import view_account
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.mode_checks import RETRY_MS
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.instruments.details import ModeOrder
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import InstrumentEvidence, evidence_of
from gridtally_shared.lifecycle import Reason
from gridtally_shared.meter_settings import PaymentMode, unpacked
from support.prepay_bench import DAY_MS, Bench, mode_questions

MINUTE_MS = 60_000
PREPAID, POSTPAID = AccountMode.PREPAID, AccountMode.POSTPAID


def aligned(folder: Path, takes_mode: str | None) -> Bench:
    """A prepaid home at the beginning of a recording interval; its meter gives this answer to another mode."""
    bench = Bench(folder)
    bench.now_ms += -bench.now_ms % (15 * MINUTE_MS)
    bench.trust()
    bench.credit(1, "50")
    bench.read(1, 1_000_100)
    bench.takes_mode = takes_mode
    return bench


def ask(bench: Bench, mode: AccountMode) -> None:
    bench.credit(1, "0", type=InstrumentType.MODE_SET, detail=encode(ModeOrder(mode)))


def quarter(bench: Bench, wh: int) -> None:
    bench.now_ms += 15 * MINUTE_MS
    bench.trust()
    bench.read(1, wh)


def changes(bench: Bench) -> list[int]:
    return [e.mode for e in bench.entries() if e.kind == Kind.MODE]


def questions(bench: Bench) -> list[int]:
    """The modes the meter was asked to take, in order."""
    return [setting.mode for t in mode_questions(bench.effects) if isinstance(setting := unpacked(t.settings[0]), PaymentMode)]


def answer(bench: Bench, reason: str) -> None:
    """The meter answers the newest question; it does not say no."""
    bench.tell(p.ReadFinished(mode_questions(bench.effects)[-1].cmd_id, not reason, bench.now_ms, reason=reason))


def test_garbled_talk_is_no_refusal_and_the_meter_is_asked_again(tmp_path: Path) -> None:
    bench = aligned(tmp_path, None)
    ask(bench, POSTPAID)
    answer(bench, Reason.METER_FAULT)
    assert [e for e in bench.events() if e.code == EVENTS["instrument_refused"].code] == []
    quarter(bench, 1_000_200)
    assert changes(bench) == []
    bench.wait(3 * MINUTE_MS)
    assert len(questions(bench)) == 2
    answer(bench, "")
    quarter(bench, 1_000_300)
    assert changes(bench) == [POSTPAID]


@pytest.mark.covers_part("ETSI-5.2.5-alt2")
@pytest.mark.parametrize("reason", [Reason.METER_FAULT, Reason.NOT_READ_BACK])
def test_a_refusal_withdraws_the_change_and_is_told_with_its_time(tmp_path: Path, reason: Reason) -> None:
    bench = aligned(tmp_path, reason)
    before = view_account(bench.db, 101, bench.now_ms)
    assert before is not None
    ask(bench, POSTPAID)
    number, asked_ms = bench.next_gseq[101] - 1, bench.now_ms
    after = view_account(bench.db, 101, bench.now_ms)
    assert after == replace(before, seq=bench.entries()[-1].seq)  # the display, but for what stands in the journal
    (event,) = [e for e in bench.events() if e.code == EVENTS["instrument_refused"].code]
    assert (event.at_ms, event.detail) == (asked_ms, f"account=101 epoch=1 gseq={number} mode=postpaid reason={reason}")
    said = evidence_of(bench.entries()[-1])
    assert isinstance(said, InstrumentEvidence)
    assert (said.type, said.refused, said.gseq) == (InstrumentType.MODE_SET, reason, number)
    for wh in (1_000_200, 1_000_300):
        quarter(bench, wh)
    state, problem = bench.replayed()
    assert problem is None
    assert (changes(bench), state.mode, state.charged_wh) == ([], PREPAID, 300)  # paid ahead as before
    bench.wait(2 * DAY_MS)
    assert questions(bench) == [0]  # not by itself
    bench.takes_mode = ""
    ask(bench, POSTPAID)  # ordered again: asked again
    quarter(bench, 1_000_400)
    assert changes(bench) == [POSTPAID]


def test_a_meter_without_such_an_object_takes_no_part(tmp_path: Path) -> None:
    bench = aligned(tmp_path, Reason.UNSUPPORTED)
    ask(bench, POSTPAID)
    quarter(bench, 1_000_200)
    assert changes(bench) == [POSTPAID]


def test_without_an_answer_nothing_changes_and_the_meter_is_asked_again_after_a_restart_too(tmp_path: Path) -> None:
    bench = aligned(tmp_path, None)
    ask(bench, POSTPAID)
    answer(bench, Reason.NO_ANSWER)
    quarter(bench, 1_000_200)
    assert changes(bench) == []
    bench.wait(RETRY_MS)
    assert questions(bench) == [0, 0]
    answer(bench, Reason.METER_BUSY)
    bench.restart()
    bench.trust()
    bench.wait(RETRY_MS)
    assert questions(bench) == [0]
    answer(bench, "")
    assert changes(bench) == []  # it takes a reading, and there is one for both sides
    quarter(bench, 1_000_300)
    assert changes(bench) == [POSTPAID]
    bench.wait(DAY_MS)
    assert questions(bench) == [0]


def test_a_change_taken_back_before_its_time_is_taken_back_at_the_meter_and_an_old_answer_does_not_count(tmp_path: Path) -> None:
    bench = aligned(tmp_path, None)
    ask(bench, POSTPAID)
    first = mode_questions(bench.effects)[-1]
    ask(bench, PREPAID)
    assert questions(bench) == [0, 1]
    bench.tell(p.ReadFinished(first.cmd_id, True, bench.now_ms))
    answer(bench, "")
    quarter(bench, 1_000_200)
    bench.wait(DAY_MS)
    assert (changes(bench), questions(bench)) == ([], [0, 1])


def test_a_configuration_that_still_wants_it_asks_again_in_a_day(tmp_path: Path) -> None:
    bench = aligned(tmp_path, Reason.METER_FAULT)
    bench.configure(mode=int(POSTPAID))
    quarter(bench, 1_000_200)
    assert (changes(bench), questions(bench)) == ([], [0])
    bench.wait(DAY_MS)
    assert questions(bench) == [0, 0]
    bench.takes_mode = ""
    bench.wait(DAY_MS)
    quarter(bench, 1_000_300)
    assert changes(bench) == [POSTPAID]
