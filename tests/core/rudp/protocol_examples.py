#!/usr/bin/env python3
"""The examples of plugins/rudp/PROTOCOL.md, made from its words and sharing no code with core/rudp: prints them, and fails
where the document has other bytes. The vectors of packet protection are those of protection_test.cc; they are skipped
where Python has no `cryptography`."""

import hashlib
import hmac
import pathlib
import re
import struct
import sys

DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "plugins/rudp/PROTOCOL.md"
TEXT = re.sub(r"\s+", "", DOCUMENT.read_text())
failed = False


def example(name, data):
    global failed
    found = data.hex() in TEXT
    failed |= not found
    print(f"{'' if found else 'NOT IN THE DOCUMENT: '}{name}: {data.hex()}")
    return data


def crc32c(data, before=0):
    value = ~before & 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return ~value & 0xFFFFFFFF


def varint(value):
    size, mark = next((s, m) for s, m in ((1, 0), (2, 1), (4, 2), (8, 3)) if value < 1 << (8 * s - 2))
    return (value | mark << (8 * size - 2)).to_bytes(size, "big")


def be(value, size):
    return value.to_bytes(size, "big")


VERSION = be(0x52550201, 4)


def parameters():
    return b"".join(map(varint, (32 << 20, 16 << 20, 128, 64 << 10, 1472, 30000)))


def handshake():
    initiator, responder = bytes.fromhex("3031323334353637"), bytes.fromhex("6061626364656667")
    token = bytes.fromhex("69e0b25152a833ef7232a60117c282aa")
    prologue = VERSION + initiator
    transcript = crc32c(prologue)

    body = b"\x00" + bytes(range(0x40, 0x48)) + b"\x00" + parameters()
    transcript = crc32c(body, transcript)
    message1 = example("message 1", body + be(transcript, 4))
    initial = b"\xc0" + VERSION + initiator + b"\x00" + be(len(message1), 2) + message1
    example("INITIAL", initial)

    body = b"\x00" + bytes(range(0x50, 0x58)) + b"\x00" + responder + token + parameters()
    transcript = crc32c(body, transcript)
    message2 = example("message 2", body + be(transcript, 4))
    example("ACCEPT", b"\xc2" + VERSION + initiator + be(len(message2), 2) + message2)

    to_responder = be(crc32c(b"\x00", transcript), 4)
    to_initiator = be(crc32c(b"\x01", transcript), 4)
    example("seed to the responder", to_responder)
    example("seed to the initiator", to_initiator)

    def packet(name, seed, destination, number, frames):
        header = b"\x40" + destination + be(number & 0xFFFFFFFF, 4)
        payload = frames if isinstance(frames, bytes) else bytes.fromhex(frames)
        return example(name, header + payload + be(crc32c(seed + be(number, 8) + header + payload), 4))

    padding = bytes(1472 - 13 - 1 - 4)
    whole = b"\x40" + responder + be(0, 4) + b"\x01" + padding
    example("probe's checksum", be(crc32c(to_responder + be(0, 8) + whole), 4))
    packet("STREAM", to_responder, responder, 1, b"\x01\x0b\x00\x00\x05hello")
    packet("ACK", to_initiator, initiator, 1, b"\x02\x01" + varint(10000) + b"\x00\x01")
    packet("CLOSE", to_responder, responder, 3, b"\x1c\x00\x04done")


def multiply(a, b):
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << (bit - 8)
    return product


def inverse(a):
    return next(b for b in range(1, 256) if multiply(a, b) == 1)


def factor(repair, source):
    return multiply(64 ^ source, inverse((64 + repair) ^ source))


def correction():
    sources = [(5, bytes.fromhex("32026869")), (6, bytes.fromhex("01")), (7, bytes.fromhex("3203796573"))]
    symbols = [be(number, 8) + be(len(frames), 2) + frames for number, frames in sources]
    size = max(map(len, symbols))
    symbols = [symbol.ljust(size, b"\0") for symbol in symbols]
    for index, symbol in enumerate(symbols):
        example(f"symbol {index}", symbol)
    repairs = []
    for repair in range(2):
        factors = [factor(repair, source) for source in range(3)]
        example(f"factors of repair {repair}", bytes(factors))
        sums = bytearray(size)
        for times, symbol in zip(factors, symbols):
            for at, byte in enumerate(symbol):
                sums[at] ^= multiply(times, byte)
        repairs.append(bytes(sums))
        example(f"repair {repair}", repairs[-1])
        example(f"FEC_REPAIR {repair}", b"\x39\x09\x03\x02" + bytes([repair, size]) + repairs[-1])
    # Back again, with sources 0 and 2 lost.
    first = bytes(a ^ b for a, b in zip(repairs[0], symbols[1]))
    second = bytes(a ^ multiply(factor(1, 1), b) for a, b in zip(repairs[1], symbols[1]))
    under = inverse(factor(1, 0) ^ factor(1, 2))
    lost0 = bytes(multiply(under, b ^ multiply(factor(1, 2), a)) for a, b in zip(first, second))
    assert lost0 == symbols[0] and bytes(a ^ b for a, b in zip(first, lost0)) == symbols[2]
    example("factors 31 of 0 and 63", bytes([factor(31, 0), factor(31, 63)]))


def protection():
    def expand(secret, label, size):
        label = b"rudp1 " + label
        info = struct.pack(">HB", size, len(label)) + label + b"\0"
        return hmac.new(secret, info + b"\1", hashlib.sha256).digest()[:size]

    secret = bytes(range(32))
    key, iv = example("key", expand(secret, b"key", 32)), example("iv", expand(secret, b"iv", 12))
    following = example("secret of phase 1", expand(secret, b"ku", 32))
    header = bytes.fromhex("c0d1d2d3d4d5d6d7d8deadbeef")
    example("header", header)
    example("CRC32C, 0", b"portolan" + be(crc32c(secret[:4] + be(0, 8) + header + b"portolan"), 4))
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    except ImportError:
        return print("skipped: the ciphers")
    number = 0x3123456789ABCDEF
    for name, cipher in (("AES-256-GCM", AESGCM), ("ChaCha20-Poly1305", ChaCha20Poly1305)):
        example(f"{name}, 0", cipher(key).encrypt(iv, b"portolan", header))
        nonce = bytes(a ^ b for a, b in zip(be(number, 12), expand(following, b"iv", 12)))
        example(f"{name}, phase 1", cipher(expand(following, b"key", 32)).encrypt(nonce, b"portolan", header))


handshake()
correction()
protection()
sys.exit(failed)
