"""The links a DLMS client can sit on: HDLC on serial lines, the wrapper on IP. One name for each, in one place."""

from __future__ import annotations

from gridtally_edge.protocols.dlms.hdlc_link import LARGEST, HdlcLink
from gridtally_edge.protocols.dlms.timing import Link, LinkDropped, Timing, Unsolicited
from gridtally_edge.protocols.dlms.wrapper_link import WrapperLink

__all__ = ["LARGEST", "HdlcLink", "Link", "LinkDropped", "Timing", "Unsolicited", "WrapperLink"]
