"""The MQTT contract declared once: nobody else writes a topic string.

* Root `gt/1/<dcu>/`: `up/...` is written by the DCU, `down/...` by the cloud; the ACL goes by the certificate's CN.
* Provisioning runs beside it under `prov/1/`, on a claim credential that may do nothing else.
* MQTT 5, QoS 1, nothing retained: nothing relies on the broker remembering.
* Workers share the up load with `$share/<group>/`.
"""

from __future__ import annotations

from enum import Enum

from gridtally_shared.contract import messages as m
from gridtally_shared.contract.prepay_messages import Checkpoint
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

MAX_IN_FLIGHT = 20
MAX_PAYLOAD_BYTES = 256 * 1024
BATCH_TARGET_BYTES = 32 * 1024


class Direction(Enum):
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Channel:
    """`pattern` has `{id}`: the DCU, or for provisioning the client id. `signed`: the payload is a COSE_Sign1 over the
    message's bytes."""

    name: str
    pattern: str
    direction: Direction
    message: type
    signed: bool
    lane: m.Lane | None
    requirements: tuple[str, ...]
    about: str

    def topic(self, ident: str) -> str:
        if not ident or any(c in ident for c in "/+#$"):
            raise ContractError(f"{ident!r} can not stand in a topic")
        return self.pattern.format(id=ident)

    def wildcard(self, group: str | None = None) -> str:
        """Subscription to this channel of every DCU, shared among workers when a group is named."""
        topic = self.pattern.format(id="+")
        return f"$share/{group}/{topic}" if group else topic


def _c(name: str, pattern: str, direction: Direction, message: type, about: str, *requirements: str,
       signed: bool = False, lane: m.Lane | None = None) -> Channel:  # fmt: skip
    return Channel(name, pattern, direction, message, signed, lane, requirements, about)


UP, DOWN = Direction.UP, Direction.DOWN

CHANNELS: tuple[Channel, ...] = (
    _c("hello", "gt/1/{id}/up/hello", UP, m.Hello, "birth at each connect: versions, heads, clock", "I2-S1-pre"),
    _c("gone", "gt/1/{id}/up/gone", UP, m.Gone, "the will: the DCU vanished", "BYPL-7.1"),
    _c("urgent", "gt/1/{id}/up/urgent", UP, m.Batch, "money, switch actions, urgent events", "BYPL-5.2", lane=m.Lane.URGENT),
    _c("live", "gt/1/{id}/up/live", UP, m.Batch, "readings and intervals of now", "BYPL-1.3", lane=m.Lane.LIVE),
    _c("backlog", "gt/1/{id}/up/backlog", UP, m.Batch, "what an outage left behind", "BYPL-6.3", lane=m.Lane.BACKLOG),
    _c("receipt", "gt/1/{id}/down/receipt", DOWN, m.Receipt, "committed in the cloud up to here", "C3-S1.9"),
    _c("welcome", "gt/1/{id}/down/welcome", DOWN, m.Welcome, "answer to hello with signed time", "ETSI-5.2.2", signed=True),
    _c("instrument", "gt/1/{id}/down/instrument", DOWN, m.Instrument, "credit for an account", "BYPL-17.5b", signed=True),
    _c("command", "gt/1/{id}/down/command", DOWN, m.Command, "an order to a meter", "BYPL-3.3", "BYPL-21.1", signed=True),
    _c("config", "gt/1/{id}/down/config", DOWN, m.DcuConfig, "meters, accounts, tariffs, policies", "BYPL-8.2a", signed=True),
    _c("checkpoint", "gt/1/{id}/down/checkpoint", DOWN, Checkpoint, "a journal checkpoint, countersigned", "C3-S1.9", signed=True),
    _c("mirror", "gt/1/{id}/down/mirror", DOWN, m.JournalRange, "what the mirror holds and the edge lost", "C3-S1.9", signed=True),
    _c("activate", "gt/1/{id}/up/activate", UP, m.Activate, "first contact under the own name", "ETSI-5.2.1"),
    _c("activated", "gt/1/{id}/down/activated", DOWN, m.Activated, "the name is active", "ETSI-5.2.1"),
    _c("prov-hello", "prov/1/req/{id}/hello", UP, m.ProvisionHello, "an unknown box asks", "ETSI-5.2.1"),
    _c("prov-enrol", "prov/1/req/{id}/enrol", UP, m.ProvisionEnrol, "key and proof", "ETSI-5.2.1"),
    _c("prov-challenge", "prov/1/resp/{id}/challenge", DOWN, m.ProvisionChallenge, "prove your secret", "ETSI-5.2.1"),
    _c("prov-issued", "prov/1/resp/{id}/issued", DOWN, m.ProvisionIssued, "certificate and keys", "ETSI-5.2.1"),
    _c("prov-rejected", "prov/1/resp/{id}/rejected", DOWN, m.ProvisionRejected, "refused, with the reason", "ETSI-5.2.1"),
)

BY_NAME: dict[str, Channel] = {c.name: c for c in CHANNELS}
BY_LANE: dict[m.Lane, Channel] = {c.lane: c for c in CHANNELS if c.lane is not None}


def parse_topic(topic: str) -> tuple[Channel, str]:
    """Which channel a topic belongs to, and whose it is. Raises ContractError."""
    parts = topic.split("/")
    for channel in CHANNELS:
        pattern = channel.pattern.split("/")
        if len(pattern) == len(parts) and all(p in ("{id}", t) for p, t in zip(pattern, parts, strict=True)):
            return channel, parts[pattern.index("{id}")]
    raise ContractError(f"no channel of the contract has the topic {topic!r}")
