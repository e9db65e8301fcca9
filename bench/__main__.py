"""Measures one group of rows against peers: `python -m bench GROUP`."""

from __future__ import annotations

import logging
import sys

import structlog

from bench import boot, hosts, nfs, protocol
from bench.nfs import guest
from bench.rows import write

GROUPS = {
    "boot": boot.counts,
    "boot-long": boot.times,
    "storm": boot.storm,
    "nfs": nfs.measure,
    "memory": nfs.memory,
    "client": guest.measure,
    "boots": protocol.boots,
    "leases": protocol.leases,
    "hosts": hosts.measure,
}


def main() -> int:
    wanted = sys.argv[1:] or list(GROUPS)
    unknown = set(wanted) - set(GROUPS)
    if unknown:
        print(f"error: no group {unknown.pop()!r}; there are: {', '.join(GROUPS)}", file=sys.stderr)
        return 1
    # The servers' own words are of no use here, but for what goes wrong.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rows = [row for name in wanted for row in GROUPS[name]()]
    write(rows)
    for row in rows:
        wish = "" if row.target is None else f"target {row.target:g}"
        mark = "" if row.met else "  MISSED"
        low, high = row.spread
        print(f"{row.id:38} {row.value:8g} {row.unit:3} [{low:g} to {high:g}] {wish}{mark}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
