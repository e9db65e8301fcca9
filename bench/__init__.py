"""Benchmarks: each group measures storeboot against peers, and writes rows to results.json."""
