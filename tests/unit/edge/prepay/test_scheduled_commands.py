"""What is ordered for later: carried out offline at its time, held without a clock, cancelled and moved at the edge."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.prepay import events as p
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import Command, CommandReceipt, CommandType
from gridtally_shared.instruments.details import LimitOrder
from gridtally_shared.ledger.evidence import InstrumentEvidence, SwitchEvidence, evidence_of
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.meter_settings import LoadLimit, unpacked
from support.prepay_bench import DAY_MS, HOUR_MS, Bench

C, S = CommandType, CommandState
MINUTE_MS = 60_000


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def states(bench: Bench, command: Command) -> list[tuple[CommandState, str]]:
    return [(S(r.state), r.reason) for r in bench.receipts() if r.cmd_id == command.cmd_id]


def later(bench: Bench, kind: CommandType, in_ms: int, **more: object) -> Command:
    at_ms = bench.now_ms + in_ms
    life_ms = 15 * MINUTE_MS if kind is C.SWITCH_OPEN else HOUR_MS
    return bench.command(kind, **{"not_before_ms": at_ms, "expires_ms": at_ms + life_ms, **more})


def cancel(bench: Bench, target: Command) -> Command:
    return bench.command(C.CANCEL, target=target.cmd_id)


def minutes(bench: Bench, ms: int) -> None:
    """Time passes tick by tick, the clock believed."""
    for _ in range(ms // MINUTE_MS):
        bench.wait(MINUTE_MS)
        bench.trust()


@pytest.mark.covers_part("C3-FR14")
@pytest.mark.covers_part("C3-NFR3")
def test_a_scheduled_cut_and_its_restore_run_offline_and_after_a_restart(bench: Bench) -> None:
    cut, close = later(bench, C.SWITCH_OPEN, 2 * HOUR_MS), later(bench, C.SWITCH_CLOSE, 3 * HOUR_MS)
    bench.send(cut)
    bench.send(close)
    assert states(bench, cut) == [(S.DELIVERED, "")]
    bench.offline()
    bench.restart()
    bench.trust()
    minutes(bench, 2 * HOUR_MS + MINUTE_MS)
    assert [o.close for o in bench.orders()] == [False]
    bench.finish()
    minutes(bench, HOUR_MS)
    assert [o.close for o in bench.orders()] == [False, True]
    bench.finish()
    assert [states(bench, c)[-1] for c in (cut, close)] == [(S.DONE, "")] * 2
    assert [decode(SwitchEvidence, r.result).counter for r in bench.receipts() if r.state == S.DONE] == [1, 2]


def test_what_the_switch_did_until_its_time_does_not_void_it(bench: Bench) -> None:
    cut = later(bench, C.SWITCH_OPEN, HOUR_MS)
    bench.send(cut)
    bench.send(bench.command(C.SWITCH_OPEN, switch_counter=1))
    bench.finish()
    bench.send(bench.command(C.SWITCH_CLOSE, switch_counter=2))
    bench.finish()
    minutes(bench, HOUR_MS + MINUTE_MS)
    assert not bench.order().close
    bench.finish()
    assert states(bench, cut)[-1] == (S.DONE, "")


def test_one_that_comes_late_never_beats_what_was_switched_after_its_time(bench: Bench) -> None:
    close = later(bench, C.SWITCH_CLOSE, HOUR_MS)
    minutes(bench, HOUR_MS + 5 * MINUTE_MS)
    bench.send(bench.command(C.SWITCH_OPEN, switch_counter=1))
    bench.finish()
    bench.send(close)
    assert states(bench, close) == [(S.REFUSED, Reason.SUPERSEDED)]
    assert [o.close for o in bench.orders()] == [False]


def test_two_that_were_due_while_the_concentrator_was_off_run_in_the_order_of_their_times(bench: Bench) -> None:
    close, cut = later(bench, C.SWITCH_CLOSE, 20 * MINUTE_MS), later(bench, C.SWITCH_OPEN, 15 * MINUTE_MS)
    bench.send(close)
    bench.send(cut)
    bench.now_ms += 25 * MINUTE_MS
    bench.restart()
    bench.trust()
    assert [o.close for o in bench.orders()] == [False]
    bench.finish()
    assert [o.close for o in bench.orders()] == [False, True]
    bench.finish()
    assert [states(bench, c)[-1] for c in (cut, close)] == [(S.DONE, "")] * 2


def test_without_a_believed_clock_it_is_held_says_so_and_runs_when_there_is_one(bench: Bench) -> None:
    close = later(bench, C.SWITCH_CLOSE, 10 * MINUTE_MS)
    bench.send(close)
    bench.restart()
    bench.wait(20 * MINUTE_MS)
    bench.wait(MINUTE_MS)
    assert bench.orders() == []
    assert states(bench, close) == [(S.DELIVERED, ""), (S.DELIVERED, Reason.CLOCK_UNTRUSTED)]
    bench.trust()
    assert bench.order().close


@pytest.mark.parametrize("kind", [C.SWITCH_OPEN, C.SWITCH_CLOSE, C.READ_INSTANT, C.MESSAGE])
def test_expired_it_never_runs(bench: Bench, kind: CommandType) -> None:
    command = later(bench, kind, 10 * MINUTE_MS, text="hello")
    bench.send(command)
    bench.effects.clear()
    bench.now_ms += 2 * HOUR_MS
    bench.restart()
    bench.trust()
    bench.wait(MINUTE_MS)
    assert states(bench, command)[-1] == (S.EXPIRED, Reason.TOO_LATE)
    assert [e for e in bench.effects if isinstance(e, (p.RunSwitch, p.RunRead, p.Announce))] == []


@pytest.mark.covers_part("C3-FR14")
def test_cancelled_after_delivery_it_never_runs(bench: Bench) -> None:
    cut = later(bench, C.SWITCH_OPEN, HOUR_MS)
    bench.send(cut)
    taken_back = cancel(bench, cut)
    bench.send(taken_back)
    assert states(bench, cut)[-1] == (S.CANCELLED, Reason.CANCELLED)
    assert states(bench, taken_back) == [(S.DONE, "")]
    minutes(bench, HOUR_MS + MINUTE_MS)
    assert bench.orders() == []


def test_a_cancel_that_overtakes_its_target_still_stops_it(bench: Bench) -> None:
    cut = later(bench, C.SWITCH_OPEN, HOUR_MS)
    taken_back = cancel(bench, cut)
    bench.send(taken_back)
    bench.restart()
    bench.send(cut)
    bench.send(cut)
    assert [s for s, _ in states(bench, cut)] == [S.CANCELLED] * 3
    bench.trust()
    minutes(bench, HOUR_MS + MINUTE_MS)
    assert bench.orders() == []


def test_a_cancel_that_comes_too_late_says_how_the_target_stands(bench: Bench) -> None:
    cut = bench.command(C.SWITCH_OPEN, switch_counter=1)
    bench.send(cut)
    under_way, ended = cancel(bench, cut), cancel(bench, cut)
    bench.send(under_way)
    bench.finish()
    bench.send(ended)
    for command, standing in ((under_way, S.EXECUTING), (ended, S.DONE)):
        assert states(bench, command) == [(S.REFUSED, Reason.TOO_LATE)]
        told = next(r for r in bench.receipts() if r.cmd_id == command.cmd_id)
        assert decode(CommandReceipt, told.result).state == standing
    assert states(bench, cut)[-1] == (S.DONE, "")


def test_a_switch_order_between_two_tries_can_be_taken_back(bench: Bench) -> None:
    cut = bench.command(C.SWITCH_OPEN, switch_counter=1)
    bench.send(cut)
    bench.finish(p.SwitchResult.NO_ANSWER)
    bench.send(cancel(bench, cut))
    assert states(bench, cut)[-1] == (S.CANCELLED, Reason.CANCELLED)
    bench.wait(HOUR_MS)
    assert len(bench.orders()) == 1


@pytest.mark.covers_part("C3-FR14")
def test_moved_it_runs_once_at_its_new_time(bench: Bench) -> None:
    cut = later(bench, C.SWITCH_OPEN, HOUR_MS)
    moved = later(bench, C.SWITCH_OPEN, 3 * HOUR_MS, target=cut.cmd_id)
    bench.send(cut)
    bench.send(moved)
    assert states(bench, cut)[-1] == (S.CANCELLED, Reason.RESCHEDULED)
    minutes(bench, 2 * HOUR_MS)
    assert bench.orders() == []
    minutes(bench, HOUR_MS + MINUTE_MS)
    assert len(bench.orders()) == 1
    bench.finish()
    assert states(bench, moved)[-1] == (S.DONE, "")


def test_the_move_of_one_that_has_run_is_refused(bench: Bench) -> None:
    cut = later(bench, C.SWITCH_OPEN, HOUR_MS)
    bench.send(cut)
    minutes(bench, HOUR_MS + MINUTE_MS)
    bench.finish()
    moved = later(bench, C.SWITCH_OPEN, HOUR_MS, target=cut.cmd_id)
    bench.send(moved)
    assert states(bench, moved) == [(S.REFUSED, Reason.TOO_LATE)]
    minutes(bench, DAY_MS)
    assert len(bench.orders()) == 1


def limit(bench: Bench, watts: int, in_ms: int = 0) -> Command:
    at_ms = bench.now_ms + in_ms
    return bench.command(C.LIMIT, detail=encode(LimitOrder(watts)), not_before_ms=at_ms, expires_ms=at_ms + HOUR_MS)


def limits_written(bench: Bench) -> list[int]:
    """What the meter was told to keep."""
    tasks = [e for e in bench.effects if isinstance(e, p.RunTask)]
    return [x.threshold_w for t in tasks for s in t.settings if isinstance(x := unpacked(s), LoadLimit)]


@pytest.mark.covers_part("C3-FR14")
def test_a_limit_is_set_at_once_at_its_time_and_lifted_offline_and_after_a_restart(bench: Bench) -> None:
    bench.credit(1, "100")
    bench.wait(MINUTE_MS)
    now, later_on = limit(bench, 700), limit(bench, 900, HOUR_MS)
    for command in (later_on, now):
        bench.send(command)
    bench.wait(1_000)
    assert (states(bench, now), states(bench, later_on)) == ([(S.DONE, "")], [(S.DELIVERED, "")])
    assert limits_written(bench) == [700]
    bench.offline()
    bench.restart()
    bench.trust()
    minutes(bench, HOUR_MS + MINUTE_MS)
    assert limits_written(bench)[-1] == 900
    bench.send(limit(bench, 0))
    bench.wait(HOUR_MS)
    assert limits_written(bench)[-1] == 0
    seen = [x.seen for e in bench.entries() if isinstance(x := evidence_of(e), InstrumentEvidence)]
    assert seen == ["limit 700 W", "limit 900 W", "limit lifted"]


def test_a_limit_that_comes_late_never_beats_one_for_a_later_time_and_rubbish_is_refused(bench: Bench) -> None:
    old = limit(bench, 300)
    minutes(bench, 2 * MINUTE_MS)
    bench.send(limit(bench, 0))
    bench.send(old)
    assert states(bench, old) == [(S.REFUSED, Reason.SUPERSEDED)]
    for detail in (b"", b"rubbish", encode(LimitOrder(-1))):
        wrong = bench.command(C.LIMIT, detail=detail)
        bench.send(wrong)
        assert states(bench, wrong) == [(S.REFUSED, Reason.MALFORMED)]


@pytest.mark.parametrize(("said", "end"), [(True, b"\xf5"), (False, b"\xf4")])
def test_a_message_is_displayed_read_and_answered_once(bench: Bench, said: bool, end: bytes) -> None:
    message = bench.command(C.MESSAGE, text="Lower your load tonight?")
    bench.send(message)
    bench.tell(p.MessageSeen(message.cmd_id))
    bench.tell(p.MessageSeen(message.cmd_id, said))
    bench.tell(p.MessageSeen(message.cmd_id, not said))
    assert [s for s, _ in states(bench, message)] == [S.DISPLAYED, S.READ, S.ANSWERED, S.DONE]
    assert [r.result for r in bench.receipts()][-2:] == [end, end]
