"""The core's part in the uplink: the session, what comes down, and which handler takes it.

* A configuration that was accepted is told at once, by a greeting that carries its version; a welcome in the middle of a session
  changes nothing else.
* Nothing that comes down stops anything: what does not fit is counted, logged and dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gridtally_edge import core_clock
from gridtally_edge.core_events import Effect, Moment
from gridtally_edge.journal.sqlite import transaction
from gridtally_edge.prepay import events as p
from gridtally_edge.sync.downlink import SignedConfig, open_message
from gridtally_edge.sync.mqtt import Arrived, LinkLost, LinkUp
from gridtally_edge.sync.uplink import State
from gridtally_shared.contract import messages as m
from gridtally_shared.errors import ContractError

if TYPE_CHECKING:
    from gridtally_edge.core import EdgeCore

log = logging.getLogger("gridtally.core")


def link_up(core: EdgeCore, _: LinkUp, moment: Moment) -> tuple[Effect, ...]:
    core.uplink.connected()
    core.uplink_trouble = "waiting for the cloud's welcome"
    return core.tell_prepay(p.LinkChanged(True), moment) + core.send(moment)


def link_lost(core: EdgeCore, lost: LinkLost, moment: Moment) -> tuple[Effect, ...]:
    was_up = core.uplink.state is not State.OFFLINE
    core.uplink.disconnected()
    if lost.why != core.uplink_trouble:
        log.warning("uplink lost: %s", lost.why)
    core.uplink_trouble = lost.why
    return core.tell_prepay(p.LinkChanged(False), moment) if was_up else ()


def arrived(core: EdgeCore, message: Arrived, moment: Moment) -> tuple[Effect, ...]:
    try:
        down = open_message(core.identity, message.topic, message.payload)
        return DOWN[type(down)](core, down, moment)
    except ContractError as error:
        core.refused_messages += 1
        log.warning("message on %s dropped: %s", message.topic, error)
        return ()


def welcomed(core: EdgeCore, welcome: m.Welcome, moment: Moment) -> tuple[Effect, ...]:
    older = core.uplink.to_renew(welcome)
    for outbox in older:
        log.warning("the cloud has more of stream %s than this store: starting a new stream", outbox.stream_id.hex())
        with transaction(outbox.connection):
            outbox.renew_stream()
    if older:
        core.uplink.renewed()
    else:
        core.uplink.welcomed(welcome)
        core.uplink_trouble = ""
    round_trip_s = core.greetings.round_trip_s(welcome.hello_at_ms, moment.mono_s)
    age_ms = None if round_trip_s is None else int(round_trip_s * 1_000 * moment.factor)
    effects = core.tell_prepay(p.WelcomeSeen(welcome.at_ms, welcome.accounts, age_ms, welcome.config_version), moment)
    return effects + core_clock.compare(core, welcome, round_trip_s, moment) + core.send(moment)


def receipted(core: EdgeCore, receipt: m.Receipt, moment: Moment) -> tuple[Effect, ...]:
    if not core.uplink.receipt(receipt, moment.mono_s):
        log.warning("receipt of another cloud store: greeting again")
    return core.send(moment)


def config_arrived(core: EdgeCore, signed: SignedConfig, moment: Moment) -> tuple[Effect, ...]:
    if signed.config.version <= core.config_version:
        return ()
    core.journal.store_config(signed.config.version, signed.envelope)
    effects = core.accept_config(signed, moment) + core.polls(moment)
    return effects + (core.greet(moment) if core.uplink.state is State.OPEN else ())


def hand_on(core: EdgeCore, event: p.PrepayEvent, moment: Moment) -> tuple[Effect, ...]:
    return core.tell_prepay(event, moment) + core.send(moment)


DOWN: dict[type, Callable[[EdgeCore, Any, Moment], tuple[Effect, ...]]] = {
    m.Welcome: welcomed,
    m.Receipt: receipted,
    SignedConfig: config_arrived,
    p.InstrumentArrived: hand_on,
    p.CommandArrived: hand_on,
    p.CheckpointSigned: hand_on,
    p.MirrorArrived: hand_on,
}
