"""`gridtally-dcu scan`: who is on a line. `found.py` asks or listens, `command.py` is the command."""
