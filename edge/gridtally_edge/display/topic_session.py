"""One client of the local topic, after it came in: what it may have and what it has. Pure.

* There is one topic for this client, that of its own account; a filter that does not hold it is refused, one with wildcards is
  granted for it alone. Nothing can be published.
* The newest document is retained: whoever subscribes has it at once, and then each time it changes. One is under way at a time;
  what changed meanwhile follows as one.
* A document sent with QoS 1 and acknowledged has been shown.

Source: prepayment.md 6.4; safety.md 20.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from gridtally_edge.display import topic_wire as wire
from gridtally_edge.display.topic_wire import Refusal, Type, Wish
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

ROOT = "gridtally/account"


class Ended(ContractError):
    """The client said goodbye, or has to be told `refusal`."""

    def __init__(self, refusal: Refusal | None = None) -> None:
        super().__init__(refusal.name if refusal is not None else "the client left")
        self.refusal = refusal


def topic_of(account_no: int) -> str:
    return f"{ROOT}/{account_no}"


def matches(topic_filter: str, topic: str) -> bool:
    """The rule of MQTT: '+' is one level, '#' all that follow."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for place, word in enumerate(wanted):
        if word == "#":
            return place == len(wanted) - 1
        if place >= len(levels) or word not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


@dataclass(slots=True)
class Session:
    """`largest`: the longest packet the client takes, 0 for any."""

    account_no: int
    version: int
    largest: int = 0
    _wishes: dict[str, Wish] = field(default_factory=dict)
    _fresh: bool = False
    _sent: bytes = b""
    _under_way: int = 0
    _last_id: int = 0

    @property
    def topic(self) -> str:
        return topic_of(self.account_no)

    @property
    def is_waiting(self) -> bool:
        """Whether a new document can be sent now."""
        return bool(self._wishes) and not self._under_way

    def take(self, kind: int, body: bytes) -> tuple[bytes, bool]:
        """The answer to a packet, and whether the document under way has been shown. Raises Ended or WireError."""
        step = STEPS.get(kind)
        if step is None:
            raise Ended(Refusal.PROTOCOL_ERROR)
        return step(self, body)

    def offer(self, document: bytes) -> bytes:
        """The document as a packet, where the client wants it and has not had it."""
        if not self.is_waiting or (document == self._sent and not self._fresh):
            return b""
        qos = max(w.qos for w in self._wishes.values())
        retained = self._fresh or any(w.retained_as_sent for w in self._wishes.values())
        if qos:
            self._last_id = self._under_way = self._last_id % 0xFFFF + 1
        packet = wire.publish(self.version, self.topic, document, packet_id=self._under_way, retained=retained)
        if self.largest and len(packet) > self.largest:
            raise Ended(Refusal.TOO_LARGE)
        self._sent, self._fresh = document, False
        return packet

    def _subscribe(self, body: bytes) -> tuple[bytes, bool]:
        asked = wire.subscribe_of(body, self.version)
        results = tuple(self._grant(wish) for wish in asked.wishes)
        return wire.suback(self.version, asked.packet_id, results), False

    def _grant(self, wish: Wish) -> int:
        if not matches(wish.topic, self.topic):
            return Refusal.NOT_AUTHORISED
        is_new = wish.topic not in self._wishes
        self._wishes[wish.topic] = wish
        self._fresh |= wish.on_subscribe == 0 or (wish.on_subscribe == 1 and is_new)
        return wish.qos

    def _unsubscribe(self, body: bytes) -> tuple[bytes, bool]:
        asked = wire.unsubscribe_of(body, self.version)
        results = tuple(0 if self._wishes.pop(topic, None) else 0x11 for topic in asked.topics)
        return wire.unsuback(self.version, asked.packet_id, results), False

    def _acknowledged(self, body: bytes) -> tuple[bytes, bool]:
        was_shown = bool(self._under_way) and wire.acknowledged_of(body) == self._under_way
        self._under_way = 0 if was_shown else self._under_way
        return b"", was_shown

    def _pong(self, _: bytes) -> tuple[bytes, bool]:
        return wire.pong(), False

    def _refuse(self, _: bytes) -> tuple[bytes, bool]:
        raise Ended(Refusal.NOT_AUTHORISED)

    def _leave(self, _: bytes) -> tuple[bytes, bool]:
        raise Ended


STEPS: dict[int, Callable[[Session, bytes], tuple[bytes, bool]]] = {
    Type.SUBSCRIBE: Session._subscribe,
    Type.UNSUBSCRIBE: Session._unsubscribe,
    Type.PUBACK: Session._acknowledged,
    Type.PINGREQ: Session._pong,
    Type.PUBLISH: Session._refuse,
    Type.DISCONNECT: Session._leave,
}
