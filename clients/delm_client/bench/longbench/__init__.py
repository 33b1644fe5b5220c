"""LongBench-v2, Multi-Document QA."""
