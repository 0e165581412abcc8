"""The self-test of a simulated meter: injected faults, when they are found, and what the checks say.

* A fault of memory, program, checksum or firmware, and a lost home device, are found at once; metrology, socket form and
  consistency at the next check of their kind; a blocked push when the meter pushes; a refused time at the third refusal.
* Checks run when the meter is registered (born), every period of its setting, after a change of that setting, and when asked.
* What was found goes into the log once, and again as passed when the check first succeeds afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import Enum

from gridtally_edge.drivers.model import Diagnostic, DiagnosticState
from gridtally_shared.meter_settings import DiagnosticsPeriod
from gridtally_shared.records import dataclass

REFUSALS_LOGGED = 3


class HouseFault(Enum):
    CHECKSUM = "checksum"
    MEMORY = "memory"
    PROGRAM = "program"
    FIRMWARE = "firmware"
    METROLOGY = "metrology"
    TIME_SYNC = "time_sync"
    HAN = "han"
    PUSH = "push"
    FORM = "form"
    CONSISTENCY = "consistency"
    BACKFEED = "backfeed"
    CLOCK = "clock"
    BATTERY = "battery"


FAULT_WORDS: dict[HouseFault, str] = {
    HouseFault.CHECKSUM: "the program's checksum is wrong",
    HouseFault.MEMORY: "the memory is bad",
    HouseFault.PROGRAM: "the program does not run as it should",
    HouseFault.FIRMWARE: "the last firmware did not come up",
    HouseFault.METROLOGY: "the metrology check fails",
    HouseFault.TIME_SYNC: "a new time is refused",
    HouseFault.HAN: "the home device is lost",
    HouseFault.PUSH: "pushes do not get through",
    HouseFault.FORM: "it sits in a socket of the other kind",
    HouseFault.CONSISTENCY: "registers and load profile disagree",
    HouseFault.BACKFEED: "the load side has voltage with the switch open",
    HouseFault.CLOCK: "it has lost the time",
    HouseFault.BATTERY: "its battery is low",
}
"""What a person reads of a fault in force."""


class Found(Enum):
    AT_ONCE = "at once"
    SELF_TEST = "self-test"
    METROLOGY_CHECK = "metrology check"
    IN_USE = "in use"


@dataclass(frozen=True, slots=True)
class Check:
    fault: HouseFault
    found: Found
    failed: str
    passed: str = "self_test_passed"


CHECKS: tuple[Check, ...] = (
    Check(HouseFault.CHECKSUM, Found.AT_ONCE, "checksum_failed"),
    Check(HouseFault.MEMORY, Found.AT_ONCE, "memory_failed"),
    Check(HouseFault.PROGRAM, Found.AT_ONCE, "program_failed"),
    Check(HouseFault.FIRMWARE, Found.AT_ONCE, "firmware_upgrade_failed"),
    Check(HouseFault.METROLOGY, Found.METROLOGY_CHECK, "metrology_failed"),
    Check(HouseFault.TIME_SYNC, Found.IN_USE, "time_sync_failed"),
    Check(HouseFault.HAN, Found.AT_ONCE, "han_device_lost", "han_device_back"),
    Check(HouseFault.PUSH, Found.IN_USE, "push_failed", "push_works_again"),
    Check(HouseFault.FORM, Found.SELF_TEST, "wrong_form"),
    Check(HouseFault.BATTERY, Found.AT_ONCE, "battery_low", "battery_good"),
    Check(HouseFault.CONSISTENCY, Found.SELF_TEST, "registers_inconsistent"),
)
BY_FAULT = {check.fault: check for check in CHECKS}


@dataclass(frozen=True, slots=True)
class Finding:
    """A check changed its result: the event to log and when."""

    event: str
    at_ms: int
    detail: str


@dataclass(slots=True)
class SelfTest:
    """State of the checks. `injected` holds the faults in force and their values, `found` those the meter knows of."""

    born_ms: int
    injected: dict[HouseFault, int] = field(default_factory=dict)
    found: set[HouseFault] = field(default_factory=set)
    asked_ms: int = 0
    checked_ms: int = 0

    def missing_wh(self) -> int:
        """What the consistency fault takes from each row of the load profile."""
        return self.injected.get(HouseFault.CONSISTENCY, 0)

    def last_run_ms(self, period_s: int, since_ms: int, now_ms: int) -> int:
        """When a periodic check last ran: born or asked for, or a whole number of periods after its setting came."""
        start_ms = max(self.born_ms, since_ms)
        return max(start_ms + (now_ms - start_ms) // (period_s * 1_000) * period_s * 1_000, self.asked_ms)

    def due(self, periods: DiagnosticsPeriod, since_ms: int, now_ms: int, fails: Callable[[HouseFault], bool]) -> list[Finding]:
        """What the checks that have run since the last call found; call it before anything else changes."""
        runs = {
            Found.SELF_TEST: self.last_run_ms(periods.self_test_s, since_ms, now_ms),
            Found.METROLOGY_CHECK: self.last_run_ms(periods.metrology_s, since_ms, now_ms),
        }
        ran = {found: at_ms for found, at_ms in runs.items() if at_ms > self.checked_ms} | {Found.AT_ONCE: now_ms}
        findings = [self._result(check, ran[check.found], fails(check.fault)) for check in CHECKS if check.found in ran]
        self.checked_ms = now_ms
        return [finding for finding in findings if finding]

    def in_use(self, fault: HouseFault, at_ms: int, failed: bool) -> Finding | None:
        """The result of something the meter tried."""
        return self._result(BY_FAULT[fault], at_ms, failed)

    def _result(self, check: Check, at_ms: int, failed: bool) -> Finding | None:
        if failed == (check.fault in self.found):
            return None
        if failed:
            self.found.add(check.fault)
        else:
            self.found.discard(check.fault)
        return Finding(check.failed if failed else check.passed, at_ms, f"check={check.fault.value}")

    def learn(self, event: str, detail: str) -> None:
        """Take over from the log what an earlier life of this meter found."""
        for check in CHECKS:
            if detail == f"check={check.fault.value}":
                (self.found.add if event == check.failed else self.found.discard)(check.fault)

    def results(self, periods: DiagnosticsPeriod, since_ms: int, now_ms: int) -> tuple[Diagnostic, ...]:
        test_ms = self.last_run_ms(periods.self_test_s, since_ms, now_ms)
        metrology_ms = self.last_run_ms(periods.metrology_s, since_ms, now_ms)
        return tuple(
            Diagnostic(
                check.fault.value,
                DiagnosticState.FAILED if check.fault in self.found else DiagnosticState.PASSED,
                metrology_ms if check.found is Found.METROLOGY_CHECK else test_ms,
            )
            for check in CHECKS
        )
