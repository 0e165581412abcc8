"""The account journal: facts (entries.py), their replay (replay.py) and the window of used instruments (window.py)."""
