"""Reads the folders of benchmark runs and tells what is in them: one run, or several side by side.

    calls.py        the trajectories: which call when, by whom, and what it took
    bubbles.py      when agents' calls were under way, and when they waited
    gate.py         what the board's gate did, as `delm-mcp stats` tells it
    figures.py      all figures of one run, as JSON has them
    sources.py      where figures come from, which stands beside each of them
    page.py         tables, pictures and words in the order in which all outputs show them
    run_page.py     one run as such a page
    several.py      figures of several runs, and `several_page.py` their page
    plots.py        pictures, where matplotlib is installed
    outputs.py      terminal, Markdown, HTML and JSON of a page

Steps, groups and agents are whatever the folder says: no benchmark is known here by its name.
"""
