"""The real coding agents, headless, as a team on a board; a scripted model answers in place of theirs.

`.ci/agents` installs them; `python -m pytest -m real_agents` runs these tests. Each agent is started by its
harness, in a HOME that nobody has used, with a dummy key, and is given no address but on loopback.
"""
