"""Requests for data: queued, asked, delivered, answered, merged, or given up. One table of states, one `advance`.

* A request goes to the meter as an on-demand read of its exact range. The command's id is known at the concentrator and in its receipts.
* What a read of intervals brings is in the inbox with its receipt (commands/receipts.py) and becomes a new version when its day closes:
  nothing that stood is altered. A request is merged when some of what it lacked is there; one that brought nothing is given up.
* A gap is asked for again at most `MOST_TRIES` times, and never while a request for it is open.

Source: issue 5, lines 6 and 7; mdm.md B.3 row 1, B.4; SMT-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from gridtally_cloud.commands import service, states
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.inquiry.completeness import expected_starts, is_lacking, ranges
from gridtally_cloud.inquiry.received import Line
from gridtally_cloud.inquiry.tables import data_request
from gridtally_cloud.store.days import day_of, slots_of
from gridtally_cloud.store.db import in_turn
from gridtally_cloud.store.intervals import Slot, days_slots
from gridtally_cloud.store.tables import channel, meter, usage_point
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

MOST_TRIES = 3
NOT_HELD = "not_held"
"""The meter answered, and does not hold what was asked for."""


class Kind(StrEnum):
    """`gap`: missing data, asked by the MDM itself; the others are inquiries (inquiry/service.py)."""

    GAP = "gap"
    BALANCE = "balance"
    READ = "read"
    POWER_STATUS = "power_status"


class State(StrEnum):
    QUEUED = "queued"
    ASKED = "asked"
    DELIVERED = "delivered"
    ANSWERED = "answered"
    MERGED = "merged"
    GAVE_UP = "gave_up"


S, C = State, CommandState
NEXT: dict[State, frozenset[State]] = {
    S.QUEUED: frozenset({S.ASKED, S.GAVE_UP}),
    S.ASKED: frozenset({S.DELIVERED, S.ANSWERED, S.GAVE_UP}),
    S.DELIVERED: frozenset({S.ANSWERED, S.GAVE_UP}),
    S.ANSWERED: frozenset({S.MERGED, S.GAVE_UP}),
    S.MERGED: frozenset(),
    S.GAVE_UP: frozenset(),
}
OPEN = (S.QUEUED, S.ASKED, S.DELIVERED, S.ANSWERED)
ENDED = frozenset({S.MERGED, S.GAVE_UP})
OF_COMMAND: dict[CommandState, State] = {
    C.DELIVERED: S.DELIVERED, C.EXECUTING: S.DELIVERED, C.DONE: S.ANSWERED, C.REFUSED: S.GAVE_UP, C.FAILED: S.GAVE_UP,
    C.EXPIRED: S.GAVE_UP, C.CANCELLED: S.GAVE_UP,
}  # fmt: skip
"""What a command's state means for its request; the others change nothing."""
KIND_COMMANDS: dict[Kind, CommandType] = {Kind.READ: CommandType.READ_INTERVALS, Kind.POWER_STATUS: CommandType.TEST_SUPPLY}
"""What an inquiry asks of the meter."""


