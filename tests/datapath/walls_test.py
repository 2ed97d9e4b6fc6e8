"""Walls: a pod is a member of its clouds and of nothing else. A pod with every capability in its own namespace sends arbitrary
frames to the node, the LAN, other pods, other clouds and other nodes, as a primary and as a chained interface; a host on the
LAN does the same to a plain cloud.

docs/OPERATIONS.md, "What a pod may do", has the same two tables as this file."""

import json
import os
import re
import signal
import struct

from tests.lib import runner
from tests.lib.frames import (BROADCAST, advertisement, arp, attacks, drops, frame, heard, host_end, ip_datagram, ipv6,
                              ipv6_datagram, packed, send)
from tests.lib.lab import Lab, source
from tests.lib.process import wait_for

# The frames of a pod and their fate. Tests refer to rows by the frame.
OF_A_POD = {
    "a frame from another MAC address": "dropped: `spoofed-mac`",
    "ARP or neighbour discovery for another address": "dropped: `spoofed-address`",
    "a DHCP server's message, a router advertisement or redirect": "dropped: `rogue-server`",
    "headers that could hide one of these": "dropped: `unreadable`",
    "a frame from a group address": "dropped: `bad-source`",
    "a Hello, the frame of agents": "dropped: `reserved`",
    "anything to its host end: ARP, IPv4, IPv6, multicast": "never reaches the node's own stack",
    "a datagram to a UDP port of a cloud, of its node or through it of another":
        "dropped by the packet filter (Firewall); by the socket without it: `not-from-here`",
    "a frame to a pod in another cloud": "never arrives there",
    "an IP packet from another address": "delivered: a pod may route",
    "a frame in a VLAN with an id other than 0": "delivered: the VLAN is a network of its own",
    "a frame of another EtherType": "delivered",
}
# The same for a host on the LAN and a plain cloud.
OF_A_HOST = {
    "a datagram of a member, whatever frame is in it": "delivered: every host that reaches the group is a member",
    "a datagram of another VNI": "dropped: `wrong-vni`",
    "a leave, the header alone": "forgets the sender's own stations and no others",
    "a datagram by an interface that the cloud is not on": "dropped: `not-from-here`",
}

VNL, GREEN = "vxvde://239.1.2.3/vni=7", "vxvde://239.1.2.4/vni=8"
VNI, GREEN_VNI, GREEN_GROUP, GROUP_PORT = 7, 8, "239.1.2.4", 14789
CAPABILITY = "io.kubernetes.cri.pod-annotations"
CLOUDS = [{"name": "blue", "vnl": VNL, "subnets": ["198.51.100.0/24", "2001:db8:42::/64"], "gateway": True},
          {"name": "green", "vnl": GREEN, "subnets": ["203.0.113.0/24"], "namespaces": ["secret"]}]
SHAPES = ("primary", "chained")
DOMAIN_PORT = 9999

# Prints each datagram that the stack of this namespace receives, including groups on `ifname`, until one says "done".
LISTEN = """import socket, struct, sys
port, ifname = int(sys.argv[1]), sys.argv[2]
index = socket.if_nametoindex(ifname)
four, six = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + struct.pack("=4si", bytes(4), index))
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, "ff02::fb") + struct.pack("=I", index))
four.bind(("", port))
six.bind(("::", port))
print("listening", flush=True)
import select
while True:
    ready, _, _ = select.select([six, four], [], [])
    for one in ready:
        said = one.recv(64).decode()
        print("heard", said, flush=True)
        if said == "done":
            sys.exit()
"""
# Acts as a member: sends an ARP request for ADDRESS in a datagram of VNI to each of HOST:PORT, by an ordinary
# socket.
JOIN = """import socket, struct, sys
vni, address, targets = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
mac = bytes.fromhex("02dead000001")
arp = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac + socket.inet_aton("198.51.100.99") + bytes(6) + socket.inet_aton(address)
datagram = b"\\x08\\0\\0\\0" + struct.pack("!I", vni << 8) + b"\\xff" * 6 + mac + b"\\x08\\x06" + arp + bytes(18)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for target in targets:
    host, port = target.rsplit(":", 1)
    s.sendto(datagram, (host, int(port)))
"""
STRANGER = "02:de:ad:00:00:01"
UNPRIVILEGED = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all")


