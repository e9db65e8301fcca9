"""NFS version 3 and its MOUNT protocol (RFC 1813)."""
