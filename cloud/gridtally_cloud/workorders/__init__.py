"""Work that a person has to do, and how it is told and closed."""
