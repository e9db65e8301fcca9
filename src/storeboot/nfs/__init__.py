"""The NFS server of a store that never changes: bytes in, bytes out; no I/O, no clock, no log.

Read in this order: ``xdr`` and ``rpc`` (framing), ``handle``, ``views`` and ``walk`` (what is
served), ``v3`` and ``v4`` (the two protocols), ``program`` (which program answers a call).
"""
