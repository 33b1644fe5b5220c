"""What a user can mend."""


class SimulationError(Exception):
    """Input that cannot be simulated; the text says what was wrong and what would work."""
