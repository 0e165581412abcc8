"""The layers inside a radio frame, each announced by its CI field: extended link, authentication, transport.

* 8C short extended link layer (control, access number); 8D with session number and CRC, maybe ciphered; 8E and 8F the
  same with a second address. 90: authentication and fragmentation, with message counter and CMAC. Then a header (7A short,
  72 long, 78 none) and the records, or a compact frame.
* A layer that is cut short is a MeterFault.

Source: EN 13757-4:2019 clause 13; EN 13757-7:2018 clauses 6 and 7.
"""

from __future__ import annotations

from typing import Final

from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

ADDRESS_BYTES: Final = 8
AFL: Final = 0x90
SESSION_BYTES, SESSION_CRC = 4, 2


@dataclass(frozen=True, slots=True)
class ExtendedLink:
    """`session` is b"" in 8C and 8E. The octets behind it are `rest`; with a session they begin with a CRC, which is
    ciphered with them."""

    control: int
    access: int
    session: bytes
    rest: bytes

    @property
    def is_ciphered(self) -> bool:
        """The upper three bits of the session number: 0 is plain, 1 AES-128-CTR."""
        return bool(self.session) and self.session[3] >> 5 != 0


_ELL: dict[int, tuple[int, bool]] = {0x8C: (0, False), 0x8D: (0, True), 0x8E: (ADDRESS_BYTES, False), 0x8F: (ADDRESS_BYTES, True)}
"""CI -> octets of a second address, and whether there is a session number."""


def is_extended_link(ci: int) -> bool:
    return ci in _ELL


def read_extended_link(body: bytes) -> ExtendedLink:
    """`body` begins with its CI field."""
    second, has_session = _ELL[body[0]]
    start = 3 + second
    end = start + (SESSION_BYTES if has_session else 0)
    _enough(body, end + (SESSION_CRC if has_session else 0), "extended link layer")
    return ExtendedLink(body[1], body[2], body[start:end], body[end:])


@dataclass(frozen=True, slots=True)
class Authentication:
    """`counter` and `mac` are b"" where they are left out. `covered` is what of this layer the MAC covers besides the
    message itself: MCL, key information, counter, length."""

    fragment: int
    more_fragments: bool
    counter: bytes
    mac: bytes
    covered: bytes
    rest: bytes


MORE_FRAGMENTS, HAS_MCL, HAS_LENGTH, HAS_COUNTER, HAS_MAC, HAS_KEY = 0x4000, 0x2000, 0x1000, 0x0800, 0x0400, 0x0200
MAC_BYTES: dict[int, int] = {3: 2, 4: 4, 5: 8, 6: 12, 7: 16, 8: 12}


def read_authentication(body: bytes) -> Authentication:
    """`body` begins with CI 90. The fields stand in the order MCL, key information, counter, MAC, length."""
    _enough(body, 4, "authentication layer")
    length, control = body[1], int.from_bytes(body[2:4], "little")
    _enough(body, 2 + length, "authentication layer")
    fields, rest = body[4 : 2 + length], body[2 + length :]
    mcl = fields[:1] if control & HAS_MCL else b""
    sizes = (
        ("mcl", len(mcl)),
        ("key", 2 if control & HAS_KEY else 0),
        ("counter", 4 if control & HAS_COUNTER else 0),
        ("mac", MAC_BYTES.get(mcl[0] & 0x0F if mcl else 0, 8) if control & HAS_MAC else 0),
        ("length", 2 if control & HAS_LENGTH else 0),
    )
    parts: dict[str, bytes] = {}
    for name, size in sizes:
        parts[name], fields = fields[:size], fields[size:]
        if len(parts[name]) != size:
            raise MeterFault("the authentication layer of the radio frame is cut short")
    covered = parts["mcl"] + parts["key"] + parts["counter"] + parts["length"]
    more = bool(control & MORE_FRAGMENTS)
    return Authentication(control & 0xFF, more, parts["counter"], parts["mac"], covered, rest)


def _enough(body: bytes, wanted: int, layer: str) -> None:
    if len(body) < wanted:
        raise MeterFault(f"the {layer} of the radio frame is cut short")