class Scene:
    """An attacker and its neighbours: `near` on its node, `far` on the other one, `other` on its node in another cloud."""

    def __init__(self, lab, shape, gateway=True):
        self.n1, self.n2 = lab.node("n1"), lab.node("n2")
        for node in (self.n1, self.n2):
            node.sysctl("net/ipv4/ip_forward", 1)
            node.sysctl("net/ipv6/conf/all/forwarding", 1)
            for name in ("all", "default"):
                node.sysctl(f"net/ipv4/conf/{name}/rp_filter", 0)
            node.start_agent({"clouds": [{**CLOUDS[0], "gateway": gateway}, CLOUDS[1]]})
        wait_for(lambda: all(("vx-blue" in node.links()) == gateway for node in (self.n1, self.n2)), 20, "the nodes' own ports")
        self.near, self.far = self._pod(self.n1, "near"), self._pod(self.n2, "far")
        self.other = self.n1.pod("other")
        self.other.add(self.network(self.n1, "green"), args="IgnoreUnknown=1;K8S_POD_NAMESPACE=secret;K8S_POD_NAME=other")
        self.attacker = self.n1.pod("attacker")
        if shape == "primary":
            self.ifname = "eth0"
            self.attacker.add(self.network(self.n1, "blue"))
        else:
            self.ifname = "net1"
            network = self.n1.network({"cniVersion": "1.0.0", "name": "chained", "plugins": [
                {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]}},
                {"type": "vxvde", "capabilities": {CAPABILITY: True}}]})
            self.attacker.add(network, capability_args={CAPABILITY: {"vxvde.io/networks": "blue@net1"}})
            addresses = [one.split("/")[0] for one in self.attacker.addresses("net1")]
            self.attacker.ip4 = next(one for one in addresses if ":" not in one)
            self.attacker.ip6 = next(one for one in addresses if ":" in one)

    @staticmethod
    def network(node, cloud):
        return node.network({"cniVersion": "1.0.0", "name": cloud, "plugins": [{"type": "vxvde", "cloud": cloud}]})

    def _pod(self, node, name):
        pod = node.pod(name)
        pod.add(self.network(node, "blue"))
        return pod

    @property
    def host_end(self):
        return host_end(self.n1.agent, self.attacker, self.ifname)

    def all_reach_each_other(self):
        for pod in (self.near, self.far):
            for address in (pod.ip4, pod.ip6):
                self.attacker.reaches(address)


def cloud_of(node, name):
    return next(cloud for cloud in node.agent.clouds() if cloud["name"] == name)


def dropped(node, reason):
    """The drops of all clouds and ports of the node together."""
    return sum(int(one["count"]) for row in node.agent.ctl_json("drops").get("drops", [])
               for one in [row.get("drop", row)] if one["reason"] == reason)


def seen_in(pod, source_mac, action):
    """The frames from `source_mac` that arrive at `pod` while `action` runs."""
    with pod.capture("eth0", f"ether src {source_mac}") as lines:
        action()
    return lines


# ---- Behind the host end ----

