"""Port security: a pod that pretends to be another, a router or a DHCP server gets nowhere; good traffic goes on."""

import ipaddress
import json
import signal
import struct

from tests.lib import runner
from tests.lib.cni import CniError
from tests.lib.lab import Lab
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3/vni=7"
CAPABILITY = "io.kubernetes.cri.pod-annotations"
VRRP = "00:00:5e:00:01:0a"  # virtual router 10: RFC 5798, section 7.3
# The agents give what is below .128, and what is above is on the link, too.
VIP, MEMBER = "198.51.100.200", "198.51.100.209"
CLOUD = {"name": "blue", "vnl": VNL, "subnets": ["198.51.100.0/25", "2001:db8:42::/64"],
         "allowByAnnotation": ["00:00:5e:00:01:00/40", VIP]}
BROADCAST = "ff:ff:ff:ff:ff:ff"

SEND = """import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
for frame in sys.argv[1:]:
    s.send(bytes.fromhex(frame))"""
# Says each frame that comes in, until one has the EtherType of the last.
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
    """`payload` of protocol `upper` with its checksum, behind the extension headers `behind`."""
    pseudo = packed(source) + packed(to) + struct.pack("!II", len(payload), upper)
    at = 2 if upper == 58 else 6
    checksum = add_up(pseudo + payload + bytes(len(payload) % 2))
    payload = payload[:at] + struct.pack("!H", checksum) + payload[at + 2:]
    return b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, len(behind + payload), protocol, 255) + packed(source) + \
        packed(to) + behind + payload


def advertisement(address, at):
    """RFC 4861, section 4.4: override, with the target's link-layer address."""
    return bytes([136, 0, 0, 0, 0x20, 0, 0, 0]) + packed(address) + b"\2\1" + mac(at)


def attacks(attacker, victim, to):
    """What a pod may not send, by drop reason; to the MAC `to`."""
    own, lie = attacker.mac("eth0"), victim.mac("eth0")
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


def ip_datagram(source, to):
    udp = struct.pack("!HHHH", 5000, 5000, 16, 0) + b"spoofing"
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, packed(source), packed(to))
    return b"\x08\x00" + ip[:10] + struct.pack("!H", add_up(ip)) + ip[12:] + udp


def drops(agent, pod):
    return {one["reason"]: int(one["count"]) for row in agent.ctl_json("drops").get("drops", [])
            for one in [row.get("drop", row)] if row.get("portName") == host_end(agent, pod)}


def row_of(agent, pod):
    return next(port for port in agent.ports() if port["mac"] == pod.mac("eth0"))


def host_end(agent, pod):
    return row_of(agent, pod)["name"]


def heard(sender, listeners, frames):
    """Which of `frames` arrive at each of `listeners`, (namespace, interface), when `sender` sends them, and then one that
    all must hear."""
    ears = []
    for number, (listener, ifname) in enumerate(listeners):
        ears.append(listener.start(f"hear-{number}-{listener.lab.next_id()}", "/usr/bin/python3", "-c", HEAR, ifname))
        ears[-1].says("listening")
    last = frame(BROADCAST, sender.mac("eth0"), b"\x88\xb5" + bytes(50))
    sender.run("/usr/bin/python3", "-c", SEND, *(one.hex() for one in [*frames, last]))
    found = []
    for ear in ears:
        ear.says("88b5" + "00" * 50)
        ear.wait()
        lines = ear.output().splitlines()
        found.append([one for one in frames if any(line.startswith(one[12:].hex()) for line in lines)])
    return found


def pods_of(lab, config=None):
    """Two nodes; two pods on the first and one on the second, and a plain member; all know each other."""
    n1, n2 = lab.node("n1"), lab.node("n2")
    pods = []
    for node, name in ((n1, "attacker"), (n1, "near"), (n2, "far")):
        if node.agent is None:
            node.start_agent({"clouds": [config or CLOUD]})
        pod = node.pod(name)
        pod.add(network(node))
        pod.ip("route", "add", "198.51.100.128/25", "dev", "eth0")
        pods.append(pod)
    member = n2.vdens("member", VNL)
    member.address(member.ifname, f"{MEMBER}/24", "2001:db8:42::9/64")
    good_traffic(pods, member)
    lab.settle()
    return (n1, n2), pods, member


