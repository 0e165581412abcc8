"""Quality flags of one value, set at its source and carried with it. Unknown is a flag, never a zero."""

from __future__ import annotations

from enum import IntFlag


class Quality(IntFlag):
    OK = 0
    MISSING = 1
    COMM_ERROR = 2
    CLOCK_UNCERTAIN = 4
    METER_INVALID = 8
    RESET = 16
    ROLLOVER = 32
    SWAP = 64
    ESTIMATED = 128
    PARTIAL = 256
    POWER_FAIL = 512
    REVISED = 1024
    UNTRUSTWORTHY = 2048
    VERIFIED = 4096
    EDITED = 8192


OF_THE_MDM = Quality.UNTRUSTWORTHY | Quality.VERIFIED | Quality.EDITED
"""Marks that people and rules of the MDM set: none comes from a concentrator."""
