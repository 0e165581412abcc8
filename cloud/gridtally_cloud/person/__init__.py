"""What is held about a person: shown to the person whole, and erased when the person asks for it."""
