"""Meter and DCU events: one table maps the IS 15959 code, the CIM end-device event code and our text.

* `rank` 1 is safety and supply, 2 is security, money and failures, 3 is the rest. Ranks 1 and 2 are `urgent`: they travel
  in the urgent lane at once; the others in the live lane.
* Codes below 1000 are those of IS 15959: an odd code is the occurrence, the next even one its restoration. Codes from
  1000 on are our own: what only the DCU or the cloud can see, and what a meter's self-test finds.
* `cim` is type.domain.subdomain.action; type 3 is an electricity meter.
* `STATUS_BITS` tells what a bit of the meter's status word means, as an event of the table.

Sources: IS 15959 parts 1 to 3 with amendments, IEC 61968-9 (EndDeviceEventType).
"""

from __future__ import annotations

from gridtally_shared.records import dataclass

URGENT_RANK = 2


@dataclass(frozen=True, slots=True)
class EventType:
    code: int
    name: str
    cim: str
    rank: int
    text: str

    @property
    def urgent(self) -> bool:
        return self.rank <= URGENT_RANK


_VOLTAGE = (
    EventType(1, "phase_r_missing", "3.26.126.47", 1, "Voltage of phase R missing"),
    EventType(2, "phase_r_back", "3.26.126.216", 1, "Voltage of phase R back"),
    EventType(3, "phase_y_missing", "3.26.134.47", 1, "Voltage of phase Y missing"),
    EventType(4, "phase_y_back", "3.26.134.216", 1, "Voltage of phase Y back"),
    EventType(5, "phase_b_missing", "3.26.135.47", 1, "Voltage of phase B missing"),
    EventType(6, "phase_b_back", "3.26.135.216", 1, "Voltage of phase B back"),
    EventType(7, "over_voltage", "3.26.38.93", 3, "Voltage above the upper limit"),
    EventType(8, "over_voltage_ended", "3.26.38.73", 3, "Voltage no longer above the upper limit"),
    EventType(9, "low_voltage", "3.26.38.223", 3, "Voltage below the lower limit"),
    EventType(10, "low_voltage_ended", "3.26.38.224", 3, "Voltage no longer below the lower limit"),
    EventType(11, "voltage_unbalanced", "3.26.38.98", 3, "Voltages of the phases unequal"),
    EventType(12, "voltage_balanced", "3.26.38.75", 3, "Voltages of the phases equal again"),
)
_CURRENT = (
    EventType(51, "current_reversed", "3.12.93.219", 2, "Current reversed"),
    EventType(52, "current_forward", "3.12.93.216", 3, "Current forward again"),
    EventType(53, "current_y_reversed", "3.12.288.219", 2, "Current of phase Y reversed"),
    EventType(54, "current_y_forward", "3.12.288.216", 3, "Current of phase Y forward again"),
    EventType(55, "current_b_reversed", "3.12.289.219", 2, "Current of phase B reversed"),
    EventType(56, "current_b_forward", "3.12.289.216", 3, "Current of phase B forward again"),
    EventType(57, "ct_r_open", "3.12.287.47", 2, "Current transformer of phase R open"),
    EventType(58, "ct_r_closed", "3.12.287.49", 3, "Current transformer of phase R closed again"),
    EventType(59, "ct_y_open", "3.12.288.47", 2, "Current transformer of phase Y open"),
    EventType(60, "ct_y_closed", "3.12.288.49", 3, "Current transformer of phase Y closed again"),
    EventType(61, "ct_b_open", "3.12.289.47", 2, "Current transformer of phase B open"),
    EventType(62, "ct_b_closed", "3.12.289.49", 3, "Current transformer of phase B closed again"),
    EventType(63, "current_unbalanced", "3.26.6.98", 3, "Currents of the phases unequal"),
    EventType(64, "current_balanced", "3.26.6.75", 3, "Currents of the phases equal again"),
    EventType(65, "current_bypassed", "3.12.6.257", 2, "Current led past the meter"),
    EventType(66, "bypass_ended", "3.12.6.28", 3, "Current no longer led past the meter"),
    EventType(67, "over_current", "3.26.6.93", 3, "Current above the limit"),
    EventType(68, "over_current_ended", "3.26.6.73", 3, "Current no longer above the limit"),
    EventType(69, "earth_loaded", "3.12.137.98", 2, "Return current through earth"),
    EventType(70, "earth_load_ended", "3.12.137.75", 3, "No return current through earth any more"),
)
_POWER = (
    EventType(101, "power_failed", "3.26.0.47", 1, "Power failed"),
    EventType(102, "power_restored", "3.26.0.216", 1, "Power restored"),
)
_TRANSACTION = (
    EventType(151, "clock_set", "3.36.114.24", 3, "Meter clock set"),
    EventType(152, "demand_period_set", "3.8.59.24", 3, "Demand period set"),
    EventType(153, "capture_period_set", "3.16.59.24", 3, "Capture period of the load profile set"),
    EventType(154, "billing_date_set", "3.20.34.24", 3, "Billing date set"),
    EventType(155, "calendar_set", "3.20.121.24", 3, "Time-of-use calendar set"),
    EventType(156, "bus_address_set", "3.7.61.24", 3, "Bus address set"),
    EventType(157, "firmware_activated", "3.11.283.4", 3, "New firmware active"),
    EventType(158, "load_limit_set", "3.15.261.24", 3, "Load limit set"),
    EventType(159, "load_limit_on", "3.15.139.76", 3, "Load limit switched on"),
    EventType(160, "load_limit_off", "3.15.139.66", 3, "Load limit switched off"),
    EventType(161, "reading_secret_set", "3.12.24.24", 2, "Reading password changed"),
    EventType(162, "settings_key_set", "3.12.32.24", 2, "Key of the settings client changed"),
    EventType(163, "firmware_key_set", "3.12.32.24", 2, "Key of the firmware client changed"),
    EventType(164, "global_key_set", "3.12.32.24", 2, "Encryption key changed"),
    EventType(165, "status_filter_set", "3.17.285.24", 3, "Filter of the status word set"),
    EventType(166, "demand_reset", "3.8.0.215", 3, "Maximum demand reset"),
    EventType(167, "metering_mode_set", "3.7.12.24", 3, "Metering mode set"),
    EventType(169, "image_schedule_set", "3.11.95.24", 3, "Time of firmware activation set"),
    EventType(177, "set_forwarded_only", "3.7.12.66", 3, "Metering mode set to import only"),
    EventType(178, "set_import_export", "3.7.12.76", 3, "Metering mode set to import and export"),
)
_OTHER = (
    EventType(201, "magnet_on", "3.12.66.242", 2, "Magnet near the meter"),
    EventType(202, "magnet_off", "3.12.66.28", 3, "Magnet removed"),
    EventType(203, "neutral_disturbed", "3.12.137.257", 2, "Neutral disturbed"),
    EventType(204, "neutral_sound", "3.12.137.28", 3, "Neutral no longer disturbed"),
    EventType(205, "power_factor_low", "3.26.27.150", 3, "Power factor very low"),
    EventType(206, "power_factor_back", "3.26.27.37", 3, "Power factor normal again"),
    EventType(207, "neutral_missing", "3.26.137.47", 1, "Neutral missing"),
    EventType(208, "neutral_back", "3.26.137.216", 1, "Neutral back"),
    EventType(209, "module_removed", "3.12.136.212", 2, "Communication module removed"),
    EventType(210, "module_fitted", "3.12.136.105", 3, "Communication module fitted"),
    EventType(211, "changed_to_postpaid", "3.20.81.66", 3, "Payment mode changed to postpaid"),
    EventType(212, "changed_to_prepaid", "3.20.81.76", 3, "Payment mode changed to prepaid"),
    EventType(213, "forwarded_only", "3.7.12.19", 3, "Metering mode is import only"),
    EventType(214, "import_export", "3.7.12.4", 3, "Metering mode is import and export"),
    EventType(215, "overloaded", "3.15.139.93", 2, "Load above the contracted limit"),
    EventType(216, "overload_ended", "3.15.139.73", 3, "Load within the contracted limit again"),
    EventType(251, "cover_opened", "3.12.29.39", 2, "Meter cover opened"),
    EventType(301, "supply_disconnected", "3.31.0.68", 1, "Supply disconnected"),
    EventType(302, "supply_connected", "3.31.0.42", 1, "Supply connected"),
)
_SEEN_BY_DCU = (
    EventType(1001, "meter_silent", "3.1.0.47", 3, "Meter does not answer"),
    EventType(1002, "meter_answers_again", "3.1.0.216", 3, "Meter answers again"),
    EventType(1003, "serial_mismatch", "3.12.10.159", 2, "Another meter answered at this address"),
    EventType(1004, "clock_skewed", "3.36.117.139", 3, "Meter clock off"),
    EventType(1005, "register_went_back", "3.21.89.57", 2, "Energy register went back"),
    EventType(1006, "use_while_open", "3.31.123.257", 1, "Energy used behind an open switch"),
    EventType(1007, "switch_stuck", "3.31.0.79", 1, "Switch did not follow its order"),
    EventType(1008, "low_balance", "3.20.81.150", 3, "Balance below the warning threshold"),
    EventType(1009, "cut_held", "3.31.0.20", 3, "A cut was due and held"),
    EventType(1010, "load_limit_exceeded", "3.15.261.139", 2, "Load above the limit"),
    EventType(1011, "register_jumped", "3.21.89.40", 2, "Energy register jumped beyond what is possible"),
    EventType(1012, "instrument_refused", "3.20.81.161", 2, "Credit instrument refused"),
    EventType(1013, "switch_unordered", "3.31.0.24", 1, "Switch moved without an order"),
    EventType(1014, "ledger_fault", "3.20.81.79", 2, "Account journal does not agree with its mirror or itself"),
    EventType(1015, "command_refused", "3.12.1.38", 2, "Command refused before its sender was known"),
    EventType(1016, "switch_changed", "3.31.91.24", 1, "Supply switch changed its state"),
    EventType(1017, "last_gasp", "3.26.0.85", 1, "Last message before the meter lost its power"),
    EventType(1018, "first_breath", "3.26.0.49", 1, "First message after the meter's power came back"),
    EventType(1019, "billing_closed", "3.20.43.44", 3, "Meter closed a billing period"),
    EventType(1020, "load_side_live", "3.31.38.160", 1, "Voltage behind an open switch"),
    EventType(1040, "ledger_healed", "3.20.81.58", 3, "Account journal agrees with its mirror again"),
    EventType(1095, "mode_changed", "3.20.24.24", 3, "Way of paying changed"),
    EventType(1092, "meter_swapped", "3.21.10.24", 3, "Account goes on behind another meter"),
    EventType(1093, "gap_charged", "3.21.89.40", 2, "Use under no concentrator charged at the lowest rate: to be looked at"),
    EventType(1087, "restore_delayed", "3.31.0.150", 1, "A supply is owed and its switch does not close"),
    EventType(1096, "hold_changed_on_site", "3.31.12.24", 1, "A hold was set or lifted on site by a named person"),
    EventType(1089, "limit_changed_on_site", "3.15.261.24", 2, "A load limit was set or lifted on site by a named person"),
    EventType(1097, "field_person_changed", "3.12.24.13", 2, "Somebody may work on holds on site now, or no more"),
    EventType(1098, "journal_pruned", "3.20.81.47", 2, "The cloud lacks journal entries that are no longer kept here"),
    EventType(1099, "clock_invalid", "3.36.0.79", 2, "Meter tells no time that can be"),
    EventType(1094, "charge_corrected", "3.20.81.24", 3, "Charge corrected"),
    EventType(1085, "tariff_refused", "3.20.43.161", 2, "New prices refused by the concentrator"),
    EventType(1086, "tariff_in_force", "3.20.43.4", 3, "New prices in force"),
)
_SELF_TEST = (
    EventType(1021, "self_test_failed", "3.11.100.85", 2, "Self-test failed"),
    EventType(1022, "self_test_passed", "3.11.100.58", 3, "Self-test passed after a failure"),
    EventType(1023, "checksum_failed", "3.11.284.79", 2, "Checksum of the meter's program or data wrong"),
    EventType(1024, "firmware_upgrade_failed", "3.11.283.85", 2, "Firmware upgrade failed"),
    EventType(1025, "metrology_failed", "3.21.67.79", 2, "Metrology check failed"),
    EventType(1026, "memory_failed", "3.18.72.79", 2, "Memory failure"),
    EventType(1027, "program_failed", "3.11.83.79", 2, "Program failure"),
    EventType(1028, "counter_repaired", "3.12.120.24", 2, "Frame counter of a meter key moved on at the meter's word"),
    EventType(1029, "han_device_lost", "3.1.74.68", 3, "Home device does not answer"),
    EventType(1030, "han_device_back", "3.1.74.42", 3, "Home device answers again"),
    EventType(1031, "push_failed", "3.1.0.85", 3, "Message the meter sent by itself did not get through"),
    EventType(1032, "push_works_again", "3.1.0.58", 3, "Messages the meter sends by itself get through again"),
    EventType(1033, "profile_disordered", "3.16.31.43", 3, "Rows of the load profile doubled or out of order"),
    EventType(1034, "registers_inconsistent", "3.21.89.159", 2, "Register and load profile of the meter disagree"),
    EventType(1035, "port_preempted", "3.1.129.41", 3, "One port of the meter made the other wait"),
    EventType(1036, "login_refused", "3.12.65.85", 2, "Meter refused a login"),
    EventType(1037, "setting_not_taken", "3.7.75.85", 2, "Setting written, but read back otherwise"),
    EventType(1038, "tamper_reset", "3.12.43.28", 3, "Tamper counters reset"),
    EventType(1039, "status_reset", "3.17.17.28", 3, "Status word reset"),
)
_UPKEEP = (
    EventType(1041, "clock_corrected", "3.36.116.24", 3, "Meter clock corrected by the concentrator"),
    EventType(1042, "clock_jump_needed", "3.36.117.40", 2, "Meter clock so far off that a person must decide"),
    EventType(1043, "time_sync_failed", "3.36.116.85", 2, "Meter clock could not be set"),
    EventType(1044, "capture_period_changed", "3.16.59.13", 3, "Load profile has another period now"),
    EventType(1045, "wrong_form", "3.6.0.159", 2, "Meter does not fit its socket"),
    EventType(1046, "meter_added", "3.6.0.105", 3, "Meter added"),
    EventType(1047, "meter_removed", "3.6.0.212", 3, "Meter removed"),
    EventType(1048, "diagnostic_failed", "3.21.100.85", 2, "A check of the meter's own failed"),
    EventType(1049, "diagnostic_passed", "3.21.100.58", 3, "A failed check of the meter's own passes again"),
    EventType(1057, "protection_failed", "3.12.32.85", 2, "Answer not protected as agreed, or login refused: forged, or a wrong key"),
    EventType(1066, "battery_low", "3.2.0.150", 2, "Battery of the meter low"),
    EventType(1067, "battery_good", "3.2.0.37", 3, "Battery of the meter good again"),
    EventType(1090, "setting_refused", "3.7.75.161", 2, "The meter refused a setting"),
    EventType(1050, "settings_written", "3.7.75.24", 3, "Settings written into the meter"),
)
_NODES = (
    EventType(1051, "node_joined", "3.23.74.42", 3, "Node joined the network"),
    EventType(1052, "node_left", "3.23.74.68", 2, "Node left the network"),
    EventType(1053, "node_rejoined", "3.23.74.49", 3, "Node joined again"),
    EventType(1054, "node_moved", "3.23.68.24", 3, "Node reached over another route"),
    EventType(1055, "node_refused", "3.23.74.38", 2, "Node refused: not on the list"),
    EventType(1056, "node_replaced", "3.23.10.24", 3, "Node of a meter replaced"),
    EventType(1058, "dcu_silent", "3.23.0.47", 2, "Concentrator can not be reached"),
    EventType(1059, "dcu_back", "3.23.0.216", 3, "Concentrator is reached again"),
)

