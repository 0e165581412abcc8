"""Firmware of a meter: image transfer (class 18) with resume, as conversations (IEC 62056-6-2, 4.4.6).

* The meter's own status decides what to do next: an interrupted transfer of the same image goes on with the blocks its
  bitmap lacks; another image is initiated afresh.
* After the last block the bitmap is read again and what is missing is sent again, `ROUNDS` times at most.
* Verifying and activating may take the meter minutes: `temporary failure` is not an end, the status is. These
  conversations ask `MAX_ASKED` times and then raise LinkDown; calling them again later is right.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessDenied, Attribute
from gridtally_edge.protocols.dlms.axdr import Bits, Data, Tag
from gridtally_edge.protocols.dlms.client import DlmsClient
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

CLASS: Final = 18
USUAL: Final = Obis.of("0.0.44.0.0.255")
ROUNDS: Final = 4
MAX_ASKED: Final = 40
MAX_BLOCK: Final = 1 << 16
_NOTHING: Final = Data(Tag.INT8, 0)
_INITIATE, _BLOCK, _VERIFY, _ACTIVATE = 1, 2, 3, 4

Progress = Callable[[int, int], None]
"""Takes the number of blocks the meter has, and of all blocks."""


class ImageStatus(IntEnum):
    """image_transfer_status of the standard."""

    NOT_INITIATED = 0
    INITIATED = 1
    VERIFYING = 2
    VERIFIED = 3
    VERIFY_FAILED = 4
    ACTIVATING = 5
    ACTIVATED = 6
    ACTIVATE_FAILED = 7


@dataclass(frozen=True, slots=True)
class Image:
    """What is to be sent: its name as the meter wants it, and its octets."""

    identifier: bytes
    content: bytes

    def block(self, number: int, size: int) -> bytes:
        return self.content[number * size : (number + 1) * size]

    def blocks(self, size: int) -> int:
        return -(-len(self.content) // size)


@dataclass(frozen=True, slots=True)
class ImageTransfer:
    """The image transfer object of one meter."""

    client: DlmsClient
    obis: Obis = USUAL

    def status(self) -> Conversation[ImageStatus]:
        """Raises MeterFault for a status the standard does not know."""
        code = axdr.integer_of((yield from self._get(6)))
        if code not in set(ImageStatus):
            raise MeterFault(f"image transfer status {code} is unknown")
        return ImageStatus(code)

    def send(self, image: Image, progress: Progress | None = None, resume: bool = True) -> Conversation[int]:
        """Bring all blocks to the meter; how many had to be sent. Raises AccessDenied where the
        meter does not take images, MeterFault where blocks stay missing.

        `resume`: an initiated transfer is taken to be of this image when its number of blocks fits."""
        size = yield from self._block_size()
        count = image.blocks(size)
        missing = (yield from self._missing(count)) if resume and (yield from self._under_way()) else None
        if missing is None:
            yield from self._initiate(image)
            missing = tuple(range(count))
        sent = 0
        for _ in range(ROUNDS):
            sent += yield from self._send_blocks(image, size, missing, progress)
            missing = (yield from self._missing(count)) or ()
            if not missing:
                return sent
        raise MeterFault(f"{len(missing)} of {count} blocks of the image stay missing, block {missing[0]} first")

    def verify(self) -> Conversation[ImageStatus]:
        """Let the meter check the image. VERIFIED or VERIFY_FAILED; raises LinkDown while it is still at it."""
        return (yield from self._run(_VERIFY, (ImageStatus.VERIFIED, ImageStatus.VERIFY_FAILED)))

    def activate(self) -> Conversation[ImageStatus]:
        """Put the verified image to work. Many meters restart and drop the link: LinkDown then says nothing about the
        outcome, `status` does, and the firmware version most of all."""
        return (yield from self._run(_ACTIVATE, (ImageStatus.ACTIVATED, ImageStatus.ACTIVATE_FAILED)))

    def _run(self, method: int, ends: tuple[ImageStatus, ...]) -> Conversation[ImageStatus]:
        """Start (a meter that is already at it says `temporary failure`) and ask for the status until it ends."""
        yield from self._start(method)
        status = ImageStatus.NOT_INITIATED
        for _ in range(MAX_ASKED):
            status = yield from self.status()
            if status in ends:
                return status
        raise LinkDown(f"the meter is still at its image ({status.name.lower().replace('_', ' ')}); ask again later")

    def _start(self, method: int) -> Conversation[None]:
        try:
            yield from self._act(method, _NOTHING)
        except AccessDenied as denied:
            if not denied.may_pass:
                raise

    def _under_way(self) -> Conversation[bool]:
        return (yield from self.status()) is ImageStatus.INITIATED

    def _block_size(self) -> Conversation[int]:
        size = axdr.integer_of((yield from self._get(2)))
        if not 0 < size <= MAX_BLOCK:
            raise MeterFault(f"an image block of {size} octets")
        return size

    def _initiate(self, image: Image) -> Conversation[None]:
        size = Data(Tag.UINT32, len(image.content))
        yield from self._act(_INITIATE, axdr.structure(axdr.octet_string(image.identifier), size))

    def _missing(self, count: int) -> Conversation[tuple[int, ...] | None]:
        """The blocks the meter lacks, None where its bitmap is for another number of blocks."""
        bits = (yield from self._get(3)).value
        if not isinstance(bits, Bits):
            raise MeterFault("the meter's image bitmap is no bit string")
        if bits.count != count:
            return None if bits.count else tuple(range(count))
        return tuple(number for number in range(count) if not bits.octets[number // 8] & 0x80 >> number % 8)

    def _send_blocks(self, image: Image, size: int, missing: tuple[int, ...], progress: Progress | None) -> Conversation[int]:
        count = image.blocks(size)
        for done, number in enumerate(missing, count - len(missing) + 1):
            block = axdr.structure(Data(Tag.UINT32, number), axdr.octet_string(image.block(number, size)))
            try:
                yield from self._act(_BLOCK, block)
            except AccessDenied as denied:
                if not denied.may_pass:
                    raise
            if progress:
                progress(done, count)
        return len(missing)

    def _get(self, index: int) -> Conversation[Data]:
        return (yield from self.client.get(Attribute(CLASS, self.obis, index)))

    def _act(self, method: int, parameters: Data) -> Conversation[None]:
        yield from self.client.act(Attribute(CLASS, self.obis, method), parameters)
