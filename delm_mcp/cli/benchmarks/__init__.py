"""What `delm-mcp bench` measures: each part in a module, on the production code and nothing else."""
