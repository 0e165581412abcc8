"""Conversations of IEC 62056-21: sign on, read out, programming mode, hand-over to HDLC.

* Sign-on is at 300 baud 7E1 (or what `initial_baud` says); the meter proposes a speed, we take it or a lower one, and the
  line changes its coding behind the acknowledgement. Mode B changes without one, mode A not at all.
* A readout is taken piece by piece, since at 300 baud it may last a minute. A wrong block check character is answered with
  NAK once, then it is a MeterFault.
* A meter reacts within 1500 ms, so an answer is waited for 2 s. Nothing behind the acknowledgement is repeated: the meter
  would be in another state. The whole sign-on is what is tried again.
* The programming mode ends with a break, always: on a bus of several meters one that is still signed on keeps the others
  from being heard, for up to two minutes.

Source: IEC 62056-21:2002 clause 6 and annexes A, B, E; VDEW specification 2.0 (R5, R6, W5).
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found
from gridtally_edge.protocols.iec62056_21.characters import ACK, LONGEST_BLOCK, NAK, seven_bits, with_parity
from gridtally_edge.protocols.iec62056_21.datasets import DataSet, read_data_sets
from gridtally_edge.protocols.iec62056_21.messages import (
    BREAK,
    SPEEDS_C,
    Identification,
    Mode,
    Option,
    Reply,
    Telegram,
    acknowledgement,
    command,
    find_identification,
    find_line_or_end,
    find_reply,
    has_ended,
    read_block,
    read_identification,
    read_reply,
    sign_on,
)
from gridtally_edge.transports.settings import Speed
from gridtally_shared.errors import ConfigError, MeterFault
from gridtally_shared.records import dataclass

REACTION_MS: Final = 2_000
MOST_BLOCKS: Final = 2_000
MOST_PIECES: Final = 65_536


@dataclass(frozen=True, slots=True)
class SignOn:
    """`address` "" asks whoever is there. `max_baud` limits what the meter proposes. `initial_baud` 0 leaves the line as it
    is (a converter with a fixed speed: then `max_baud` must be its speed). `software_parity`: the port knows no 7E1 (a pseudo
    terminal, some adapters, a converter set to 8N1), so the parity is put into the eighth bit here."""

    address: str = ""
    max_baud: int = 19_200
    initial_baud: int = 300
    timeout_ms: int = REACTION_MS
    retries: int = 2
    software_parity: bool = False

    def coding(self, baud: int) -> Speed | None:
        """7E1 at this speed, as the port is to be set; None where it stays as it is."""
        if not self.initial_baud:
            return None
        return Speed(baud) if self.software_parity else Speed(baud, 7, "E", 1)

    def sent(self, request: bytes) -> bytes:
        return with_parity(request) if self.software_parity else request


def _nothing(_received: bytes) -> Found | None:
    return None


def identify(how: SignOn) -> Conversation[Identification]:
    """Who is there. Silence ends in the line's LinkDown."""
    if how.initial_baud:
        yield Exchange(b"", _nothing, timeout_ms=0, speed=how.coding(how.initial_baud))
    answer = yield Exchange(how.sent(sign_on(how.address)), find_identification, None, how.timeout_ms, how.retries)
    return read_identification(answer)


def speed_character(identification: Identification, max_baud: int) -> str:
    """Z of the acknowledgement: the meter's proposal, or the highest below `max_baud`."""
    proposed = SPEEDS_C.get(identification.speed_character, 300)
    fitting = [z for z, baud in SPEEDS_C.items() if baud <= min(proposed, max_baud)]
    return max(fitting, default="0")


def read_out(how: SignOn) -> Conversation[Telegram]:
    """Everything the meter shows in its standard readout, in the mode it offers."""
    identification = yield from identify(how)
    octets = yield from _collected(_first_piece(how, identification))
    try:
        text = read_block(octets)
    except MeterFault:
        again = Exchange(how.sent(bytes((NAK,))), find_line_or_end, None, how.timeout_ms, 0)
        text = read_block((yield from _collected(again)))
    return Telegram(identification, read_data_sets(text))


def _first_piece(how: SignOn, identification: Identification) -> Exchange:
    if identification.mode in (Mode.C, Mode.E):
        z = speed_character(identification, how.max_baud)
        request, speed = how.sent(acknowledgement(z, Option.READOUT)), how.coding(SPEEDS_C[z])
    else:
        request = b""
        speed = how.coding(identification.baud) if identification.mode is Mode.B else None
    return Exchange(request, find_line_or_end, None, how.timeout_ms, 0, speed=speed)


