"""Any DLMS application PDU from its octets: one table from tags to records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from gridtally_edge.protocols.dlms.acse import Aare, Aarq, Rlre, Rlrq
from gridtally_edge.protocols.dlms.ciphering import (
    SERVICE_TAGS,
    CipheredService,
    GeneralCiphered,
    GeneralDed,
    GeneralGlo,
)
from gridtally_edge.protocols.dlms.initiate import ConfirmedServiceError, InitiateRequest, InitiateResponse
from gridtally_edge.protocols.dlms.list_services import (
    ActionBlockRequest,
    ActionFirstBlockRequest,
    ActionListFirstBlockRequest,
    ActionListRequest,
    ActionListResponse,
    ActionNextResponse,
    SetListFirstBlockRequest,
    SetListLastBlockResponse,
    SetListRequest,
    SetListResponse,
)
from gridtally_edge.protocols.dlms.notification import (
    DataNotification,
    DataNotificationConfirm,
    EventNotification,
    ExceptionResponse,
    GeneralBlock,
)
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_edge.protocols.dlms.services import (
    ActionBlockResponse,
    ActionNextRequest,
    ActionRequest,
    ActionResponse,
    GetBlockResponse,
    GetListRequest,
    GetListResponse,
    GetNextRequest,
    GetRequest,
    GetResponse,
    SetBlockRequest,
    SetBlockResponse,
    SetFirstBlockRequest,
    SetLastBlockResponse,
    SetRequest,
    SetResponse,
)
from gridtally_shared.errors import MeterFault

Apdu: TypeAlias = (
    Aarq | Aare | Rlrq | Rlre | InitiateRequest | InitiateResponse | ConfirmedServiceError
    | GetRequest | GetNextRequest | GetListRequest | GetResponse | GetBlockResponse | GetListResponse
    | SetRequest | SetFirstBlockRequest | SetBlockRequest | SetResponse | SetBlockResponse | SetLastBlockResponse
    | SetListRequest | SetListFirstBlockRequest | SetListResponse | SetListLastBlockResponse
    | ActionRequest | ActionNextRequest | ActionResponse | ActionBlockResponse
    | ActionListRequest | ActionFirstBlockRequest | ActionListFirstBlockRequest | ActionBlockRequest
    | ActionListResponse | ActionNextResponse
    | DataNotification | DataNotificationConfirm | EventNotification | ExceptionResponse | GeneralBlock
    | GeneralGlo | GeneralDed | GeneralCiphered | CipheredService
)  # fmt: skip

_READ: Final[dict[bytes, Callable[[Reader], Apdu]]] = {
    kind.tags: kind.from_reader  # type: ignore[attr-defined]
    for kind in (
        Aarq, Aare, Rlrq, Rlre, InitiateRequest, InitiateResponse, ConfirmedServiceError,
        GetRequest, GetNextRequest, GetListRequest, GetResponse, GetBlockResponse, GetListResponse,
        SetRequest, SetFirstBlockRequest, SetBlockRequest, SetResponse, SetBlockResponse, SetLastBlockResponse,
        SetListRequest, SetListFirstBlockRequest, SetListResponse, SetListLastBlockResponse,
        ActionRequest, ActionNextRequest, ActionResponse, ActionBlockResponse,
        ActionListRequest, ActionFirstBlockRequest, ActionListFirstBlockRequest, ActionBlockRequest,
        ActionListResponse, ActionNextResponse, DataNotification, DataNotificationConfirm,
        EventNotification, ExceptionResponse, GeneralBlock, GeneralGlo, GeneralDed, GeneralCiphered,
    )
}  # fmt: skip
_TWO_TAGS: Final = frozenset(tags[0] for tags in _READ if len(tags) == 2)


def decode_apdu(octets: bytes) -> Apdu:
    """The PDU's record. Raises MeterFault for an unknown tag or a PDU that is not whole."""
    reader = Reader(octets)
    tag = reader.octet()
    if tag in SERVICE_TAGS:
        return CipheredService.from_reader(tag, reader)
    tags = octets[:1] + (reader.take(1) if tag in _TWO_TAGS else b"")
    read = _READ.get(tags)
    if read is None:
        raise MeterFault(f"no DLMS PDU starts with {tags.hex(' ')}")
    return read(reader)


def could_be_apdu(octets: bytes) -> bool:
    """Whether the first octets are the tag of a DLMS PDU."""
    return octets[:1] in _READ or octets[:2] in _READ or (octets[:1] != b"" and octets[0] in SERVICE_TAGS)
