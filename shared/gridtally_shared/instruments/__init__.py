"""Instruments as both sides know them: their types and detail records, the keypad code, the file that carries a batch."""
