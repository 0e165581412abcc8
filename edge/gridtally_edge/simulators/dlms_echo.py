"""An object of the simulated meter alone, for tests of long values: 0.0.128.0.0.255, class 8192.

* Attribute 2 holds what was written last; method 1 gives back its parameter.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.dlms.access import Attribute, Result, Selector
from gridtally_edge.protocols.dlms.axdr import Data, octet_string
from gridtally_edge.simulators.dlms_device import DENIED, DONE
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

ECHO_CLASS: Final = 8192
ECHO: Final = Obis.of("0.0.128.0.0.255")


@dataclass(slots=True)
class Echo:
    held: Data = field(default_factory=lambda: octet_string(b""))

    def targets(self) -> tuple[tuple[int, Obis], ...]:
        return ((ECHO_CLASS, ECHO),)

    def get(self, target: Attribute, selector: Selector | None) -> Data | Result:
        return self.held if target.index == 2 else DENIED

    def set(self, target: Attribute, value: Data) -> Result:
        if target.index != 2:
            return DENIED
        self.held = value
        return DONE

    def act(self, method: Attribute, parameters: Data | None) -> Data | Result:
        return parameters if method.index == 1 and parameters is not None else DENIED
