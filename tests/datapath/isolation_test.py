"""Clouds of one node stay apart: the node's forwarding between its ports in clouds, from the LAN into a cloud, and datagrams
from pods to the UDP ports of members."""

import contextlib

from tests.datapath.host_test import add, answered, ask, net, outside, serve
from tests.lib import runner
from tests.lib.cni import CniError
from tests.lib.lab import Lab
from tests.lib.process import wait_for

BLUE = {"name": "blue", "vnl": "vxvde://239.1.2.3/vni=42", "subnets": ["10.42.0.0/24", "fd42::/64"], "gateway": True,
        "masquerade": True}
GREEN = {"name": "green", "vnl": "vxvde://239.1.2.4/vni=43", "subnets": ["10.43.0.0/24", "fd43::/64"], "gateway": True,
         "masquerade": True, "namespaces": ["tenant-green"]}

# Sends an ARP request of 02:de:ad:00:00:01 for an address, as a member does. Arguments: address and UDP port, VNI, the
# inner address, and the source port (0: any).
POSE = """
import socket, struct, sys
to, port, vni, asked, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
mac = bytes.fromhex("02dead000001")
arp = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac + socket.inet_aton("10.43.0.99") + bytes(6) + socket.inet_aton(asked)
s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", source))
s.sendto(b"\\x08\\0\\0\\0" + struct.pack("!I", vni << 8) + b"\\xff" * 6 + mac + b"\\x08\\x06" + arp + bytes(18), (to, port))
"""
HEAR = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[1])))
print("listening", flush=True)
while True:
    print("heard", s.recvfrom(2000)[1], flush=True)
"""


def start(lab, blue=None, green=None):
    """A node with its own port in two clouds."""
    node = lab.node("n1")
    node.start_agent({"clouds": [{**BLUE, **(blue or {})}, {**GREEN, **(green or {})}]})
    wait_for(lambda: {"vx-blue", "vx-green"} <= node.links().keys() and node.addresses("vx-blue")
             and node.addresses("vx-green"), 20, "the node's ports")
    return node


def member(node, cloud, name, ports=None):
    """A Kubernetes pod of the tenant of `cloud`, with a server on port 8000."""
    pod = add(node, name, ports=ports, network=net(node, cloud=cloud),
              args=f"IgnoreUnknown=1;K8S_POD_NAMESPACE=tenant-{cloud};K8S_POD_NAME={name};K8S_POD_UID={name}")
    serve(pod, 8000)
    return pod


def dropped(node):
    """The number of packets that were kept out of a cloud."""
    rule = next(line for line in node.run("nft", "list", "chain", "inet", "vxvde", "into_clouds").stdout.splitlines()
                if "counter" in line)
    return int(rule.split("packets ")[1].split()[0])


def kept_out(node, who, address, port=8000):
    """Neither TCP nor ping of `who` arrives, and the agent's rule drops them."""
    before = dropped(node)
    assert ask(who, address, port) is None, f"{who} reaches {address}"
    assert not who.ping(address, wait=1), f"{who} pings {address}"
    assert dropped(node) > before, f"what {who} sent to {address} was lost somewhere else"


def test_two_clouds():
    """pods of two clouds of one node do not reach each other through it, in either direction and family"""
    with Lab("apart") as lab:
        node = start(lab)
        blue, green = member(node, "blue", "a"), member(node, "green", "b")
        out = outside(lab, node)
        serve(out, 8000)
        with contextlib.suppress(CniError):
            add(node, "c", network=net(node, cloud="green"), args="IgnoreUnknown=1;K8S_POD_NAMESPACE=tenant-blue;"
                "K8S_POD_NAME=c;K8S_POD_UID=c")
            raise AssertionError("the namespace may join green after all")
        for here, there in ((blue, green), (green, blue)):
            node.reaches(here.ip4)
            node.reaches(here.ip6)
            for address in ("203.0.113.2", "2001:db8:7::2"):
                assert answered(here, address, 8000), "the way out is open"
            kept_out(node, here, there.ip4)
            kept_out(node, here, there.ip6)


def test_reaches():
    """`reaches` opens one direction, after a reload; answers return"""
    with Lab("apart") as lab:
        node = start(lab)
        blue, green = member(node, "blue", "a"), member(node, "green", "b")
        node.agent.reload({"clouds": [{**BLUE, "reaches": ["green"]}, GREEN]})
        for address in (green.ip4, green.ip6):
            assert answered(blue, address, 8000)
            blue.reaches(address)
        for address in (blue.ip4, blue.ip6):
            kept_out(node, green, address)
        node.agent.reload({"clouds": [BLUE, GREEN]})
        wait_for(lambda: ask(blue, green.ip4, 8000) is None, 10, "the way is shut again")


