"""What commands have done at a meter beside switching: clock, settings, resets, diagnostics, as one conversation each.

* The serial is read first, in the same association, and must be the bound one (safety.md 4).
* Look, then write, then look again: what already is as wanted is not written, an answer to a write is no proof, and only
  what was read back counts. So a task whose answer was lost may be begun again without doing anything twice; a reset,
  which leaves no such trace, is then only looked at.
* Nothing is written after `latest_ms`. A line that fails ends as an outcome that says whether a write may have arrived.
* A task without a command (`cmd_id` empty) is the DCU's own time sync.

Results of the receipts are CBOR maps: READ_SETTINGS and WRITE_SETTINGS {0: [[kind, body], ...]} as read back, an empty body
where the meter has no such setting; SET_CLOCK {0: old, 1: new, 2: offset left} in ms; RESET none; RUN_DIAGNOSTICS, and
WRITE_SETTINGS where diagnostics ran again, {1: [[check, state, at_ms, detail], ...]};
TOKEN a TokenOutcome (instruments/token.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gridtally_edge.drivers.model import Capability, Diagnostic, MeterPort, Now, TokenSeen
from gridtally_edge.polling import timesync
from gridtally_edge.prepay.events import RunTask
from gridtally_edge.protocols.conversation import Conversation
from gridtally_shared import cbor
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import GridtallyError, LinkDown, MeterBusy, RefusedCommand
from gridtally_shared.instruments.token import TokenOutcome, is_final
from gridtally_shared.lifecycle import Reason
from gridtally_shared.meter_settings import ResetKind, Setting, SettingKind, packed, unpacked
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

NEEDS: dict[CommandType, Capability] = {
    CommandType.SET_CLOCK: Capability.SET_CLOCK,
    CommandType.READ_SETTINGS: Capability.SETTINGS,
    CommandType.WRITE_SETTINGS: Capability.SETTINGS,
    CommandType.RESET: Capability.RESET,
    CommandType.RUN_DIAGNOSTICS: Capability.DIAGNOSTICS,
    CommandType.TOKEN: Capability.TOKENS,
}
RESET_SHOWS: dict[ResetKind, int] = {
    ResetKind.MAXIMUM_DEMAND: BY_NAME["demand_max_w"].code,
    ResetKind.TAMPER: BY_NAME["tamper_count"].code,
}
"""The value among the momentary ones that is zero after a reset."""
TOKEN_LOOKS = 3
TOKEN_SLACK_MS = 5_000


@dataclass(frozen=True, slots=True)
class ClockSet:
    """A clock that was set: what it showed, what it was told, how far ahead of ours it was after."""

    old_ms: int
    new_ms: int
    left_ms: int


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """`reason` is empty when all is as wanted. `sent`: a write left for the meter. `again_ms`: not now, but then. `refused`: the meter
    answered, or was asked nothing, and it is not to be done; garbled talk and silence are no such answer."""

    reason: str
    serial: str
    at_ms: int
    sent: bool = False
    fault: str = ""
    again_ms: int | None = None
    clock: ClockSet | None = None
    settings: tuple[Setting, ...] = ()
    diagnostics: tuple[Diagnostic, ...] | None = None
    token: TokenOutcome | None = None
    refused: bool = False

    @property
    def ok(self) -> bool:
        return not self.reason


@dataclass(slots=True)
class _Work:
    port: MeterPort
    now: Now
    task: RunTask
    interval_ms: int
    policy: timesync.SyncPolicy
    outcome: TaskOutcome

    def note(self, **changes: object) -> None:
        self.outcome = replace(self.outcome, **changes)  # type: ignore[arg-type]

    def may_write(self) -> bool:
        """Ask before the first byte of a write: from then on the meter may have taken it."""
        if self.now() > self.task.latest_ms:
            self.note(reason=Reason.TOO_LATE)
            return False
        self.note(sent=True)
        return True


def task_conversation(
    port: MeterPort, now: Now, task: RunTask, interval_ms: int, policy: timesync.SyncPolicy = timesync.DEFAULT
) -> Conversation[TaskOutcome]:
    """Carry out `task` on the meter behind `port`. Never raises an error of our tree: it returns the outcome."""
    work = _Work(port, now, task, interval_ms, policy, TaskOutcome(Reason.NO_ANSWER, "", now()))
    if NEEDS[task.type] not in port.capabilities:
        return replace(work.outcome, reason=Reason.UNSUPPORTED)
    try:
        yield from port.open()
        yield from _at_the_right_meter(work)
    except GridtallyError as error:
        _blame(work, error)
    yield from _farewell(work)
    return replace(work.outcome, at_ms=now())


def outcome_of_error(error: Exception, at_ms: int) -> TaskOutcome:
    """For a conversation that was thrown away (line closed, meter silent): a write may have left or not."""
    return TaskOutcome(Reason.NO_ANSWER, "", at_ms, sent=True, fault=str(error))


def result_of(outcome: TaskOutcome) -> bytes:
    """The receipt's result; see the head of this file."""
    if outcome.token is not None:
        return encode(outcome.token)
    found: dict[int, object] = {}
    if outcome.clock is not None:
        found = {0: outcome.clock.old_ms, 1: outcome.clock.new_ms, 2: outcome.clock.left_ms}
    if outcome.settings:
        found[0] = [[s.kind, s.body] for s in outcome.settings]
    if outcome.diagnostics is not None:
        found[1] = [[d.check, d.state.value, d.at_ms, d.detail] for d in outcome.diagnostics]
    return cbor.dumps(found) if found else b""


