"""A scripted team of five agents over real MCP, one of which lies: what gets through, and who catches it.

`python -m tests.lying_team` plays the same story under each preset and prints what became of every lie.
No model takes part: four honest scripts and a lying one, all of them deterministic.
"""
