"""The token gateway of a DLMS meter, class 115: enter a token, look at what the meter holds and says of it.

* A token is entered as its 20 digits in ASCII, or as the number they are (66 bits in 9 octets): a setting, since makers differ.
* The data value is a bit string whose meaning is the maker's; it is told as bits.

Source: IEC 62056-6-2 class 115 (token, time, description, delivery method, status; method 1 enter).
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.drivers.is15959_codec import moment_of
from gridtally_edge.drivers.is15959_config import TokenForm
from gridtally_edge.drivers.model import TokenSeen
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import attribute
from gridtally_edge.protocols.dlms.axdr import Bits, Data, octet_string
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_shared.errors import MeterFault

NAME: Final = "0.0.19.40.0.255"
TOKEN: Final = attribute(115, NAME, 2)
TOKEN_TIME: Final = attribute(115, NAME, 3)
DESCRIPTIONS: Final = attribute(115, NAME, 4)
DELIVERY: Final = attribute(115, NAME, 5)
STATUS: Final = attribute(115, NAME, 6)
ENTER: Final = attribute(115, NAME, 1)
LOOKS: Final = (TOKEN, TOKEN_TIME, STATUS)
_NUMBER_OCTETS: Final = 9


def token_data(digits: str, form: TokenForm) -> Data:
    """Raises MeterFault for a number beyond 66 bits, which this form can not carry."""
    if form is TokenForm.DIGITS:
        return octet_string(digits.encode("ascii"))
    try:
        return octet_string(int(digits).to_bytes(_NUMBER_OCTETS, "big"))
    except OverflowError:
        raise MeterFault("these digits do not fit the 9 octets of a token") from None


def seen_of(values: tuple[Data, ...], digits: str, form: TokenForm, rule: ClockRule) -> TokenSeen:
    """What the gateway holds, compared with `digits`. Raises MeterFault for values of another kind."""
    held, entered, status = values
    octets = axdr.octets_of(held)
    code, data = axdr.items_of(status)
    ours = bool(octets) and octets == axdr.octets_of(token_data(digits, form))
    return TokenSeen(ours, not octets, moment_of(entered, rule), axdr.integer_of(code), _bits(data))


def _bits(data: Data) -> str:
    if not isinstance(data.value, Bits):
        return ""
    octets = data.value.octets
    return f"{int.from_bytes(octets, 'big'):0{8 * len(octets)}b}"[: data.value.count] if octets else ""
