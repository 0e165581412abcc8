"""The token gateway of a simulated meter as COSEM attributes and a method, class 115 (IEC 62056-6-2)."""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.drivers import token_gateway as gateway
from gridtally_edge.drivers.is15959_codec import moment_data
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute
from gridtally_edge.protocols.dlms.axdr import Bits, Data, Tag, array, octet_string, structure
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.simulators.meter import SimMeter
from gridtally_shared.instruments.token import TokenStatus

_REMOTE = 0
_USED, _NOTHING = Bits(8, b"\x01"), Bits(8, b"\x00")


class TokenObjects:
    """`get` and `call` by attribute and method, as house_cosem.py has them."""

    def __init__(self, meter: SimMeter, rule: ClockRule) -> None:
        self._meter, self._rule = meter, rule
        self.get: dict[Attribute, Callable[[], Data]] = {
            gateway.TOKEN: lambda: octet_string(meter.tokens.token),
            gateway.TOKEN_TIME: lambda: moment_data(meter.tokens.at_ms, rule),
            gateway.DESCRIPTIONS: array,
            gateway.DELIVERY: lambda: Data(Tag.ENUM, _REMOTE),
            gateway.STATUS: self._status,
        }
        self.call: dict[Attribute, Callable[[Data], None]] = {
            gateway.ENTER: lambda data: meter.enter_token(axdr.octets_of(data)),
        }

    def _status(self) -> Data:
        held = self._meter.tokens
        if held.busy:
            held.busy -= 1
            return structure(Data(Tag.ENUM, TokenStatus.RECEIVED), Data(Tag.BIT_STRING, _NOTHING))
        data = _USED if held.status is TokenStatus.VALIDATION_FAILED else _NOTHING
        return structure(Data(Tag.ENUM, held.status), Data(Tag.BIT_STRING, data))