def to_the_host_end(scene, host_mac):
    """{name: frame} of frames for the node's stack, or that it would route."""
    own, sender = scene.attacker.mac(scene.ifname), scene.attacker
    frames = {}
    for name, to in (("unicast", host_mac), ("broadcast", BROADCAST)):
        for where, node in (("node", scene.n1), ("LAN", scene.n2)):
            for family, address, build, ours in (("IPv4", node.ip4, ip_datagram, sender.ip4),
                                                 ("IPv6", node.ip6, ipv6_datagram, sender.ip6)):
                what = f"{family} to the {where} by {name}"
                frames[what] = frame(to, own, build(ours, address, DOMAIN_PORT, what.encode()))
    what = "IPv4 to the node with priority tag"
    frames[what] = frame(host_mac, own, b"\x81\x00\xe0\x00" + ip_datagram(sender.ip4, scene.n1.ip4, DOMAIN_PORT, what.encode()))
    frames["IPv4 multicast"] = frame("01:00:5e:00:00:fb", own, ip_datagram(sender.ip4, "224.0.0.251", DOMAIN_PORT, b"IPv4 multicast"))
    frames["IPv6 multicast"] = frame("33:33:00:00:00:fb", own, ipv6_datagram(sender.ip6, "ff02::fb", DOMAIN_PORT, b"IPv6 multicast"))
    return frames


def questions(scene, host_mac):
    """ARP requests and neighbour solicitations for the node's addresses."""
    own, sender = scene.attacker.mac(scene.ifname), scene.attacker
    solicitation = bytes([135, 0, 0, 0, 0, 0, 0, 0]) + packed(scene.n1.ip6) + b"\1\1" + bytes.fromhex(own.replace(":", ""))
    return [frame(to, own, content) for to in (BROADCAST, host_mac)
            for content in (arp(1, own, sender.ip4, scene.n1.ip4), ipv6(58, sender.ip6, scene.n1.ip6, solicitation))]


def behind_the_host_end(scene, end, host_mac):
    """What the stacks of the two nodes receive of the attacker's frames, and what the host end sends to the attacker."""
    frames = to_the_host_end(scene, host_mac)
    scene.n1.reaches(scene.n2.ip6)  # so that no packet waits for the resolution of its neighbour
    ears = []
    for node, ifname in ((scene.n1, end), (scene.n2, "eth0")):
        ears.append(node.start(f"listen-{node.lab.next_id()}", "/usr/bin/python3", "-c", LISTEN, DOMAIN_PORT, ifname))
        ears[-1].says("listening")
    with scene.attacker.capture(scene.ifname, f"ether src {host_mac}") as said:
        send(scene.attacker, scene.ifname, [*frames.values(), *questions(scene, host_mac)])
        # Markers that follow them on each path.
        for address in (scene.n1.ip4, scene.n2.ip4):
            scene.n1.run("/usr/bin/python3", "-c", "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto("
                         "b'done', (sys.argv[1], int(sys.argv[2])))", address, DOMAIN_PORT)
        for ear in ears:
            ear.says("heard done")
            ear.wait()
    heard_ = {line.removeprefix("heard ") for ear in ears for line in ear.output().splitlines() if line.startswith("heard ")}
    return heard_ - {"done"}, said


def check_nothing_is_behind_the_host_end(shape):
    with Lab("walls") as lab:
        scene = Scene(lab, shape, gateway=False)  # a port of the node's own would legitimately receive it
        n1 = scene.n1
        end = scene.host_end
        mac = n1.mac(end)

        def nothing(when):
            heard_, said = behind_the_host_end(scene, end, mac)
            assert not heard_ and not said, (when, heard_, said)
        nothing("as soon as ADD has returned")
        lab.settle()
        nothing("when the port is the datapath's")
        n1.agent.stop(signal.SIGKILL)
        nothing("without an agent")
        n1.agent.start()
        nothing("when the agent is back")
        lab.settle()
        nothing("when it has taken the port up again")

        # Another program removes the wall, and the program of the kernel datapath: then every frame arrives.
        def take_down():
            for family in ("inet", "arp"):
                n1.run("nft", "delete", "table", family, "vxvde-wall")
            n1.run("tc", "qdisc", "del", "dev", end, "clsact", check=False)
        os.kill(n1.agent.process.pid, signal.SIGSTOP)
        take_down()
        heard_, said = behind_the_host_end(scene, end, mac)
        assert heard_ >= {name for name in to_the_host_end(scene, mac) if "by broadcast" not in name}, heard_
        assert [line for line in said if "ARP" in line], said
        os.kill(n1.agent.process.pid, signal.SIGCONT)
        wait_for(lambda: n1.run("nft", "list", "tables").stdout.count("vxvde-wall") == 2, 10, "the wall is back")
        nothing("when the agent has put it back")
        # A host end that is removed from its group is put back.
        n1.ip("link", "set", end, "group", "default")
        wait_for(lambda: n1.links()[end]["group"] not in ("default", "0"), 10, "the host end is in its group again")
        nothing("when the agent has put the host end back")
        n1.agent.stop()
        n1.agent.start()  # the program of the kernel datapath is attached again
        scene.all_reach_each_other()