_INSTRUMENTS = (
    EventType(1061, "keypad_locked", "3.12.24.93", 2, "Keypad locked after wrong codes"),
    EventType(1062, "instruments_disagree", "3.20.81.159", 2, "Keypad code and signed instrument of one number differ"),
    EventType(1063, "token_taken", "3.20.81.58", 3, "Token of another system taken by the meter"),
    EventType(1064, "token_refused", "3.20.81.161", 2, "Token of another system refused by the meter"),
    EventType(1065, "token_lost", "3.20.81.85", 2, "Nobody knows whether the meter has a token"),
)

_SCHEDULES = (
    EventType(1071, "schedule_started", "3.31.93.242", 3, "A schedule's window began"),
    EventType(1072, "schedule_ended", "3.31.93.28", 3, "A schedule's window ended"),
    EventType(1073, "schedule_held", "3.31.93.26", 2, "A schedule may not move the switch yet"),
    EventType(1074, "schedule_overlap", "3.31.93.83", 2, "A schedule overlaps one that is held"),
)

_POLICY = (
    EventType(1081, "replenish_asked", "3.20.24.93", 2, "Balance at zero: the account asks to be replenished"),
    EventType(1083, "field_cut_asked", "3.31.0.93", 2, "Balance used up behind a meter without a switch: somebody must go"),
    EventType(1088, "account_dormant", "3.20.24.8", 2, "Off and unpaid for so long that somebody must look at the account"),
    EventType(1084, "field_cut_called_back", "3.31.0.8", 2, "Paid or protected: nobody needs to go to this meter any more"),
    EventType(1082, "billing_asked", "3.20.24.141", 2, "Balance at zero: the account asks for regular billing"),
)

