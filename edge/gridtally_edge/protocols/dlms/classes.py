"""COSEM interface classes by name: their attributes and methods in order (IEC 62056-6-2, Blue Book).

Attribute 1 is the logical name in every class and not listed. A class that is not here is generic: numbers for names.
"""

from __future__ import annotations

from typing import Final

from gridtally_shared.records import dataclass

LOGICAL_NAME: Final = "logical_name"


@dataclass(frozen=True, slots=True)
class CosemClass:
    """`attributes` start with attribute 2, `methods` with method 1."""

    class_id: int
    name: str
    attributes: tuple[str, ...]
    methods: tuple[str, ...] = ()

    def attribute_name(self, index: int) -> str:
        """The name, or the number where the class has no such attribute (makers add some)."""
        if index == 1:
            return LOGICAL_NAME
        return self.attributes[index - 2] if 2 <= index < len(self.attributes) + 2 else f"attribute_{index}"

    def method_name(self, index: int) -> str:
        return self.methods[index - 1] if 1 <= index <= len(self.methods) else f"method_{index}"

    def index_of(self, name: str) -> int | None:
        """The attribute of this name."""
        if name == LOGICAL_NAME:
            return 1
        return self.attributes.index(name) + 2 if name in self.attributes else None


def _class(class_id: int, name: str, attributes: str, methods: str = "") -> CosemClass:
    return CosemClass(class_id, name, tuple(attributes.split()), tuple(methods.split()))


CLASSES: Final = {
    row.class_id: row
    for row in (
        _class(1, "data", "value"),
        _class(3, "register", "value scaler_unit", "reset"),
        _class(4, "extended register", "value scaler_unit status capture_time", "reset"),
        _class(
            5,
            "demand register",
            "current_average_value last_average_value scaler_unit status capture_time start_time_current period "
            "number_of_periods",
            "reset next_period",
        ),
        _class(7, "profile generic", "buffer capture_objects capture_period sort_method sort_object entries_in_use profile_entries",
               "reset capture"),
        _class(
            8,
            "clock",
            "time time_zone status daylight_savings_begin daylight_savings_end daylight_savings_deviation "
            "daylight_savings_enabled clock_base",
            "adjust_to_quarter adjust_to_measuring_period adjust_to_minute adjust_to_preset_time preset_adjusting_time "
            "shift_time",
        ),
        _class(9, "script table", "scripts", "execute"),
        _class(11, "special days table", "entries", "insert delete"),
        _class(
            15,
            "association LN",
            "object_list associated_partners_id application_context_name xdlms_context_info "
            "authentication_mechanism_name secret association_status security_setup_reference user_list current_user",
            "reply_to_hls_authentication change_hls_secret add_object remove_object add_user remove_user",
        ),
        _class(17, "SAP assignment", "sap_assignment_list", "connect_logical_device"),
        _class(
            18,
            "image transfer",
            "image_block_size image_transferred_blocks_status image_first_not_transferred_block_number "
            "image_transfer_enabled image_transfer_status image_to_activate_info",
            "image_transfer_initiate image_block_transfer image_verify image_activate",
        ),
        _class(
            20,
            "activity calendar",
            "calendar_name_active season_profile_active week_profile_table_active day_profile_table_active "
            "calendar_name_passive season_profile_passive week_profile_table_passive day_profile_table_passive "
            "activate_passive_calendar_time",
            "activate_passive_calendar",
        ),
        _class(22, "single action schedule", "executed_script type execution_time"),
        _class(
            40,
            "push setup",
            "push_object_list send_destination_and_method communication_window randomisation_start_interval "
            "number_of_retries repetition_delay port_reference push_client_sap push_protection_parameters "
            "push_operation_method confirmation_parameters last_confirmation_date_time",
            "push reset",
        ),
        _class(41, "TCP-UDP setup", "tcp_udp_port ip_reference mss nb_of_sim_conn inactivity_time_out"),
        _class(
            42,
            "IPv4 setup",
            "dl_reference ip_address multicast_ip_address ip_options subnet_mask gateway_ip_address use_dhcp_flag "
            "primary_dns_address secondary_dns_address",
            "add_mc_ip_address delete_mc_ip_address get_nbof_mc_ip_addresses",
        ),
        _class(
            64,
            "security setup",
            "security_policy security_suite client_system_title server_system_title certificates",
            "security_activate key_transfer key_agreement generate_key_pair generate_certificate_request "
            "import_certificate export_certificate remove_certificate",
        ),
        _class(70, "disconnect control", "output_state control_state control_mode", "remote_disconnect remote_reconnect"),
        _class(
            71,
            "limiter",
            "monitored_value threshold_active threshold_normal threshold_emergency min_over_threshold_duration "
            "min_under_threshold_duration emergency_profile emergency_profile_group_id_list emergency_profile_active actions",
        ),
        _class(
            111,
            "account",
            "account_mode_and_status current_credit_in_use current_credit_status available_credit amount_to_clear "
            "clearance_threshold aggregated_debt credit_reference_list charge_reference_list credit_charge_configuration "
            "token_gateway_configuration account_activation_time account_closure_time currency low_credit_threshold "
            "next_credit_available_threshold max_provision max_provision_period",
            "activate_account close_account reset_account",
        ),
        _class(
            112,
            "credit",
            "current_credit_amount credit_type priority warning_threshold limit credit_configuration credit_status "
            "preset_credit_amount credit_available_threshold period",
            "update_amount set_amount_to_value invoke_credit",
        ),
        _class(
            113,
            "charge",
            "total_amount_paid charge_type priority unit_charge_active unit_charge_passive unit_charge_activation_time "
            "period charge_configuration last_collection_time last_collection_amount total_amount_remaining proportion",
            "update_unit_charge activate_passive_unit_charge collect update_total_amount_remaining "
            "set_total_amount_remaining",
        ),
        _class(115, "token gateway", "token token_time token_description token_delivery_method token_status", "enter"),
    )
}  # fmt: skip


def class_of(class_id: int) -> CosemClass:
    """The class by its number; a generic one where it is not in the table."""
    return CLASSES.get(class_id) or CosemClass(class_id, f"class {class_id}", ())