def network(node, name="blue", **section):
    return node.network({"cniVersion": "1.0.0", "name": name, "plugins": [
        {"type": "vxvde", "cloud": "blue", "capabilities": {CAPABILITY: True}, **section}]})


def annotated(allow):
    return {CAPABILITY: {"vxvde.io/allow": allow}}


def good_traffic(pods, member):
    for pod in pods:
        for other in [*pods, member]:
            if other is not pod:
                for address in (MEMBER, "2001:db8:42::9") if other is member else (other.ip4, other.ip6):
                    pod.reaches(address)


def test_pretenders():
    """another's MAC, ARP, NA, an RA, DHCP offers, hidden ones: to all and to one; nothing arrives, nobody is misled"""
    with Lab("guard") as lab:
        (n1, _), (attacker, near, far), member = pods_of(lab)
        listeners = [(near, "eth0"), (far, "eth0"), (member, member.ifname)]
        assert all(port.get("guarded") for port in n1.agent.ports() if port.get("attachment")), n1.agent.ports()
        for victim in (near, far):
            before = drops(n1.agent, attacker)
            bad = {}
            for to in (BROADCAST, "33:33:00:00:00:01", near.mac("eth0"), far.mac("eth0"), member.mac(member.ifname)):
                for reason, frames in attacks(attacker, victim, to).items():
                    bad.setdefault(reason, []).extend(frames)
            arrived = heard(attacker, listeners, [one for frames in bad.values() for one in frames])
            assert not any(arrived), [[one.hex() for one in frames] for frames in arrived]
            after = drops(n1.agent, attacker)
            for reason, frames in bad.items():
                assert after[reason] - before.get(reason, 0) == len(frames), (victim, reason, before, after)
        at = {entry["mac"]: entry["location"] for entry in n1.agent.fdb()}
        assert at[near.mac("eth0")].get("port") and at[far.mac("eth0")].get("peer"), at
        assert "02:00:5e:10:00:99" not in at, at
        for pod, other in ((near, far), (far, near)):
            for address in (other.ip4, other.ip6):
                seen = {row.get("lladdr") for row in pod.ip_json("neigh", "show", address)}
                assert seen == {other.mac("eth0")}, (pod, address, seen)
        good_traffic((attacker, near, far), member)
        attacker.send_file(near, near.ip4, 4 << 20)
        attacker.send_file(far, far.ip6, 4 << 20)
        near.send_file(attacker, attacker.ip6, 4 << 20)

        ports = n1.agent.ctl("-o", "wide", "ports").stdout
        assert "GUARDED" in ports and " yes" in ports, ports


def virtual_router(pod):
    """As keepalived's use_vmac makes it: an interface for the virtual MAC, which alone answers for the address."""
    for key, value in (("all/arp_ignore", 1), ("all/arp_announce", 2), ("all/rp_filter", 0), ("default/rp_filter", 0)):
        pod.sysctl(f"net/ipv4/conf/{key}", value)
    pod.ip("link", "add", "vrrp.10", "link", "eth0", "address", VRRP, "type", "macvlan", "mode", "private")
    pod.address("vrrp.10", f"{VIP}/32")


def announce(pod):
    """A gratuitous ARP from the virtual MAC (RFC 5798, section 6.4.1)."""
    pod.run("/usr/bin/python3", "-c", SEND.replace("eth0", "vrrp.10"), frame(BROADCAST, VRRP, arp(1, VRRP, VIP, VIP)).hex())


