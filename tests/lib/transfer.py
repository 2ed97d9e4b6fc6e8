#!/usr/bin/python3
"""receive ADDRESS PORT | send ADDRESS PORT BYTES: pseudo-random bytes over TCP; both ends print "BYTES SHA256"."""

import hashlib
import random
import socket
import sys

CHUNK = 1 << 20


def receive(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        print("listening", flush=True)
        connection, _ = listener.accept()
        with connection:
            digest, size = hashlib.sha256(), 0
            while data := connection.recv(CHUNK):
                digest.update(data)
                size += len(data)
    print(size, digest.hexdigest())


def send(address, port, size):
    source, digest, left = random.Random(size), hashlib.sha256(), size
    with socket.create_connection((address, port), 10) as connection:
        connection.settimeout(30)
        while left:
            data = source.randbytes(min(CHUNK, left))
            connection.sendall(data)
            digest.update(data)
            left -= len(data)
    print(size, digest.hexdigest())


if sys.argv[1] == "receive":
    receive(sys.argv[2], int(sys.argv[3]))
else:
    send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