def test_behind_the_host_end_is_nothing():
    """ARP, IPv4, IPv6 and multicast to the host end, at each moment of a port's life"""
    for shape in SHAPES:
        check_nothing_is_behind_the_host_end(shape)


def test_the_host_end_says_nothing():
    """a node that forwards IPv6 reports groups on each of its links, but not to pods"""
    with Lab("walls") as lab:
        scene = Scene(lab, "primary")
        end = scene.host_end
        mac = scene.n1.mac(end)

        def reports():
            before = out_of_group(scene.n1)
            scene.n1.ip("link", "set", end, "down")
            scene.n1.ip("link", "set", end, "up")
            wait_for(lambda: out_of_group(scene.n1) > before, 10, "the node has tried to")
        assert not seen_in(scene.attacker, mac, reports)


def out_of_group(node):
    """Packets that the wall prevented the node from sending."""
    return sum(map(int, re.findall(r"oifgroup.*packets (\d+)", node.run("nft", "list", "table", "inet", "vxvde-wall").stdout)))


# ---- From within ----

def check_no_pod_joins_from_within(shape):
    with Lab("walls") as lab:
        scene = Scene(lab, shape)
        n1, other = scene.n1, scene.other
        beyond = scene.n2.pod("beyond")
        beyond.add(Scene.network(scene.n2, "green"), args="IgnoreUnknown=1;K8S_POD_NAMESPACE=secret;K8S_POD_NAME=beyond")
        lab.settle()
        gateway = next(one.split("/")[0] for one in n1.addresses("vx-blue") if "." in one)
        for node in (n1, scene.n2):
            scene.attacker.ip("route", "replace", node.ip4, "via", gateway, "dev", scene.ifname)
        scene.attacker.ip("route", "replace", "224.0.0.0/4", "dev", scene.ifname)

        def targets(node, *addresses):
            cloud = cloud_of(node, "green")
            ports = [cloud["unicastPort"], GROUP_PORT] + ([cloud["fastPort"]] if cloud.get("fastPort") else [])
            return [f"{address}:{port}" for address in addresses for port in ports]
        every = [*targets(n1, gateway, n1.ip4), *targets(scene.n2, scene.n2.ip4), f"{GREEN_GROUP}:{GROUP_PORT}"]

        def join():
            scene.attacker.run(*UNPRIVILEGED, "/usr/bin/python3", "-c", JOIN, GREEN_VNI, other.ip4, *every)
            # Markers that follow them on each path: a permitted member.
            for node in (n1, scene.n2):
                before = dropped(node, "wrong-vni")
                lan.run("/usr/bin/python3", "-c", JOIN, 99, other.ip4, f"{node.ip4}:{cloud_of(node, 'green')['unicastPort']}")
                wait_for(lambda node=node, before=before: dropped(node, "wrong-vni") > before, 10, "what came before it was read")
        lan = lab.node("n3")
        assert not seen_in(beyond, STRANGER, lambda: silence(seen_in(other, STRANGER, join)))
        for node in (n1, scene.n2):
            assert STRANGER not in [entry["mac"] for entry in node.agent.fdb()]

        # Without the packet filter the sockets of this node refuse them.
        before = dropped(n1, "not-from-here")
        unicast = [f"{address}:{cloud_of(n1, 'green')['unicastPort']}" for address in (gateway, n1.ip4)]
        os.kill(n1.agent.process.pid, signal.SIGSTOP)
        n1.run("nft", "flush", "ruleset")
        scene.attacker.run(*UNPRIVILEGED, "/usr/bin/python3", "-c", JOIN, GREEN_VNI, other.ip4, *unicast)
        os.kill(n1.agent.process.pid, signal.SIGCONT)
        wait_for(lambda: dropped(n1, "not-from-here") == before + len(unicast), 10, "what came to the unicast port is counted")
        assert STRANGER not in [entry["mac"] for entry in n1.agent.fdb()]

        # The same datagrams from a host on the uplink's LAN are a member's.
        def from_lan():
            lan.run("/usr/bin/python3", "-c", JOIN, GREEN_VNI, other.ip4, unicast[1])
            wait_for(lambda: STRANGER in [entry["mac"] for entry in n1.agent.fdb()], 10, "it is learned")
        assert seen_in(other, STRANGER, from_lan)


