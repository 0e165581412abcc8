"""Decoders against bytes nobody meant to send.

Each module here is one area and has two tables:

    DECODERS: dict[str, Callable[[bytes], object]]   name -> a decoder; fed any bytes it returns or raises one GridtallyError
    SEEDS: dict[str, list[bytes]]                    name -> sound inputs, which the fuzzer spoils (may be empty)

`attack.py` makes the inputs and judges; `test_fuzz.py` runs a share of 20,000 inputs a decoder in the suite, `make fuzz` a
million.
"""
