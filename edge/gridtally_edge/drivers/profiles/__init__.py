"""Modbus meter models, one TOML file each; `drivers/modbus_profile.py` reads them and shows the form."""
