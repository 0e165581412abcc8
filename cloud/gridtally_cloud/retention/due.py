"""What is due under each rule, as conditions of the store. Pure: nothing is read here.

* Every table is gone through in the order of its key; `grows` is a time that grows with the key: where it is young, all after it is.
* What something refers to stays (`over`): a delivery that waits, an order that is open, data given whose doubt may still be withdrawn;
  and a restatement or doubt that nobody took, as long as its receiver is there.
* The row with the highest number stays: SQLite gives the number after the highest, and receivers leave out a number they know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, String, Table, and_, bindparam, cast, exists, func, literal, or_, select, true

from gridtally_cloud.exchange.given_tables import data_given
from gridtally_cloud.exchange.recipient_tables import delivery, delivery_error, delivery_file, recipient
from gridtally_cloud.exchange.recipients import DeliveryState
from gridtally_cloud.exchange.tables import exchange_file, exchange_run, missing_day
from gridtally_cloud.integrations.webhook_tables import webhook, webhook_notice
from gridtally_cloud.integrations.webhooks import NoticeState, Topic
from gridtally_cloud.prepay.tables import late_credit
from gridtally_cloud.retention.rules import BY_NAME, Rule
from gridtally_cloud.store.base import SHARD, Key, Ms
from gridtally_cloud.store.db import hexed
from gridtally_cloud.store.tables import channel, command, outbox_down, poison, reading
from gridtally_cloud.store.work import work_item, work_run
from gridtally_cloud.vee.edits import EditState
from gridtally_cloud.vee.tables import vee_edit, vee_restated
from gridtally_cloud.vee.tools import Tool
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.quantities import QUANTITIES, Kind
from gridtally_shared.records import dataclass

Condition = ColumnElement[bool]
CUT = bindparam("cut_ms", type_=Ms())
FIRST, LAST = bindparam("first", type_=Key), bindparam("last", type_=Key)
"""Numbers between which the rows of a lot lie: PostgreSQL reads no more of the tables that refer to them."""
_d, _e, _f, _g, _i, _n, _o, _r, _w = (
    delivery.c, delivery_error.c, delivery_file.c, data_given.c, work_item.c, webhook_notice.c, outbox_down.c, work_run.c, exchange_run.c,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that go with those they belong to: `of` is theirs, `key` that of the others."""

    table: Table
    of: Any
    key: Any
    over: Condition


@dataclass(frozen=True, slots=True)
class Source:
    """Where a rule finds its rows. `series`: quantities, of a table of readings."""

    rule: Rule
    table: Table
    key: tuple[Any, ...]
    over: Condition
    grows: Any = None
    parts: tuple[Part, ...] = ()
    series: frozenset[int] = frozenset()

    @property
    def here(self) -> Condition:
        """The rows of this store."""
        shard: Any = self.table.c.get("shard")
        mine: Condition = true() if shard is None else shard == SHARD
        return mine

    @property
    def time(self) -> Any:
        return self.table.c[self.rule.column]

    @property
    def due(self) -> Condition:
        """Of a row: it may go. Wants the parameters cut_ms, first and last."""
        return and_(self.here, self.time < CUT, self.over, self._has_newer())

    def _has_newer(self) -> Condition:
        number = self.key[0]
        if self.table.primary_key.columns.values() != [number]:
            return true()
        newer: Condition = number < select(func.max(self.table.alias("newest").c[number.name])).scalar_subquery()
        return newer


def _source(name: str, key: tuple[Any, ...], over: Condition, grows: Any = None, parts: tuple[Part, ...] = (),
            series: frozenset[int] = frozenset()) -> Source:  # fmt: skip
    rule, table = BY_NAME[name], key[0].table
    if rule.table != table.name:
        raise ValueError(f"rule {name} is of {rule.table}, not of {table.name}")
    return Source(rule, table, key, over, grows, parts, series)


# ---- what something still refers to ---------------------------------------------------------------------------

DOUBTS = "data_issue_"
"""How the names of files begin that tell of a doubt (vee/doubts.py)."""

_LISTENING = select(webhook.c.webhook_no).where(webhook.c.ended_ms.is_(None))
_CHANGES = (Topic.MEASUREMENT_RESTATED.value, Topic.MEASUREMENT_DOUBTED.value)
_UNTOLD = and_(_n.state == NoticeState.DEAD.value, _n.topic.in_(_CHANGES), _n.webhook_no.in_(_LISTENING))

