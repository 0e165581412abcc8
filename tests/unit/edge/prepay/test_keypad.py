"""Typed codes at the concentrator: once with the signed instrument, every refusal by name, the lock that survives all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.keypad import CodeResult
from gridtally_shared.events import BY_NAME
from gridtally_shared.instruments.keypad_code import CodeContext, CodeType, amount_value, code_text
from gridtally_shared.money import nano
from support.prepay_bench import DAY_MS, Bench

KEY = bytes(range(32))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, 2, {"keypad_key": KEY})


def code(amount: str, gseq: int, meter_no: int = 1, **context: Any) -> str:
    value = amount_value(nano(amount), "INR")
    assert value is not None
    where = CodeContext(**{"dcu": "dcu-1", "account_no": 100 + meter_no, "epoch": 1, "currency": "INR"} | context)
    return code_text(KEY, where, gseq, CodeType.CREDIT, value)


class Typist:
    """Somebody at the keypad of meter 1."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.entries = bench, 0

    def types(self, text: str, entry: int = 0, mono_ms: int = 0) -> p.CodeAnswered:
        self.entries += 1
        event = p.CodeEntered((entry or self.entries).to_bytes(16, "big"), 101, text)
        answers = [e for e in self.bench.core.handle(event, self.bench.now_ms, mono_ms) if isinstance(e, p.CodeAnswered)]
        assert len(answers) == 1
        return answers[0]

    def result(self, text: str, mono_ms: int = 0) -> str:
        return self.types(text, mono_ms=mono_ms).result


def reported(bench: Bench, name: str) -> int:
    return sum(e.code == BY_NAME[name].code for e in bench.events())


def test_a_code_is_credit_at_once_and_says_what_it_brought(bench: Bench) -> None:
    answer = Typist(bench).types(code("100", 1))
    assert (answer.result, answer.amount_nano, answer.balance_nano) == (CodeResult.ACCEPTED, nano("100"), nano("100"))
    assert bench.balance(1) == nano("100")


@pytest.mark.parametrize("code_first", [True, False])
def test_it_counts_once_with_the_signed_instrument_whichever_comes_first(bench: Bench, code_first: bool) -> None:
    signed, typist = bench.instrument(1, "100", 1), Typist(bench)
    for _ in range(2):
        if code_first:
            typist.types(code("100", 1))
        bench.tell(p.InstrumentArrived(signed))
        if not code_first:
            assert typist.result(code("100", 1)) == CodeResult.USED
    assert bench.balance(1) == nano("100")
    assert reported(bench, "instruments_disagree") == reported(bench, "instrument_refused") == 0


def test_a_signed_instrument_that_says_otherwise_is_an_alarm_and_changes_nothing(bench: Bench) -> None:
    Typist(bench).types(code("100", 1))
    bench.tell(p.InstrumentArrived(bench.instrument(1, "900", 1)))
    assert bench.balance(1) == nano("100")
    assert reported(bench, "instruments_disagree") == 1


def test_codes_out_of_order_count_within_the_window_and_wait_beyond_it(bench: Bench) -> None:
    typist = Typist(bench)
    assert [typist.result(code("10", n)) for n in (3, 1, 2, 64)] == [CodeResult.ACCEPTED] * 4
    assert typist.result(code("10", 70)) == CodeResult.WAITING
    assert bench.balance(1) == nano("40")
    for n in range(4, 64):
        bench.credit(1, "1", n)
    assert bench.balance(1) == nano("110")


def test_every_refusal_has_its_name(bench: Bench) -> None:
    typist = Typist(bench)
    right = code("100", 1)
    typist.types(right)
    assert typist.result(right) == CodeResult.USED
    assert typist.result("1234 5678 9012 3456 7890") == CodeResult.FORMAT
    assert typist.result(right[:-1] + str((int(right[-1]) + 1) % 10)) == CodeResult.CHECK_DIGIT
    assert typist.result(code("100", 2, meter_no=2)) == CodeResult.WRONG_METER
    assert typist.result(code("100", 1, epoch=0)) == CodeResult.OLD
    assert typist.result(code("100", 2, dcu="dcu-2")) == CodeResult.WRONG
    assert bench.balance(1) == nano("100")
    assert bench.balance(2) == 0


def test_without_a_key_codes_are_not_offered(tmp_path: Path) -> None:
    bench = Bench(tmp_path, policy={"keypad_key": b""})
    assert Typist(bench).result(code("100", 1)) == CodeResult.NOT_OFFERED
    assert bench.balance(1) == 0


def test_a_page_that_lost_its_answer_gets_the_same_one(bench: Bench) -> None:
    typist = Typist(bench)
    first = typist.types(code("100", 1), entry=77)
    bench.restart()
    assert typist.types(code("100", 1), entry=77) == first
    assert bench.balance(1) == nano("100")


def wrong_codes(count: int) -> list[str]:
    return [code("100", 1, dcu=f"elsewhere-{n}") for n in range(count)]


def test_five_wrong_codes_lock_and_each_further_one_twice_as_long(bench: Bench) -> None:
    typist = Typist(bench)
    assert [typist.types(text).until_ms for text in wrong_codes(4)] == [0] * 4
    waits = []
    for text in wrong_codes(11):
        until_ms = typist.types(text).until_ms
        waits.append((until_ms - bench.now_ms) // 1_000)
        assert typist.result(code("100", 1)) == CodeResult.LOCKED
        bench.now_ms = until_ms
    assert waits == [20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]
    assert reported(bench, "keypad_locked") == 11
    assert typist.result(code("100", 1)) == CodeResult.ACCEPTED
    assert typist.types(wrong_codes(1)[0]).until_ms == 0, "an accepted code forgets the wrong ones"


def test_what_is_no_code_is_no_guess(bench: Bench) -> None:
    typist = Typist(bench)
    for _ in range(20):
        assert typist.result("0000 0000 0000 0000 0000 0000") in (CodeResult.CHECK_DIGIT, CodeResult.FORMAT)
    assert typist.result(code("100", 1)) == CodeResult.ACCEPTED


def test_neither_a_wrong_clock_nor_a_restart_opens_the_lock(bench: Bench) -> None:
    typist = Typist(bench)
    for text in wrong_codes(5):
        typist.types(text, mono_ms=1_000_000)
    bench.now_ms += 30 * DAY_MS
    assert typist.result(code("100", 1), mono_ms=1_010_000) == CodeResult.LOCKED
    bench.now_ms -= 60 * DAY_MS
    bench.restart()
    assert typist.types(code("100", 1), mono_ms=5_000).until_ms == bench.now_ms + 10_000
    assert typist.result(code("100", 1), mono_ms=14_999) == CodeResult.LOCKED
    assert typist.result(code("100", 1), mono_ms=15_000) == CodeResult.ACCEPTED
