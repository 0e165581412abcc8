"""Every command is checked in order, runs once, and is answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.commands import HANDLERS, LOOK_AGAIN_MS
from gridtally_edge.prepay.events import SwitchResult
from gridtally_edge.prepay.guards import WINDOW
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import Command, CommandType, CounterHead, DcuConfig, InstrumentType, MeterConfig
from gridtally_shared.events import BY_CODE
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.lifecycle import CommandState, Reason, may_follow
from gridtally_shared.signing import KeySigner, sign1
from support.prepay_bench import DAY_MS, HOUR_MS, SIGNER, Bench, account_of, serial_of

C, S = CommandType, CommandState
READS = (C.READ_INSTANT, C.READ_INTERVALS, C.READ_EVENTS, C.READ_SWITCH)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def states(bench: Bench, command: Command) -> list[tuple[CommandState, str]]:
    return [(S(r.state), r.reason) for r in bench.receipts() if r.cmd_id == command.cmd_id]


def switch(close: bool, number: int, bench: Bench, **changes: object) -> Command:
    return bench.command(C.SWITCH_CLOSE if close else C.SWITCH_OPEN, switch_counter=number, **changes)


def test_every_type_of_the_contract_has_a_handler() -> None:
    assert set(HANDLERS) == set(CommandType)


def test_a_cut_is_done_when_the_meter_says_so(bench: Bench) -> None:
    command = switch(False, 1, bench)
    bench.send(command)
    assert states(bench, command) == [(S.EXECUTING, "")]
    bench.finish()
    assert states(bench, command)[-1] == (S.DONE, "")
    evidence = decode(SwitchEvidence, bench.receipts()[-1].result)
    assert (evidence.close, evidence.state_after, evidence.counter) == (False, SwitchState.OPEN.value, 1)


@pytest.mark.covers_part("BYPL-3.5")
def test_a_stuck_switch_gives_failed(bench: Bench) -> None:
    command = switch(False, 1, bench)
    bench.send(command)
    bench.finish(SwitchResult.STUCK, sent=True)
    assert states(bench, command)[-1] == (S.FAILED, Reason.SWITCH_STUCK)
    assert BY_CODE[bench.events()[-1].code].name == "switch_stuck"


@pytest.mark.parametrize(
    ("result", "end"),
    [
        (SwitchResult.ALREADY, (S.DONE, "")),
        (SwitchResult.WRONG_SERIAL, (S.FAILED, Reason.WRONG_SERIAL)),
        (SwitchResult.NOT_FITTED, (S.REFUSED, Reason.UNSUPPORTED)),
        (SwitchResult.WITHDRAWN, (S.EXPIRED, Reason.TOO_LATE)),
        (SwitchResult.METER_FAULT, (S.FAILED, Reason.METER_FAULT)),
    ],
)
def test_how_a_switch_action_ends_is_told(bench: Bench, result: SwitchResult, end: tuple) -> None:
    command = switch(True, 1, bench)
    bench.send(command)
    bench.finish(result)
    assert states(bench, command)[-1] == end


def test_the_same_command_again_gets_its_stored_receipt_and_does_nothing(bench: Bench) -> None:
    command = switch(False, 1, bench)
    bench.send(command)
    bench.finish()
    before = len(bench.orders())
    bench.restart()
    bench.send(command)
    assert bench.receipts()[-1] == bench.receipts()[-2]
    assert (before, len(bench.orders())) == (1, 0)


def test_an_order_without_an_answer_is_tried_again_and_then_fails(bench: Bench) -> None:
    command = switch(True, 1, bench)
    bench.send(command)
    for _ in range(10):
        bench.finish(SwitchResult.NO_ANSWER)
        bench.wait(45_000)
    assert len(bench.orders()) == 3
    assert states(bench, command) == [(S.EXECUTING, ""), (S.FAILED, Reason.NO_ANSWER)]


def test_a_late_restore_never_beats_a_newer_cut_nor_the_reverse(bench: Bench) -> None:
    older, newer = switch(True, 4, bench), switch(False, 5, bench)
    bench.send(newer)
    bench.finish()
    bench.send(older)
    assert states(bench, older) == [(S.REFUSED, Reason.OVERTAKEN)]
    assert decode(SwitchEvidence, bench.receipts()[-1].result).counter == 5
    again = switch(False, 5, bench)
    bench.send(again)
    assert states(bench, again) == [(S.REFUSED, Reason.OVERTAKEN)]


def test_local_and_commanded_actions_share_one_order(bench: Bench) -> None:
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000)
    bench.finish()
    overtaken = switch(True, 1, bench)
    bench.send(overtaken)
    assert states(bench, overtaken) == [(S.REFUSED, Reason.OVERTAKEN)]
    bench.send(switch(True, 2, bench))
    assert bench.order().close


def test_an_order_waits_for_the_one_under_way(bench: Bench) -> None:
    first, second = switch(False, 1, bench), switch(True, 2, bench)
    bench.send(first)
    bench.send(second)
    assert len(bench.orders()) == 1
    assert states(bench, second) == [(S.DELIVERED, "")]
    bench.finish()
    assert bench.order().close
    bench.finish()
    assert states(bench, second)[-1] == (S.DONE, "")


def test_a_supply_that_was_switched_off_by_order_is_not_restored_by_money(bench: Bench) -> None:
    bench.send(switch(False, 1, bench))
    bench.finish()
    bench.credit(1, "50")
    assert len(bench.orders()) == 1


def test_a_supply_that_was_closed_by_order_is_not_cut_again_at_once(bench: Bench) -> None:
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000)
    bench.finish()
    bench.send(switch(True, 2, bench))
    bench.finish()
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_100)
    assert len(bench.orders()) == 2
    assert [t.name for t in bench.decisions()[-1].tests if not t.holds] == ["order"]


@pytest.mark.parametrize(
    ("close", "policy", "cause", "reason"),
    [
        (True, {"holds": ("safety",)}, "", Reason.HELD),
        (True, {"holds": ("work",)}, "", Reason.HELD),
        (False, {"holds": ("medical",)}, "", Reason.PROTECTED),
        (False, {"holds": ("medical",)}, "safety", ""),
    ],
)
def test_holds_stand_above_commands(bench: Bench, close: bool, policy: dict, cause: str, reason: str) -> None:
    bench.configure(**policy)
    command = switch(close, 1, bench, cause=cause)
    bench.send(command)
    assert states(bench, command)[-1] == ((S.REFUSED, reason) if reason else (S.EXECUTING, ""))


@pytest.mark.parametrize(
    ("close", "hold", "cause", "reason"),
    [
        (True, "work", "", Reason.HELD),
        (False, "medical", "", Reason.PROTECTED),
        (False, "medical", "safety", ""),
        (True, "medical", "", ""),
    ],
)
def test_a_hold_that_comes_while_an_order_waits_for_its_line_stands_above_it(
    bench: Bench, close: bool, hold: str, cause: str, reason: str
) -> None:
    command = switch(close, 1, bench, cause=cause)
    bench.send(command)
    bench.configure(holds=(hold,))
    assert bench.order(close).permit.granted() is not bool(reason)
    bench.finish(SwitchResult.WITHDRAWN if reason else SwitchResult.DONE)
    assert states(bench, command)[-1] == ((S.REFUSED, reason) if reason else (S.DONE, ""))


def test_nothing_is_closed_onto_a_live_load_side(bench: Bench) -> None:
    bench.read(1, 1_000_000, SwitchState.OPEN, power_w=500)
    command = switch(True, 1, bench)
    bench.send(command)
    assert states(bench, command) == [(S.REFUSED, Reason.LOAD_SIDE_LIVE)]


def test_a_meter_without_a_switch_refuses(bench: Bench) -> None:
    bench.read(1, 1_000_000, SwitchState.NOT_FITTED)
    command = switch(False, 1, bench)
    bench.send(command)
    assert states(bench, command) == [(S.REFUSED, Reason.UNSUPPORTED)]


def test_commanded_cuts_are_limited_by_the_hour_and_the_day(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 8)
    ends = []
    for meter_no in range(1, 9):
        command = bench.command(C.SWITCH_OPEN, meter_no, switch_counter=1)
        bench.send(command)
        ends.append(states(bench, command)[-1][1])
        bench.wait(20 * 60_000)
    assert ends == ["", "", Reason.RATE_LIMIT, "", "", Reason.RATE_LIMIT, Reason.RATE_LIMIT, Reason.RATE_LIMIT]


def test_a_forged_or_misdirected_command_gets_no_receipt_but_an_event(bench: Bench) -> None:
    forger = KeySigner.from_seed(b"x" * 32)
    command = switch(False, 1, bench)
    for attempt in (
        lambda: bench.send(command, signer=forger),
        lambda: bench.send(command, channel="instrument"),
        lambda: bench.send(replace(command, dcu="dcu-2")),
        lambda: bench.tell(p.CommandArrived(b"x" * 20_000)),
        lambda: bench.tell(p.CommandArrived(sign1(SIGNER, "command", b"\xa0"))),
    ):
        attempt()
        assert BY_CODE[bench.events()[-1].code].name == "command_refused"
    assert bench.receipts() == []
    assert bench.orders() == []
    bench.send(command)
    assert states(bench, command) == [(S.EXECUTING, "")]


def test_critical_counters_are_strict_and_routine_ones_fit_a_window(bench: Bench) -> None:
    bench.send(bench.command(C.READ_INSTANT, counter=100))
    late = bench.command(C.READ_INSTANT, counter=100 - WINDOW + 1)
    bench.send(late)
    assert states(bench, late) == [(S.EXECUTING, "")]
    for counter in (100, 100 - WINDOW, 100 - WINDOW + 1, 0):
        used = bench.command(C.READ_INSTANT, counter=counter)
        bench.send(used)
        assert states(bench, used) == [(S.REFUSED, Reason.OVERTAKEN)]
    bench.send(switch(False, 1, bench, counter=110))
    older = switch(False, 2, bench, counter=109)
    bench.send(older)
    assert states(bench, older) == [(S.REFUSED, Reason.OVERTAKEN)]


def test_counters_outlive_a_restart(bench: Bench) -> None:
    bench.send(bench.command(C.READ_INSTANT, counter=100))
    bench.restart()
    again = bench.command(C.READ_INSTANT, counter=100)
    bench.send(again)
    assert states(bench, again) == [(S.REFUSED, Reason.OVERTAKEN)]
    assert bench.core.counters() == (CounterHead(SIGNER.key_id, 100),), "what a greeting tells a cloud that lost its own"


@pytest.mark.parametrize("kind", [C.SWITCH_OPEN, C.READ_INSTANT, C.SWITCH_CLOSE])
def test_what_comes_too_late_expires(bench: Bench, kind: CommandType) -> None:
    command = bench.command(kind, switch_counter=1)
    bench.wait(8 * DAY_MS)
    bench.trust()
    bench.send(command)
    assert states(bench, command) == [(S.EXPIRED, Reason.TOO_LATE)]


def test_a_disconnect_may_not_be_given_longer_than_an_hour(bench: Bench) -> None:
    command = switch(False, 1, bench, expires_ms=bench.now_ms + 30 * DAY_MS)
    bench.wait(2 * HOUR_MS)
    bench.send(command)
    assert states(bench, command) == [(S.EXPIRED, Reason.TOO_LATE)]


def test_without_a_believed_clock_a_cut_is_refused_and_a_restore_and_a_read_run(bench: Bench) -> None:
    bench.restart()
    cut, close, read = switch(False, 1, bench), switch(True, 2, bench), bench.command(C.READ_INSTANT)
    for command in (cut, close, read):
        bench.send(command)
    assert states(bench, cut) == [(S.REFUSED, Reason.CLOCK_UNTRUSTED)]
    assert states(bench, close) == [(S.EXECUTING, "")]
    assert states(bench, read) == [(S.EXECUTING, "")]


def test_a_scheduled_command_waits_for_its_time_and_expires_from_there(bench: Bench) -> None:
    start_ms = bench.now_ms + DAY_MS
    command = switch(False, 1, bench, not_before_ms=start_ms, expires_ms=start_ms + 900_000)
    bench.send(command)
    bench.wait(DAY_MS - 60_000)
    bench.trust()
    assert states(bench, command) == [(S.DELIVERED, "")]
    assert bench.orders() == []
    bench.wait(61_000)
    assert not bench.order().close


def test_a_scheduled_command_can_still_be_overtaken(bench: Bench) -> None:
    start_ms = bench.now_ms + DAY_MS
    scheduled = switch(False, 1, bench, not_before_ms=start_ms, expires_ms=start_ms + 900_000)
    bench.send(scheduled)
    bench.send(switch(True, 2, bench))
    bench.finish()
    bench.wait(DAY_MS)
    bench.trust()
    bench.wait(60_000)
    assert states(bench, scheduled)[-1] == (S.REFUSED, Reason.OVERTAKEN)


@pytest.mark.parametrize("kind", READS)
def test_a_read_runs_and_its_result_comes_back(bench: Bench, kind: CommandType) -> None:
    command = bench.command(kind, from_ms=5, to_ms=9)
    assert p.RunRead(command.cmd_id, 1, "GT0001", kind, 5, 9) in bench.send(command)
    bench.tell(p.ReadFinished(command.cmd_id, True, bench.now_ms, b"result"))
    assert states(bench, command) == [(S.EXECUTING, ""), (S.DONE, "")]
    assert bench.receipts()[-1].result == b"result"


def test_a_read_that_fails_says_why(bench: Bench) -> None:
    command = bench.command(C.READ_INSTANT)
    bench.send(command)
    bench.tell(p.ReadFinished(command.cmd_id, False, bench.now_ms, reason=Reason.NO_ANSWER))
    assert states(bench, command)[-1] == (S.FAILED, Reason.NO_ANSWER)


def test_a_read_that_a_crash_lost_is_read_again(bench: Bench) -> None:
    command = bench.command(C.READ_INSTANT)
    bench.send(command)
    bench.restart()
    assert [e.cmd_id for e in bench.effects if isinstance(e, p.RunRead)] == [command.cmd_id]


def test_a_message_is_displayed_until_its_time_ends(bench: Bench) -> None:
    command = bench.command(C.MESSAGE, text="Water is off on Monday")
    bench.send(command)
    assert bench.db.execute("SELECT account_no, code, text FROM message").fetchall() == [(101, "TEXT", "Water is off on Monday")]
    bench.wait(8 * DAY_MS)
    assert states(bench, command) == [(S.DISPLAYED, ""), (S.DONE, "")]


def test_what_can_not_be_done_is_refused(bench: Bench) -> None:
    command = replace(bench.command(C.READ_INSTANT), type=77)
    bench.send(command)
    assert states(bench, command) == [(S.REFUSED, Reason.UNSUPPORTED)]


def test_an_order_that_comes_before_the_configuration_waits_for_it(tmp_path: Path) -> None:
    """A new concentrator hears of an order before it hears of the meter: it was refused for good, and the home stayed as it was."""
    bench = Bench(tmp_path, ready=False)
    bench.trust()
    bench.online()
    command = switch(False, 1, bench)
    bench.send(command)
    assert states(bench, command) == [(S.DELIVERED, Reason.UNKNOWN_METER)]
    bench.configure()
    bench.read_all(1_000_000)
    bench.wait(LOOK_AGAIN_MS)
    bench.finish()
    assert states(bench, command)[-1] == (S.DONE, "")


def test_an_order_for_nobodys_meter_is_refused_when_its_time_is_over(bench: Bench) -> None:
    command = replace(bench.command(C.READ_INSTANT), meter_no=99)
    bench.send(command)
    bench.wait(command.expires_ms - bench.now_ms - 1)
    assert states(bench, command) == [(S.DELIVERED, Reason.UNKNOWN_METER)]
    bench.wait(1)
    assert states(bench, command)[-1] == (S.REFUSED, Reason.UNKNOWN_METER)


def test_an_order_for_nobodys_meter_can_be_cancelled(bench: Bench) -> None:
    command = replace(bench.command(C.READ_INSTANT), meter_no=99)
    bench.send(command)
    cancel = replace(bench.command(C.CANCEL, target=command.cmd_id), meter_no=99)
    bench.send(cancel)
    assert states(bench, command)[-1] == (S.CANCELLED, Reason.CANCELLED)
    assert states(bench, cancel) == [(S.DONE, "")]


def test_what_nobody_could_see_for_ten_minutes_is_told_as_no_answer(bench: Bench) -> None:
    command = switch(False, 1, bench)
    bench.send(command)
    bench.finish(SwitchResult.UNKNOWN, sent=True)
    bench.wait(601_000)
    assert states(bench, command)[-1] == (S.FAILED, Reason.NO_ANSWER)
    bench.read(1, 1_000_000, SwitchState.OPEN)
    assert len(states(bench, command)) == 2
    bench.credit(1, "50")
    assert len(bench.orders()) == 1


def test_receipts_follow_the_life_cycle(bench: Bench) -> None:
    for number, close in enumerate((False, True), start=1):
        bench.send(switch(close, number, bench))
        bench.finish()
    bench.send(bench.command(C.MESSAGE, text="hello"))
    bench.wait(8 * DAY_MS)
    last: dict[bytes, CommandState] = {}
    for receipt in bench.receipts():
        before = last.get(receipt.cmd_id, S.QUEUED)
        assert may_follow(before, S(receipt.state))
        last[receipt.cmd_id] = S(receipt.state)
    assert set(last.values()) == {S.DONE}


def test_a_receipt_names_command_meter_and_time(bench: Bench) -> None:
    command = bench.command(C.READ_INSTANT)
    bench.send(command)
    receipt = bench.receipts()[-1]
    assert (receipt.cmd_id, receipt.meter_no, receipt.at_ms) == (command.cmd_id, 1, bench.now_ms)
    assert len(encode(receipt)) < 64


def dark_street(folder: Path, homes: int, north: int = 0) -> Bench:
    """Paid homes that a command opened; the first `north` of them hang on a feeder of their own, the others on another."""
    bench = Bench(folder, homes)
    numbers = range(1, homes + 1)
    accounts = tuple(account_of(n, feeder="north" if n <= north else "south") for n in numbers)
    meters = tuple(MeterConfig(n, serial_of(n), 100 + n) for n in numbers)
    bench.version += 1
    bench.tell(p.ConfigAccepted(DcuConfig(bench.version, "dcu-1", bench.now_ms, meters, accounts, bench.tariffs)))
    for n in numbers:
        bench.credit(n, "50")
        bench.read(n, 1_000_000, SwitchState.OPEN)
    bench.effects.clear()
    return bench


def close_all(bench: Bench, homes: int) -> list[Command]:
    commands = [bench.command(C.SWITCH_CLOSE, n, switch_counter=1) for n in range(1, homes + 1)]
    for command in commands:
        bench.send(command)
    return commands


def closed_after(bench: Bench, ms: int) -> int:
    """How many closes have been ordered by then; each is answered at once."""
    for _ in range(ms // 5_000):
        waiting = {bytes(i) for (i,) in bench.db.execute("SELECT action_id FROM action WHERE state = 'intent'")}
        for order in (o for o in bench.orders() if o.action_id in waiting):
            bench.finish(order=order)
        bench.wait(5_000)
    return len(bench.orders())


def test_closes_of_a_whole_feeder_take_turns_and_none_is_forgotten(tmp_path: Path) -> None:
    bench = dark_street(tmp_path, 14)
    commands = close_all(bench, 14)
    assert [o.meter_no for o in bench.orders()] == [1, 2, 3, 4]
    assert states(bench, commands[4]) == [(S.DELIVERED, Reason.RATE_LIMIT)]
    assert [closed_after(bench, 60_000), closed_after(bench, 60_000), closed_after(bench, 60_000)] == [8, 12, 14]
    assert [o.meter_no for o in bench.orders()] == list(range(1, 15))
    closed_after(bench, 5_000)
    assert all(states(bench, c)[-1] == (S.DONE, "") for c in commands)


def test_another_feeder_does_not_wait_and_a_newer_cut_overtakes_a_close_in_the_queue(tmp_path: Path) -> None:
    bench = dark_street(tmp_path, 12, north=6)
    commands = close_all(bench, 12)
    assert [o.meter_no for o in bench.orders()] == [1, 2, 3, 4, 7, 8, 9, 10]
    bench.send(bench.command(C.SWITCH_OPEN, 5, switch_counter=2, cause="safety"))
    bench.finish(order=bench.order(close=False))
    closed_after(bench, 120_000)
    assert states(bench, commands[4])[-1] == (S.REFUSED, Reason.OVERTAKEN)
    assert [o.meter_no for o in bench.orders() if o.close].count(5) == 0


def test_a_home_that_pays_in_the_middle_of_a_mass_restore_comes_back_at_once(tmp_path: Path) -> None:
    bench = dark_street(tmp_path, 12)
    bench.credit(12, "0", type=InstrumentType.CREDIT_CLEAR)
    bench.read(12, 1_000_000, SwitchState.CLOSED)
    bench.configure()
    bench.wait(60_000)
    bench.read(12, 1_000_500, SwitchState.CLOSED)
    bench.finish(order=bench.order(close=False))
    bench.effects.clear()
    close_all(bench, 11)
    assert len(bench.orders()) == 4
    bench.credit(12, "50")
    assert (bench.order().meter_no, bench.order().close) == (12, True)
