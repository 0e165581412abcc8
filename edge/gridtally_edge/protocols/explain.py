"""`gridtally decode` for DLMS: what recorded octets hold, in words and as readings.

* Values come only from whole messages in sound frames: a wrong checksum, a missing segment or a wrong tag yields a
  fault and no value.
* A GET answer names no object itself; it is named by the request before it, where the recording has one.
* A ciphered message is opened with the keys given; without the authentication key it is read but said to be unverified.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.dlms import axdr, push
from gridtally_edge.protocols.dlms.access import Attribute, Result
from gridtally_edge.protocols.dlms.acse import Aare, Aarq
from gridtally_edge.protocols.dlms.apdu import Apdu, decode_apdu
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.capture import Capture, read_capture
from gridtally_edge.protocols.dlms.ciphering import (
    SERVICE_TAGS,
    CipheredService,
    CipherKeys,
    GeneralCiphered,
    GeneralDed,
    GeneralGlo,
)
from gridtally_edge.protocols.dlms.describe import data_lines, describe
from gridtally_edge.protocols.dlms.keyring import Ciphered, Keyring
from gridtally_edge.protocols.dlms.notification import DataNotification, GeneralBlock, join_blocks
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_edge.protocols.dlms.push import PushValue
from gridtally_edge.protocols.dlms.services import (
    GetBlockResponse,
    GetListRequest,
    GetListResponse,
    GetRequest,
    GetResponse,
    read_outcome,
)
from gridtally_shared.errors import MeterFault
from gridtally_shared.explain import ExplainedReading, Explanation, Keys
from gridtally_shared.records import dataclass

MAX_LAYERS: Final = 4
_WEAK_TAGS: Final = (b"\x01", b"\x08", b"\x0e", b"\x21", b"\x28")
"""Tags so common in other protocols that a bare PDU which does not decode is no PDU at all."""

_CIPHERED: Final = (CipheredService, GeneralGlo, GeneralDed, GeneralCiphered)


def explain_dlms(data: bytes, keys: Keys) -> Explanation | None:
    """Entry point of the group `gridtally.decoders`. None where the octets are not DLMS."""
    capture = read_capture(data)
    if capture is None:
        return None
    given = CipherKeys(keys.encryption, keys.authentication) if keys.encryption else None
    run = _Run(capture, Keyring(given))
    for apdu in capture.apdus:
        run.attempt(apdu, 0)
    run.finish()
    if not run.names and data[:1] in _WEAK_TAGS:
        return None
    return run.explanation()


@dataclass(slots=True)
class _Run:
    """One explanation in the making."""

    capture: Capture
    keyring: Keyring
    lines: list[str] = field(default_factory=list)
    readings: list[ExplainedReading] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    verified: bool = False
    requested: tuple[Attribute, ...] = ()
    listed: bool = False
    general: list[GeneralBlock] = field(default_factory=list)
    blocks: list[GetBlockResponse] = field(default_factory=list)

    def attempt(self, octets: bytes, layer: int) -> None:
        """Explain one PDU; what is wrong with it becomes a fault."""
        try:
            self._take(octets, layer)
        except MeterFault as fault:
            self.capture.faults.append(str(fault))

    def finish(self) -> None:
        if self.general:
            self.capture.faults.append("general block transfer: the last block is missing")
        if self.blocks:
            self.capture.faults.append("the last block of a long answer is missing")

    def explanation(self) -> Explanation:
        what = self.names[-1] if self.names else "nothing that can be read"
        lines = (*self.capture.lines, *self.lines)
        proved = self.capture.proved or self.verified
        title = f"DLMS, {self.capture.transport}: {what}"
        return Explanation("dlms", title, lines, tuple(self.readings), tuple(self.capture.faults), proved)

    def _take(self, octets: bytes, layer: int) -> None:
        if layer == MAX_LAYERS:
            raise MeterFault("the message is wrapped too many times")
        apdu = decode_apdu(octets)
        words = describe(apdu)
        self.lines += words
        self.names.append(words[0])
        self._note(apdu, layer)

    def _note(self, apdu: Apdu, layer: int) -> None:
        self.keyring.note(apdu)
        if isinstance(apdu, GetRequest):
            self.requested, self.listed = (apdu.attribute,), False
        elif isinstance(apdu, GetListRequest):
            self.requested, self.listed = tuple(target for target, _ in apdu.attributes), True
        elif isinstance(apdu, Aarq | Aare):
            self._initiate(apdu.initiate, layer)
        elif isinstance(apdu, DataNotification):
            self._push(apdu)
        elif isinstance(apdu, GetResponse):
            self._answer(apdu.outcome)
        elif isinstance(apdu, GetListResponse):
            self._answers(apdu.outcomes)
        elif isinstance(apdu, GetBlockResponse):
            self._block(apdu)
        elif isinstance(apdu, GeneralBlock):
            self._general_block(apdu, layer)
        elif isinstance(apdu, _CIPHERED):
            self._open(apdu, layer)

    def _initiate(self, octets: bytes | None, layer: int) -> None:
        """What rides within AARQ and AARE; a ciphered one is opened where a key was given."""
        if not octets or (octets[0] in SERVICE_TAGS and self.keyring.keys is None):
            return
        name = self.names[-1]
        self._take(octets, layer + 1)
        self.names.append(name)

    def _push(self, apdu: DataNotification) -> None:
        values = push.push_values(apdu.body)
        maker = push.maker_of(apdu.body)
        self.lines += [f"  list of a {maker} meter"] if maker else []
        time = push.known_time(apdu.time)
        if time and not any(value.obis == push.CLOCK for value in values):
            values = (PushValue(push.CLOCK, time, ""), *values)
        if values:
            self.readings += [ExplainedReading(str(v.obis), v.value, v.unit) for v in values]
        else:
            self.lines += data_lines(apdu.data())

    def _answers(self, outcomes: tuple[Data | Result, ...]) -> None:
        """The values of a list, named by the request where it is here."""
        asked = self.requested if len(self.requested) == len(outcomes) else (None,) * len(outcomes)
        for target, outcome in zip(asked, outcomes, strict=True):
            self._answer(outcome, target)

    def _answer(self, outcome: Data | Result, target: Attribute | None = None) -> None:
        if isinstance(outcome, Result):
            return
        named = push.values_of(outcome)
        if named:
            self.readings += [ExplainedReading(str(v.obis), v.value, v.unit) for v in named]
        else:
            self._scalar(outcome, target or (self.requested[0] if len(self.requested) == 1 else None))

    def _scalar(self, outcome: Data, target: Attribute | None) -> None:
        if isinstance(outcome.value, int | bytes):
            obis = str(target.obis) if target else ""
            self.readings.append(ExplainedReading(obis, push.plain_value(outcome), ""))

    def _block(self, apdu: GetBlockResponse) -> None:
        self.blocks.append(apdu)
        if not apdu.block.last:
            return
        blocks, self.blocks = self.blocks, []
        if [b.block.number for b in blocks] != list(range(1, len(blocks) + 1)):
            raise MeterFault(f"blocks {[b.block.number for b in blocks]} of a long answer: the first ones are not here")
        reader = Reader(b"".join(b.block.piece() for b in blocks))
        if self.listed:
            self._answers(tuple([read_outcome(reader) for _ in range(reader.length())]))
            return
        value = axdr.read_data(reader)
        self.lines += data_lines(value)
        self._answer(value)

    def _general_block(self, apdu: GeneralBlock, layer: int) -> None:
        """Blocks without content only confirm; one that came before is a repeat."""
        if not apdu.piece or any(b.number == apdu.number for b in self.general):
            return
        self.general.append(apdu)
        if apdu.last:
            blocks, self.general = tuple(self.general), []
            self.attempt(join_blocks(blocks), layer + 1)

    def _open(self, apdu: Ciphered, layer: int) -> None:
        opened = self.keyring.open(apdu)
        if opened is None:
            self.lines.append("  ciphered: give the meter's key with --key (and --auth-key) to read it")
            return
        self.verified = self.verified or opened.verified
        self.lines.append("  deciphered, tag right" if opened.verified else "  deciphered, not verified")
        self._take(opened.plaintext, layer + 1)