def test_virtual_router():
    """VRRP's MAC and address, allowed by annotation, move from node to node; a pod that did not ask has no use of them"""
    with Lab("vrrp") as lab:
        (n1, n2), (attacker, near, far), member = pods_of(lab)
        routers = []
        for node in (n1, n2):
            pod = node.pod("router")
            pod.add(network(node), capability_args=annotated(f"{VRRP}, {VIP}"))
            pod.ip("route", "add", "198.51.100.128/25", "dev", "eth0")
            assert row_of(node.agent, pod)["attachment"]["allow"] == [VRRP, VIP], row_of(node.agent, pod)
            routers.append(pod)
        for pod, beyond in ((near, "router"), (far, f"{VRRP}, 198.51.100.201"), (near, "all"), (far, "nonsense")):
            other = pod.node.pod("refused")
            try:
                other.add(network(pod.node, "other"), capability_args=annotated(beyond))
            except CniError as error:
                assert error.code == (7 if beyond == "nonsense" else 107), error
                assert beyond.rsplit(" ", maxsplit=1)[-1] in error.msg, error
                assert "allow" in error.msg, error
            else:
                raise AssertionError(f"{beyond} is not refused")
            other.remove_netns()

        listeners = [near, far, member]
        virtual_router(attacker)
        announce(attacker)
        wait_for(lambda: drops(n1.agent, attacker).get("spoofed-mac"), 10, "who did not ask is refused")
        attacker.ip("link", "del", "vrrp.10")
        for step in (0, 1, 0):
            virtual_router(routers[step])
            announce(routers[step])
            for listener in listeners:
                listener.reaches(VIP)
                seen = listener.ip_json("neigh", "show", VIP)
                assert [row.get("lladdr") for row in seen] == [VRRP], (step, listener, seen, routers[step].links())
            place = next(entry["location"] for entry in n1.agent.fdb() if entry["mac"] == VRRP)
            assert bool(place.get("port")) == (step == 0), place
            routers[step].ip("link", "del", "vrrp.10")
            if step == 0:
                # What was allowed outlives the agent.
                n1.agent.stop(signal.SIGKILL)
                n1.agent.start()
                wait_for(lambda: len(n1.agent.ports()) >= 3, 10, "ports are back")
                assert row_of(n1.agent, routers[0])["attachment"]["allow"] == [VRRP, VIP]
                lab.settle()
        lost = drops(n1.agent, routers[0])
        assert not {"spoofed-mac", "spoofed-address"} & set(lost), lost


def test_configuration():
    """a network's own "allow"; portSecurity switched off and on by reload; interfaces without a lease"""
    with Lab("allow") as lab:
        (n1, _), (attacker, near, far), member = pods_of(lab)
        listeners = [(near, "eth0"), (far, "eth0"), (member, member.ifname)]
        bad = attacks(attacker, far, BROADCAST)
        every = [one for frames in bad.values() for one in frames]
        for secure in (False, True):
            n1.agent.reload({"clouds": [{**CLOUD, "portSecurity": secure}]})
            wait_for(lambda: row_of(n1.agent, attacker).get("guarded", False) == secure, 10, f"portSecurity: {secure}")
            arrived = heard(attacker, listeners, every)
            assert arrived == [[] if secure else every] * 3, [[one.hex() for one in frames] for frames in arrived]
        for misled in (near, far, member):
            misled.ip("neigh", "flush", "all")
        good_traffic((attacker, near, far), member)

        # Whoever has no lease may have any address but those that the agents give.
        flat = n1.pod("flat")
        flat.add(network(n1, "flat", ipam={}))
        flat.address("eth0", "203.0.113.7/24", "198.51.100.77/24")
        member.address(member.ifname, "203.0.113.9/24")
        flat.reaches("203.0.113.9")
        assert not flat.ping(MEMBER), "an address of the agents'"
        assert drops(n1.agent, flat)["spoofed-address"] > 0

        server = n1.pod("server")
        server.add(network(n1, "servers", allow=["dhcp-server", "router", "02:00:5e:10:00:99", far.ip4, far.ip6]))
        allowed = attacks(server, far, BROADCAST)
        send = [allowed["spoofed-mac"][1], *allowed["spoofed-address"], *allowed["rogue-server"]]
        arrived = heard(server, [(near, "eth0")], send)
        assert arrived == [send], [one.hex() for one in send if one not in arrived[0]]
        assert set(drops(n1.agent, server)) <= {"own-echo"}, drops(n1.agent, server)
        said = json.loads(n1.agent.ctl("-o", "json", "ports").stdout)["ports"]
        row = next(port for port in said if port["mac"] == server.mac("eth0"))
        assert row["guarded"] and row["attachment"]["allow"][:2] == ["dhcp-server", "router"], row


if __name__ == "__main__":
    runner.main(globals())
