"""A meter's checks of its own, and the events that tell of them: what a failed check is called, and its passing again."""

from __future__ import annotations

CHECK_EVENTS: dict[str, tuple[str, str]] = {
    "checksum": ("checksum_failed", "diagnostic_passed"),
    "firmware": ("firmware_upgrade_failed", "diagnostic_passed"),
    "metrology": ("metrology_failed", "diagnostic_passed"),
    "memory": ("memory_failed", "diagnostic_passed"),
    "program": ("program_failed", "diagnostic_passed"),
    "time_sync": ("time_sync_failed", "diagnostic_passed"),
    "push": ("push_failed", "push_works_again"),
    "han": ("han_device_lost", "han_device_back"),
    "battery": ("battery_low", "battery_good"),
    "consistency": ("registers_inconsistent", "diagnostic_passed"),
}
FAILED, PASSED = "diagnostic_failed", "diagnostic_passed"
"""Of a check that has no event of its own; its name begins the event's detail."""
