"""A DLMS meter behind an optical head: it signs on by IEC 62056-21 and hands the line over to HDLC (mode E).

* `open` signs on at 300 baud 7E1, agrees on a speed, and then opens the association at that speed with 8N1. Everything
  after that is the DLMS driver's.
* `close` releases and disconnects; the meter falls back to 300 baud by itself.

Source: IEC 62056-21:2002 annex E; IEC 62056-46 (physical layer, opening through the optical port).
"""

from __future__ import annotations

from gridtally_edge.drivers.driver import Driver, LineDefaults
from gridtally_edge.drivers.is15959 import DRIVER as HDLC_DRIVER
from gridtally_edge.drivers.is15959 import DlmsPort
from gridtally_edge.drivers.is15959_config import Is15959Settings
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms.counters import Counters
from gridtally_edge.protocols.iec62056_21.session import SignOn, hand_over
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class ModeESettings(Is15959Settings):
    """`sign_on_address` is the device address of the sign-on, empty where the meter is alone. `max_baud` limits what it
    proposes. `software_parity` is for a port that knows no 7E1."""

    sign_on_address: str = ""
    max_baud: int = 19_200
    software_parity: bool = False


class ModeEPort(DlmsPort):
    """The DLMS port with a sign-on in front."""

    def __init__(self, settings: ModeESettings, counters: Counters | None = None) -> None:
        super().__init__(settings, counters)
        self._how = SignOn(settings.sign_on_address, settings.max_baud, software_parity=settings.software_parity)

    def open(self) -> Conversation[None]:
        yield from hand_over(self._how)
        yield from super().open()


DRIVER: Driver[ModeESettings] = Driver(
    name="is15959-mode-e",
    protocol="dlms-hdlc",
    title="Indian smart meter (IS 16444, IS 15959 part 2) behind an optical head in mode E",
    document=f"{HDLC_DRIVER.document}; IEC 62056-21:2002 annex E",
    settings_type=ModeESettings,
    make_port=ModeEPort,
    counts=True,
    line=LineDefaults(baud=300, data_bits=7, parity="E", turnaround_ms=200),
    vectors=HDLC_DRIVER.vectors,
    read_vector=HDLC_DRIVER.read_vector,
)
