"""IEC 62056-21: local reading of electricity meters in ASCII, modes A to E, and the P1 telegrams that grew out of it."""
