"""Who may do what with a simulated DLMS meter: client addresses, how they log in, and their rights.

* `Scheme.SIMPLE`: client 16 is public, every other client logs in one way and may do everything.
* `Scheme.IS15959`: 16 public, 32 reads (LLS), 48 reads, writes settings and switches (HLS), 64 receives pushes
  (pre-established), 80 reads and loads firmware (HLS). With ciphering 32 encrypts, 48, 64 and 80 authenticate as well.

Source: IS 15959 part 1 clause 4 and part 2; protocols.md 6.1.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Final

from gridtally_edge.protocols.dlms.access import Attribute
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.ciphering import AUTHENTICATED, ENCRYPTED
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

PUBLIC_CLIENT: Final = 16
PUSH_CLIENT: Final = 64
_PUBLIC: Final = frozenset({Obis.of("0.0.42.0.0.255"), Obis.of("0.0.96.1.0.255"), Obis.of("0.0.1.0.0.255")})
_COUNTERS: Final = bytes((0, 0, 43, 1))
_ASSOCIATIONS: Final = bytes((0, 0, 40, 0))


class Right(Enum):
    READ = "read"
    SWITCH = "switch"
    SETTINGS = "settings"
    FIRMWARE = "firmware"


_ALL: Final = frozenset(Right)
_CLASS_RIGHT: Final = {70: Right.SWITCH, 18: Right.FIRMWARE}


class Scheme(Enum):
    SIMPLE = "simple"
    IS15959 = "is15959"


@dataclass(frozen=True, slots=True)
class Account:
    """One client address (None: any). `number` is E of its association 0.0.40.0.E, security setup and counter.
    `security` are the bits of the security control that its requests must have."""

    client: int | None
    number: int
    mechanism: Mechanism = Mechanism.NONE
    secret: bytes = field(default=b"", repr=False)
    security: int = 0
    rights: frozenset[Right] = frozenset()
    pre_established: bool = False

    def may_read(self, target: Attribute) -> bool:
        name = target.obis.value
        return Right.READ in self.rights or target.obis in _PUBLIC or name[:4] in (_COUNTERS, _ASSOCIATIONS)

    def may_set(self, target: Attribute) -> bool:
        return (Right.FIRMWARE if target.class_id == 18 else Right.SETTINGS) in self.rights

    def may_act(self, method: Attribute) -> bool:
        return _CLASS_RIGHT.get(method.class_id, Right.SETTINGS) in self.rights


@dataclass(frozen=True, slots=True)
class MeterKeys:
    """Suite 0 and 1 have keys of 16 octets, suite 2 of 32. `title` is the meter's system title (8 octets).
    The defaults are published throw-away keys. Never shown in a repr."""

    title: bytes
    unicast: bytes = field(default=bytes(range(16)), repr=False)
    authentication: bytes = field(default=bytes(range(0xD0, 0xE0)), repr=False)
    broadcast: bytes = field(default=bytes(range(16, 32)), repr=False)
    master: bytes = field(default=bytes(range(0x30, 0x40)), repr=False)
    suite: int = 0


@dataclass(frozen=True, slots=True)
class MeterAccess:
    """`mechanism` and `secret` are those of the settings and firmware clients, or of every client in the simple
    scheme; `password` is that of the meter reader. `ciphered`: plain associations are refused."""

    scheme: Scheme = Scheme.SIMPLE
    mechanism: Mechanism = Mechanism.LLS
    password: bytes = field(default=b"ABCD0001", repr=False)
    secret: bytes = field(default=b"", repr=False)
    ciphered: bool = False
    keys: MeterKeys | None = None

    def accounts(self) -> tuple[Account, ...]:
        return _SCHEMES[self.scheme](self)


def _simple(access: MeterAccess) -> tuple[Account, ...]:
    secret = access.password if access.mechanism is Mechanism.LLS else access.secret
    security = AUTHENTICATED | ENCRYPTED if access.ciphered else 0
    return (Account(PUBLIC_CLIENT, 1), Account(None, 2, access.mechanism, secret, security, _ALL))


def _indian(access: MeterAccess) -> tuple[Account, ...]:
    both, encrypted = (AUTHENTICATED | ENCRYPTED, ENCRYPTED) if access.ciphered else (0, 0)
    reading, settings = frozenset({Right.READ}), frozenset({Right.READ, Right.SWITCH, Right.SETTINGS})
    firmware = frozenset({Right.READ, Right.FIRMWARE})
    return (
        Account(PUBLIC_CLIENT, 1),
        Account(32, 2, Mechanism.LLS, access.password, encrypted, reading),
        Account(48, 3, access.mechanism, access.secret, both, settings),
        Account(PUSH_CLIENT, 4, security=both, pre_established=True),
        Account(80, 5, access.mechanism, access.secret, both, firmware),
    )


_SCHEMES: Final = {Scheme.SIMPLE: _simple, Scheme.IS15959: _indian}
