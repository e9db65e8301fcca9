"""NFS versions 4.0, 4.1 and 4.2 (RFC 7530, RFC 8881, RFC 7862), with RFC 9754.

OPEN_XOR_DELEGATION (RFC 9754) is the only extension. NFSv4.0 is there for initrds in mode native.
"""
