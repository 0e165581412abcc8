"""Decoders of what people bring: keypad codes, instrument files, details of instruments."""

from __future__ import annotations

from collections.abc import Callable

from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.instruments import details as d
from gridtally_shared.instruments.carrier import InstrumentBatch, batch_text, read_batch
from gridtally_shared.instruments.code_content import instrument_of
from gridtally_shared.instruments.forms import fault_of
from gridtally_shared.instruments.keypad_code import CodeContext, CodeType, KeypadCode, code_text, read_code
from gridtally_shared.signing import KeySigner

_SIGNER = KeySigner.from_seed(b"z" * 32)
_CONTEXT = CodeContext("dcu-1", 101, 1, "INR")


def _code(data: bytes) -> object:
    code = read_code(data.decode("latin-1"))
    return instrument_of(code, _CONTEXT, 7) if isinstance(code, KeypadCode) else code


def _file(data: bytes) -> object:
    return read_batch({_SIGNER.key_id: _SIGNER.public}, data.decode("latin-1"))


def _instrument(data: bytes) -> object:
    return fault_of(decode(Instrument, data))


def _made(kind: InstrumentType, amount_nano: int, detail: bytes = b"") -> bytes:
    return encode(Instrument(1, "dcu-1", 101, 1, 1, kind, amount_nano, "INR", b"r" * 16, 0, bytes(32), detail))


T = InstrumentType
DECODERS: dict[str, Callable[[bytes], object]] = {"code": _code, "file": _file, "instrument": _instrument}
SEEDS: dict[str, list[bytes]] = {
    "code": [code_text(bytes(32), _CONTEXT, n, kind, 1_000 * n).encode() for n, kind in enumerate(CodeType, 1)],
    "file": [batch_text(_SIGNER, InstrumentBatch(1, "dcu-1", 0, tuple(bytes(200) for _ in range(n)))).encode() for n in (1, 9)],
    "instrument": [
        _made(T.CREDIT, 10**9),
        _made(T.CREDIT_KWH, 8 * 10**9, encode(d.EnergySold(1_000, 8 * 10**9))),
        _made(T.HOLD, 0, encode(d.HoldOrder("customer"))),
        _made(T.PROTECT, 0, encode(d.ProtectOrder("medical", True, 10**12))),
        _made(T.TARIFF_LOAD, 0, encode(d.TariffLoad("home", 2, 0, "{}"))),
        _made(T.KEY_ROTATE, 0, encode(d.KeyChange(2, bytes(32)))),
    ],
}
