"""Reads Green Button (NAESB ESPI, Atom XML): every usage point, meter reading and interval block of a feed.

* Times are instants: summer time takes nothing away. An interval of two hours or of none, as some writers have them on those days, is put
  right by collect.py with its sum kept.
* What a value is stands in its ReadingType: unit, power of ten, direction. Register readings and net flow are refused in words.
* A feed of one usage point is of the one it is brought for; with several, each goes by the end of its own link.

Source: ESPI schema 4.0.
"""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import unquote

from gridtally_cloud.digits import whole
from gridtally_cloud.exchange.collect import Cell, Collector
from gridtally_cloud.exchange.record import Asked, Content, refused
from gridtally_cloud.exchange.times import EARLIEST_MS, LATEST_MS
from gridtally_cloud.exchange.units import QUANTITY_OF, UNITS, Unit
from gridtally_cloud.exchange.xml_tree import Node, tree
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

UOM = {"72": "Wh", "71": "VAh", "73": "varh", "38": "W", "61": "VA", "63": "var", "29": "V", "5": "A", "42": "m3", "134": "l",
       "119": "ft3", "128": "gal"}  # fmt: skip
DIRECTIONS = {"": "import", "0": "import", "1": "import", "15": "q1", "16": "q2", "17": "q3", "18": "q4", "19": "export"}
GAS = "7"
ELECTRICITY, WATER = frozenset({"", "0", "1", "2"}), frozenset({"", "0", "9"})
REGISTERS = frozenset({"1", "2", "3", "9", "10"})
"""accumulationBehaviour of values that only rise."""
QUALITIES: dict[str, int] = {
    "": Quality.OK, "0": Quality.OK, "7": Quality.REVISED, "8": Quality.ESTIMATED, "9": Quality.ESTIMATED, "10": Quality.METER_INVALID,
    "11": Quality.ESTIMATED, "12": Quality.ESTIMATED, "13": Quality.ESTIMATED, "14": Quality.OK, "15": Quality.ESTIMATED, "16": Quality.OK,
    "17": Quality.OK, "18": Quality.OK, "19": Quality.OK,
}  # fmt: skip
LARGEST_VALUE = 2**48
LONGEST_S = 400 * 86_400


@dataclass(frozen=True, slots=True)
class Kind:
    """What a ReadingType makes of a value."""

    quantity: str
    unit: Unit
    scale: Decimal
    length_s: int | None
    quality: str


@dataclass(frozen=True, slots=True)
class Feed:
    """`kinds` by the links of the meter readings; `only` where the whole feed has one kind of reading."""

    kinds: dict[str, Kind]
    only: Kind | None
    points: dict[str, str]


def looks(head: str) -> bool:
    return head.startswith("<") and not head.lower().startswith(("<html", "<!doctype html"))


def read(data: bytes, asked: Asked) -> Content:
    """Raises ContractError for what is no feed of ESPI."""
    root, found = tree(data), Collector(asked)
    entries = [entry for entry in root.all("entry") if entry.first("content")]
    blocks = [(entry, block) for entry in entries for block in _of(entry, "IntervalBlock")]
    if not blocks:
        raise refused(root.line, root.name, "", "there is no IntervalBlock in this XML: it is no Green Button feed with intervals")
    feed = _feed(entries, found)
    single = len({_point(link) for entry, _ in blocks for link in _links(entry, "self", "up")[:1]}) == 1
    for entry, block in blocks:
        _take_block(found, feed, entry, block, single)
    return found.content()


def _of(entry: Node, name: str) -> list[Node]:
    content = entry.first("content")
    return content.all(name) if content else []


def _links(entry: Node, *relations: str) -> list[str]:
    """Links of an entry in the order of `relations`."""
    links = entry.all("link")
    return [link.attributes.get("href", "").rstrip("/") for rel in relations for link in links if link.attributes.get("rel") == rel]


def _point(link: str) -> str:
    """The end of the link to the usage point that a link lies under."""
    return unquote(link.split("UsagePoint/", 1)[-1].split("/", 1)[0]) if "UsagePoint/" in link else ""


# ---- what the readings are ------------------------------------------------------------------------------------


