"""Settings of one IS 15959 meter, and the associations they lead to.

* Reading goes through the meter-reader client. Where `settings_client` is given (48 in the standard), clock, settings, resets
  and the switch go through that client: the reading association is released first, since a meter has one at a time.
* Keys make an association ciphered: reading encrypted, settings authenticated too, as the standard has it. A Part 1 meter
  has no keys, and nothing is ciphered.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Final

from gridtally_edge.protocols.dlms.access import Attribute, attribute
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.ciphering import CipherKeys
from gridtally_edge.protocols.dlms.client import DlmsClient, Login
from gridtally_edge.protocols.dlms.cosem_time import ClockPolicy
from gridtally_edge.protocols.dlms.counters import Counters
from gridtally_edge.protocols.dlms.hdlc import Address
from gridtally_edge.protocols.dlms.link import HdlcLink, Link, Timing, WrapperLink
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters
from gridtally_edge.protocols.dlms.llc432 import Llc432Link
from gridtally_edge.protocols.dlms.security import Policy, Security
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

PUBLIC_CLIENT: Final = 16


class Auth(Enum):
    NONE = "none"
    LLS = "lls"
    HLS2 = "hls2"
    MD5 = "md5"
    SHA1 = "sha1"
    GMAC = "gmac"
    SHA256 = "sha256"


class Transport(Enum):
    HDLC = "hdlc"
    WRAPPER_TCP = "wrapper-tcp"
    WRAPPER_UDP = "wrapper-udp"
    LLC = "4-32"


class Protection(Enum):
    """What is done to each PDU where the meter has keys."""

    NONE = "none"
    AUTHENTICATED = "authenticated"
    ENCRYPTED = "encrypted"
    BOTH = "both"


class BalanceFamily(Enum):
    """Where the prepayment objects live: the first four groups of 0.0.C.D.19 to .25."""

    STANDARD = "0.0.94.96"
    OLD = "0.0.94.91"


class StatusColumn(Enum):
    """How the status column of the load profile is to be read: the bits of the profile status, or not at all."""

    AMR = "amr"
    IGNORED = "ignored"


class TokenForm(Enum):
    """How the 20 digits of a token become octets: ASCII digits, or the number they are in 9 octets."""

    DIGITS = "digits"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Is15959Settings:
    """One meter's settings. `balance_unit_nano` is what one unit of the balance object is worth (10^7: the paisa).

    `password` is that of the reading client. `settings_client` 0: the reading client does everything; `settings_secret` is
    its HLS secret or password. `system_title` (ours, 8 octets) and the keys cipher; with `master_key` they can be changed.
    `window` is the HDLC window."""

    physical_address: int
    logical_address: int = 1
    address_octets: int = 2
    transport: Transport = Transport.HDLC
    client_address: int = 32
    auth: Auth = Auth.LLS
    password: str = field(default="", repr=False)
    settings_client: int = 0
    settings_auth: Auth = Auth.HLS2
    settings_secret: str = field(default="", repr=False)
    system_title: bytes = b""
    key: bytes = field(default=b"", repr=False)
    auth_key: bytes = field(default=b"", repr=False)
    master_key: bytes = field(default=b"", repr=False)
    suite: int = 0
    protection: Protection = Protection.ENCRYPTED
    settings_protection: Protection = Protection.BOTH
    clock_policy: ClockPolicy = ClockPolicy.BLUE_BOOK
    utc_offset_min: int = 330
    interval_s: int = 900
    frame_size: int = 2_030
    window: int = 7
    max_pdu: int = 0xFFFF
    answer_ms: int = 1_500
    retries: int = 2
    balance_family: BalanceFamily = BalanceFamily.STANDARD
    balance_unit_nano: int = 10_000_000
    status_column: StatusColumn = StatusColumn.AMR
    token_form: TokenForm = TokenForm.DIGITS


@dataclass(frozen=True, slots=True)
class Is15959WrapperSettings(Is15959Settings):
    """The same meter on an IP line: `logical_address` is its wrapper port, the physical one has no meaning."""

    physical_address: int = 1
    transport: Transport = Transport.WRAPPER_TCP


_MECHANISMS: Final = {
    Auth.NONE: Mechanism.NONE,
    Auth.LLS: Mechanism.LLS,
    Auth.HLS2: Mechanism.HLS,
    Auth.MD5: Mechanism.HLS_MD5,
    Auth.SHA1: Mechanism.HLS_SHA1,
    Auth.GMAC: Mechanism.HLS_GMAC,
    Auth.SHA256: Mechanism.HLS_SHA256,
}
_POLICIES: Final = {
    Protection.NONE: Policy.NONE,
    Protection.AUTHENTICATED: Policy.AUTHENTICATED,
    Protection.ENCRYPTED: Policy.ENCRYPTED,
    Protection.BOTH: Policy.BOTH,
}
COUNTER_OF_CLIENT: Final = {
    32: attribute(1, "0.0.43.1.2.255", 2),
    48: attribute(1, "0.0.43.1.3.255", 2),
    80: attribute(1, "0.0.43.1.5.255", 2),
}
"""The meter's invocation counter of a client, which the public client may read."""


