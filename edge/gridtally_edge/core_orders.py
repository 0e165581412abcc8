"""What the prepay core orders of the rim: switch, read, task, display. An order for a meter that is not here comes back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gridtally_edge import core_tasks
from gridtally_edge.core_events import Effect, GiveAnswer, Moment, StartRead, StartShow, StartSwitch
from gridtally_edge.counter import Answer, Ask, Asked
from gridtally_edge.drivers.model import Capability, SwitchState
from gridtally_edge.polling.ondemand import NEEDS, refused, request_for
from gridtally_edge.prepay import events as p
from gridtally_shared.lifecycle import Reason

if TYPE_CHECKING:
    from gridtally_edge.core import EdgeCore

log = logging.getLogger("gridtally.core")


def order_switch(core: EdgeCore, order: p.RunSwitch, moment: Moment) -> tuple[Effect, ...]:
    meter = core.street.by_number(order.meter_no)
    if meter is not None:
        return (StartSwitch(meter.key, order),)
    unknown = SwitchState.UNKNOWN
    fault = f"meter {order.meter_no} is on no line of this concentrator"
    outcome = p.SwitchOutcome(p.SwitchResult.NO_ANSWER, "", unknown, unknown, False, moment.now_ms, fault=fault)
    return core.tell_prepay(p.SwitchFinished(order.action_id, outcome), moment)


def order_read(core: EdgeCore, run: p.RunRead, moment: Moment) -> tuple[Effect, ...]:
    meter = core.street.by_number(run.meter_no)
    if meter is None:
        return core_tasks.not_found(core, run, moment)
    request, needed = request_for(run, meter.interval_ms), NEEDS.get(run.type)
    if request is None or (needed is not None and not meter.on_line.can(needed)):
        return core.tell_prepay(refused(run.cmd_id, Reason.UNSUPPORTED, moment.now_ms), moment)
    return (StartRead(meter.key, request, run),)


def order_show(core: EdgeCore, show: p.ShowOnMeter, moment: Moment) -> tuple[Effect, ...]:
    meter = core.street.by_number(show.meter_no)
    if meter is None or not meter.on_line.can(Capability.BALANCE_DISPLAY):
        return ()
    household = core.prepay.household(show.meter_no)
    daily_wh = core.journal.usual_day_wh(household, moment.now_ms) if household is not None else None
    return (StartShow(meter.key, core.prepay.face(show, daily_wh)),)


def announce(_core: EdgeCore, message: p.Announce, _: Moment) -> tuple[Effect, ...]:
    log.info("message for account %d: %s", message.account_no, message.code)
    return ()


def answer_code(_core: EdgeCore, done: p.CodeAnswered, _: Moment) -> tuple[Effect, ...]:
    return (GiveAnswer(done.entry_id, Answer(done.result, done.amount_nano, done.balance_nano, done.until_ms)),)


def answer_token(_core: EdgeCore, done: p.TokenAnswered, _: Moment) -> tuple[Effect, ...]:
    return (GiveAnswer(done.entry_id, Answer(done.result, text=done.data, status=done.status)),)


def answer_file(_core: EdgeCore, done: p.FileAnswered, _: Moment) -> tuple[Effect, ...]:
    answer = Answer(
        done.result, applied=done.applied, known=done.known, waiting=done.waiting, refused=done.refused, text=done.text
    )
    return (GiveAnswer(done.entry_id, answer),)


def answer_site(_core: EdgeCore, done: p.SiteAnswered, _: Moment) -> tuple[Effect, ...]:
    return (GiveAnswer(done.entry_id, Answer(done.result, text=done.text)),)


def take_emergency(core: EdgeCore, request: Asked, moment: Moment) -> tuple[Effect, ...]:
    """The household takes the emergency credit that was offered. The answer says whether it has just come into use."""
    account_no = request.ask.account_no
    effects = core.prepay.handle(p.EmergencyAccepted(account_no), moment.now_ms, moment.mono_ms)
    is_taken = any(isinstance(e, p.Announce) and (e.account_no, e.code) == (account_no, "EC_ON") for e in effects)
    answer = GiveAnswer(request.ask_id, Answer("accepted" if is_taken else "not_offered"))
    orders = tuple(order for effect in effects for order in core.order(effect, moment))
    return (*orders, answer, *core.send(moment))


def asked(core: EdgeCore, request: Asked, moment: Moment) -> tuple[Effect, ...]:
    """Somebody at the counter."""
    if request.ask.kind == EMERGENCY:
        return take_emergency(core, request, moment)
    note = NOTED.get(request.ask.kind)
    if note is not None:
        effects = tuple(e for event in note(request.ask) for e in core.tell_prepay(event, moment))
        return (*effects, GiveAnswer(request.ask_id, Answer("noted")), *core.send(moment))
    make = ASKS.get(request.ask.kind)
    if make is None:
        return (GiveAnswer(request.ask_id, Answer("unknown", text=f"this agent does not know {request.ask.kind!r}")),)
    return core.tell_prepay(make(request.ask_id, request.ask), moment) + core.send(moment)


def words_said(text: str) -> Iterator[tuple[int, str]]:
    """Words to messages: "7.read 8.displayed"."""
    for part in text.split()[:MOST_MESSAGES]:
        number, _, word = part.partition(".")
        if number.isascii() and number.isdigit() and len(number) <= 18:
            yield int(number), word


MOST_MESSAGES = 50
EMERGENCY = "emergency"
ASKS: dict[str, Callable[[bytes, Ask], p.PrepayEvent]] = {
    "code": lambda ask_id, ask: p.CodeEntered(ask_id, ask.account_no, ask.text),
    "token": lambda ask_id, ask: p.TokenEntered(ask_id, ask.account_no, ask.text),
    "hold": lambda ask_id, ask: p.HoldAsked(ask_id, ask.account_no, ask.text),
    "person": lambda ask_id, ask: p.PersonNamed(ask_id, ask.text),
    "instruments": lambda ask_id, ask: p.FileBrought(ask_id, ask.text),
}

NOTED: dict[str, Callable[[Ask], tuple[p.PrepayEvent, ...]]] = {
    "reclose": lambda ask: (p.RecloseAsked(ask.account_no),),
    "messages": lambda ask: tuple(p.MessageSaid(ask.account_no, number, word) for number, word in words_said(ask.text)),
}
"""What is done and needs no answer but that it was taken in."""

ORDERS: dict[type, Callable[[EdgeCore, Any, Moment], tuple[Effect, ...]]] = {
    p.RunSwitch: order_switch,
    p.RunRead: order_read,
    p.RunTask: core_tasks.order_task,
    p.ShowOnMeter: order_show,
    p.Announce: announce,
    p.CodeAnswered: answer_code,
    p.TokenAnswered: answer_token,
    p.FileAnswered: answer_file,
    p.SiteAnswered: answer_site,
}
