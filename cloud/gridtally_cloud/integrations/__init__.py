"""The doors to other systems: what they are told, and the stand-ins of them that tests and trials use."""
