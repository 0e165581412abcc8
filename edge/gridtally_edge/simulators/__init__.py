"""Simulated homes, meters, lines and faults: a product feature for installers, demonstrations and tests.

`street.py` describes a street, `run.py` runs one; `house.py` is the world behind a meter, `bus.py` the wire.
"""
