"""Benchmarks: their items, how they are shown, and how they are graded. No agents and no models in here."""
