"""The security setup of a simulated meter (class 64): policy, suite, titles, and the transfer of new keys.

* New keys come wrapped with the master key (RFC 3394); the answer still goes out under the old ones.
* A wrapped key that does not open, or has the wrong length, changes nothing.

Source: IEC 62056-6-2 class 64 version 1; IS 15959 event 164.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessResult, Attribute, Result, Selector
from gridtally_edge.protocols.dlms.axdr import Data, Tag, array, octet_string
from gridtally_edge.simulators.dlms_ciphers import MeterCiphers
from gridtally_edge.simulators.dlms_device import DENIED, DONE
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

GLOBAL_KEY_CHANGED: Final = 164
_KEY_NAMES: Final = {0: "unicast", 1: "broadcast", 2: "authentication", 3: "master"}
_ACTIVATE, _TRANSFER = 1, 2


@dataclass(slots=True)
class SecuritySetups:
    """One set-up 0.0.43.0.E per association, and 0.0.43.0.0 for the current one. `note` takes the event's code."""

    ciphers: MeterCiphers
    numbers: tuple[int, ...]
    note: Callable[[int], None]
    policy: int = 0

    def targets(self) -> tuple[tuple[int, Obis], ...]:
        return tuple((64, Obis(bytes((0, 0, 43, 0, number, 255)))) for number in (0, *self.numbers))

    def get(self, target: Attribute, selector: Selector | None) -> Data | Result:
        values = {
            1: octet_string(target.obis.value),
            2: Data(Tag.ENUM, self.policy),
            3: Data(Tag.ENUM, self.ciphers.keys.suite),
            4: octet_string(b""),
            5: octet_string(self.ciphers.keys.title),
            6: array(),
        }
        return values.get(target.index, DENIED)

    def set(self, target: Attribute, value: Data) -> Result:
        return DENIED

    def act(self, method: Attribute, parameters: Data | None) -> Data | Result:
        run = {_ACTIVATE: self._activate, _TRANSFER: self._transfer}.get(method.index)
        try:
            return run(parameters) if run and parameters is not None else DENIED
        except MeterFault:
            return Result(AccessResult.TYPE_UNMATCHED)

    def _activate(self, parameters: Data) -> Result:
        """A policy can only become stricter."""
        policy = axdr.integer_of(parameters)
        if policy < self.policy:
            return DENIED
        self.policy = policy
        return DONE

    def _transfer(self, parameters: Data) -> Result:
        fresh: dict[str, bytes] = {}
        for item in axdr.items_of(parameters):
            name, key = self._unwrapped(axdr.items_of(item))
            fresh[name] = key
        self.ciphers.replace_after_answer(fresh)
        self.note(GLOBAL_KEY_CHANGED)
        return DONE

    def _unwrapped(self, parts: tuple[Data, ...]) -> tuple[str, bytes]:
        if len(parts) != 2 or (name := _KEY_NAMES.get(axdr.integer_of(parts[0]))) is None:
            raise MeterFault("a key is transferred with its number and its wrapped octets")
        try:
            key = aes_key_unwrap(self.ciphers.keys.master, axdr.octets_of(parts[1]))
        except (InvalidUnwrap, ValueError) as error:
            raise MeterFault("the wrapped key does not open with the master key") from error
        if len(key) != len(self.ciphers.keys.unicast):
            raise MeterFault(f"a key of {len(key)} octets")
        return name, key