def _feed(entries: list[Node], found: Collector) -> Feed:
    types = {link: kind for entry in entries for one in _of(entry, "ReadingType")
             for kind in [_kind(one, found)] for link in _links(entry, "self")}  # fmt: skip
    readings = {link: types[related] for entry in entries if _of(entry, "MeterReading") for link in _links(entry, "self")
                for related in _links(entry, "related") if related in types}  # fmt: skip
    kinds = set(types.values())
    own = {_point(link): entry.value("title") for entry in entries if _of(entry, "UsagePoint") for link in _links(entry, "self")}
    return Feed({k: v for k, v in readings.items() if v}, kinds.pop() if len(kinds) == 1 else None, own)


def _kind(node: Node, found: Collector) -> Kind | None:
    """None with a problem where its values can not be intervals of ours."""
    uom, flow = node.value("uom"), node.value("flowDirection")
    try:
        if node.value("accumulationBehaviour") in REGISTERS:
            raise ValueError("these are readings of a register, not the use within intervals")
        if uom not in UOM:
            raise ValueError(f"unit {uom or 'none'} is not one we keep; known are {', '.join(f'{k} {v}' for k, v in UOM.items())}")
        if flow not in DIRECTIONS:
            raise ValueError(f"flow direction {flow} is not one we keep: net flow has to come as import and export")
        unit, power = UNITS[UOM[uom].lower()], node.value("powerOfTenMultiplier") or "0"
        digits = whole(power.removeprefix("-"), 12)
        if digits is None:
            raise ValueError("the power of ten lies outside -12 to 12")
        scale = Decimal(1).scaleb(-digits if power.startswith("-") else digits)
        return Kind(_quantity(node, unit, flow), unit, scale, _number(node.value("intervalLength")),
                    node.value("defaultQuality"))  # fmt: skip
    except ValueError as error:
        found.problem(node.line, "ReadingType", "", str(error))
        return None


def _quantity(node: Node, unit: Unit, flow: str) -> str:
    commodity = node.value("commodity")
    if commodity == GAS and unit.stored == "m3":
        return "interval_gas_l"
    if commodity not in (WATER if unit.stored == "m3" else ELECTRICITY):
        raise ValueError(f"commodity {commodity} in {unit.name} is not one we keep: electricity, gas and water are")
    direction = DIRECTIONS[flow]
    if unit.stored == "varh" and direction.startswith("q"):
        return f"interval_reactive_{direction}_varh"
    if (unit.stored, direction) not in QUANTITY_OF:
        raise ValueError(f"there is no quantity of {unit.name} in flow direction {flow}")
    return QUANTITY_OF[(unit.stored, direction)]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


# ---- the intervals --------------------------------------------------------------------------------------------


def _take_block(found: Collector, feed: Feed, entry: Node, block: Node, single: bool) -> None:
    links = _links(entry, "self", "up")
    kind = next((k for link in links for reading, k in feed.kinds.items() if f"{link}/".startswith(f"{reading}/")), feed.only)
    if kind is None:
        if not found.problems:
            found.problem(block.line, "IntervalBlock", links[0] if links else "", "no ReadingType tells what these values are")
        return
    name = _point(links[0]) if links else ""
    if single and feed.points.get(name) != name:
        name = ""
    for reading in block.all("IntervalReading"):
        _take(found, (name, kind.quantity), kind, reading)


def _take(found: Collector, key: tuple[str, str], kind: Kind, reading: Node) -> None:
    start, duration = reading.value("timePeriod", "start"), reading.value("timePeriod", "duration")
    value, quality = reading.value("value"), reading.value("ReadingQuality", "quality") or kind.quality
    exact, start_s = _signed(value), _number(start)
    if start_s is None or not EARLIEST_MS <= start_s * 1000 < LATEST_MS:
        found.problem(reading.line, "start", start, "this is not a time in seconds since 1970")
    elif value and exact is None:
        found.problem(reading.line, "value", value, "this is not a whole number")
    elif duration and ((_number(duration) is None) or int(duration) > LONGEST_S):
        found.problem(reading.line, "duration", duration, "this is not a number of seconds up to 400 days")
    elif quality not in QUALITIES:
        found.problem(reading.line, "quality", quality, "ESPI has no such quality of reading")
    else:
        seconds = _number(duration) if duration else kind.length_s
        scaled = None if exact is None else exact * kind.scale
        found.add(key, Cell(reading.line, start_s * 1000, scaled, QUALITIES[quality], seconds, kind.unit))


def _signed(text: str) -> Decimal | None:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        return None
    number = int(text)
    return Decimal(number) if abs(number) <= LARGEST_VALUE else None