_MESSAGES = (EventType(1101, "message_state", "3.20.47.24", 3, "A message was displayed, read, answered or expired"),)

EVENT_TYPES: tuple[EventType, ...] = (
    *_VOLTAGE, *_CURRENT, *_POWER, *_TRANSACTION, *_OTHER, *_SEEN_BY_DCU, *_SELF_TEST, *_UPKEEP, *_NODES, *_INSTRUMENTS, *_SCHEDULES,
    *_POLICY, *_MESSAGES,
)  # fmt: skip

BY_CODE: dict[int, EventType] = {e.code: e for e in EVENT_TYPES}
BY_NAME: dict[str, EventType] = {e.name: e for e in EVENT_TYPES}

STATUS_BITS: dict[int, EventType] = {
    bit: BY_NAME[name]
    for bit, name in (
        (0, "phase_r_missing"), (1, "phase_y_missing"), (2, "phase_b_missing"), (3, "over_voltage"), (4, "low_voltage"),
        (5, "voltage_unbalanced"), (6, "current_reversed"), (7, "current_y_reversed"), (8, "current_b_reversed"),
        (9, "current_unbalanced"), (10, "current_bypassed"), (11, "over_current"), (12, "power_factor_low"),
        (51, "earth_loaded"), (81, "magnet_on"), (82, "neutral_disturbed"), (83, "cover_opened"), (84, "switch_changed"),
        (85, "last_gasp"), (86, "first_breath"), (87, "billing_closed"),
    )
}  # fmt: skip
"""Bit of the status word 0.0.94.91.18.255 (bit 0 is the top bit of the first octet)."""


def event_type(code: int) -> EventType:
    """The row of a code; an unknown code keeps its number and is not urgent."""
    return BY_CODE.get(code) or EventType(code, f"event_{code}", "3.0.0.0", 3, f"Event {code}")
