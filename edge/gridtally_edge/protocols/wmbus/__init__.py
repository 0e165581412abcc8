"""Wireless M-Bus (EN 13757-4, OMS): frames of radio receivers, their layers and their ciphers."""
