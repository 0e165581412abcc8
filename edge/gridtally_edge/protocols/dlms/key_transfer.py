"""New keys for a meter: wrapped under the master key (RFC 3394) and sent to its security setup (class 64).

* The master key (KEK) never travels. The meter takes all keys of one call or none.
* A key counts as changed only once an association under it has been seen to work; until then both stay on record.

Source: IEC 62056-6-2, security setup, method 2 key_transfer; Green Book 9.2.3.3.8.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.client import DlmsClient
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis

CLASS: Final = 64
USUAL: Final = Obis.of("0.0.43.0.0.255")
_ACTIVATE, _TRANSFER = 1, 2


class KeyId(IntEnum):
    GLOBAL = 0
    BROADCAST = 1
    AUTHENTICATION = 2
    MASTER = 3


def wrap(master: bytes, key: bytes) -> bytes:
    """The key under the master key, 8 octets longer. Raises ValueError for lengths AES does not have."""
    return aes_key_wrap(master, key)


def unwrap(master: bytes, wrapped: bytes) -> bytes:
    """Raises MeterFault for what was not wrapped under this master key."""
    try:
        return aes_key_unwrap(master, wrapped)
    except (InvalidUnwrap, ValueError):
        raise MeterFault("the wrapped key does not open under this master key") from None


def transfer_keys(client: DlmsClient, master: bytes, keys: dict[KeyId, bytes], setup: Obis = USUAL) -> Conversation[None]:
    """Give the meter new keys. Raises AccessDenied where it refuses them, MeterFault or LinkDown."""
    items = (axdr.structure(Data(Tag.ENUM, key_id), axdr.octet_string(wrap(master, key))) for key_id, key in keys.items())
    yield from client.act(Attribute(CLASS, setup, _TRANSFER), axdr.array(*items))


def activate_policy(client: DlmsClient, policy: int, setup: Obis = USUAL) -> Conversation[None]:
    """Raise the meter's security policy (it never falls): 0 none, 1 authenticated, 2 encrypted, 3 both in version 0."""
    yield from client.act(Attribute(CLASS, setup, _ACTIVATE), Data(Tag.ENUM, policy))
