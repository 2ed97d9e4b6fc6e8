"""A TCP stream that reports its course: `stream.py receive ADDRESS PORT`, `stream.py send ADDRESS PORT PERIOD`.

The sender sends a numbered block every PERIOD seconds (0: as fast as possible) until its standard input ends. The receiver
checks the numbers and finally prints the number of blocks and the longest time without one, in seconds. Both fail if the
connection is reset.
"""

import select
import socket
import struct
import sys
import time

BLOCK = 16384


def receive(listener):
    stream, _ = listener.accept()
    count, longest, last, buffer = 0, 0.0, time.monotonic(), b""
    while True:
        data = stream.recv(1 << 20)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        if not data:
            break
        buffer += data
        while len(buffer) >= BLOCK:
            number, = struct.unpack_from("!Q", buffer)
            assert number == count, f"block {number} instead of {count}"
            count, buffer = count + 1, buffer[BLOCK:]
    assert not buffer, f"it ended in the middle of block {count}"
    print(f"received {count} blocks, {longest:.3f} s at most without one", flush=True)


def send(stream, period):
    number, due = 0, time.monotonic()
    print("sending", flush=True)
    while True:
        if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
            break
        stream.sendall(struct.pack("!Q", number).ljust(BLOCK, b"v"))
        number, due = number + 1, max(due + period, time.monotonic())
    stream.shutdown(socket.SHUT_WR)
    stream.settimeout(60)
    assert stream.recv(1) == b""
    print(f"sent {number} blocks", flush=True)


def main():
    what, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    end = socket.socket(family)
    if what == "receive":
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end.bind((address, port))
        end.listen(1)
        print("listening", flush=True)
        receive(end)
    else:
        end.connect((address, port))
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(end, float(sys.argv[4]))


main()
