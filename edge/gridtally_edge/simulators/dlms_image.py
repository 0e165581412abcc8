"""Firmware download into a simulated meter: image transfer (class 18, 0.0.44.0.0.255).

* Initiate, blocks in any order, verify, activate. Blocks survive a lost link, so a client can go on where it stopped;
  a new initiate starts afresh.
* An image verifies when every block is there; it is told with its size, name and SHA-256 digest as signature.
* After activation the firmware name (1.0.0.2.0.255) is that of the image.
* Oddities: a block lost after its acknowledgement, verification refused or slow, a restart at activation.

Source: IEC 62056-6-2 class 18.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import field
from enum import IntEnum
from typing import Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessResult, Attribute, Result, Selector
from gridtally_edge.protocols.dlms.axdr import Bits, Data, Tag, array, octet_string, structure
from gridtally_edge.simulators.dlms_device import DENIED, DONE, Objects
from gridtally_edge.simulators.dlms_quirks import Quirk, QuirkBoard
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

IMAGE: Final = Obis.of("0.0.44.0.0.255")
MAX_IMAGE: Final = 16 << 20
BLOCK_OCTETS: Final = 128


class ImageStatus(IntEnum):
    NOT_INITIATED = 0
    INITIATED = 1
    VERIFYING = 2
    VERIFIED = 3
    VERIFY_FAILED = 4
    ACTIVATING = 5
    ACTIVATED = 6
    ACTIVATION_FAILED = 7


@dataclass(slots=True)
class ImageTransfer:
    """`activated` is called with the name of the image and whether the meter restarts."""

    quirks: QuirkBoard
    activated: Callable[[bytes, bool], None]
    block_octets: int = BLOCK_OCTETS
    enabled: bool = True
    status: ImageStatus = ImageStatus.NOT_INITIATED
    name: bytes = b""
    size: int = 0
    blocks: dict[int, bytes] = field(default_factory=dict)

    def targets(self) -> tuple[tuple[int, Obis], ...]:
        return ((18, IMAGE),)

    def get(self, target: Attribute, selector: Selector | None) -> Data | Result:
        read = _ATTRIBUTES.get(target.index)
        return read(self) if read else DENIED

    def set(self, target: Attribute, value: Data) -> Result:
        """Only "enabled" can be written."""
        if target.index != 5:
            return DENIED
        if value.tag is not Tag.BOOLEAN:
            return Result(AccessResult.TYPE_UNMATCHED)
        self.enabled = bool(value.value)
        return DONE

    def act(self, method: Attribute, parameters: Data | None) -> Data | Result:
        run = _METHODS.get(method.index)
        if run is None or not self.enabled:
            return DENIED
        try:
            return run(self, parameters if parameters is not None else Data(Tag.INT8, 0))
        except MeterFault:
            return Result(AccessResult.TYPE_UNMATCHED)

    @property
    def count(self) -> int:
        return -(-self.size // self.block_octets)

    def first_missing(self) -> int:
        """Number of the first block not there, the count where all are."""
        return next((number for number in range(self.count) if number not in self.blocks), self.count)

    def image(self) -> bytes:
        return b"".join(self.blocks[number] for number in sorted(self.blocks))

    def _initiate(self, parameters: Data) -> Result:
        name, size = (axdr.items_of(parameters) + (parameters,) * 2)[:2]
        octets, length = axdr.octets_of(name), axdr.integer_of(size)
        if not 0 < length <= MAX_IMAGE:
            return Result(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
        self.name, self.size, self.status = octets, length, ImageStatus.INITIATED
        self.blocks.clear()
        return DONE

    def _block(self, parameters: Data) -> Result:
        number, piece = (axdr.items_of(parameters) + (parameters,) * 2)[:2]
        place, octets = axdr.integer_of(number), axdr.octets_of(piece)
        if self.status is not ImageStatus.INITIATED or not 0 <= place < self.count or not self._fits(place, octets):
            return Result(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
        if not self.quirks.acts(Quirk.LOSE_BLOCK):
            self.blocks[place] = octets
        return DONE

    def _fits(self, number: int, octets: bytes) -> bool:
        last = number == self.count - 1
        due = self.size - number * self.block_octets if last else self.block_octets
        return len(octets) == due

    def _verify(self, parameters: Data) -> Result:
        if self.status not in (ImageStatus.INITIATED, ImageStatus.VERIFYING, ImageStatus.VERIFY_FAILED):
            return DENIED
        if self.quirks.acts(Quirk.SLOW_VERIFY):
            self.status = ImageStatus.VERIFYING
            return Result(AccessResult.TEMPORARY_FAILURE)
        return self._judge()

    def _judge(self) -> Result:
        if self.first_missing() < self.count or self.quirks.acts(Quirk.REFUSE_VERIFY):
            self.status = ImageStatus.VERIFY_FAILED
            return Result(AccessResult.OTHER_REASON)
        self.status = ImageStatus.VERIFIED
        return DONE

    def _activate(self, parameters: Data) -> Result:
        if self.status is not ImageStatus.VERIFIED:
            return DENIED
        self.status = ImageStatus.ACTIVATED
        self.activated(self.name, self.quirks.acts(Quirk.REBOOT))
        return DONE

    def told_status(self) -> Data:
        """A slow verification goes on while it is asked for."""
        if self.status is ImageStatus.VERIFYING and not self.quirks.acts(Quirk.SLOW_VERIFY):
            self._judge()
        return Data(Tag.ENUM, int(self.status))

    def transferred(self) -> Data:
        bits = "".join("1" if number in self.blocks else "0" for number in range(self.count))
        padded = bits + "0" * (-len(bits) % 8)
        return Data(Tag.BIT_STRING, Bits(len(bits), bytes(int(padded[at : at + 8], 2) for at in range(0, len(padded), 8))))

    def to_activate(self) -> Data:
        if self.status < ImageStatus.VERIFIED or self.status is ImageStatus.VERIFY_FAILED:
            return array()
        digest = hashlib.sha256(self.image()).digest()
        return array(structure(Data(Tag.UINT32, self.size), octet_string(self.name), octet_string(digest)))


_ATTRIBUTES: Final[dict[int, Callable[[ImageTransfer], Data]]] = {
    1: lambda image: octet_string(IMAGE.value),
    2: lambda image: Data(Tag.UINT32, image.block_octets),
    3: ImageTransfer.transferred,
    4: lambda image: Data(Tag.UINT32, image.first_missing()),
    5: lambda image: Data(Tag.BOOLEAN, image.enabled),
    6: ImageTransfer.told_status,
    7: ImageTransfer.to_activate,
}
_METHODS: Final[dict[int, Callable[[ImageTransfer, Data], Result]]] = {
    1: ImageTransfer._initiate,
    2: ImageTransfer._block,
    3: ImageTransfer._verify,
    4: ImageTransfer._activate,
}


FIRMWARE: Final = Obis.of("1.0.0.2.0.255")


@dataclass(slots=True)
class Firmware:
    """The firmware's name: the house's own until an image has been activated."""

    house: Objects
    name: bytes = b""

    def targets(self) -> tuple[tuple[int, Obis], ...]:
        return ((1, FIRMWARE),)

    def get(self, target: Attribute, selector: Selector | None) -> Data | Result:
        return octet_string(self.name) if self.name and target.index == 2 else self.house.get(target, selector)

    def set(self, target: Attribute, value: Data) -> Result:
        return DENIED

    def act(self, method: Attribute, parameters: Data | None) -> Data | Result:
        return DENIED
