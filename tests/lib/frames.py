"""Frames that a pod may or may not send, and functions that send and receive them."""

import ipaddress
import struct

BROADCAST = "ff:ff:ff:ff:ff:ff"

# Sends frames through an interface unchanged.
SEND = """import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for frame in sys.argv[2:]:
    s.send(bytes.fromhex(frame))"""
# Prints each received frame until one has the EtherType of the last.
HEAR = """import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: tags
s.bind((sys.argv[1], 0))
print("listening", flush=True)
while True:
    frame, more, _, _ = s.recvmsg(65536, 256)
    status, _, _, _, _, tci, kind = struct.unpack("IIIHHHH", more[0][2])
    tag = struct.pack("!HH", kind, tci) if status & 0x10 else b""  # TP_STATUS_VLAN_VALID
    print((tag + frame[12:]).hex(), flush=True)
    if frame[12:14] == bytes.fromhex("88b5"):
        break"""


def packed(text):
    return ipaddress.ip_address(text).packed


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def frame(to, source, payload):
    return mac(to) + mac(source) + payload


def arp(operation, sender_mac, sender, target):
    return b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, operation) + mac(sender_mac) + packed(sender) + \
        bytes(6) + packed(target)


def add_up(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def ipv6(protocol, source, to, payload, upper=58, behind=b""):
    """An IPv6 packet: the extension headers `behind`, then `payload` of protocol `upper` with its checksum."""
    pseudo = packed(source) + packed(to) + struct.pack("!II", len(payload), upper)
    at = 2 if upper == 58 else 6
    checksum = add_up(pseudo + payload + bytes(len(payload) % 2))
    payload = payload[:at] + struct.pack("!H", checksum) + payload[at + 2:]
    return b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, len(behind + payload), protocol, 255) + packed(source) + \
        packed(to) + behind + payload


def advertisement(address, at):
    """RFC 4861, section 4.4: override, with the target's link-layer address."""
    return bytes([136, 0, 0, 0, 0x20, 0, 0, 0]) + packed(address) + b"\2\1" + mac(at)


def attacks(attacker, victim, to, ifname="eth0"):
    """Frames that a pod may not send through its interface `ifname`, by drop reason; addressed to the MAC `to`."""
    own, lie = attacker.mac(ifname), victim.mac("eth0")
    na = advertisement(victim.ip6, own)
    router = bytes([134, 0, 0, 0, 64, 0, 7, 8]) + bytes(8) + b"\1\1" + mac(own)
    offer = struct.pack("!HHHH", 67, 68, 8 + 240, 0) + bytes([2, 1, 6, 0]) + bytes(236)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(offer), 1, 0, 64, 17, 0, packed(attacker.ip4), packed(victim.ip4))
    ip = ip[:10] + struct.pack("!H", add_up(ip)) + ip[12:]
    offer6 = struct.pack("!HHHH", 547, 546, 12, 0) + b"\2abc"
    all_nodes = "ff02::1"
    return {
        "spoofed-mac": [frame(to, lie, b"\x88\xb6" + bytes(50)),
                        frame(to, "02:00:5e:10:00:99", ip_datagram(attacker.ip4, victim.ip4)),
                        frame(to, own, arp(2, lie, attacker.ip4, victim.ip4))],
        "spoofed-address": [frame(to, own, arp(2, own, victim.ip4, "198.51.100.1")),
                            frame(to, own, arp(1, own, victim.ip4, victim.ip4)),
                            frame(to, own, b"\x81\x00\x00\x00" + arp(2, own, victim.ip4, "198.51.100.1")),
                            frame(to, own, ipv6(58, victim.ip6, all_nodes, na)),
                            frame(to, own, ipv6(0, "fe80::1", all_nodes, na, behind=bytes([58, 0, 1, 4, 0, 0, 0, 0])))],
        "rogue-server": [frame(to, own, ipv6(58, "fe80::1", all_nodes, router)),
                         frame(to, own, b"\x08\x00" + ip + offer),
                         frame(to, own, ipv6(17, "fe80::1", all_nodes, offer6, upper=17))],
        "unreadable": [frame(to, own, ipv6(44, "fe80::1", all_nodes, na, behind=bytes([58, 0, 0, 0, 0, 0, 0, 1])))],
    }


def ipv6_datagram(source, to, port, payload):
    return ipv6(17, source, to, struct.pack("!HHHH", 5000, port, 8 + len(payload), 0) + payload, upper=17)


def ip_datagram(source, to, port=5000, payload=b"spoofing"):
    udp = struct.pack("!HHHH", 5000, port, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, packed(source), packed(to))
    return b"\x08\x00" + ip[:10] + struct.pack("!H", add_up(ip)) + ip[12:] + udp


def drops(agent, pod, ifname="eth0"):
    return {one["reason"]: int(one["count"]) for row in agent.ctl_json("drops").get("drops", [])
            for one in [row.get("drop", row)] if row.get("portName") == host_end(agent, pod, ifname)}


def row_of(agent, pod, ifname="eth0"):
    return next(port for port in agent.ports() if port["mac"] == pod.mac(ifname))


def host_end(agent, pod, ifname="eth0"):
    return row_of(agent, pod, ifname)["name"]


def send(sender, ifname, frames):
    sender.run("/usr/bin/python3", "-c", SEND, ifname, *(one.hex() for one in frames))


def heard(sender, listeners, frames, ifname="eth0"):
    """The subset of `frames` that arrives at each of `listeners`, (namespace, interface), when `sender` sends them followed by
    a frame that all must receive."""
    ears = []
    for number, (listener, where) in enumerate(listeners):
        ears.append(listener.start(f"hear-{number}-{listener.lab.next_id()}", "/usr/bin/python3", "-c", HEAR, where))
        ears[-1].says("listening")
    send(sender, ifname, [*frames, frame(BROADCAST, sender.mac(ifname), b"\x88\xb5" + bytes(50))])
    found = []
    for ear in ears:
        ear.says("88b5" + "00" * 50)
        ear.wait()
        lines = ear.output().splitlines()
        found.append([one for one in frames if any(line.startswith(one[12:].hex()) for line in lines)])
    return found
