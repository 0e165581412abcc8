"""The prepayment engine both sides and the simulation use: regions and their transitions, cut tests, rules. All pure."""
