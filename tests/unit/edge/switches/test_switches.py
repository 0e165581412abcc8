"""Switches apart from the meter: the orders on the line, the contact that decides, what happens when something dies."""

import pytest

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.model import Capability, SwitchState
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.polling.poll import Fault, PollRequest, poll
from gridtally_edge.prepay.events import Permit, RunSwitch, SwitchResult
from gridtally_edge.prepay.switching import switch_conversation
from gridtally_edge.protocols.modbus import with_crc
from gridtally_edge.simulators.house import Contactor as HouseContactor
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.modbus_slave import ModbusSlave
from gridtally_edge.simulators.relay_slave import Contactor, RelaySlave
from gridtally_edge.switches.fitted import parsed, with_switch
from gridtally_edge.switches.latching import LatchingSwitch
from gridtally_edge.switches.modbus_board import Board
from gridtally_edge.switches.model import FeedbackOn, agreed, contact_state
from gridtally_edge.switches.relay import RelaySwitch
from gridtally_edge.switches.switched_port import SwitchedPort
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault, RefusedCommand
from support.modbus_talk import converse, requests_until

NOON_MS = 1_795_000_000_000
SERIAL = "20000007"
BOARD = 40
RELAY, FEEDBACK, OPEN_COIL, CLOSE_COIL = 2, 2, 4, 5
OPEN, CLOSED, UNKNOWN = SwitchState.OPEN, SwitchState.CLOSED, SwitchState.UNKNOWN


class Site:
    """A house, its meter at unit 7, a relay board at unit 40, and a port for both on one line."""

    def __init__(self, contactor: HouseContactor = HouseContactor.WORKS, latching: bool = False, **board: object) -> None:
        self.clock = ManualClock(NOON_MS)
        self.house = HouseMeter(HouseSettings(SERIAL, 7, contactor=contactor, history_days=1), self.clock)
        self.meter = ModbusSlave(7, self.house)
        where = (OPEN_COIL, CLOSE_COIL) if latching else (RELAY, None)
        self.board = RelaySlave(BOARD, (Contactor(self.house, *where, FEEDBACK),), self.clock.now_ms)
        self.pauses: list[float] = []
        outputs = Board(BOARD, **board)  # type: ignore[arg-type]
        if latching:
            switch = LatchingSwitch(outputs, OPEN_COIL, CLOSE_COIL, FEEDBACK, 0.2, pause=self.wait)
        else:
            switch = RelaySwitch(outputs, RELAY, FEEDBACK, pause=self.wait)
        driver = driver_named("eastron-sdm230")
        self.port = SwitchedPort(driver.make_port(settings_from(driver, {"unit": 7})), switch)

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def line(self, request: bytes) -> bytes:
        return self.meter.receive(request) + self.board.receive(request)

    def switch(self, close: bool, serial: str = SERIAL, permit: Permit | None = None):
        order = RunSwitch(b"action", 1, serial, close, NOON_MS + 60_000, permit=permit or Permit())
        outcome, requests = converse(switch_conversation(self.port, self.clock.now_ms, order), self.line)
        return outcome, requests

    def state(self) -> SwitchState:
        return converse(self.port.read_switch(), self.line)[0]


