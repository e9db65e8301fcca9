"""What the kernel knows of the other end of a TCP connection: tcp(7), TCP_INFO, keepalives."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_SIZE = 128  # bytes of struct tcp_info up to tcpi_bytes_acked, which Linux has since 4.1
_LAST_ACK = struct.Struct("=I")
_ACKNOWLEDGED = struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """The part of struct tcp_info (linux/tcp.h) that is used here."""

    acknowledged: int  # bytes that the peer has acknowledged since the connection began
    silence: float  # seconds since its last acknowledgement

    @classmethod
    def of(cls, connection: socket.socket) -> TcpInfo:
        """Return what is known now; raise OSError if the connection is closed."""
        data = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
        if len(data) < _SIZE:
            raise OSError("the kernel does not tell what a peer has acknowledged")
        milliseconds = _LAST_ACK.unpack_from(data, 56)[0]
        return cls(_ACKNOWLEDGED.unpack_from(data, 120)[0], milliseconds / 1000)


def keep_alive(connection: socket.socket, seconds: int, times: int) -> None:
    """Ask a quiet peer every so many seconds whether it is there; give up after so many questions
    without an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, times)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
