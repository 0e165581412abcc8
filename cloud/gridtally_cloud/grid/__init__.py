"""The distribution network as far as metering knows it: transformers, feeders, what hangs behind them, and their load."""