def _at_the_right_meter(work: _Work) -> Conversation[None]:
    serial = yield from work.port.read_serial()
    work.note(serial=serial)
    if serial != work.task.serial:
        return work.note(reason=Reason.WRONG_SERIAL, fault=f"expected {work.task.serial}")
    yield from _WORK[work.task.type](work)
    return None


def _blame(work: _Work, error: GridtallyError) -> None:
    reason: str = Reason.METER_FAULT
    if isinstance(error, LinkDown):
        reason = Reason.METER_BUSY if isinstance(error, MeterBusy) else Reason.NO_ANSWER
    elif isinstance(error, RefusedCommand):
        reason = error.reason
    work.note(reason=reason, fault=str(error), refused=isinstance(error, RefusedCommand))


def _farewell(work: _Work) -> Conversation[None]:
    try:
        yield from work.port.close()
    except GridtallyError as error:
        work.note(fault=work.outcome.fault or f"closing: {error}")


# ---- the clock ----------------------------------------------------------------------------------------------


def _set_clock(work: _Work) -> Conversation[None]:
    old_ms = yield from work.port.read_clock()
    offset_ms = old_ms - work.now()
    if abs(offset_ms) <= timesync.MEASURED_MS:
        return work.note(reason="", clock=ClockSet(old_ms, old_ms, offset_ms))
    if not work.task.cmd_id and abs(offset_ms) > work.policy.largest_ms:
        return work.note(reason=Reason.HELD, fault=f"{offset_ms} ms off: a person must decide")
    due_ms = timesync.when_to_set(work.now(), offset_ms, work.interval_ms, work.policy)
    if due_ms > work.now() + timesync.MEASURED_MS:
        return work.note(reason=Reason.TOO_LATE, again_ms=due_ms)
    if not work.may_write():
        return None
    ahead_ms = timesync.target_offset_ms(offset_ms, work.policy)
    new_ms = work.now() + ahead_ms
    yield from work.port.write_clock(new_ms)
    left_ms = (yield from work.port.read_clock()) - work.now()
    done = abs(left_ms - ahead_ms) <= max(work.policy.tolerance_ms, timesync.MEASURED_MS)
    return work.note(reason="" if done else Reason.NOT_READ_BACK, clock=ClockSet(old_ms, new_ms, left_ms))


# ---- settings -----------------------------------------------------------------------------------------------


def _read_settings(work: _Work) -> Conversation[None]:
    found = []
    for wanted in work.task.settings:
        found.append((yield from _setting(work.port, SettingKind(wanted.kind))))
    known = any(setting.body for setting in found)
    work.note(reason="" if known else Reason.UNSUPPORTED, settings=tuple(found))


def _setting(port: MeterPort, kind: SettingKind) -> Conversation[Setting]:
    try:
        return packed((yield from port.read_setting(kind)))
    except RefusedCommand as refused:
        if refused.reason != Reason.UNSUPPORTED:
            raise
        return Setting(kind)


