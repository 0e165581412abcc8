"""Instruments by hand: a signed batch as text, one line a part, for a file, a stick or a row of QR codes.

    GTI1/2/3/9F86D081:<base45 of the second of three parts>

* The batch is a COSE_Sign1 of its own over the instruments' envelopes, each of which is signed as ever.
* Every line names its place, how many there are, and the batch (first bytes of its SHA-256): lines may come in any order and
  twice, never mixed. A line fits a QR code in its alphanumeric mode (RFC 9285, 2,000 characters at most).
* What is missing, mixed or spoilt is refused whole, and the message says which part to bring.

Source: prepayment.md 5.2 (carriers).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer, sign1, verify1

CHANNEL = "instrument-file"
MARK = "GTI1"
PART_BYTES = 1_280
MOST_PARTS = 999
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_LINE = re.compile(r"^GTI1/([1-9][0-9]{0,2})/([1-9][0-9]{0,2})/([0-9A-F]{8}):(.+)$")


@dataclass(frozen=True, slots=True)
class InstrumentBatch:
    """Envelopes of the `instrument` channel for one concentrator, in the order of their numbers."""

    version: int = key(0)
    dcu: str = key(1)
    made_at_ms: int = key(2)
    envelopes: tuple[bytes, ...] = key(3)


def batch_text(signer: Signer, batch: InstrumentBatch) -> str:
    """The lines of a signed batch. Raises ValueError for more than fits 999 parts."""
    envelope = sign1(signer, CHANNEL, encode(batch))
    parts = [envelope[i : i + PART_BYTES] for i in range(0, len(envelope), PART_BYTES)]
    if len(parts) > MOST_PARTS:
        raise ValueError(f"{len(batch.envelopes)} instruments need {len(parts)} parts; make several files")
    name = _name(envelope)
    return "".join(f"{MARK}/{n}/{len(parts)}/{name}:{base45(part)}\n" for n, part in enumerate(parts, 1))


def read_batch(keys: Mapping[bytes, bytes], text: str) -> InstrumentBatch:
    """The batch in a text, signature verified. Raises ContractError that says what is wrong with it."""
    return decode(InstrumentBatch, verify1(keys, CHANNEL, envelope_of(text)))


def envelope_of(text: str) -> bytes:
    """Join the parts, nothing verified but that they are all there and belong together. Raises ContractError."""
    parts: dict[int, bytes] = {}
    batches: set[tuple[str, str]] = set()
    for number, line in enumerate((x.strip() for x in text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.match(line)
        if found is None:
            raise ContractError(f"line {number} is no part of an instrument file: it begins with {line[:12]!r}, not {MARK}/")
        batches.add((found[2], found[3]))
        parts[int(found[1])] = _part(found[4], number)
    if not parts:
        raise ContractError("there is no instrument in this file")
    if len(batches) > 1:
        raise ContractError("parts of several files are mixed: bring the lines of one file only")
    return _joined(parts, *batches.pop())


def _part(text: str, number: int) -> bytes:
    try:
        return unbase45(text)
    except ValueError:
        raise ContractError(f"line {number} is spoilt: copy or scan it again") from None


def _joined(parts: dict[int, bytes], of: str, name: str) -> bytes:
    missing = [n for n in range(1, int(of) + 1) if n not in parts]
    if missing or max(parts) > int(of):
        raise ContractError(f"part {', '.join(map(str, missing[:9])) or max(parts)} of {of} is missing: bring all lines of the file")
    envelope = b"".join(parts[n] for n in sorted(parts))
    if _name(envelope) != name:
        raise ContractError("the file is spoilt: copy or scan it again")
    return envelope


def _name(envelope: bytes) -> str:
    return hashlib.sha256(envelope).hexdigest()[:8].upper()


def base45(data: bytes) -> str:
    """RFC 9285."""
    out: list[str] = []
    for i in range(0, len(data), 2):
        pair = data[i : i + 2]
        value = int.from_bytes(pair, "big")
        for _ in range(3 if len(pair) == 2 else 2):
            value, digit = divmod(value, 45)
            out.append(ALPHABET[digit])
    return "".join(out)


def unbase45(text: str) -> bytes:
    """Raises ValueError."""
    digits = [ALPHABET.index(c) for c in text]
    out = bytearray()
    for i in range(0, len(digits), 3):
        group = digits[i : i + 3]
        value = sum(digit * 45**at for at, digit in enumerate(group))
        size = len(group) - 1
        if not size or value >= 1 << 8 * size:
            raise ValueError(f"no base45: {text[i : i + 3]!r}")
        out += value.to_bytes(size, "big")
    return bytes(out)
