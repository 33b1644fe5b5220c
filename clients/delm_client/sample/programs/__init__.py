"""Small programs, each with one bug."""