def _write_settings(work: _Work) -> Conversation[None]:
    """All are read before the first is written, so that a meter that lacks one is left as it was."""
    wanted = work.task.settings
    before = []
    for setting in wanted:
        before.append(packed((yield from work.port.read_setting(SettingKind(setting.kind)))))
    changes = [setting for setting, now_is in zip(wanted, before, strict=True) if setting != now_is]
    if changes and not work.may_write():
        return None
    for setting in changes:
        yield from work.port.write_setting(unpacked(setting))
    yield from _read_back(work)
    if changes and work.outcome.ok and Capability.DIAGNOSTICS in work.port.capabilities:
        try:
            yield from _diagnose(work)
        except GridtallyError as error:  # what was written stands
            work.note(fault=f"diagnostics: {error}")
    return None


def _read_back(work: _Work) -> Conversation[None]:
    found = []
    for setting in work.task.settings:
        found.append((yield from _setting(work.port, SettingKind(setting.kind))))
    equal = tuple(found) == work.task.settings
    work.note(reason="" if equal else Reason.NOT_READ_BACK, settings=tuple(found))


# ---- resets and diagnostics ---------------------------------------------------------------------------------


def _reset(work: _Work) -> Conversation[None]:
    kind = ResetKind(work.task.reset)
    if work.task.again:
        shown = yield from _shows_reset(work, kind)
        return work.note(reason="" if shown else Reason.NOT_READ_BACK)
    if not work.may_write():
        return None
    yield from work.port.reset(kind)
    shown = yield from _shows_reset(work, kind)
    return work.note(reason=Reason.NOT_READ_BACK if shown is False else "")


def _shows_reset(work: _Work, kind: ResetKind) -> Conversation[bool | None]:
    """None where the meter shows nothing that would tell."""
    readings = yield from work.port.read_instant(work.now)
    values = [r.value for r in readings if r.quantity == RESET_SHOWS.get(kind)]
    return values[0] == 0 if values else None


def _run_diagnostics(work: _Work) -> Conversation[None]:
    if work.task.again:
        found = yield from work.port.read_diagnostics()
        if found and min(d.at_ms for d in found) >= work.task.since_ms:
            return work.note(reason="", diagnostics=found)
    if not work.may_write():
        return None
    work.note(reason="")
    yield from _diagnose(work)
    return None


def _diagnose(work: _Work) -> Conversation[None]:
    yield from work.port.run_diagnostics()
    work.note(diagnostics=(yield from work.port.read_diagnostics()))


# ---- tokens of other systems --------------------------------------------------------------------------------


def _relay(work: _Work) -> Conversation[None]:
    """Enter a token once. The gateway keeps the last one: where it holds ours the meter has had it, by whatever carrier."""
    before = yield from work.port.read_token(work.task.token)
    if before.ours:
        return work.note(reason="", token=_told(before))
    if work.task.again and not before.empty and (yield from _entered_since(work, before)):
        return work.note(reason=Reason.NOT_READ_BACK, fault="the meter has had another token since")
    if not work.may_write():
        return None
    try:
        yield from work.port.enter_token(work.task.token)
    except RefusedCommand:
        work.note(sent=False)  # the meter answered: it did not take it in
        raise
    seen = yield from _settled(work)
    return work.note(reason="" if seen.ours else Reason.NOT_READ_BACK, token=_told(seen) if seen.ours else None)


def _entered_since(work: _Work, seen: TokenSeen) -> Conversation[bool]:
    """Whether the token the meter holds may have come after the first try began; a clock that is off counts for it."""
    ahead_ms = (yield from work.port.read_clock()) - work.now()
    return seen.entered_ms == 0 or seen.entered_ms - ahead_ms > work.task.since_ms - TOKEN_SLACK_MS


def _settled(work: _Work) -> Conversation[TokenSeen]:
    """What the meter says after a token, looked at until it has made up its mind, a few times at most."""
    seen = yield from work.port.read_token(work.task.token)
    for _ in range(TOKEN_LOOKS):
        if is_final(seen.status) or not seen.ours:
            break
        seen = yield from work.port.read_token(work.task.token)
    return seen


def _told(seen: TokenSeen) -> TokenOutcome:
    return TokenOutcome(seen.status, seen.data, seen.entered_ms)


_WORK: dict[CommandType, Callable[[_Work], Conversation[None]]] = {
    CommandType.SET_CLOCK: _set_clock,
    CommandType.READ_SETTINGS: _read_settings,
    CommandType.WRITE_SETTINGS: _write_settings,
    CommandType.RESET: _reset,
    CommandType.RUN_DIAGNOSTICS: _run_diagnostics,
    CommandType.TOKEN: _relay,
}
