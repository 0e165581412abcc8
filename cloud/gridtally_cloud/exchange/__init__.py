"""Interval data in and out of the MDM: Green Button, NEM12, LSE, CSV and NDJSON through one neutral record (docs/exchange.md)."""
