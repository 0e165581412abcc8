"""One object of a meter by its name, with all its attributes: what a port tells beside its readings.

* DLMS: an OBIS code; class and attributes come from the meter's own object list.
* IEC 62056-21: the code as it stands in the readout (1.8.0, 0.9.1), or an OBIS code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gridtally_edge.drivers.iec62056_21 import Iec62056Port
from gridtally_edge.drivers.is15959 import DlmsPort
from gridtally_edge.drivers.model import MeterPort
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms.access import Result
from gridtally_edge.protocols.dlms.classes import class_of
from gridtally_edge.protocols.dlms.describe import data_lines
from gridtally_edge.protocols.dlms.object_list import find_object, read_object
from gridtally_shared.errors import ConfigError, MeterFault, RefusedCommand
from gridtally_shared.lifecycle import Reason
from gridtally_shared.obis import Obis

Pairs = tuple[tuple[str, str], ...]


def read_named(port: MeterPort, name: str) -> Conversation[Pairs]:
    """Pairs of attribute name and value as text. Raises RefusedCommand where the protocol has no objects with names."""
    for kind, read in _READERS:
        if isinstance(port, kind):
            return (yield from read(port, name))
    raise RefusedCommand(Reason.UNSUPPORTED, "this protocol has no objects with names; ask for instant")


def _dlms(port: DlmsPort, name: str) -> Conversation[Pairs]:
    try:
        obis = Obis.of(name)
    except ValueError as error:
        raise ConfigError("--what", f"object:{name}", str(error)) from None
    client = yield from port.client()
    wanted = yield from find_object(client, obis)
    values = yield from read_object(client, wanted)
    texts = ((v.name, str(v.value) if isinstance(v.value, Result) else " ".join(map(str.strip, data_lines(v.value)))) for v in values)
    return (("class", f"{wanted.class_id} {class_of(wanted.class_id).name}"), *texts)


def _readout(port: Iec62056Port, name: str) -> Conversation[Pairs]:
    for data_set in (yield from port.read_out()).data_sets:
        if data_set.address == name or (data_set.obis is not None and str(data_set.obis) == name):
            return tuple((f"value {n}" if n else "value", f"{cell.value} {cell.unit}".strip()) for n, cell in enumerate(data_set.cells))
    raise MeterFault(f"the readout has no {name}; --what identity shows who answered, --what instant what it knows")


_READERS: tuple[tuple[type, Callable[[Any, str], Conversation[Pairs]]], ...] = ((DlmsPort, _dlms), (Iec62056Port, _readout))
