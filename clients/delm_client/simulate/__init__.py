"""`delm-run simulate`: real call traces, replayed through ways to organise a team, as discrete events.

Everything that comes out of here is simulated, and says so. `traces` reads calls, `world` draws what
happens (the same for every topology), `topologies` act on it, `parts` are the questions, `sweep` runs them,
`findings` says what they show, and `tables`, `plots` and `report` print it. No agent and no model is started.
"""
