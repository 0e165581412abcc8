"""The DLMS side of a simulated street: who may log into a meter and how, its frames, and the oddities and pushes on demand.

    [[meters]]
    line = "dlms-1"
    serial = "10000001"
    address = 17
    password = "ABCD0001"          # of the meter reader
    [meters.dlms]
    scheme = "is15959"             # clients 16, 32, 48, 64, 80 with the rights of the standard; "simple": any client does all
    auth = "hls2"                  # of the settings and firmware clients ("simple": of all): none lls hls2 md5 sha1 gmac sha256
    secret = "0123456789ABCDEF"
    ciphered = true                # plain associations are refused
    suite = 0                      # keys of 16 octets in suites 0 and 1, 32 in suite 2
    key = "000102030405060708090a0b0c0d0e0f"
    auth_key = "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
    window = 7
    frame_size = 2030
    quirks = "no-rlre trailing-bytes"

    no-rlre SERIAL [times=3]       any oddity of dlms_quirks.py, until `clear SERIAL`
    push SERIAL alert bits=83,85   or instant, block, daily, billing; repeats=1 count=2 swapped confirmed; of a mesh to=HOST:PORT [tcp]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from gridtally_edge.drivers.is15959_config import Auth, Protection
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_push import Push, PushKind
from gridtally_edge.simulators.dlms_quirks import Quirk, QuirkBoard
from gridtally_edge.simulators.dlms_slave import DlmsUnit, SimulatedMeter
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

if TYPE_CHECKING:
    from gridtally_edge.simulators.house import HouseMeter
    from gridtally_edge.simulators.street import StreetMeter

MECHANISMS: Final = {
    Auth.NONE: Mechanism.NONE,
    Auth.LLS: Mechanism.LLS,
    Auth.HLS2: Mechanism.HLS,
    Auth.MD5: Mechanism.HLS_MD5,
    Auth.SHA1: Mechanism.HLS_SHA1,
    Auth.GMAC: Mechanism.HLS_GMAC,
    Auth.SHA256: Mechanism.HLS_SHA256,
}
SETTINGS_CLIENT: Final = 48
DCU_TITLE: Final = b"GTYDCU01"
QUIRK_WORDS: Final = frozenset(quirk.value for quirk in Quirk)
_KEY_OCTETS: Final = {0: 16, 1: 16, 2: 32}
Values = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class DlmsHabits:
    """How a meter speaks DLMS; keys in hex. Without keys and without `ciphered` the meter knows no ciphering."""

    scheme: Scheme = Scheme.SIMPLE
    auth: Auth = Auth.LLS
    secret: str = field(default="", repr=False)
    ciphered: bool = False
    suite: int = 0
    title: str = ""
    key: str = field(default="", repr=False)
    auth_key: str = field(default="", repr=False)
    master_key: str = field(default="", repr=False)
    frame_size: int = 512
    window: int = 1
    max_pdu: int = 1024
    block_transfer: bool = False
    quirks: str = ""


def check_dlms(place: StreetMeter) -> None:
    """Raises ConfigError for a login, key or oddity that cannot be."""
    access_of(place)
    _board(place.dlms)


def unit_of(place: StreetMeter, meter: HouseMeter) -> DlmsUnit:
    """The meter of a street file as the simulator serves it. Raises ConfigError."""
    habits = place.dlms
    return DlmsUnit(
        meter, place.address, password=place.password.encode(), frame_size=habits.frame_size, window=habits.window,
        max_pdu=habits.max_pdu, access=access_of(place), block_transfer=habits.block_transfer, quirks=_board(habits),
    )  # fmt: skip


def access_of(place: StreetMeter) -> MeterAccess:
    habits = place.dlms
    keyed = habits.ciphered or habits.key or habits.title or habits.suite or habits.auth is Auth.GMAC
    return MeterAccess(
        habits.scheme, MECHANISMS[habits.auth], place.password.encode(), habits.secret.encode(), habits.ciphered,
        _keys(place) if keyed else None,
    )  # fmt: skip


def _keys(place: StreetMeter) -> MeterKeys:
    habits = place.dlms
    if habits.suite not in _KEY_OCTETS:
        raise ConfigError("meters.dlms.suite", habits.suite, "write 0, 1 or 2")
    octets = _KEY_OCTETS[habits.suite]
    title = habits.title.encode() or (b"GTY" + place.serial.encode()[-5:].rjust(5, b"0"))
    if len(title) != 8:
        raise ConfigError("meters.dlms.title", habits.title, "a system title has eight characters")
    fixed = bytes(range(octets)), bytes(range(0xD0 - octets + 16, 0xE0)), bytes(range(0x30, 0x30 + octets))
    unicast, authentication, master = (
        _key(name, value, default)
        for name, value, default in zip(
            ("key", "auth_key", "master_key"), (habits.key, habits.auth_key, habits.master_key), fixed, strict=True
        )
    )
    return MeterKeys(title, unicast, authentication, bytes(octets), master, habits.suite)


def _key(name: str, text: str, default: bytes) -> bytes:
    """A key in hex, the published throw-away one where none is given."""
    if not text:
        return default
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != len(default):
        raise ConfigError(f"meters.dlms.{name}", "", f"write {2 * len(default)} hexadecimal digits")
    return key


def _board(habits: DlmsHabits) -> QuirkBoard:
    words = habits.quirks.split()
    for word in words:
        if word not in QUIRK_WORDS:
            raise ConfigError("meters.dlms.quirks", word, f"write some of {', '.join(sorted(QUIRK_WORDS))}")
    return QuirkBoard(map(Quirk, words))


def dlms_settings(place: StreetMeter) -> Values:
    """What the driver must be told to reach this meter. A street without [meters.dlms] needs address and password only."""
    settings: Values = {"physical_address": place.address, "password": place.password}
    habits = place.dlms
    if habits == DlmsHabits():
        return settings
    settings |= {"frame_size": habits.frame_size, "window": habits.window, "max_pdu": habits.max_pdu}
    if habits.scheme is Scheme.IS15959:
        settings |= {"settings_client": SETTINGS_CLIENT, "settings_auth": habits.auth.value, "settings_secret": habits.secret}
    else:
        settings |= {"auth": habits.auth.value, "password": habits.secret or place.password}
    keys = access_of(place).keys
    if keys is None:
        return settings
    protection = Protection.BOTH if habits.scheme is Scheme.SIMPLE else Protection.ENCRYPTED
    return settings | {
        "system_title": DCU_TITLE.hex(), "key": keys.unicast.hex(), "auth_key": keys.authentication.hex(), "suite": keys.suite,
        "protection": protection.value if habits.ciphered else Protection.NONE.value,
    }  # fmt: skip


# ---- commands of the control socket -----------------------------------------------------------------------------------


def odd(meter: SimulatedMeter, words: list[str]) -> str:
    """`no-rlre times=3` and its like. Raises ConfigError."""
    times = None
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key != "times" or not value.isdecimal():
            raise ConfigError(words[0], word, "write times=NUMBER, or nothing")
        times = int(value)
    meter.device.quirks.add(Quirk(words[0]), times)
    return f"{words[0]} {meter.unit.meter.serial}"


def parse_push(words: list[str]) -> Push:
    """`alert bits=83 repeats=1 swapped` and its like. Raises ConfigError."""
    if not words or words[0] not in {kind.value for kind in PushKind}:
        raise ConfigError("push", " ".join(words), f"write a serial and one of {', '.join(kind.value for kind in PushKind)}")
    given: dict[str, Any] = {}
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key not in _PUSH_WORDS:
            raise ConfigError("push", word, f"write some of {', '.join(_PUSH_WORDS)}")
        try:
            given[key] = _PUSH_WORDS[key](value)
        except ValueError:
            raise ConfigError("push", word, "write a number") from None
    return Push(PushKind(words[0]), **given)


_PUSH_WORDS: Final[dict[str, Callable[[str], Any]]] = {
    "bits": lambda text: tuple(int(part) for part in text.split(",")),
    "repeats": int,
    "count": int,
    "swapped": lambda text: True,
    "confirmed": lambda text: True,
}
