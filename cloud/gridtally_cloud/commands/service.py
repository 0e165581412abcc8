"""Orders to meters: written, signed and queued in one transaction; ended and told to their sender, always.

* `issue` is idempotent by key. Disconnects are limited: a staff user's 21st in an hour is refused, a wave above the fleet's
  threshold is quarantined until a second person releases or deletes it.
* A command is signed when it is queued: its counter (per DCU and key) and its switch counter (per meter, one order of
  all switch actions) are those of that moment. One for later is queued a day before its time, or at once when that is
  nearer, and takes its switch number at the edge when it runs. Until then, and in quarantine, commands wait unsigned.
* What was never sent is cancelled or moved here. What was sent is so by a further command; the edge decides who was first.
* Whoever decides about a command holds its row: nothing is signed that was taken back meanwhile, and what a worker is just handing to
  the broker counts as sent. Limits of disconnects and keys are looked at in turn.

Source: architecture.md section 3; reliability-security.md section 5; safety.md 3; BYPL-3.3; C3-FR14, C3-NFR8, C3-NFR10.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, func, select, update

from gridtally_cloud.commands import limits, priorities, states
from gridtally_cloud.commands.flow import check_may_limit, limits_flow
from gridtally_cloud.commands.model import CommandRequest, CommandView, Issued, SenderNotice
from gridtally_cloud.prepay.held import check_may_close, check_may_open
from gridtally_cloud.store import outbox
from gridtally_cloud.store.db import in_turn, insert_new
from gridtally_cloud.store.tables import command, command_counter, meter, sender_notice, switch_counter
from gridtally_shared import cbor
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import CONTRACT_VERSION, Command, CommandType
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.instruments.details import MOST_LIMIT_W, LimitOrder, limit_of
from gridtally_shared.instruments.token import TokenOrder, token_digits
from gridtally_shared.lifecycle import COMMAND_RULES, SENT_AHEAD_MS, CommandState, Reason, may_follow
from gridtally_shared.meter_settings import ResetKind, Setting, SettingKind, unpacked
from gridtally_shared.meter_settings_rules import faults_of, may_be_written
from gridtally_shared.prepay.ordered import PREPAY
from gridtally_shared.signing import Signer, sign1

S = CommandState
SWITCHES = frozenset({CommandType.SWITCH_OPEN, CommandType.SWITCH_CLOSE})
READS_SPAN = frozenset(
    {CommandType.READ_INTERVALS, CommandType.READ_EVENTS, CommandType.READ_DAILY, CommandType.READ_BILLING}
)
NEEDS_SETTINGS = frozenset({CommandType.READ_SETTINGS, CommandType.WRITE_SETTINGS})
UNSENT = frozenset({S.ACCEPTED, S.SCHEDULED, S.QUARANTINED})
ABOVE_PROTECTION = frozenset({"safety", "work", PREPAY})
"""Causes whose order asks no protection; what the rules of an account led to has asked it."""
MOVABLE = frozenset({S.SCHEDULED, S.QUEUED, S.DELIVERED})


def new_id(at_ms: int) -> bytes:
    """UUIDv7: time first, so that ids sort by age."""
    raw = bytearray(at_ms.to_bytes(6, "big") + os.urandom(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)


def issue(conn: Connection, signer: Signer, request: CommandRequest, now_ms: int) -> Issued:
    """Accept a command. Raises RefusedCommand for a meter without a DCU, for a request that makes no sense, (held) for a close now of a
    supply that is known to be held off, which its concentrator would refuse, and (protected) for a cut of a protected supply that is
    managed from here; a limit gives a command in state REFUSED or QUARANTINED."""
    if request.type is CommandType.SWITCH_OPEN:
        limits.hold(conn)
    known = _by_key(conn, request.idempotency_key)
    if known is not None:
        return Issued(known.cmd_id, known.state, known.reason, repeated=True)
    row = _row(conn, request, now_ms)
    states.begin(conn, row | {"state": int(S.ACCEPTED), "reason": ""}, request.requested_by)
    to, reason = _first_step(conn, request, now_ms)
    if to is S.QUEUED:
        queue(conn, signer, row["cmd_id"], now_ms, request.requested_by)
    else:
        states.advance(conn, row["cmd_id"], to, now_ms, "system:commands", reason)
    return Issued(row["cmd_id"], to, reason)


def _first_step(conn: Connection, request: CommandRequest, now_ms: int) -> tuple[CommandState, str]:
    verdict = limits.judge(conn, request, now_ms)
    if verdict is not None:
        return verdict, Reason.RATE_LIMIT
    return (S.SCHEDULED if request.not_before_ms - SENT_AHEAD_MS > now_ms else S.QUEUED), ""


def _by_key(conn: Connection, key: str | None) -> CommandView | None:
    if key is None:
        return None
    in_turn(conn, f"command {key}")
    cmd_id = conn.execute(select(command.c.cmd_id).where(command.c.idempotency_key == key)).scalar_one_or_none()
    return states.find(conn, bytes(cmd_id)) if cmd_id else None


def _row(conn: Connection, request: CommandRequest, now_ms: int) -> dict[str, Any]:
    dcu = conn.execute(select(meter.c.dcu).where(meter.c.meter_no == request.meter_no)).scalar_one_or_none()
    if dcu is None:
        raise RefusedCommand(Reason.UNKNOWN_METER, f"no DCU serves meter {request.meter_no}")
    _check(request)
    if limits_flow(request.type, request.settings, request.detail):
        check_may_limit(conn, request.meter_no)
    if request.type is CommandType.SWITCH_CLOSE and request.not_before_ms <= now_ms:
        check_may_close(conn, request.meter_no)
    if request.type is CommandType.SWITCH_OPEN and request.cause not in ABOVE_PROTECTION:
        check_may_open(conn, request.meter_no, now_ms)
    safety, _, ttl_ms = COMMAND_RULES[request.type]
    not_before = max(request.not_before_ms, now_ms)
    expires = min(request.expires_ms or not_before + ttl_ms, not_before + ttl_ms)
    cmd_id = new_id(now_ms)
    return {
        "cmd_id": cmd_id, "dcu": dcu, "meter_no": request.meter_no, "type": int(request.type), "safety": int(safety),
        "priority": priorities.of(conn, request.type), "counter": 0, "issued_at_ms": now_ms,
        "not_before_ms": not_before, "expires_ms": expires, "order_id": request.order_id or cmd_id, "target": request.target,
        "detail": request.detail, "from_ms": request.from_ms, "to_ms": request.to_ms, "text": request.text, "cause": request.cause,
        "settings": _packed(request.settings), "reset": request.reset or None,
        "requested_by": request.requested_by, "idempotency_key": request.idempotency_key, "state_at_ms": now_ms,
    }  # fmt: skip


def _check(request: CommandRequest) -> None:
    kind = request.type
    rules = (
        (kind in READS_SPAN and not 0 < request.from_ms < request.to_ms, "say from when to when to read"),
        (kind is CommandType.MESSAGE and not request.text.strip(), "the message is empty"),
        (kind is CommandType.CANCEL and not request.target, "name the command to cancel"),
        (kind is CommandType.SCHEDULE and not request.detail, "the schedule is missing"),
        (kind is CommandType.LIMIT and not is_limit(request.detail), f"a limit is given in watts, up to {MOST_LIMIT_W}; 0 lifts it"),
        (kind is CommandType.TOKEN and not is_token(request.detail), "a token has 20 digits"),
        (kind in NEEDS_SETTINGS and not request.settings, "name at least one setting"),
        (kind is CommandType.WRITE_SETTINGS and not all(map(may_be_written, request.settings)), "a setting that is only read"),
        (kind is CommandType.RESET and request.reset not in ResetKind.__members__.values(), "say what to reset"),
    )
    for broken, sentence in rules:
        if broken:
            raise RefusedCommand(Reason.MALFORMED, sentence)
    if kind is CommandType.WRITE_SETTINGS:
        _check_settings(request.settings)


def token_detail(text: str) -> bytes:
    """The `detail` of a TOKEN command. Raises RefusedCommand (malformed)."""
    digits = token_digits(text)
    if digits is None:
        raise RefusedCommand(Reason.MALFORMED, "a token has 20 digits: check what was typed")
    return encode(TokenOrder(digits))


def is_token(detail: bytes | None) -> bool:
    try:
        return detail is not None and token_digits(decode(TokenOrder, detail).digits) is not None
    except ContractError:
        return False


def limit_detail(watts: int, until_ms: int = 0, reason: str = "") -> bytes:
    """The `detail` of a LIMIT command; 0 watts lift the limit."""
    return encode(LimitOrder(watts, until_ms, reason))


def is_limit(detail: bytes | None) -> bool:
    try:
        return detail is not None and limit_of(detail).limit_w >= 0
    except ContractError:
        return False


def _check_settings(settings: tuple[Setting, ...]) -> None:
    for setting in settings:
        try:
            faults = faults_of(unpacked(setting))
        except ContractError as error:
            faults = (str(error),)
        if faults:
            raise RefusedCommand(Reason.MALFORMED, f"{SettingKind(setting.kind).name.lower()}: {faults[0]}")


def _packed(settings: tuple[Setting, ...]) -> bytes | None:
    return cbor.dumps([[s.kind, s.body] for s in settings]) if settings else None


def _unpacked(column: bytes | None) -> tuple[Setting, ...]:
    return tuple(Setting(kind, body) for kind, body in cbor.loads(bytes(column))) if column else ()


# ---- signing and queueing -------------------------------------------------------------------------------------


def queue(conn: Connection, signer: Signer, cmd_id: bytes, now_ms: int, by: str) -> bool:
    """Give a command its counters, sign it and put it on the way down. False where it was taken back or queued meanwhile."""
    if not may_follow(_hold(conn, cmd_id), S.QUEUED):
        return False
    send_down(conn, signer, cmd_id, now_ms, by)
    return True


def _hold(conn: Connection, cmd_id: bytes) -> CommandState:
    """Until the end of the transaction nobody else moves the command; its state."""
    return S(conn.execute(select(command.c.state).where(command.c.cmd_id == cmd_id).with_for_update()).scalar_one())


def send_down(conn: Connection, signer: Signer, cmd_id: bytes, now_ms: int, by: str) -> None:
    """Sign an order with its next counters and put it into the outbox, whatever its state is. Whoever calls this holds its row."""
    row = conn.execute(select(command).where(command.c.cmd_id == cmd_id)).one()
    counter = _next(conn, command_counter, {"dcu": row.dcu, "key_id": signer.key_id})
    numbered = CommandType(row.type) in SWITCHES and row.not_before_ms <= row.issued_at_ms
    order = _next(conn, switch_counter, {"meter_no": row.meter_no}) if numbered else 0
    conn.execute(update(command).where(command.c.cmd_id == cmd_id).values(counter=counter, switch_counter=order))
    message = Command(CONTRACT_VERSION, cmd_id, row.dcu, row.meter_no, row.type, row.safety, row.priority, counter,
                      row.issued_at_ms, row.not_before_ms, row.expires_ms, bytes(row.order_id), row.from_ms, row.to_ms, order,
                      row.text, row.cause, _unpacked(row.settings), row.reset or 0, row.detail or b"", row.target or b"")  # fmt: skip
    states.advance(conn, cmd_id, S.QUEUED, now_ms, by)
    outbox.put(conn, row.dcu, "command", cmd_id.hex(), sign1(signer, "command", encode(message)), now_ms, row.priority)


def hold_switch(conn: Connection, meter_no: int) -> None:
    """Until the end of the transaction no switch order of the meter gets a number."""
    insert_new(conn, switch_counter, [{"meter_no": meter_no, "value": 0}])
    conn.execute(select(switch_counter.c.value).where(switch_counter.c.meter_no == meter_no).with_for_update())


def _next(conn: Connection, table: Any, key: dict[str, Any]) -> int:
    """Count up a durable counter and give its new value."""
    insert_new(conn, table, [key | {"value": 0}])
    where = and_(*(table.c[name] == value for name, value in key.items()))
    conn.execute(update(table).where(where).values(value=table.c.value + 1))
    return int(conn.execute(select(table.c.value).where(where)).scalar_one())


def raise_command_counter(conn: Connection, dcu: str, key_id: bytes, used: int) -> None:
    """The edge took a counter that this store, put back from an older copy, does not remember: ours goes on above it."""
    insert_new(conn, command_counter, [{"dcu": dcu, "key_id": key_id, "value": 0}])
    k = command_counter.c
    conn.execute(update(command_counter).where(k.dcu == dcu, k.key_id == key_id, k.value < used).values(value=used))


def raise_switch_counter(conn: Connection, meter_no: int, seen: int) -> None:
    """The edge used a switch counter of its own (a prepaid cut): ours goes on above it."""
    insert_new(conn, switch_counter, [{"meter_no": meter_no, "value": 0}])
    where = and_(switch_counter.c.meter_no == meter_no, switch_counter.c.value < seen)
    conn.execute(update(switch_counter).where(where).values(value=seen))


# ---- what people do with a command ----------------------------------------------------------------------------


def cancel(conn: Connection, signer: Signer, cmd_id: bytes, by: str, now_ms: int) -> Issued | None:
    """Take a command back: at once (None) where it never left the house, else by a CANCEL command on its way to the edge.
    Raises RefusedCommand for one that has ended."""
    found = _found(conn, cmd_id)
    if found.ended:
        raise RefusedCommand(Reason.TOO_LATE, f"the command is {found.state.name.lower()} and can not be taken back")
    if not _was_sent(conn, found):
        states.advance(conn, cmd_id, S.CANCELLED, now_ms, by, Reason.CANCELLED)
        return None
    key = f"cancel:{cmd_id.hex()}"
    return issue(conn, signer, CommandRequest(found.meter_no, CommandType.CANCEL, by, found.cause, key, target=cmd_id), now_ms)


def _was_sent(conn: Connection, found: CommandView) -> bool:
    """Whether it may have left the house. If not, no worker takes it until the end of the transaction."""
    outbox.hold(conn, "command", found.cmd_id.hex())
    return found.state not in UNSENT and outbox.attempts_of(conn, "command", found.cmd_id.hex()) > 0


def release(conn: Connection, signer: Signer, cmd_id: bytes, by: str, now_ms: int) -> None:
    """A second person lets a quarantined command go. Raises RefusedCommand for its own sender."""
    found = _found(conn, cmd_id)
    if found.state is not S.QUARANTINED:
        raise RefusedCommand(Reason.TOO_LATE, f"the command is {found.state.name.lower()}, not quarantined")
    if by == found.requested_by:
        raise RefusedCommand(Reason.PROTECTED, "a second person has to release it, not the one who asked")
    queue(conn, signer, cmd_id, now_ms, by)


def reschedule(conn: Connection, signer: Signer, cmd_id: bytes, not_before_ms: int, by: str, now_ms: int) -> bytes:
    """Move a command that waits for its time; its expiry moves with it. The id it has from now on: the same where it never
    left the house, that of the command which takes its place where it did. Raises RefusedCommand."""
    found = _found(conn, cmd_id)
    waits = found.state in MOVABLE and found.not_before_ms > found.issued_at_ms
    if not waits or not_before_ms <= now_ms:
        raise RefusedCommand(Reason.TOO_LATE, "only a command that waits for its time can move, and only to a time to come")
    life_ms = found.expires_ms - found.not_before_ms
    if not _was_sent(conn, found):
        _move_unsent(conn, signer, found, not_before_ms, not_before_ms + life_ms, by, now_ms)
        return cmd_id
    request = CommandRequest(
        found.meter_no, found.type, by, found.cause, None, not_before_ms, not_before_ms + life_ms, text=found.text,
        settings=_unpacked(_column(conn, cmd_id, command.c.settings)), reset=_column(conn, cmd_id, command.c.reset) or 0,
        detail=_column(conn, cmd_id, command.c.detail),
    )  # fmt: skip
    return replace_with(conn, signer, cmd_id, request, now_ms)


def replace_with(conn: Connection, signer: Signer, cmd_id: bytes, request: CommandRequest, now_ms: int) -> bytes:
    """A command takes the place of one that has not begun: at once where that never left the house, else the edge decides. Raises
    RefusedCommand where it has ended."""
    found = _found(conn, cmd_id)
    if found.ended:
        raise RefusedCommand(Reason.TOO_LATE, f"the command is {found.state.name.lower()}: nothing can take its place")
    sent = _was_sent(conn, found)
    if not sent:
        states.advance(conn, cmd_id, S.CANCELLED, now_ms, request.requested_by, Reason.RESCHEDULED)
    row = _row(conn, replace(request, target=cmd_id if sent else None, order_id=found.order_id), now_ms)
    states.begin(conn, row | {"state": int(S.ACCEPTED), "reason": ""}, request.requested_by)
    if sent or request.not_before_ms - SENT_AHEAD_MS <= now_ms:
        queue(conn, signer, row["cmd_id"], now_ms, request.requested_by)
    else:
        states.advance(conn, row["cmd_id"], S.SCHEDULED, now_ms, request.requested_by)
    return bytes(row["cmd_id"])


def _move_unsent(conn: Connection, signer: Signer, found: CommandView, not_before_ms: int, expires_ms: int, by: str,
                 now_ms: int) -> None:  # fmt: skip
    """A command that was signed but not sent is signed again with its new time."""
    values = {"not_before_ms": not_before_ms, "expires_ms": expires_ms}
    conn.execute(update(command).where(command.c.cmd_id == found.cmd_id).values(**values))
    if found.state is S.QUEUED:
        outbox.drop(conn, "command", found.cmd_id.hex())
        send_down(conn, signer, found.cmd_id, now_ms, by)
    else:
        states.note(conn, found.cmd_id, found.state, now_ms, by)


def _column(conn: Connection, cmd_id: bytes, column: Any) -> Any:
    return conn.execute(select(column).where(command.c.cmd_id == cmd_id)).scalar_one()


def _found(conn: Connection, cmd_id: bytes) -> CommandView:
    """As it stands once nobody else moves it."""
    conn.execute(select(command.c.state).where(command.c.cmd_id == cmd_id).with_for_update())
    found = states.find(conn, cmd_id)
    if found is None:
        raise RefusedCommand(Reason.MALFORMED, "there is no such command")
    return found


# ---- what the sender is told ----------------------------------------------------------------------------------


def notices(conn: Connection, to: str, unseen_only: bool = True, limit: int = 50) -> tuple[SenderNotice, ...]:
    """How the commands of a sender ended, newest first."""
    n = sender_notice.c
    where = and_(n.to == to, n.seen_ms.is_(None)) if unseen_only else n.to == to
    rows = conn.execute(select(sender_notice).where(where).order_by(n.notice_no.desc()).limit(limit))
    return tuple(SenderNotice(r.notice_no, bytes(r.cmd_id), S(r.state), r.reason, r.text, r.at_ms, r.seen_ms is not None)
                 for r in rows)  # fmt: skip


def open_count(conn: Connection) -> int:
    """Commands that have not ended yet."""
    open_states = [int(s) for s in S if s.value < S.DONE]
    return int(conn.execute(select(func.count()).select_from(command).where(command.c.state.in_(open_states))).scalar_one())
