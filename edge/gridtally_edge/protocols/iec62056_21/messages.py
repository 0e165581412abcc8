"""Messages of IEC 62056-21: identification, data block, commands of the programming mode, telegrams sent unasked.

* Identification `/XXXZ<text>`: three letters of the maker (the third in lower case: it answers within 20 ms), Z says the
  proposed speed and the mode (digits: C, or E where the text starts with `\\2`; letters: B; anything else: A).
* Every finder looks through 7-bit characters and answers None until a whole message with a right BCC is there.
* A telegram (mode D, P1) runs from `/` to `!`; since version 4 of P1 a CRC-16 of everything from `/` to `!` follows.

Source: IEC 62056-21:2002 clauses 5 and 6; DSMR 5.0.2 P1 companion standard, clause 6.2.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from gridtally_edge.protocols.conversation import Found
from gridtally_edge.protocols.iec62056_21.characters import ACK, EOT, ETX, LINE_END, NAK, SOH, STX, bcc, framed, seven_bits
from gridtally_edge.protocols.iec62056_21.datasets import DataSet, read_data_sets
from gridtally_native import crc16_modbus
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

SPEEDS_C: dict[str, int] = {"0": 300, "1": 600, "2": 1_200, "3": 2_400, "4": 4_800, "5": 9_600, "6": 19_200}
SPEEDS_B: dict[str, int] = {"A": 600, "B": 1_200, "C": 2_400, "D": 4_800, "E": 9_600, "F": 19_200}
LONGEST_IDENTIFICATION: Final = 64
END_OF_DATA: Final = b"\n!"


class Mode(Enum):
    A = "A"
    B = "B"
    C = "C"
    D = "D"
    E = "E"


class Option(Enum):
    """Y of the acknowledgement: what is to follow."""

    READOUT = 0
    PROGRAMMING = 1
    BINARY = 2


@dataclass(frozen=True, slots=True)
class Identification:
    """`maker` are three letters, `text` what the maker says of the meter."""

    maker: str
    speed_character: str
    text: str

    @property
    def mode(self) -> Mode:
        """The highest the meter offers without being asked."""
        if self.speed_character in SPEEDS_C:
            return Mode.E if self.text.startswith("\\2") else Mode.C
        return Mode.B if self.speed_character in SPEEDS_B else Mode.A

    @property
    def baud(self) -> int:
        """The proposed speed; 300 in mode A."""
        return SPEEDS_C.get(self.speed_character) or SPEEDS_B.get(self.speed_character, 300)

    @property
    def is_quick(self) -> bool:
        """Whether the meter may answer after 20 ms instead of 200."""
        return self.maker[2:].islower()


def sign_on(address: str = "") -> bytes:
    """Ask whoever is there, or the meter of this device address, to identify itself. Raises ValueError."""
    if len(address) > 32 or (not address.replace(" ", "").isalnum() and address):
        raise ValueError("a device address has up to 32 letters, digits and blanks")
    return f"/?{address}!\r\n".encode("ascii")


def acknowledgement(speed_character: str, option: Option) -> bytes:
    """ACK V Z Y: protocol V (2 for HDLC), speed Z, option Y."""
    protocol = 2 if option is Option.BINARY else 0
    return bytes((ACK,)) + f"{protocol}{speed_character}{option.value}".encode("ascii") + LINE_END


BREAK: Final = framed(bytes((SOH,)) + b"B0")


def command(name: str, body: str) -> bytes:
    """A message of the programming mode: P1, W1, R1, W5, R5, R6 ... with its data set."""
    return framed(bytes((SOH,)) + name.encode("ascii") + bytes((STX,)) + body.encode("ascii", "replace"))


def find_identification(received: bytes) -> Found | None:
    """`/` , three letters, a character, text, CR LF. The sign-on itself (`/?`) is none."""
    text = seven_bits(received)
    start = text.find(b"/")
    while start >= 0:
        end = text.find(LINE_END, start)
        if end < 0:
            return None
        if 5 <= end - start <= LONGEST_IDENTIFICATION and text[start + 1 : start + 4].isalpha():
            return Found(start, end + len(LINE_END))
        start = text.find(b"/", start + 1)
    return None


def read_identification(octets: bytes) -> Identification:
    """Raises MeterFault for anything but a whole identification."""
    line = seven_bits(octets).rstrip(b"\r\n")
    if len(line) < 5 or line[:1] != b"/" or not line[1:4].isalpha():
        raise MeterFault(f"no identification of a meter: {octets[:24].hex(' ')}")
    text = line.decode("ascii")
    return Identification(text[1:4], text[4], text[5:].strip())


def find_line_or_end(received: bytes) -> Found | None:
    """Whole lines of a readout, or its end (ETX and BCC): a long readout is taken piece by piece."""
    text = seven_bits(received)
    end = text.find(ETX)
    if 0 <= end < len(text) - 1:
        return Found(0, end + 2)
    last = text.rfind(b"\n", 0, end if end >= 0 else len(text))
    return Found(0, last + 1) if last >= 0 else None


def has_ended(readout: bytes) -> bool:
    return len(readout) >= 2 and seven_bits(readout[-2:-1]) == bytes((ETX,))


def read_block(octets: bytes) -> str:
    """The text of a block from STX (or SOH) to BCC. Raises MeterFault for a wrong BCC or no block."""
    text = seven_bits(octets)
    start = text.find(STX)
    if start < 0:
        raise MeterFault("the meter sent no data block")
    end = len(text) - 2
    if end <= start or text[end] not in (ETX, EOT):
        raise MeterFault("the data block of the meter does not end")
    if bcc(text[start + 1 : end + 1]) != text[end + 1]:
        raise MeterFault("the block check character is wrong: no value can be taken from this block")
    return text[start + 1 : end].decode("ascii", "replace")


def find_reply(received: bytes) -> Found | None:
    """An answer of the programming mode: ACK, NAK, or a block with the right BCC."""
    text = seven_bits(received)
    for start, character in enumerate(text):
        if character in (ACK, NAK):
            return Found(start, start + 1)
        if character in (SOH, STX):
            return _block_at(text, start)
    return None


def _block_at(text: bytes, start: int) -> Found | None:
    ends = [end for end in (text.find(ETX, start), text.find(EOT, start)) if end >= 0]
    end = min(ends, default=len(text))
    return Found(start, end + 2) if end < len(text) - 1 else None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a meter answers in programming mode. `command` is P0, B0 or "" and `more` says that another block follows
    (EOT); a bare ACK has neither command nor text."""

    text: str = ""
    command: str = ""
    more: bool = False
    refused: bool = False


