"""Names of COSEM classes and attributes, and a meter's own list of its objects."""

from __future__ import annotations

import pytest

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Result
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.classes import CLASSES, class_of
from gridtally_edge.protocols.dlms.object_list import CosemObject, find_object, object_of, read_object, read_objects
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from support.dlms_meters import hdlc_client, hdlc_meter

NAMED = (1, 3, 4, 5, 7, 8, 9, 11, 15, 17, 18, 20, 22, 40, 41, 42, 64, 70, 71, 111, 112, 113, 115)


def test_every_class_that_meters_use_has_a_name() -> None:
    assert set(CLASSES) == set(NAMED)


@pytest.mark.parametrize(
    ("class_id", "index", "name"),
    [(3, 2, "value"), (3, 3, "scaler_unit"), (5, 8, "period"), (7, 2, "buffer"), (7, 8, "profile_entries"), (8, 2, "time"),
     (15, 2, "object_list"), (18, 6, "image_transfer_status"), (20, 10, "activate_passive_calendar_time"),
     (40, 2, "push_object_list"), (64, 5, "server_system_title"), (70, 3, "control_state"), (71, 3, "threshold_active"),
     (111, 5, "available_credit"), (112, 2, "current_credit_amount"), (113, 2, "total_amount_paid"), (115, 2, "token")],
)  # fmt: skip
def test_attributes_are_where_the_standard_has_them(class_id: int, index: int, name: str) -> None:
    assert class_of(class_id).attribute_name(index) == name
    assert class_of(class_id).index_of(name) == index


@pytest.mark.parametrize(
    ("class_id", "index", "name"),
    [(18, 3, "image_verify"), (70, 1, "remote_disconnect"), (70, 2, "remote_reconnect"), (64, 2, "key_transfer"), (115, 1, "enter")],
)
def test_methods_are_where_the_standard_has_them(class_id: int, index: int, name: str) -> None:
    assert class_of(class_id).method_name(index) == name


def test_what_is_not_in_the_table_is_generic() -> None:
    strange = class_of(8_192)
    assert (strange.name, strange.attribute_name(1), strange.attribute_name(7)) == ("class 8192", "logical_name", "attribute_7")
    assert strange.method_name(2) == "method_2"
    assert strange.index_of("value") is None
    assert class_of(3).attribute_name(9) == "attribute_9"


def test_a_meter_tells_its_objects_and_what_may_be_read_of_them() -> None:
    meter, client = hdlc_meter(), hdlc_client()
    meter.bench.run(client.open())
    objects = {o.obis: o for o in meter.bench.run(read_objects(client))}
    clock = objects[Obis.of("0.0.1.0.0.255")]
    assert clock.class_id == 8
    assert {1, 2} <= set(clock.readable)


def test_one_object_is_read_by_the_names_of_its_attributes() -> None:
    meter, client = hdlc_meter(), hdlc_client()
    meter.bench.run(client.open())
    found = meter.bench.run(find_object(client, Obis.of("0.0.96.1.0.255")))
    (value,) = meter.bench.run(read_object(client, found))
    assert value.name == "value"
    assert isinstance(value.value, Data)
    assert axdr.text_of(value.value) == "S1"


def test_an_attribute_that_may_not_be_read_is_a_row_with_its_result() -> None:
    meter, client = hdlc_meter(), hdlc_client()
    meter.bench.run(client.open())
    absent = CosemObject(3, 0, Obis.of("1.0.250.8.0.255"))
    rows = meter.bench.run(read_object(client, absent))
    assert [row.name for row in rows] == ["value", "scaler_unit"]
    assert all(isinstance(row.value, Result) for row in rows)


def test_an_object_the_meter_does_not_have_is_told() -> None:
    meter, client = hdlc_meter(), hdlc_client()
    meter.bench.run(client.open())
    with pytest.raises(MeterFault, match=r"no object 1\.0\.250\.8\.0\.255"):
        meter.bench.run(find_object(client, Obis.of("1.0.250.8.0.255")))


@pytest.mark.parametrize(
    "item",
    [
        Data(Tag.UINT8, 1),
        axdr.structure(Data(Tag.UINT16, 8)),
        axdr.structure(Data(Tag.UINT16, 8), Data(Tag.UINT8, 0), axdr.octet_string(b"short")),
        axdr.structure(Data(Tag.UINT16, 8), Data(Tag.UINT8, 0), axdr.octet_string(bytes(6)), axdr.structure(Data(Tag.UINT8, 1))),
    ],
)
def test_a_strange_row_of_the_list_is_the_meters_fault(item: Data) -> None:
    with pytest.raises(MeterFault):
        object_of(item)
