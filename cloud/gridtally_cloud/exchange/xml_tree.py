"""Reads XML into plain nodes with their lines. Refuses what no data file needs: a document type, and with it every entity of its own
(entity bombs, files of this machine), deep nesting, too many elements.
"""

from __future__ import annotations

from dataclasses import field
from xml.parsers import expat

from gridtally_cloud.exchange.record import refused
from gridtally_shared.records import dataclass

DEEPEST = 40
MOST_NODES = 20_000_000
_SEPARATOR = " "


@dataclass(slots=True)
class Node:
    """`name` without its namespace; `text` as it stood, not stripped."""

    name: str
    line: int
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def all(self, name: str) -> list[Node]:
        return [child for child in self.children if child.name == name]

    def first(self, *path: str) -> Node | None:
        """The first child along a path of names."""
        here: Node | None = self
        for name in path:
            here = next((child for child in here.children if child.name == name), None) if here else None
        return here

    def value(self, *path: str) -> str:
        found = self.first(*path)
        return found.text.strip() if found else ""


class _Builder:
    """The open elements, outermost first."""

    def __init__(self, parser: expat.XMLParserType) -> None:
        self.parser, self.open, self.count = parser, [Node("", 0, {})], 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        self.count += 1
        if len(self.open) > DEEPEST or self.count > MOST_NODES:
            raise refused(line, "XML", "", "elements lie too deep in each other, or there are too many")
        node = Node(name.rsplit(_SEPARATOR, 1)[-1], line, attributes)
        self.open[-1].children.append(node)
        self.open.append(node)

    def end(self, _name: str) -> None:
        self.open.pop()

    def text(self, text: str) -> None:
        self.open[-1].text += text

    def document_type(self, *_about: object) -> None:
        raise refused(self.parser.CurrentLineNumber, "DOCTYPE", "", "a data file has no document type and no entities of its own: refused")


def tree(data: bytes) -> Node:
    """The outermost element. Raises ContractError for anything that is no plain well-formed XML."""
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    builder = _Builder(parser)
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.text, builder.document_type
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise refused(parser.CurrentLineNumber, "XML", "", f"this is not well-formed XML: {error}") from None
    return builder.open[0].children[0]
