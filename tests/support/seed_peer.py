#!/usr/bin/env python3
"""Plain stop-and-wait peers of the two seed formats, written from the formats alone:

    messages  [SeqNum u32 BE][Ack u8][payload]    a data packet (Ack=0) is answered with its SeqNum, Ack=1, no payload
    files     [Type u8][SeqNum u32 BE][payload]   1 data, 2 ack, 3 fin; at most 1024 bytes in all

seed_peer.py [--loss P --seed N] receive messages|files PATH [--count N]   prints its port; after N messages or a fin it
                                                           writes PATH, and answers until all is quiet
seed_peer.py [--loss P --seed N] send messages|files PATH PORT             to 127.0.0.1

PATH is the file; or messages, each behind its length (u32 BE). Loss is of what this side sends and of what it receives.
"""
import argparse
import random
import socket
import struct
import sys
import time

DATA, ACK, FIN = 1, 2, 3
TIMEOUT = 0.05
QUIET = 10.0  # then nobody repeats a packet any more because its acknowledgement was lost


def pack(form, kind, number, payload=b""):
    if form == "files":
        return struct.pack(">BI", kind, number) + payload
    return struct.pack(">IB", number, 1 if kind == ACK else 0) + payload


def unpack(form, datagram):
    if form == "files":
        kind, number = struct.unpack(">BI", datagram[:5])
    else:
        number, ack = struct.unpack(">IB", datagram[:5])
        kind = ACK if ack == 1 else DATA
    return kind, number, datagram[5:]


class Link:
    def __init__(self, options):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.random = random.Random(options.seed)
        self.loss = options.loss

    def send(self, datagram, to):
        if self.random.random() >= self.loss:
            self.socket.sendto(datagram, to)

    def receive(self, until):
        """The next datagram and its sender, or None when it is too late."""
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                datagram, sender = self.socket.recvfrom(65536)
            except TimeoutError:
                return None
            if self.random.random() >= self.loss:
                return datagram, sender


def receive(link, form, path, count):
    print(link.socket.getsockname()[1], flush=True)
    expected, taken, done = 0, [], False
    while received := link.receive(time.monotonic() + QUIET):
        kind, number, payload = unpack(form, received[0])
        if kind == ACK or number > expected:
            continue
        if number == expected:
            assert not done and (form == "messages" or len(received[0]) <= 1024)
            expected += 1
            if kind == DATA:
                taken.append(payload)
            done = kind == FIN or (form == "messages" and len(taken) == count)
            if done:
                write(form, path, taken)
        link.send(pack(form, ACK, number), received[1])
    return 0 if done else 1


def write(form, path, taken):
    with open(path, "wb") as file:
        for payload in taken:
            file.write(payload if form == "files" else struct.pack(">I", len(payload)) + payload)


def packets(form, path):
    with open(path, "rb") as file:
        while block := file.read(1019 if form == "files" else 4):
            yield DATA, block if form == "files" else file.read(struct.unpack(">I", block)[0])
    if form == "files":
        yield FIN, b""


def send(link, form, path, port):
    for number, (kind, payload) in enumerate(packets(form, path)):
        acknowledged = False
        for _ in range(200):
            link.send(pack(form, kind, number, payload), ("127.0.0.1", port))
            until = time.monotonic() + TIMEOUT
            while not acknowledged and (received := link.receive(until)):
                answer, of, rest = unpack(form, received[0])
                assert answer == ACK and rest == b"", "an acknowledgement is empty"
                acknowledged = of == number
            if acknowledged:
                break
        else:
            return 1
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int)
    parser.add_argument("command", choices=["receive", "send"])
    parser.add_argument("form", choices=["messages", "files"])
    parser.add_argument("path")
    parser.add_argument("port", type=int, nargs="?")
    options = parser.parse_args()
    link = Link(options)
    if options.command == "receive":
        return receive(link, options.form, options.path, options.count)
    return send(link, options.form, options.path, options.port)


if __name__ == "__main__":
    sys.exit(main())