@dataclass(frozen=True, slots=True)
class DataRequest:
    """`lacking`: intervals that were missing when it was asked; `filled`: how many of them came."""

    request_no: int
    kind: Kind
    usage_point_no: int
    meter_no: int
    from_ms: int
    to_ms: int
    retailer: str
    requested_by: str
    cmd_id: bytes | None
    state: State
    reason: str
    lacking: int
    filled: int
    asked_ms: int
    state_at_ms: int

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. `cmd_type` None: nothing of the meter, all that is needed is held."""

    kind: Kind
    usage_point_no: int
    meter_no: int
    zone: str
    from_ms: int
    to_ms: int
    by: str
    cmd_type: CommandType | None = None
    lacking: int = 0
    retailer: str = ""


def open_request(conn: Connection, signer: Signer, wanted: Wanted, now_ms: int, may_go: bool = True) -> DataRequest:
    """Ask; or, where it may not go yet, wait (pace.py). Raises RefusedCommand where the command service does."""
    goes = wanted.cmd_type is not None and may_go
    cmd_id = _issue(conn, signer, wanted, now_ms) if goes else None
    state = S.MERGED if wanted.cmd_type is None else S.ASKED if goes else S.QUEUED
    row = {"kind": wanted.kind.value, "usage_point_no": wanted.usage_point_no, "meter_no": wanted.meter_no,
           "day": day_of(now_ms, wanted.zone), "from_ms": wanted.from_ms, "to_ms": wanted.to_ms, "retailer": wanted.retailer,
           "requested_by": wanted.by, "cmd_id": cmd_id, "state": state.value, "reason": "", "lacking": wanted.lacking, "filled": 0,
           "asked_ms": now_ms, "state_at_ms": now_ms}  # fmt: skip
    number = conn.execute(insert(data_request).values(row).returning(data_request.c.request_no)).scalar_one()
    return _found(conn, number)


def issue_for(conn: Connection, signer: Signer, request: DataRequest, now_ms: int) -> DataRequest:
    """Send a queued request on its way. Raises RefusedCommand where the command service does."""
    wanted = Wanted(request.kind, request.usage_point_no, request.meter_no, "", request.from_ms, request.to_ms, request.requested_by,
                    KIND_COMMANDS[request.kind])  # fmt: skip
    mine = data_request.c.request_no == request.request_no
    conn.execute(update(data_request).where(mine).values(cmd_id=_issue(conn, signer, wanted, now_ms)))
    return advance(conn, request, S.ASKED, now_ms)


def _issue(conn: Connection, signer: Signer, wanted: Wanted, now_ms: int) -> bytes:
    assert wanted.cmd_type is not None
    spans = (wanted.from_ms, wanted.to_ms) if wanted.cmd_type in service.READS_SPAN else (0, 0)
    order = CommandRequest(wanted.meter_no, wanted.cmd_type, wanted.by, cause_of(wanted.kind),
                           from_ms=spans[0], to_ms=spans[1])  # fmt: skip
    return service.issue(conn, signer, order, now_ms).cmd_id


def cause_of(kind: Kind) -> str:
    """What stands with the command."""
    return f"data request: {kind.value}"


def find(conn: Connection, request_no: int) -> DataRequest | None:
    row = conn.execute(select(data_request).where(data_request.c.request_no == request_no)).one_or_none()
    return None if row is None else request_from(row)


def recent(conn: Connection, limit: int = 100, kind: Kind | None = None, before: int = 0) -> tuple[DataRequest, ...]:
    """Newest first; those before a number where one is given."""
    query = select(data_request).order_by(data_request.c.request_no.desc()).limit(limit)
    if before:
        query = query.where(data_request.c.request_no < before)
    return tuple(request_from(row) for row in conn.execute(query if kind is None else query.where(data_request.c.kind == kind.value)))


def _found(conn: Connection, request_no: int) -> DataRequest:
    return request_from(conn.execute(select(data_request).where(data_request.c.request_no == request_no)).one())


def request_from(r: Any) -> DataRequest:
    return DataRequest(r.request_no, Kind(r.kind), r.usage_point_no, r.meter_no, r.from_ms, r.to_ms, r.retailer, r.requested_by,
                       bytes(r.cmd_id) if r.cmd_id is not None else None, S(r.state), r.reason, r.lacking, r.filled, r.asked_ms,
                       r.state_at_ms)  # fmt: skip


# ---- states ---------------------------------------------------------------------------------------------------


def advance(conn: Connection, request: DataRequest, to: State, at_ms: int, reason: str = "", filled: int = 0) -> DataRequest:
    """The request in its next state; as it is where the table does not allow the step."""
    if to not in NEXT[request.state]:
        return request
    r = data_request.c
    where = and_(r.request_no == request.request_no, r.state == request.state.value)
    conn.execute(update(data_request).where(where).values(state=to.value, reason=reason, filled=filled, state_at_ms=at_ms))
    return _found(conn, request.request_no)


def anything_open(conn: Connection) -> bool:
    is_open = data_request.c.state.in_([s.value for s in OPEN])
    return conn.execute(select(data_request.c.request_no).where(is_open).limit(1)).first() is not None


def follow(conn: Connection, now_ms: int) -> tuple[DataRequest, ...]:
    """Bring every open request to where its command is. Those that moved."""
    r = data_request.c
    rows = conn.execute(select(data_request).where(r.state.in_([s.value for s in OPEN])).order_by(r.request_no)).all()
    before = [request_from(row) for row in rows]
    after = [_followed(conn, request, now_ms) for request in before]
    return tuple(b for a, b in zip(before, after, strict=True) if a.state is not b.state)


def _followed(conn: Connection, request: DataRequest, now_ms: int) -> DataRequest:
    view = states.find(conn, request.cmd_id) if request.cmd_id else None
    if view is not None and view.state in OF_COMMAND:
        request = advance(conn, request, OF_COMMAND[view.state], now_ms, view.reason)
    if request.state is not S.ANSWERED:
        return request
    if request.kind is Kind.POWER_STATUS:
        return advance(conn, request, S.MERGED, now_ms)
    filled = request.lacking - lacking(conn, request.usage_point_no, request.from_ms, request.to_ms, now_ms)
    if filled <= 0 < request.lacking:
        return advance(conn, request, S.GAVE_UP, now_ms, NOT_HELD)
    return advance(conn, request, S.MERGED, now_ms, filled=max(0, filled))


def lacking(conn: Connection, usage_point_no: int, from_ms: int, to_ms: int, now_ms: int) -> int:
    """Intervals of [from_ms, to_ms) that are over and were never measured, on all channels of the meter's own period."""
    c, m, u = channel.c, meter.c, usage_point.c
    join = channel.join(meter, and_(m.usage_point_no == c.usage_point_no, m.interval_s == c.period_s)).join(
        usage_point, u.usage_point_no == c.usage_point_no)  # fmt: skip
    query = select(c.channel_no, c.period_s, u.zone).select_from(join).where(c.usage_point_no == usage_point_no, m.removed_ms.is_(None))
    return sum(_lacking(conn, row, from_ms, to_ms, now_ms) for row in conn.execute(query).all())