def silence(lines):
    assert not lines, lines


def test_no_pod_joins_from_within():
    """a process without privileges in a pod of one cloud is no member of another, on its node or another one"""
    for shape in SHAPES:
        check_no_pod_joins_from_within(shape)


# ---- Pods against pods ----

def hostile_frames(scene, to):
    """{row of OF_A_POD: frames to the MAC `to`}"""
    own, attacker, victim = scene.attacker.mac(scene.ifname), scene.attacker, scene.far
    bad = attacks(attacker, victim, to, scene.ifname)
    return {
        "a frame from another MAC address": bad["spoofed-mac"],
        "ARP or neighbour discovery for another address": bad["spoofed-address"],
        "a DHCP server's message, a router advertisement or redirect": bad["rogue-server"],
        "headers that could hide one of these": bad["unreadable"],
        "a frame from a group address": [frame(to, "03:00:5e:10:00:99", b"\x88\xb6" + bytes(50))],
        "a Hello, the frame of agents": [frame("03:76:78:76:64:65", own, b"\x88\xb5vxvde\x01" + bytes(44))],
        "an IP packet from another address": [frame(to, own, ip_datagram(victim.ip4, scene.near.ip4))],
        "a frame in a VLAN with an id other than 0": [frame(to, own, b"\x81\x00\x00\x05" + advertisement(victim.ip6, own))],
        "a frame of another EtherType": [frame(to, own, b"\x88\xb7" + bytes(50))],
    }


def check_pods(shape):
    with Lab("walls") as lab:
        scene = Scene(lab, shape)
        scene.all_reach_each_other()
        lab.settle()
        own = scene.attacker.mac(scene.ifname)
        listeners = [(scene.near, "eth0"), (scene.far, "eth0")]

        def arrived(frames):
            found = []
            assert not seen_in(scene.other, own, lambda: found.extend(heard(scene.attacker, listeners, frames, scene.ifname)))
            return found
        for row, frames in hostile_frames(scene, BROADCAST).items():
            outcome = OF_A_POD[row]
            reason = outcome.removeprefix("dropped: ").strip("`")
            before = drops(scene.n1.agent, scene.attacker, scene.ifname).get(reason, 0)
            found = arrived(frames)
            if outcome.startswith("dropped"):
                assert found == [[], []], (row, found)
                after = drops(scene.n1.agent, scene.attacker, scene.ifname).get(reason, 0)
                assert after - before == len(frames), (row, before, after)
            else:
                assert found == [frames, frames], (row, found)
        # Arrives at its destination and in no other cloud: the station is unknown in this one.
        for row, frames in hostile_frames(scene, scene.other.mac("eth0")).items():
            arrived(frames)
        # Without port security each of these frames arrives, so the checks can fail.
        scene.n1.agent.reload({"clouds": [{**CLOUDS[0], "portSecurity": False}, CLOUDS[1]]})
        wait_for(lambda: not any(port.get("guarded") for port in scene.n1.agent.ports()
                                 if port.get("attachment", {}).get("containerId") == scene.attacker.container), 10, "not guarded")
        every = [one for row, frames in hostile_frames(scene, BROADCAST).items() for one in frames
                 if row not in ("a frame from a group address", "a Hello, the frame of agents")]
        found = arrived(every)
        assert found == [every, every], [[one.hex() for one in every if one not in ear] for ear in found]