def test_services():
    """a Service does not lead into another cloud; a published port, and a NodePort from the LAN, work"""
    with Lab("apart") as lab:
        node = start(lab)
        blue, green = member(node, "blue", "a"), member(
            node, "green", "b", ports=[{"hostPort": 8080, "containerPort": 8000, "protocol": "tcp"}])
        other = member(node, "green", "c")
        out = outside(lab, node)
        # As kube-proxy does it: a Service's address, and a port of the node.
        node.run("nft", "add table ip kube; add chain ip kube services "
                 "{ type nat hook prerouting priority -100; }; "
                 f"add rule ip kube services ip daddr 192.0.2.201 tcp dport 80 dnat to {other.ip4}:8000; "
                 f"add rule ip kube services ip daddr {{ 203.0.113.1, {node.ip4} }} tcp dport 30000 "
                 f"dnat to {other.ip4}:8000")
        node.ip("route", "add", "default", "via", "203.0.113.2")
        assert answered(green, "192.0.2.201", 80), "a Service of the cloud's own"
        assert answered(out, "203.0.113.1", 30000) and answered(out, "203.0.113.1", 8080)
        assert answered(blue, node.ip4, 8080), "what is published is published for everybody"
        kept_out_of_service = dropped(node)
        assert ask(blue, "192.0.2.201", 80) is None and ask(blue, node.ip4, 30000) is None
        assert dropped(node) > kept_out_of_service
        node.agent.reload({"clouds": [{**BLUE, "reaches": ["green"]}, GREEN]})
        assert answered(blue, "192.0.2.201", 80) and answered(blue, node.ip4, 30000)


def test_lan():
    """a host with a route to the subnets is kept out, with an answer; `routed` admits it; transit is not restricted"""
    with Lab("apart") as lab:
        node = start(lab, blue={"masquerade": False})
        blue = member(node, "blue", "a")
        out, far = outside(lab, node), lab.netns("far")
        node.ip("link", "add", "far0", "type", "veth", "peer", "name", "eth0", "netns", far.path)
        node.address("far0", "198.18.0.1/24", "2001:db8:8::1/64")
        far.address("eth0", "198.18.0.2/24", "2001:db8:8::2/64")
        for host, gateways in ((out, ("203.0.113.1", "2001:db8:7::1")), (far, ("198.18.0.1", "2001:db8:8::1"))):
            for gateway in gateways:
                host.ip("route", "add", "default", "via", gateway)
            serve(host, 8000)
        for address in (blue.ip4, blue.ip6):
            kept_out(node, out, address)
        # Answers return: the node does not masquerade here.
        assert answered(blue, "203.0.113.2", 8000).endswith(blue.ip4)
        assert answered(blue, "2001:db8:7::2", 8000) == blue.ip6
        # Between two networks of the operator, in both directions.
        untouched = dropped(node)
        assert answered(out, "198.18.0.2", 8000).endswith("203.0.113.2")
        assert answered(far, "2001:db8:7::2", 8000) == "2001:db8:8::2"
        assert dropped(node) == untouched
        node.agent.reload({"clouds": [{**BLUE, "masquerade": False, "routed": True}, GREEN]})
        for address in (blue.ip4, blue.ip6):
            assert answered(out, address, 8000)
        green = member(node, "green", "b")
        kept_out(node, out, green.ip4)
        kept_out(node, green, blue.ip4)


def walled(node):
    """Datagrams that pods sent to the ports of members."""
    rules = node.run("nft", "list", "chain", "inet", "vxvde-underlay", "from_pods").stdout.splitlines()
    return sum(int(rule.split("packets ")[1].split()[0]) for rule in rules if "counter" in rule)


def cloud_of(node, name):
    return next(cloud for cloud in node.agent.clouds() if cloud["name"] == name)