@pytest.fixture
def site():
    made: list[Site] = []

    def make(*args: object, **more: object) -> Site:
        made.append(Site(*args, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.house.close()


KINDS = pytest.mark.parametrize("latching", [False, True], ids=["relay", "latching"])


@KINDS
def test_a_cut_and_a_restore_really_move_the_contact_and_are_read_back(site, latching):
    here = site(latching=latching)
    outcome, requests = here.switch(close=False)
    assert (outcome.result, outcome.state_before, outcome.state_after) == (SwitchResult.DONE, CLOSED, OPEN)
    assert here.house.switch() is OPEN
    assert requests[0][0] == 7, "the meter's serial is read before anything is switched"
    assert all(frame[0] == BOARD for frame in requests if frame[1] in (5, 15))
    outcome, _ = here.switch(close=True)
    assert (outcome.result, outcome.state_after, here.house.switch()) == (SwitchResult.DONE, CLOSED, CLOSED)


@KINDS
def test_an_order_that_is_fulfilled_already_moves_nothing(site, latching):
    here = site(latching=latching)
    outcome, requests = here.switch(close=True)
    assert outcome.result is SwitchResult.ALREADY
    assert not [frame for frame in requests if frame[1] in (5, 15)]


@KINDS
def test_another_meter_on_the_line_is_never_cut(site, latching):
    here = site(latching=latching)
    outcome, requests = here.switch(close=False, serial="20000008")
    assert outcome.result is SwitchResult.WRONG_SERIAL
    assert {frame[0] for frame in requests} == {7}, "the board hears nothing"
    assert here.house.switch() is CLOSED


@KINDS
def test_a_payment_in_the_meantime_wins(site, latching):
    here = site(latching=latching)
    permit = Permit()
    permit.withdraw()
    outcome, _ = here.switch(close=False, permit=permit)
    assert (outcome.result, here.house.switch()) == (SwitchResult.WITHDRAWN, CLOSED)


def test_a_stuck_contactor_leaves_order_and_contact_apart_and_is_told_as_stuck(site):
    here = site(HouseContactor.STUCK)
    outcome, _ = here.switch(close=False)
    assert (outcome.result, outcome.state_after) == (SwitchResult.STUCK, UNKNOWN)
    assert here.state() is UNKNOWN
    assert here.pauses, "the contact was given time"


def test_a_stuck_latching_contactor_is_told_by_its_contact(site):
    outcome, _ = site(HouseContactor.STUCK, latching=True).switch(close=False)
    assert (outcome.result, outcome.state_after) == (SwitchResult.STUCK, CLOSED)


def test_a_board_that_obeys_without_a_feedback_contact_is_read_back_by_its_coil(site):
    here = site()
    here.port.switch = RelaySwitch(Board(BOARD), RELAY, pause=here.wait)
    assert here.switch(close=False)[0].state_after is OPEN
    assert here.state() is OPEN


@pytest.mark.parametrize("function", [5, 15])
def test_both_write_functions_switch(site, function):
    here = site(write_function=function)
    here.board.coil_functions = frozenset({function})
    outcome, requests = here.switch(close=False)
    assert outcome.result is SwitchResult.DONE
    assert [frame[1] for frame in requests if frame[1] > 4] == [function]


def test_a_board_that_refuses_the_write_function_is_told_in_words(site):
    here = site(write_function=5)
    here.board.coil_functions = frozenset({15})
    outcome, _ = here.switch(close=False)
    assert outcome.result is SwitchResult.STUCK
    assert "switch coil 2 on): exception 1, illegal function" in outcome.fault
    assert here.house.switch() is CLOSED


# ---- who is switched --------------------------------------------------------------------------------------------


def test_the_board_says_who_it_is_before_a_coil_moves(site):
    here = site(identity_register=16, identity_value=4711)
    here.board.registers = {16: 4711}
    assert here.switch(close=False)[0].result is SwitchResult.DONE
    here.board.registers = {16: 4712}
    outcome, requests = here.switch(close=True)
    assert "another relay board answers at unit 40: register 16 holds 4712, not 4711; nothing was switched" in outcome.fault
    assert not [frame for frame in requests if frame[1] in (5, 15)]
    assert here.house.switch() is OPEN


def test_an_order_without_the_meters_serial_in_the_same_conversation_is_refused(site):
    here = site()
    converse(here.port.read_serial(), here.line)
    converse(here.port.open(), here.line)
    text, requests = requests_until(MeterFault, here.port.open_switch(), here.line)
    assert "serial number was not read in this conversation" in text
    assert requests == []


# ---- something dies ---------------------------------------------------------------------------------------------


def test_a_board_without_power_leaves_supply_on(site):
    here = site()
    here.switch(close=False)
    here.board.power_cycle()
    assert here.house.switch() is CLOSED
    assert here.state() is CLOSED


def test_a_board_with_a_watchdog_lets_go_when_the_concentrator_is_dead(site):
    here = site(watchdog_register=9, watchdog_value=3_600)
    here.board.registers, here.board.watchdog = {9: 0}, 9
    here.switch(close=False)
    assert here.board.registers[9] == 3_600, "the board was told to let go by itself"
    here.clock.advance(3_599_000)
    assert here.board.driven() == {RELAY}
    assert here.state() is OPEN, "a look keeps the cut alive"
    here.clock.advance(3_601_000)
    assert here.board.driven() == set()
    assert here.house.switch() is CLOSED


def test_a_board_without_a_watchdog_keeps_what_it_was_told_when_the_concentrator_is_dead(site):
    """Documented: only a board with a time-out ends the cuts of a dead concentrator by itself."""
    here = site()
    here.switch(close=False)
    here.clock.advance(7 * 86_400_000)
    assert here.board.driven() == {RELAY}


def test_nothing_that_dies_moves_a_latching_contactor(site):
    here = site(latching=True)
    here.board.power_cycle()
    assert here.house.switch() is CLOSED
    here.switch(close=False)
    here.board.power_cycle()
    assert here.house.switch() is OPEN, "what was cut before is closed by hand"


def test_a_silent_board_costs_no_reading_and_is_unknown(site):
    here = site()
    result, _ = converse(poll(here.port, PollRequest(SERIAL), here.clock.now_ms), here.meter.receive)
    assert (result.fault, result.switch) == (Fault.NONE, UNKNOWN)
    assert result.readings


@KINDS
def test_what_is_said_to_the_board_is_said_in_its_name_and_the_rest_in_the_meters(site, latching):
    here = site(latching=latching, identity_register=16, identity_value=4711, watchdog_register=9, watchdog_value=60)
    here.board.registers = {16: 4711, 9: 0}
    named: set[tuple[int, str]] = set()

    def noting(talk):
        try:
            exchange = next(talk)
            while True:
                named.add((exchange.request[0], exchange.device))
                exchange = talk.send((yield exchange))
        except StopIteration as stop:
            return stop.value

    order = RunSwitch(b"action", 1, SERIAL, False, NOON_MS + 60_000)
    outcome, _ = converse(noting(switch_conversation(here.port, here.clock.now_ms, order)), here.line)
    assert outcome.result is SwitchResult.DONE
    assert named == {(7, ""), (BOARD, "board-40")}


def test_a_line_that_fails_during_the_order_leaves_the_outcome_open(site):
    here = site()
    outcome, _ = converse(
        switch_conversation(here.port, here.clock.now_ms, RunSwitch(b"action", 1, SERIAL, False, NOON_MS + 1_000)),
        here.meter.receive,
        lambda request: here.board.receive(request) if request[1] in (1, 2) else b"",
    )
    assert (outcome.result, outcome.sent) == (SwitchResult.UNKNOWN, True)


# ---- latching ---------------------------------------------------------------------------------------------------


def coil_writes(requests: list[bytes]) -> list[tuple[int, bool]]:
    return [(int.from_bytes(r[2:4], "big"), bool(r[7])) for r in requests if r[1] == 15]


def test_a_pulse_has_its_length_and_never_both_coils(site):
    here = site(latching=True)
    _, requests = here.switch(close=False)
    assert coil_writes(requests) == [(OPEN_COIL, False), (CLOSE_COIL, False), (OPEN_COIL, True), (OPEN_COIL, False)]
    assert here.pauses == [0.2]
    _, requests = here.switch(close=True)
    assert coil_writes(requests) == [(OPEN_COIL, False), (CLOSE_COIL, False), (CLOSE_COIL, True), (CLOSE_COIL, False)]
    assert (here.board.troubles, here.board.driven()) == (0, set())


def test_a_coil_that_stays_on_ends_the_order_before_a_pulse(site):
    here = site(latching=True)

    def welded(request: bytes) -> bytes:
        """A board that confirms everything and whose close coil reads on for ever."""
        answer = here.line(request)
        is_read = request[:4] == bytes((BOARD, 1, 0, CLOSE_COIL))
        return with_crc(bytes((BOARD, 1, 1, 1))) if is_read else answer

    converse(here.port.read_serial(), welded)
    text, requests = requests_until(MeterFault, here.port.open_switch(), welded)
    assert "coil 5 of the latching contactor stays on: no pulse was given" in text
    assert not any(on for _, on in coil_writes(requests))
    assert here.house.switch() is CLOSED


def test_a_failure_during_the_pulse_switches_the_coil_off_before_it_goes_on(site):
    here = site(latching=True)
    converse(here.port.read_serial(), here.line)

    def loses_the_answer(request: bytes) -> bytes:
        answer = here.line(request)
        return b"" if request[1] == 15 and request[7] else answer

    text, requests = requests_until(LinkDown, here.port.open_switch(), loses_the_answer)
    assert text == "no answer"
    assert coil_writes(requests)[-2:] == [(OPEN_COIL, True), (OPEN_COIL, False)]
    assert here.board.driven() == set()


def test_a_coil_left_on_by_a_process_that_died_in_a_pulse_is_switched_off_at_the_next_look(site):
    here = site(latching=True)
    converse(Board(BOARD).drive(OPEN_COIL, True), here.line)
    assert here.board.driven() == {OPEN_COIL}
    assert here.state() is OPEN
    assert here.board.driven() == set()


# ---- contacts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_on", "feedback_on", "state"),
    [(True, FeedbackOn.OPEN, OPEN), (False, FeedbackOn.OPEN, CLOSED), (True, FeedbackOn.CLOSED, CLOSED), (False, FeedbackOn.CLOSED, OPEN)],
)
def test_a_contact_says_what_its_wiring_means(is_on, feedback_on, state):
    assert contact_state(is_on, feedback_on) is state


@pytest.mark.parametrize(
    ("ordered", "contact", "state"),
    [(OPEN, OPEN, OPEN), (CLOSED, CLOSED, CLOSED), (OPEN, CLOSED, UNKNOWN), (CLOSED, OPEN, UNKNOWN), (OPEN, None, OPEN)],
)
def test_order_and_contact_must_agree(ordered, contact, state):
    assert agreed(ordered, contact) is state


# ---- words of the registry --------------------------------------------------------------------------------------

SOUND = [
    "modbus-coil:unit=40,coil=2,feedback=2",
    "modbus-coil:unit=0x28,coil=0,feedback=1,feedback_on=closed,write_function=5,line=rs485",
    "modbus-latching:unit=40,open_coil=2,close_coil=3,feedback=2,pulse_ms=150",
    "gpio:chip=/dev/gpiochip0,coil=17,feedback=27",
    "gpio-latching:chip=/dev/gpiochip0,open_coil=17,close_coil=18,feedback=27",
]
WRONG = [
    ("modbus", "write one of modbus-coil"),
    ("modbus-coil:coil=2", "unit is missing"),
    ("modbus-coil:unit=40", "coil is missing"),
    ("modbus-coil:unit=40,coil", "must be key=value"),
    ("modbus-coil:unit=40,coil=two", "must be a whole number"),
    ("modbus-coil:unit=40,coil=2,invert=1", "knows no invert"),
    ("modbus-coil:unit=0,coil=2", "unit must lie within 1 to 247"),
    ("modbus-coil:unit=40,coil=2,write_function=6", "write_function be 5 or 15"),
    ("modbus-coil:unit=40,coil=2,feedback_on=up", "feedback_on must be one of open, closed"),
    ("modbus-coil:unit=40,coil=2,line=other", "must hang on the meter's line rs485"),
    ("modbus-latching:unit=40,open_coil=2,close_coil=3", "needs feedback=N"),
    ("modbus-latching:unit=40,open_coil=2,close_coil=2,feedback=1", "must be two coils"),
    ("modbus-latching:unit=40,open_coil=2,close_coil=3,feedback=1,pulse_ms=60000", "pulse_ms must lie within 20 to 2000"),
    ("gpio:coil=17", "chip is missing"),
]


def fitted(words: str, driver_name: str = "eastron-sdm230", **settings: object):
    driver = driver_named(driver_name)
    return with_switch(driver.make_port(settings_from(driver, {"unit": 7} | settings)), driver, words, "rs485")


@pytest.mark.parametrize("words", SOUND)
def test_sound_words_fit_a_switch(words):
    assert Capability.SWITCH in fitted(words).capabilities
    assert parsed(words)


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_words_are_refused_with_what_to_write(words, says):
    with pytest.raises(ConfigError, match=says):
        fitted(words)


def test_a_meter_without_words_has_no_switch():
    port = fitted("")
    assert Capability.SWITCH not in port.capabilities
    assert converse(port.read_switch(), lambda request: b"")[0] is SwitchState.NOT_FITTED
    with pytest.raises(RefusedCommand):
        converse(port.open_switch(), lambda request: b"")


def test_a_meter_that_does_not_tell_its_serial_gets_no_switch():
    with pytest.raises(ConfigError, match="does not tell its serial number, so nothing proves that the right house is cut"):
        fitted(SOUND[0], "selec-em2m", label="X1")


def test_a_meter_with_a_contactor_of_its_own_or_another_protocol_is_refused_a_board():
    driver = driver_named("is15959")
    port = driver.make_port(settings_from(driver, {"physical_address": 17, "password": "ABCD0001"}))
    with pytest.raises(ConfigError, match="contactor of its own"):
        with_switch(port, driver, SOUND[0], "rs485")


def test_a_switched_meter_keeps_what_the_meter_can():
    port = fitted(SOUND[0])
    assert port.capabilities == fitted("").capabilities | {Capability.SWITCH}
    assert port.interval_s == 0