def read_reply(octets: bytes) -> Reply:
    """Raises MeterFault for a damaged block."""
    text = seven_bits(octets)
    if text in (bytes((ACK,)), bytes((NAK,))):
        return Reply(refused=text[0] == NAK)
    if text[:1] == bytes((SOH,)):
        _check(text)
        head, _, body = text[1:-2].partition(bytes((STX,)))
        return Reply(body.decode("ascii", "replace"), head.decode("ascii", "replace"))
    body_text = read_block(text)
    return Reply(body_text, more=text[-2] == EOT, refused=body_text.strip("()").upper().startswith("ER"))


def _check(text: bytes) -> None:
    if len(text) < 4 or bcc(text[1:-1]) != text[-1]:
        raise MeterFault("the block check character is wrong: no value can be taken from this block")


@dataclass(frozen=True, slots=True)
class Telegram:
    """What a meter sends by itself, or a whole readout. `crc_right` is None where it carries no CRC."""

    identification: Identification
    data_sets: tuple[DataSet, ...]
    crc_right: bool | None = None


def telegram_end(text: bytes, start: int) -> int:
    """Where the telegram at `start` ends: behind `!`, its CRC digits and the line end. 0: not all of it is there."""
    mark = text.find(END_OF_DATA, start)
    end = text.find(LINE_END, mark) if mark >= 0 else -1
    return end + len(LINE_END) if end >= 0 else 0


def find_telegram(received: bytes) -> Found | None:
    """The first whole telegram that is not damaged; one that is, is passed over."""
    text = seven_bits(received)
    start = text.find(b"/")
    while start >= 0:
        end = telegram_end(text, start)
        if not end:
            return None
        start = max(start, text.rfind(b"\n/", start, end) + 1)
        if text[start + 1 : start + 4].isalpha() and crc_of(text[start:end]) is not False:
            return Found(start, end)
        start = text.find(b"/", start + 1)
    return None


def crc_of(telegram: bytes) -> bool | None:
    """Whether the CRC behind the `!` (four digits, capitals) is right; None where there is none."""
    content, _, tail = telegram.partition(END_OF_DATA)
    digits = tail.strip()
    return digits == b"%04X" % crc16_p1(content + END_OF_DATA) if digits else None


def crc16_p1(octets: bytes) -> int:
    """CRC-16 with polynomial 8005 reflected and start 0; two octets of ones take Modbus' start of ones to 0."""
    return crc16_modbus(b"\xff\xff" + octets)


def read_telegram(octets: bytes) -> Telegram:
    """A whole telegram. Raises MeterFault for one with a wrong CRC, or that is none."""
    text = seven_bits(octets)
    line_end = text.find(LINE_END)
    if line_end < 0 or END_OF_DATA not in text:
        raise MeterFault("no whole telegram: it runs from / to ! and the end of that line")
    right = crc_of(text[: telegram_end(text, 0) or len(text)])
    if right is False:
        raise MeterFault("the CRC of the telegram is wrong: no value can be taken from it")
    identification = read_identification(text[:line_end])
    return Telegram(identification, read_data_sets(text[line_end:].decode("ascii", "replace")), right)
