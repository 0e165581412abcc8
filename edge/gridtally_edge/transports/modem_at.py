"""A transparent modem with AT commands: a node is addressed, then octets go to it and come from it unchanged (HDLC frames).

Commands end with CR, answer lines with CR LF:

    AT                     OK
    ATS12=n                OK; the silence around +++ becomes n/50 s (1 s after power on)
    AT+INFO                +INFO:mtu[,M]  then OK; M: it can multicast
    AT+NODES               +NODE:id,address,parent,hops,quality  for each node, +WAIT:id for each that waits, then OK
    AT+ALLOW=id, AT+FORGET=id             OK or ERROR
    AT+DST=address         OK or ERROR (no such node)
    ATO                    CONNECT; from here on everything is the node's, until
    +++                    with silence before and behind it: OK, commands again
    +JOIN:..., +LEAVE:id, +WAIT:id        unasked, while commands are taken; +JOIN has the fields of +NODE

* One node at a time: answers carry no sender. While a node is connected the modem tells nothing of the others, so the list of
  nodes is asked for `LIST_EVERY_S` after the last one, when nobody was spoken to for `QUIET_S`.
* The commands follow the habits of such modems (Hayes escape, vendor words behind AT+); a vendor's own words differ. No modem has
  been connected: this codec has met its simulator only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import field
from enum import Enum
from typing import Final

from gridtally_edge.transports.modem_model import (
    ModemEvent,
    ModemFailed,
    ModemReady,
    NodeAsks,
    NodeData,
    NodeGone,
    NodeHere,
    NodesListed,
    NotSent,
    Output,
)
from gridtally_shared.errors import LinkDown
from gridtally_shared.records import dataclass

ESCAPE: Final = b"+++"
FACTORY_GUARD_S: Final = 1.0
ANSWER_S: Final = 3.0
ESCAPE_ANSWER_S: Final = 1.0
LIST_EVERY_S: Final = 60.0
QUIET_S: Final = 2.0
LONGEST_LINE: Final = 256
TRIES: Final = 3


class Mode(Enum):
    COMMAND = "commands are taken"
    ASKED = "a command waits for its last line"
    ONLINE = "octets are a node's"
    ESCAPED = "+++ was sent"


@dataclass(frozen=True, slots=True)
class Job:
    """A command, or (`address` given) a payload for a node."""

    command: str = ""
    address: str = ""
    payload: bytes = b""


@dataclass(slots=True)
class AtModem:
    """The codec. `guard_s` is the silence around +++ that is set at the start, in steps of 20 ms; `factory_guard_s` the one
    the modem has until then."""

    guard_s: float = 0.1
    factory_guard_s: float = FACTORY_GUARD_S
    list_every_s: float = LIST_EVERY_S
    quiet_s: float = QUIET_S
    alone: bool = field(default=True, init=False)
    mode: Mode = field(default=Mode.COMMAND, init=False)
    _jobs: deque[Job] = field(default_factory=deque, init=False)
    _asked: str = field(default="", init=False)
    _online_with: str = field(default="", init=False)
    _addressed: str = field(default="", init=False)
    _line: bytes = field(default=b"", init=False)
    _quiet_since_s: float = field(default=0.0, init=False)
    _deadline_s: float = field(default=0.0, init=False)
    _listed_s: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _listing: set[str] = field(default_factory=set, init=False)
    _guard_now_s: float = field(default=FACTORY_GUARD_S, init=False)
    _mtu: int = field(default=0, init=False)
    _multicast: bool = field(default=False, init=False)

    def begin(self, now_s: float) -> None:
        """Whatever state it was left in: leave it, then ask everything."""
        self._jobs.clear()
        self._jobs.extend(Job(c) for c in ("AT", f"ATS12={round(self.guard_s * 50)}", "AT+INFO", "AT+NODES"))
        self.mode, self._quiet_since_s, self._listed_s = Mode.ONLINE, now_s, now_s
        self._online_with = self._addressed = self._asked = ""
        self._line, self._guard_now_s = b"", self.factory_guard_s

    def send(self, address: str, payload: bytes, now_s: float) -> None:
        if not address.isalnum():
            raise LinkDown(f"{address!r} is no address of this network")
        self._jobs.append(Job(address=address, payload=payload))

    def send_to_all(self, payload: bytes) -> bool:
        if not self._multicast:
            return False
        self._jobs.append(Job(address="ALL", payload=payload))
        return True

    def allow(self, node: str) -> None:
        self._jobs.append(Job(f"AT+ALLOW={node}"))

    def forget(self, node: str) -> None:
        self._jobs.append(Job(f"AT+FORGET={node}"))

    def output(self, now_s: float) -> Output:
        self._list_if_due(now_s)
        return _OUTPUTS[self.mode](self, now_s)

    def receive(self, octets: bytes, now_s: float) -> tuple[ModemEvent, ...]:
        self._quiet_since_s = now_s
        events: list[ModemEvent] = []
        self._line += octets
        while not self._is_online() and b"\n" in self._line:
            line, self._line = self._line.split(b"\n", 1)
            events += self._read_line(line.strip(b"\r"))
        if self._is_online() and self._line:
            rest, self._line = self._line, b""
            events += self._from_node(rest)
        self._line = self._line[-LONGEST_LINE:]
        return tuple(events)

    def _is_online(self) -> bool:
        return self.mode is Mode.ONLINE

    def overdue(self, now_s: float) -> tuple[ModemEvent, ...]:
        if self.mode not in (Mode.ASKED, Mode.ESCAPED) or now_s < self._deadline_s:
            return ()
        self._failures += 1
        if self._failures >= TRIES:
            self._failures = 0
            return (ModemFailed("the modem does not answer its commands: check power, wiring and speed"),)
        self.mode, self._line = Mode.COMMAND, b""
        return ()

    # ---- what is written, by mode --------------------------------------------------------------------------------

    def _list_if_due(self, now_s: float) -> None:
        quiet = now_s - self._quiet_since_s > self.quiet_s
        if quiet and now_s - self._listed_s > self.list_every_s and not self._jobs:
            self._listed_s = now_s
            self._jobs.append(Job("AT+NODES"))

    def _idle(self, now_s: float) -> Output:
        return Output(b"", max(self.quiet_s, self._listed_s + self.list_every_s - now_s))

    def _online(self, now_s: float) -> Output:
        if not self._jobs:
            return self._idle(now_s)
        job = self._jobs[0]
        if job.address and job.address == self._online_with:
            self._jobs.popleft()
            self._quiet_since_s = now_s
            return Output(job.payload, 0.0)
        wait_s = self._quiet_since_s + self._guard_now_s - now_s
        if wait_s > 0:
            return Output(b"", wait_s)
        self.mode, self._deadline_s = Mode.ESCAPED, now_s + self._guard_now_s + ESCAPE_ANSWER_S
        return Output(ESCAPE, self._guard_now_s + ESCAPE_ANSWER_S)

    def _command(self, now_s: float) -> Output:
        if not self._jobs:
            return self._idle(now_s)
        job = self._jobs[0]
        if not job.address:
            self._jobs.popleft()
        self._asked = job.command or (f"AT+DST={job.address}" if self._addressed != job.address else "ATO")
        self.mode, self._deadline_s = Mode.ASKED, now_s + ANSWER_S
        if self._asked == "AT+NODES":
            self._listing = set()
        return Output(self._asked.encode() + b"\r", ANSWER_S)

    def _waiting(self, now_s: float) -> Output:
        return Output(b"", max(0.0, self._deadline_s - now_s))

    # ---- what is read ----------------------------------------------------------------------------------------------

    def _from_node(self, octets: bytes) -> tuple[ModemEvent, ...]:
        return (NodeData(self._online_with, octets),) if self._online_with else ()

    def _read_line(self, line: bytes) -> tuple[ModemEvent, ...]:
        text = line.decode("ascii", "replace")
        word, _, rest = text.partition(":")
        told = _TOLD.get(word)
        if told is not None:
            return told(self, rest)
        if self.mode is Mode.ESCAPED:
            return self._escaped(line)
        if self.mode is Mode.ASKED and text in ("OK", "ERROR", "CONNECT", "NO CARRIER"):
            return self._answered(text)
        return ()

    def _escaped(self, line: bytes) -> tuple[ModemEvent, ...]:
        """The node's last octets may stand before the OK."""
        if not line.endswith(b"OK"):
            return self._from_node(line + b"\n") if line else ()
        before = line[:-2].rstrip(b"\r\n")
        events = self._from_node(before) if before else ()
        self.mode, self._online_with, self._failures = Mode.COMMAND, "", 0
        return events

    def _answered(self, word: str) -> tuple[ModemEvent, ...]:
        asked, self._asked = self._asked, ""
        self.mode, self._failures = Mode.COMMAND, 0
        if word == "CONNECT":
            self.mode, self._online_with = Mode.ONLINE, self._addressed
            return ()
        if asked.startswith(("AT+DST", "ATO")):
            return self._addressing(asked, word == "OK")
        if asked.startswith("ATS12") and word == "OK":
            self._guard_now_s = self.guard_s
        if asked == "AT+INFO":
            return (ModemReady(self._mtu, self._multicast),)
        return (NodesListed(frozenset(self._listing)),) if asked == "AT+NODES" and word == "OK" else ()

    def _addressing(self, asked: str, fine: bool) -> tuple[ModemEvent, ...]:
        if fine and asked.startswith("AT+DST"):
            self._addressed = asked.removeprefix("AT+DST=")
            return ()
        self._addressed = ""
        address = self._jobs.popleft().address if self._jobs else ""
        return (NotSent(address, "no such node, or it can not be reached"),)

    def _info(self, rest: str) -> tuple[ModemEvent, ...]:
        mtu, _, flags = rest.partition(",")
        self._mtu = int(mtu) if mtu.isdecimal() else 0
        self._multicast = flags == "M"
        return ()

    def _listed(self, rest: str) -> tuple[ModemEvent, ...]:
        node = _node_of(rest)
        if node is None:
            return ()
        self._listing.add(node.node)
        return (node,)

    def _left(self, rest: str) -> tuple[ModemEvent, ...]:
        self._listing.discard(rest)
        return (NodeGone(rest),)

    def _asks(self, rest: str) -> tuple[ModemEvent, ...]:
        self._listing.add(rest)
        return (NodeAsks(rest),) if rest else ()


def _node_of(rest: str) -> NodeHere | None:
    parts = rest.split(",")
    if len(parts) != 5 or not all(parts[:3]) or not all(p.isdecimal() and int(p) < 256 for p in parts[3:]):
        return None
    return NodeHere(parts[0], parts[1], parts[2], int(parts[3]), int(parts[4]))


_OUTPUTS: Final[dict[Mode, Callable[[AtModem, float], Output]]] = {
    Mode.ONLINE: AtModem._online,
    Mode.COMMAND: AtModem._command,
    Mode.ASKED: AtModem._waiting,
    Mode.ESCAPED: AtModem._waiting,
}
_TOLD: Final[dict[str, Callable[[AtModem, str], tuple[ModemEvent, ...]]]] = {
    "+INFO": AtModem._info,
    "+NODE": AtModem._listed,
    "+JOIN": AtModem._listed,
    "+LEAVE": AtModem._left,
    "+WAIT": AtModem._asks,
}
