"""Alembic's environment of the MDM store; run by store/meta.py, never by hand."""
