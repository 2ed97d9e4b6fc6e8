"""The MACs that answer for each IPv4 address: `arp_scan.py IFNAME OWN_ADDRESS SUBNET` asks for each address and prints JSON,
{address: [MAC, ...]}. It uses a packet socket, so that only the wire counts; two MACs are a duplicate."""

import collections
import ipaddress
import json
import select
import socket
import struct
import sys
import time

REQUEST, REPLY = 1, 2


def main(ifname, own, subnet):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    wire.bind((ifname, 0x0806))
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    mac = wire.getsockname()[4]
    answers = collections.defaultdict(set)

    def hear(seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and select.select([wire], [], [], left)[0]:
            frame = wire.recv(2048)
            operation, sender, address = struct.unpack("!6xH6s4s", frame[14:32])
            if operation == REPLY and sender != mac:
                answers[str(ipaddress.IPv4Address(address))].add(sender.hex(":"))

    for _ in range(3):
        for target in ipaddress.ip_network(subnet).hosts():
            if str(target) == own:
                continue
            wire.send(b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, REQUEST) + mac
                      + ipaddress.IPv4Address(own).packed + bytes(6) + target.packed)
            hear(0.002)
        hear(1)
    print(json.dumps({address: sorted(macs) for address, macs in answers.items()}))


main(*sys.argv[1:])
