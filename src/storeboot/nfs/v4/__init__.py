"""NFS versions 4.0 (RFC 7530), 4.1 (RFC 8881) and 4.2 (RFC 7862), with OPEN_XOR_DELEGATION.

RFC 9754 adds OPEN_XOR_DELEGATION to 4.2. Version 4.0 is there for initrds in mode native.
"""
