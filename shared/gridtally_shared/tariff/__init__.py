"""Tariffs as data and the charges they make: one engine for the edge's journal and the cloud's bills."""