def _lacking(conn: Connection, row: Any, from_ms: int, to_ms: int, now_ms: int) -> int:
    days = list(range(day_of(from_ms, row.zone), day_of(max(from_ms, to_ms - 1), row.zone) + 1))
    slots = days_slots(conn, row.channel_no, days)
    starts = [at for day in days for at in expected_starts(slots_of(day, row.zone, row.period_s), from_ms, min(now_ms, to_ms))]
    return sum(is_lacking(slots.get(at, Slot(None, 0))) for at in starts)


# ---- missing data ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of the gaps of a report: what was asked now, and how many ranges were not, and why."""

    requests: tuple[DataRequest, ...] = ()
    under_way: int = 0
    given_up: int = 0
    refused: tuple[str, ...] = ()


def ask_gaps(conn: Connection, signer: Signer, lines: Sequence[Line], by: str, now_ms: int, again_ms: int = 0) -> Asked:
    """One on-demand read for each missing range of each meter, none that was asked for less than `again_ms` ago, by whomever. One
    transaction at a time asks."""
    in_turn(conn, "missing data")
    asked: list[DataRequest] = []
    refused: list[str] = []
    under_way = given_up = 0
    for line, mine in _by_meter(lines):
        for from_ms, to_ms in ranges(gap for other in mine for gap in other.counted.gaps):
            tries, is_open = _tried(conn, line.meter_no, from_ms, to_ms, now_ms - again_ms)
            under_way, given_up = under_way + is_open, given_up + (not is_open and tries >= MOST_TRIES)
            if is_open or tries >= MOST_TRIES:
                continue
            try:
                asked.append(_ask_gap(conn, signer, line, from_ms, to_ms, by, now_ms))
            except RefusedCommand as error:
                refused.append(f"meter {line.serial}: {error.detail}")
    return Asked(tuple(asked), under_way, given_up, tuple(dict.fromkeys(refused)))


def _by_meter(lines: Sequence[Line]) -> list[tuple[Line, list[Line]]]:
    found: dict[int, list[Line]] = {}
    for line in lines:
        if line.counted.gaps:
            found.setdefault(line.meter_no, []).append(line)
    return [(mine[0], mine) for mine in found.values()]


def _ask_gap(conn: Connection, signer: Signer, line: Line, from_ms: int, to_ms: int, by: str, now_ms: int) -> DataRequest:
    n = lacking(conn, line.usage_point_no, from_ms, to_ms, now_ms)
    wanted = Wanted(Kind.GAP, line.usage_point_no, line.meter_no, line.zone, from_ms, to_ms, by, CommandType.READ_INTERVALS, n)
    return open_request(conn, signer, wanted, now_ms)


def _tried(conn: Connection, meter_no: int, from_ms: int, to_ms: int, since_ms: int) -> tuple[int, bool]:
    """How often the whole range was asked for, and whether a request that touches it is open or was made after `since_ms`."""
    r = data_request.c
    mine = and_(r.meter_no == meter_no, r.kind.in_((Kind.GAP.value, Kind.READ.value)), r.cmd_id.is_not(None))
    whole = and_(r.from_ms <= from_ms, r.to_ms >= to_ms)
    still = or_(r.state.in_([s.value for s in OPEN]), r.asked_ms > since_ms)
    touching = and_(r.from_ms < to_ms, r.to_ms > from_ms, still)
    tries = conn.execute(select(func.count()).select_from(data_request).where(mine, whole)).scalar_one()
    return int(tries), conn.execute(select(r.request_no).where(mine, touching).limit(1)).first() is not None
