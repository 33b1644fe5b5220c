"""What a study raises."""


class StudyError(Exception):
    """The study cannot go on; the text says why and what would work."""
