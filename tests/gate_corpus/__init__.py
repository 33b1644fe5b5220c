"""An adversarial corpus for the admission gate: what it lets through, and what it turns down.

`documents/` are the sources that a run's owner registers, `repository/` the files of its repository
(Python files end in `.txt`, so that no tool takes them for ours), `pairs/` the findings: one TOML file
for each family of falsehood, with as many true counterparts. `held_out/` has the same form; its pairs
were written after the checks, and nobody may mend a check by looking at them. A pair that taught us
something moves to `pairs/`, and a new one takes its place.

    python -m tests.gate_corpus                      # a table for each preset
    python -m tests.gate_corpus --preset standard --show
"""
