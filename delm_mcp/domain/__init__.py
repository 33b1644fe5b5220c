"""The rules of the board, pure: no async, no I/O, no clock, no randomness.

`model` has the words, `tasks` and `entries` the transition tables, `policy` what must be checked,
`admission` how checks decide, `rendering` what agents read, `drain` when a run is over.
"""
