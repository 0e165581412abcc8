"""What the edge and the cloud must agree on. Imports nothing of ours; see shared/README.md."""

__version__ = "0.1.0"
