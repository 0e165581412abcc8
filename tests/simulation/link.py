"""The network between concentrator and MDM: it loses, doubles, delays and so reorders messages, and is sometimes away.

What travels are the contract's own bytes. A message on its way when the link falls is lost. `tap` sees everything that
leaves, which is where forgers and spoilers sit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

Deliver = Callable[[str, bytes], None]


@dataclass(slots=True)
class Link:
    """Rates are per mille; a delivery takes `least_ms` to `most_ms`."""

    random: Random
    at: Callable[[int, str, Callable[[], None]], None]
    to_cloud: Deliver
    to_edge: Deliver
    lost_permille: int = 0
    doubled_permille: int = 0
    spoilt_permille: int = 0
    least_ms: int = 30
    most_ms: int = 2_000
    up: bool = False
    life: int = 0
    sent: int = 0
    lost: int = 0
    commands_to_lose: int = 0
    sent_at: dict[bytes, list[int]] = field(default_factory=dict)
    now_ms: Callable[[], int] = lambda: 0
    seen_down: list[tuple[str, bytes]] = field(default_factory=list)

    def send_up(self, topic: str, payload: bytes) -> None:
        self._send("up", self.to_cloud, topic, payload)

    def send_down(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/command"):
            self.sent_at.setdefault(payload, []).append(self.now_ms())
        if len(self.seen_down) < 500:
            self.seen_down.append((topic, payload))
        if self.commands_to_lose and topic.endswith("/command"):
            self.commands_to_lose, self.lost = self.commands_to_lose - 1, self.lost + 1
            return
        self._send("down", self.to_edge, topic, payload)

    def inject_down(self, topic: str, payload: bytes) -> None:
        """What somebody else puts on the line."""
        self._later("forged", self.to_edge, topic, payload)

    def fall(self) -> None:
        self.up, self.life = False, self.life + 1

    def rise(self) -> None:
        self.up = True

    def heal(self) -> None:
        self.lost_permille = self.doubled_permille = self.spoilt_permille = 0

    def _send(self, way: str, deliver: Deliver, topic: str, payload: bytes) -> None:
        self.sent += 1
        if not self.up or self._happens(self.lost_permille):
            self.lost += 1
            return
        if self._happens(self.spoilt_permille):
            payload = spoilt(self.random, payload, flips=way == "down")
        for _ in range(2 if self._happens(self.doubled_permille) else 1):
            self._later(way, deliver, topic, payload)

    def _later(self, way: str, deliver: Deliver, topic: str, payload: bytes) -> None:
        life = self.life

        def arrive() -> None:
            if life == self.life and self.up:
                deliver(topic, payload)

        self.at(self.random.randint(self.least_ms, self.most_ms), f"{way} {topic.rsplit('/', 1)[-1]} {len(payload)} B", arrive)

    def _happens(self, permille: int) -> bool:
        return permille > 0 and self.random.randrange(1000) < permille


def spoilt(random: Random, payload: bytes, flips: bool = True) -> bytes:
    """Bytes cut off or added, or (`flips`) changed. Upward nothing but the transport's own seal would show a changed bit, so
    there a line only cuts and adds."""
    data = bytearray(payload)
    choice = random.randrange(0 if flips else 1, 3)
    if choice == 0 and data:
        for _ in range(random.randint(1, 4)):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif choice == 1:
        del data[random.randrange(len(data)) if data else 0 :]
    else:
        data += random.randbytes(random.randint(1, 9))
    return bytes(data)
