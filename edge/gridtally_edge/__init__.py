"""The DCU: polls meters, keeps readings, runs prepaid accounts on the spot, syncs. See edge/README.md."""

__version__ = "0.1.0"
