"""How long the money will last: a household's own load history walked through its real tariff."""