@dataclass(frozen=True, slots=True)
class Associations:
    """The clients of one meter. `changing` None: reading and changing are one association."""

    reading: DlmsClient
    changing: DlmsClient | None
    public: DlmsClient

    def counters(self) -> tuple[tuple[Attribute, Security], ...]:
        """What to read through the public client before the first ciphered association."""
        clients = [client for client in (self.reading, self.changing) if client and client.security]
        numbers = [(client, link_client(client.link)) for client in clients]
        return tuple((COUNTER_OF_CLIENT[n], c.security) for c, n in numbers if c.security and n in COUNTER_OF_CLIENT)


def associations(settings: Is15959Settings, counters: Counters) -> Associations:
    """Raises ConfigError for keys or a title that do not fit."""
    reading = _client(settings, settings.client_address, settings.auth, settings.password, settings.protection, counters)
    changing = None
    if settings.settings_client:
        changing = _client(
            settings, settings.settings_client, settings.settings_auth, settings.settings_secret, settings.settings_protection, counters
        )
    public = DlmsClient(_link(settings, PUBLIC_CLIENT), Login(), settings.max_pdu)
    return Associations(reading, changing, public)


def _client(
    settings: Is15959Settings, address: int, auth: Auth, secret: str, protection: Protection, counters: Counters
) -> DlmsClient:
    security = _security(settings, protection, counters) if settings.key else None
    login = Login(_MECHANISMS[auth], secret.encode())
    return DlmsClient(_link(settings, address), login, settings.max_pdu, security)


def _security(settings: Is15959Settings, protection: Protection, counters: Counters) -> Security:
    try:
        keys = CipherKeys(settings.key, settings.auth_key or None)
        return Security(settings.system_title, keys, counters, _POLICIES[protection], settings.suite)
    except ValueError as error:
        raise ConfigError("key", "(not shown)", str(error)) from error


def _link(settings: Is15959Settings, client: int) -> Link:
    timing = Timing(settings.answer_ms, settings.retries)
    if settings.transport is Transport.LLC:
        return Llc432Link(client, settings.logical_address, timing)
    if settings.transport is not Transport.HDLC:
        datagrams = settings.transport is Transport.WRAPPER_UDP
        return WrapperLink(client, settings.logical_address, timing, datagrams)
    server = Address(settings.logical_address, settings.physical_address, settings.address_octets)
    if settings.address_octets == 1:
        server = Address(settings.physical_address)
    sizes = LinkParameters(settings.frame_size, settings.frame_size, settings.window, settings.window)
    return HdlcLink(Address(client), server, sizes, timing)


def link_client(link: Link) -> int:
    """The client address a link speaks with."""
    if isinstance(link, HdlcLink):
        return link.client.upper
    return link.client if isinstance(link, WrapperLink | Llc432Link) else 0
