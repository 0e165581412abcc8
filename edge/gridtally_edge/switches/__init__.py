"""Switches apart from the meter: a contactor beside a sub-meter that has none.

One rule stands above the rest (safety.md 8): the contactor is wired so that a coil without current leaves supply on. To cut
is to drive a coil; a dead concentrator, a dead board or a broken wire drives nothing. A latching contactor keeps its state
when everything is dead, so nothing that fails cuts; what was cut before is closed by hand at the contactor.

So a switch of this kind is no isolator: whoever works on the installation locks it by hand, since a failure brings supply
back.
"""
