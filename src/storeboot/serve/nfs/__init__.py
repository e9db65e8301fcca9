"""The NFS ports, and the processes that answer them."""
