"""Calibration of the forecast of time left on real households: `make forecast-report`, and a share of it in every run."""
