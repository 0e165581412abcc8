"""Shorthand for the shared test data; see required.py."""

from support.required import data_path

__all__ = ["data_path"]