def test_pods_are_no_members():
    """a pod of one cloud does not send to the ports of another one: on its node, on another node, or in the name of its node"""
    with Lab("apart") as lab:
        node, there = start(lab), lab.node("n2")
        there.start_agent({"clouds": [{**GREEN, "gateway": False, "masquerade": False}]})
        blue = member(node, "blue", "a")
        green, far = member(node, "green", "b"), member(there, "green", "c")
        own, theirs = cloud_of(node, "green")["unicastPort"], cloud_of(there, "green")["unicastPort"]
        # A network of another plugin: a bridge with its pods, masqueraded.
        chained = lab.netns("chained")
        node.ip("link", "add", "cni0", "type", "bridge")
        node.ip("link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", chained.path)
        node.ip("link", "set", "veth0", "master", "cni0", "up")
        node.address("cni0", "10.88.0.1/16", "fd88::1/64")
        chained.address("eth0", "10.88.0.2/16", "fd88::2/64")
        for gateway in ("10.88.0.1", "fd88::1"):
            chained.ip("route", "add", "default", "via", gateway)
        node.run("nft", "add table inet theirs; add chain inet theirs c { type nat hook postrouting priority 100; }; "
                 "add rule inet theirs c iifname cni0 oifname eth0 masquerade")

        def pose(who, to, port, asked, source=0):
            who.run("/usr/bin/python3", "-c", POSE, to, port, 43, asked, source)

        def believed(where):
            return any(entry["mac"] == "02:de:ad:00:00:01" for entry in where.agent.fdb())
        gateway = next(a.split("/")[0] for a in node.addresses("vx-blue") if "." in a)
        for who, to, port in ((blue, gateway, own), (blue, node.ip4, own), (chained, "10.88.0.1", own),
                              (chained, node.ip4, own), (chained, node.ip6, own),
                              (blue, there.ip4, theirs), (blue, there.ip6, theirs), (chained, there.ip4, theirs),
                              (chained, there.ip6, theirs)):
            before = walled(node)
            pose(who, to, port, green.ip4)
            wait_for(lambda before=before: walled(node) > before, 10, f"what {who} sent to [{to}]:{port} is dropped")
        assert not believed(node) and not believed(there)
        # A member outside of pods: a program of the node, like one of any host of the LAN.
        pose(node, node.ip4, own, green.ip4)
        wait_for(lambda: believed(node), 10, "members of this machine are heard")
        pose(node, there.ip4, theirs, far.ip4)
        wait_for(lambda: believed(there), 10, "members of the LAN are heard")

        # In the name of the node: from its address, by masquerading, and from the port by which other members know it.
        listener = there.start("listener", "/usr/bin/python3", "-c", HEAR, 4321)
        listener.says("listening")
        for who in (blue, chained):
            before = walled(node)
            pose(who, there.ip4, 4321, green.ip4, own)
            wait_for(lambda before=before: walled(node) > before, 10, f"{who} does not speak as its node")
            pose(who, there.ip4, 4321, green.ip4, 4322)
        wait_for(lambda: listener.output().count("heard") == 2, 10, "from any other port they do")
        assert f", {own})" not in listener.output()


def test_routed_underlay():
    """datagrams of members pass a node that routes between two LANs, and the last cloud leaves no table behind"""
    with Lab("apart") as lab:
        node, there = lab.node("n1"), lab.node("n2")
        node.start_agent({"clouds": []})
        assert "vxvde" not in node.run("nft", "list", "tables").stdout
        pod = add(node, "p", network=node.net("vxvde://239.1.2.4/vni=43"))
        wait_for(lambda: "vxvde-underlay" in node.run("nft", "list", "tables").stdout, 10, "the wall, without a node port")
        # A second LAN: a bridge with a port that belongs to no pod.
        out = lab.netns("out")
        node.ip("link", "add", "br7", "type", "bridge")
        node.ip("link", "add", "lan0", "type", "vxlan", "id", "5", "dstport", "4789")
        node.ip("link", "add", "out0", "type", "veth", "peer", "name", "eth0", "netns", out.path)
        for port in ("lan0", "out0"):
            node.ip("link", "set", port, "master", "br7", "up")
        node.address("br7", "203.0.113.1/24")
        out.address("eth0", "203.0.113.2/24")
        out.ip("route", "add", "default", "via", "203.0.113.1")
        node.sysctl("net/ipv4/ip_forward", 1)
        there.ip("route", "add", "203.0.113.0/24", "via", node.ip4)
        port = node.agent.clouds()[0]["unicastPort"]
        for who, to, at in ((out, there, there.ip4), (there, out, "203.0.113.2")):
            listener = to.start("listener", "/usr/bin/python3", "-c", HEAR, port)
            listener.says("listening")

            def passes(who=who, at=at, listener=listener):
                who.run("/usr/bin/python3", "-c", POSE, at, port, 43, "10.43.0.7", 0)
                return "heard" in listener.output()
            wait_for(passes, 10, f"datagrams of {who} pass the router")
        pod.network.delete(pod)
        wait_for(lambda: "vxvde" not in node.run("nft", "list", "tables").stdout, 10, "no cloud, no rule")


if __name__ == "__main__":
    runner.main(globals())