def test_pods_against_pods():
    """each kind of frame that port security checks, to pods here and elsewhere, and to another cloud"""
    for shape in SHAPES:
        check_pods(shape)


# ---- A host on the LAN ----

def test_a_host_on_the_lan():
    """the guarantees of a plain cloud against a host on its LAN, and their limits"""
    with Lab("walls") as lab:
        scene = Scene(lab, "primary")
        scene.all_reach_each_other()
        n1, near = scene.n1, scene.near
        host = lab.node("n3")
        host.plug(lab.lan(1), "eth1")
        n1.plug(lab.lan(1), "eth1")
        # A kind of device that pods do not have: the packet filter leaves it to the socket.
        n1.ip("link", "add", "lan1", "link", "eth1", "type", "macvlan", "mode", "bridge")
        n1.sysctl("net/ipv4/conf/eth1/arp_ignore", 1)  # eth1 is not such a device
        elsewhere = "192.0.2.120"
        n1.address("lan1", f"{elsewhere}/32")
        host.ip("route", "add", elsewhere, "dev", "eth1")
        port = cloud_of(n1, "blue")["unicastPort"]

        def datagrams(vni, *targets):
            host.run("/usr/bin/python3", "-c", JOIN, vni, near.ip4, *targets)

        def learned():
            return STRANGER in [entry["mac"] for entry in n1.agent.fdb()]

        def counted(reason, vni, target):
            def action():
                before = dropped(n1, reason)
                datagrams(vni, target)
                wait_for(lambda: dropped(n1, reason) == before + 1, 10, f"{target} of VNI {vni}: {reason}")
            assert not seen_in(near, STRANGER, action), (reason, target)
            assert not learned()
        counted("not-from-here", VNI, f"{elsewhere}:{port}")
        counted("wrong-vni", VNI + 100, f"{n1.ip4}:{port}")

        def joins():
            datagrams(VNI, f"{n1.ip4}:{port}")
            wait_for(learned, 10, "a host on the LAN is a member")
        assert seen_in(near, STRANGER, joins), "whatever it says of itself"
        # A leave from another port than its own forgets no other station.
        leave = struct.pack("!BBHI", 8, 0, 0, VNI << 8).hex()
        host.run("/usr/bin/python3", "-c", "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                 "s.sendto(bytes.fromhex(sys.argv[1]), (sys.argv[2], int(sys.argv[3])))", leave, n1.ip4, port)
        before = dropped(n1, "wrong-vni")
        datagrams(VNI + 100, f"{n1.ip4}:{port}")
        wait_for(lambda: dropped(n1, "wrong-vni") > before, 10, "what came before it was read")
        macs = [entry["mac"] for entry in n1.agent.fdb()]
        assert STRANGER in macs and scene.far.mac("eth0") in macs, macs
        scene.all_reach_each_other()


# ---- The document ----

def test_the_document_has_the_same_tables():
    """docs/OPERATIONS.md, "What a pod may do", has exactly these rows"""
    with open(source("docs/OPERATIONS.md"), encoding="utf-8") as f:
        section = re.search(r"^## What a pod may do$(.*?)^## ", f.read(), re.M | re.S).group(1)
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section, re.M))
    for heading in ("a pod sends", "a host on the LAN sends", "---"):
        rows.pop(heading, None)
    assert rows == {**OF_A_POD, **OF_A_HOST}, json.dumps(rows, indent=1)


if __name__ == "__main__":
    runner.main(globals())