def _collected(first: Exchange) -> Conversation[bytes]:
    """All pieces to the end of the block. Raises MeterFault for one that does not end."""
    octets, exchange = b"", first
    for _ in range(MOST_PIECES):
        octets += yield exchange
        if has_ended(octets):
            return octets
        if len(octets) > LONGEST_BLOCK:
            break
        exchange = Exchange(b"", find_line_or_end, None, first.timeout_ms, 0)
    raise MeterFault("the readout of the meter does not end")


def enter_programming(how: SignOn, password: str = "") -> Conversation[Identification]:
    """Sign on, choose the programming mode, give the password (none: the meter may let us read without). Raises
    ConfigError for a password the meter refuses, MeterFault for a meter that has no such mode."""
    identification = yield from identify(how)
    if identification.mode not in (Mode.C, Mode.E):
        raise MeterFault(f"the meter offers mode {identification.mode.value}: it has no programming mode")
    z = speed_character(identification, how.max_baud)
    request = acknowledgement(z, Option.PROGRAMMING)
    exchange = Exchange(how.sent(request), find_reply, None, how.timeout_ms, 0, speed=how.coding(SPEEDS_C[z]))
    challenge = read_reply((yield exchange))
    if challenge.command not in ("P0", "P1", "P2"):
        raise MeterFault(f"the meter answered {challenge.command or challenge.text!r} where it ought to ask for a password")
    if password:
        yield from _give_password(how, password)
    return identification


def _give_password(how: SignOn, password: str) -> Conversation[None]:
    reply = yield from ask(how, "P1", f"({password})")
    if reply.refused or reply.command == "B0":
        raise ConfigError("password", "***", "the meter refuses it: ask whoever runs the meter for its password")


def ask(how: SignOn, name: str, body: str, repeatable: bool = True) -> Conversation[Reply]:
    """One command of the programming mode and its answer."""
    exchange = Exchange(how.sent(command(name, body)), find_reply, None, how.timeout_ms, 1, repeatable=repeatable)
    return read_reply((yield exchange))


def read_register(how: SignOn, address: str, form: str = "R5") -> Conversation[tuple[DataSet, ...]]:
    """A value by its address (R5: OBIS code, R1: the meter's own address). Raises MeterFault when the meter says no."""
    reply = yield from ask(how, form, f"{address}()")
    return _data_of(reply, address)


def _data_of(reply: Reply, address: str) -> tuple[DataSet, ...]:
    if reply.refused or not reply.text:
        raise MeterFault(f"the meter does not give {address}: {reply.text or 'refused'}")
    return read_data_sets(reply.text)


def write_register(how: SignOn, address: str, value: str, form: str = "W5") -> Conversation[None]:
    """Write a value; it is sent once. Raises MeterFault when the meter says no."""
    reply = yield from ask(how, form, f"{address}({value})", repeatable=False)
    if reply.refused:
        raise MeterFault(f"the meter does not take {address}: {reply.text or 'refused'}")


def read_partial_blocks(how: SignOn, address: str, span: str = "") -> Conversation[tuple[DataSet, ...]]:
    """R6: a long answer in blocks that end with EOT and are acknowledged one by one, the last with ETX."""
    reply = yield from ask(how, "R6", f"{address}({span})")
    texts = [reply.text]
    while reply.more and len(texts) < MOST_BLOCKS and not reply.refused:
        reply = read_reply((yield Exchange(how.sent(bytes((ACK,))), find_reply, None, how.timeout_ms, 0)))
        texts.append(reply.text)
    if reply.refused:
        raise MeterFault(f"the meter does not give {address}: {reply.text or 'refused'}")
    return read_data_sets("".join(texts))


def leave(how: SignOn) -> Conversation[None]:
    """The break: the meter leaves the programming mode and needs not answer."""
    yield Exchange(how.sent(BREAK), _nothing, timeout_ms=0)


def hand_over(how: SignOn) -> Conversation[Identification]:
    """Mode E: behind it the line speaks HDLC with 8N1 at the speed agreed on. Raises MeterFault for a meter without it.

    The meter confirms with the same message, already at the new speed but still with parity, which is taken off here."""
    identification = yield from identify(how)
    if identification.mode is not Mode.E:
        raise MeterFault(f"the meter offers mode {identification.mode.value}, not E: it speaks no HDLC on this port")
    z = speed_character(identification, how.max_baud)
    request = acknowledgement(z, Option.BINARY)

    def find_confirmation(received: bytes) -> Found | None:
        start = seven_bits(received).find(request)
        return Found(start, start + len(request)) if start >= 0 else None

    speed = Speed(SPEEDS_C[z]) if how.initial_baud else None
    yield Exchange(how.sent(request), find_confirmation, len(request), how.timeout_ms, 0, speed=speed)
    return identification
