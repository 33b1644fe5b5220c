"""Items that are solved by changing files in a git repository: exercises, and SWE-bench."""
