"""`delm-run repair-study`: repair without a model, through topologies, on outcomes of tests that really ran.

`programs` makes faulty programs out of a benchmark, `record` runs every edit of each once, `luck` draws what
differs between seeds, `teams`, `division` and `swarm` replay the recording, `sweep` does so for every
topology, number of agents and seed, `real` lets real agents do a part of it, and `views` and `report` show it
all.
"""
