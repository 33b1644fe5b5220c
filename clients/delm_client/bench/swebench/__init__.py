"""SWE-bench Verified."""