_SETTLED = _d.state != DeliveryState.WAITING.value
_b, _z = delivery.alias("of_file").c, delivery.alias("newest_delivery").c
_THERE = select(recipient.c.name).where(recipient.c.ended_ms.is_(None))
_DOUBT_UNTOLD = and_(_b.state == DeliveryState.DEAD.value, _f.name.startswith(DOUBTS, autoescape=True), _f.recipient.in_(_THERE))
_WANTED = exists().where(
    _b.file_no == _f.file_no, _b.file_no.between(FIRST, LAST),
    or_(_b.state == DeliveryState.WAITING.value, _b.made_ms >= CUT, _b.taken_ms >= CUT, _DOUBT_UNTOLD)
)  # fmt: skip
_NEWEST_DELIVERY = select(_z.file_no).order_by(_z.delivery_no.desc()).limit(1).scalar_subquery()

_OPEN_ORDERS = select(hexed(command.c.cmd_id)).where(command.c.state.in_([int(s) for s in CommandState if s < CommandState.DONE]))
_l = late_credit.c
_LATE_CREDITS = select(
    cast(_l.account_no, String) + literal("/") + cast(_l.epoch, String) + literal("/") + cast(_l.gseq, String)
).where(_l.cleared_ms.is_(None))  # fmt: skip
_ANSWERED = and_(or_(_o.channel != "command", _o.ref.not_in(_OPEN_ORDERS)), or_(_o.channel != "instrument", _o.ref.not_in(_LATE_CREDITS)))

_v, _t, _c = vee_edit.c, vee_restated.c, channel.c
_MARKS = (EditState.PROPOSED.value, EditState.APPLIED.value, EditState.LEAVING.value)
_ITS_CHANNELS = select(_c.channel_no).where(_c.usage_point_no == _g.usage_point_no).correlate(data_given)
_NEAR = select(_c.channel_no).where(_c.usage_point_no.between(FIRST, LAST))
_DOUBTED = exists().where(
    _v.shard == SHARD, _v.channel_no.in_(_ITS_CHANNELS), _v.channel_no.in_(_NEAR),
    _v.from_ms < _g.to_ms, _v.to_ms > _g.from_ms, _v.tool == Tool.UNTRUST.value,
    _v.state.in_(_MARKS),
)  # fmt: skip
_RESTATED = exists().where(
    _t.shard == SHARD, _t.channel_no.in_(_ITS_CHANNELS), _t.channel_no.in_(_NEAR),
    _t.from_ms < _g.to_ms, _t.to_ms > _g.from_ms, _t.at_ms >= CUT,
)  # fmt: skip

_x = work_item.alias("of_run").c
_FAILED = exists().where(_x.shard == SHARD, _x.kind == _r.kind, _x.run_no == _r.run_no, _x.state == "failed")

# ---- the sources ----------------------------------------------------------------------------------------------

INSTANTS = frozenset(q.code for q in QUANTITIES if q.kind is Kind.INSTANT)
REGISTERS = frozenset(q.code for q in QUANTITIES) - INSTANTS
_SERIES = (reading.c.meter_no, reading.c.quantity)

_ALL = (
    _source("momentary_values", _SERIES, reading.c.quantity.in_(INSTANTS), series=INSTANTS),
    _source("register_readings", _SERIES, reading.c.quantity.in_(REGISTERS), series=REGISTERS),
    _source("webhook_notices", (_n.notice_no,), and_(_n.state != NoticeState.WAITING.value, ~_UNTOLD), _n.created_ms),
    _source("deliveries", (_f.file_no,), and_(~_WANTED, _f.file_no != func.coalesce(_NEWEST_DELIVERY, 0)), _f.made_ms,
            (Part(delivery, _d.file_no, _f.file_no, _SETTLED),)),
    _source("delivery_errors", (_e.error_no,), true(), _e.at_ms),
    _source("data_given", (_g.usage_point_no, _g.taker, _g.from_ms), and_(~_DOUBTED, ~_RESTATED)),
    _source("files_taken", (exchange_file.c.file_no,), true(), exchange_file.c.seen_ms),
    _source("export_runs", (_w.name, _w.day), _w.state.in_(("done", "failed"))),
    _source("late_days", (missing_day.c.schedule, missing_day.c.day, missing_day.c.usage_point_no), true()),
    _source("way_down", (_o.outbox_no,), _ANSWERED, _o.created_ms),
    _source("runs", (_r.run_no,), ~_FAILED, _r.asked_ms, (Part(work_item, _i.run_no, _r.run_no, _i.shard == SHARD),)),
    _source("set_aside", (poison.c.poison_no,), true(), poison.c.at_ms),
)  # fmt: skip

SOURCES: Mapping[str, Source] = {source.rule.name: source for source in _ALL}
"""In the order in which a pass is made."""
