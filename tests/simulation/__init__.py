"""Deterministic simulation of prepayment: meters, concentrator, link and MDM in one process, by one virtual clock and a seed.

The edge's PrepayCore and Uplink and the MDM's ingest, publisher and payment services are the real ones on real stores;
meters and the network are the world's. See docs/simulation.md.
"""
