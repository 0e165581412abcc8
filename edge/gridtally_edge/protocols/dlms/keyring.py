"""Opens the ciphered PDUs of a recording: which title and which key belong to which PDU.

* The titles are those of AARQ and AARE, or stand in the PDU itself; requests are sealed by the client, answers and
  notifications by the meter.
* The dedicated key travels in the initiate request; once that is opened, the ded- PDUs open too.
* Without the authentication key a PDU is read and not verified.
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.protocols.dlms.acse import Aare, Aarq
from gridtally_edge.protocols.dlms.apdu import Apdu
from gridtally_edge.protocols.dlms.ciphering import (
    CipheredService,
    CipherKeys,
    GeneralCiphered,
    GeneralDed,
    GeneralGlo,
    Opened,
)
from gridtally_edge.protocols.dlms.initiate import InitiateRequest
from gridtally_edge.protocols.dlms.security import DEDICATED_TAGS, PLAIN_TAG, unseal_any
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

Ciphered = CipheredService | GeneralGlo | GeneralDed | GeneralCiphered
_REQUESTS: Final = frozenset({0x01, 0xC0, 0xC1, 0xC3})


@dataclass(slots=True)
class Keyring:
    """`keys` are the global ones, None where none were given."""

    keys: CipherKeys | None
    client_title: bytes | None = None
    meter_title: bytes | None = None
    dedicated: bytes | None = None

    def note(self, apdu: Apdu) -> None:
        """Learn titles and the dedicated key from what passes by."""
        if isinstance(apdu, Aarq):
            self.client_title, self.dedicated = apdu.title or self.client_title, None
        elif isinstance(apdu, Aare):
            self.meter_title = apdu.title or self.meter_title
        elif isinstance(apdu, InitiateRequest):
            self.dedicated = apdu.dedicated_key

    def open(self, apdu: Ciphered) -> Opened | None:
        """The plain PDU, None without a key. Raises MeterFault where title or key do not fit, or the tag is wrong."""
        own = isinstance(apdu, GeneralDed) or (isinstance(apdu, CipheredService) and apdu.tag in DEDICATED_TAGS)
        keys = self._key(own)
        if keys is None:
            return None
        headers = (apdu.header(), b"") if isinstance(apdu, GeneralCiphered) else (b"",)
        return unseal_any(keys, self._title(apdu), apdu.sealed, headers)

    def _key(self, own: bool) -> CipherKeys | None:
        if not own or self.keys is None:
            return self.keys
        if self.dedicated is None:
            return self.keys  # a single ded- PDU: the key given may be the dedicated one
        try:
            return CipherKeys(self.dedicated, self.keys.authentication)
        except ValueError as error:
            raise MeterFault(f"the dedicated key of the recording is none: {error}") from None

    def _title(self, apdu: Ciphered) -> bytes:
        if not isinstance(apdu, CipheredService):
            return apdu.title
        asks = PLAIN_TAG.get(apdu.tag) in _REQUESTS
        title = (self.client_title or self.meter_title) if asks else (self.meter_title or self.client_title)
        if title is None:
            raise MeterFault("ciphered under an association whose system title is not in this recording")
        return title
