"""`gridtally-dcu read`: one meter, once, without the agent. where.py: the line; who.py: the meter; asked.py: what is asked;
managed.py: meters an agent looks after; show.py: text and JSON; command.py puts them together."""
