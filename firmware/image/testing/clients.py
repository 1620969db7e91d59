"""Clients of the image's services. Each answers what came back, or raises OSError."""

import socket
import ssl
import struct

TIMEOUT_S = 15  # for one step of a conversation with a guest on a busy host


def _unverified():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is made at the start and signed by itself
    return context


def connect(port, tls=False, timeout_s=TIMEOUT_S):
    connection = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
    try:
        return _unverified().wrap_socket(connection) if tls else connection
    except OSError:
        connection.close()
        raise


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        data = connection.recv(4096)
        if not data:
            raise ConnectionResetError("closed before the line's end")
        line += data
    return line


def echo(port, line, tls=False, timeout_s=TIMEOUT_S):
    with connect(port, tls, timeout_s) as connection:
        connection.sendall(line)
        return read_line(connection)


def echo_udp(port, line):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(2)
        # UDP may lose it, and so may a queue of the emulated network.
        for attempt in range(5):
            peer.sendto(line, ("127.0.0.1", port))
            try:
                return peer.recv(4096)
            except socket.timeout:
                if attempt == 4:
                    raise
    raise AssertionError


def binary(port, kind, payload):
    """A frame of `kind` there, a frame (kind, payload) back."""
    with connect(port) as connection:
        connection.sendall(struct.pack(">IB", len(payload), kind) + payload)
        data = b""
        while len(data) < 5 or len(data) < 5 + struct.unpack(">I", data[:4])[0]:
            piece = connection.recv(4096)
            if not piece:
                raise ConnectionResetError("closed within a frame")
            data += piece
        return data[4], data[5:]
