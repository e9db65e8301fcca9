"""Measures storeboot against peers, by groups; each group writes rows to results.json."""
