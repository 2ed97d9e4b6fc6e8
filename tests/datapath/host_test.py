"""The node's own port in a cloud: host and pods, the gateway, and published ports of the node.

Ids such as (M1) are requirements in docs/RUNTIMES.md."""

import os
import signal
import time

from tests.lib import runner
from tests.lib.cni import CniError
from tests.lib.lab import Agent, Lab, source
from tests.lib.podman import IMAGE, Podman
from tests.lib.process import wait_for

BLUE = "vxvde://239.1.2.3/vni=7"
SUBNETS = ["198.51.100.0/24", "2001:db8:42::/64"]
SECTION = {"type": "vxvde", "cloud": "blue", "capabilities": {"portMappings": True, "bandwidth": True, "ips": True}}
ECHO = """
import socket, sys
family, kind, port = sys.argv[1:]
s = socket.socket(getattr(socket, family), getattr(socket, kind))
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", int(port)))
if kind == "SOCK_STREAM":
    s.listen(16)
print("listening", flush=True)
while True:
    if kind == "SOCK_STREAM":
        c, who = s.accept()
        with c:
            c.sendall(who[0].encode())
    else:
        _, who = s.recvfrom(64)
        s.sendto(who[0].encode(), who)
"""
ASK = """
import socket, sys
kind, address, port = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, getattr(socket, kind))
s.settimeout(3)
s.connect((address, int(port)))
if kind == "SOCK_DGRAM":
    s.send(b"who am I?")
print(s.recv(64).decode())
"""
HEAR = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
s.recv(64)
print("heard", flush=True)
"""
# Sends datagrams to each address, in one flow each, until it is killed. Arguments: port, addresses.
SEND = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 40000))
print("sending", flush=True)
while True:
    for address in sys.argv[2:]:
        try:
            s.sendto(b"log", (address, int(sys.argv[1])))
        except OSError:  # an earlier datagram was refused
            pass
    time.sleep(0.05)
"""
# Sends a datagram to an address to which no route leads: interface, the next hop's MAC, source, destination, port.
FRAME = """
import socket, struct, sys
interface, mac, source, destination, port = sys.argv[1:]
udp = struct.pack("!HHHH", 1024, int(port), 12, 0) + b"boo!"
ends = socket.inet_aton(source), socket.inet_aton(destination)
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, *ends)
total = sum(struct.unpack("!10H", ip))
total = (total & 0xffff) + (total >> 16)
ip = ip[:10] + struct.pack("!H", ~total & 0xffff) + ip[12:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((interface, 0))
s.send(bytes.fromhex(mac.replace(":", "")) + s.getsockname()[4] + b"\\x08\\x00" + ip + udp)
"""


def serve(where, port, kind="SOCK_STREAM"):
    """A server on `port`, for both families, which tells each client the client's address."""
    for family in ("AF_INET", "AF_INET6"):
        program = ECHO.replace("s.bind", "s.setsockopt(41, 26, 1); s.bind") if family == "AF_INET6" else ECHO
        where.start(f"echo-{family}-{kind}-{port}", "/usr/bin/python3", "-c", program, family, kind,
                    port).says("listening")


def ask(where, address, port, kind="SOCK_STREAM"):
    """The address that the server sees; None without an answer."""
    done = where.run("/usr/bin/python3", "-c", ASK, kind, address, port, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def answered(where, address, port, kind="SOCK_STREAM"):
    """The same, retried until it holds."""
    return wait_for(lambda: ask(where, address, port, kind), 10, f"{where} is answered at [{address}]:{port} {kind}")


def page(where, url):
    get = f"import urllib.request; print(urllib.request.urlopen('{url}', timeout=3).read().decode(), end='')"
    return where.run("/usr/bin/python3", "-c", get, check=False).stdout


def start(lab, name="n1", **cloud):
    """A node with an agent, and with its own port in the cloud `blue` unless `gateway` is false."""
    node = lab.node(name)
    node.start_agent({"clouds": [{"name": "blue", "vnl": BLUE, "subnets": SUBNETS, "gateway": True, **cloud}]})
    if cloud.get("gateway", True):
        node_port(node)
    return node


def node_port(node):
    """(IPv4, IPv6) of the node's own port; waits for them."""
    def addresses():
        ports = [p for p in node.agent.ports() if p.get("attachment", {}).get("mode") == "node" and p.get("id")]
        return ports and "vx-blue" in node.links() and node.addresses("vx-blue")
    found = wait_for(addresses, 20, f"{node} has its own port")
    return [a.split("/")[0] for a in sorted(found, key=lambda a: ":" in a)]


def net(node, **section):
    return node.network({"cniVersion": "1.0.0", "name": "blue", "plugins": [{**SECTION, **section}]})


def add(node, name, ports=None, **kwargs):
    """A pod with addresses that the agent assigns."""
    pod = node.pod(name)
    wishes = dict(kwargs.pop("capability_args", {}))
    if ports:
        wishes["portMappings"] = ports
    pod.network = kwargs.pop("network", None) or net(node)
    pod.result = pod.add(pod.network, capability_args=wishes, **kwargs)
    return pod


def tables(node):
    return node.run("nft", "list", "tables").stdout.splitlines()


def outside(lab, node):
    """A host behind `node` without a route into the cloud: 203.0.113.2 and 2001:db8:7::2 on a link of its own."""
    host = lab.netns(f"{node.name}-out")
    node.ip("link", "add", "out0", "type", "veth", "peer", "name", "eth0", "netns", host.path)
    node.address("out0", "203.0.113.1/24", "2001:db8:7::1/64")
    host.address("eth0", "203.0.113.2/24", "2001:db8:7::2/64")
    return host


def test_node_and_pods():
    """the node and pods of two nodes reach each other, by ping and TCP, in both families"""
    with Lab("host") as lab:
        n1, n2 = start(lab, "n1"), start(lab, "n2")
        p1, p2 = add(n1, "p1"), add(n2, "p2")
        own = {n1: node_port(n1), n2: node_port(n2)}
        for node in (n1, n2):
            assert node.links()["vx-blue"]["mtu"] == 1450
            for pod in (p1, p2):
                for address in (pod.ip4, pod.ip6):
                    node.reaches(address)
                for address in own[node]:
                    pod.reaches(address)
        n2.reaches(own[n1][0])
        serve(p2, 8000)
        assert answered(n1, p2.ip4, 8000).endswith(own[n1][0])
        assert answered(n2, p2.ip6, 8000) == own[n2][1]
        n1.send_file(p2, p2.ip4, 2_000_000)
        p1.send_file(n2, own[n2][0], 2_000_000)
        # The gateway is the pod's own node.
        routes = {r["gateway"] for r in p1.ip_json("route", "show", "default")}
        assert routes == {own[n1][0]}, routes
        assert {r["gateway"] for r in p1.ip_json("-6", "route", "show", "default")} == {own[n1][1]}
        assert not n1.csum_errors() and not p1.csum_errors() and not p2.csum_errors()


def test_masquerade():
    """a pod reaches a host beyond the node, which sees the node's address; without masquerade it sees the pod's"""
    with Lab("host") as lab:
        node = start(lab, masquerade=True)
        host, pod = outside(lab, node), add(node, "p1")
        serve(host, 8000)
        assert answered(pod, "203.0.113.2", 8000).endswith("203.0.113.1")
        assert answered(pod, "2001:db8:7::2", 8000) == "2001:db8:7::1"
        assert node.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "1"
        node.agent.reload({"clouds": [{"name": "blue", "vnl": BLUE, "subnets": SUBNETS, "gateway": True}]})
        host.ip("route", "add", SUBNETS[0], "via", "203.0.113.1")
        wait_for(lambda: (ask(pod, "203.0.113.2", 8000) or "").endswith(pod.ip4), 10, "the host sees the pod")


def test_proc_sys():
    """--proc-sys: sysctls are read and written at another location where /proc/sys is read-only, as in a container"""
    with Lab("host") as lab:
        node = lab.node("n1")
        elsewhere = lab.file("proc-sys")
        os.makedirs(f"{elsewhere}/net/ipv4")
        with open(f"{elsewhere}/net/ipv4/ip_forward", "w", encoding="ascii") as f:
            f.write("0\n")
        Agent(node, {"clouds": [{"name": "blue", "vnl": BLUE, "subnets": SUBNETS[:1], "gateway": True}]},
              options=["--proc-sys", elsewhere]).start()
        wait_for(lambda: "vx-blue" in node.links(), 10, "the node's port")

        def written():
            with open(f"{elsewhere}/net/ipv4/ip_forward", encoding="ascii") as f:
                return f.read().startswith("1")
        wait_for(written, 10, "forwarding is asked for there")
        assert node.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "0"


def test_services():
    """a Service's DNAT on the client's node: to a pod there and on another node, from pods and from the node itself"""
    with Lab("host") as lab:
        n1, n2 = start(lab, "n1"), start(lab, "n2")
        client, here, there = add(n1, "client"), add(n1, "here"), add(n2, "there")
        out = outside(lab, n1)
        n1.ip("route", "add", "default", "via", "203.0.113.2")
        n1.ip("route", "add", "default", "via", "2001:db8:7::2")
        for pod in (here, there):
            serve(pod, 8000)
            serve(pod, 8000, "SOCK_DGRAM")
        # As kube-proxy does it: the cluster's address at every entry to the node, a port of the node from outside.
        for number, pod in ((1, here), (2, there)):
            for family, ip, cluster, target in (
                    ("ip", "ip", f"192.0.2.{200 + number}", pod.ip4),
                    ("ip6", "ip6", f"2001:db8:99::{number}", f"[{pod.ip6}]")):
                for chain in ("PREROUTING", "OUTPUT"):
                    n1.run("sh", "-c", f"nft add table {family} kube; nft 'add chain {family} kube {chain} "
                                       f"{{ type nat hook {chain.lower()} priority -100; }}'; "
                                       f"nft 'add rule {family} kube {chain} {ip} daddr {cluster} "
                                       f"meta l4proto {{ tcp, udp }} dnat to {target}'")
                    if family == "ip":
                        n1.run("nft", f"add rule ip kube {chain} ip daddr 203.0.113.1 tcp dport {30000 + number} "
                                      f"dnat to {target}:8000")
        own = node_port(n1)
        with client.capture("eth0", "icmp[icmptype] == icmp-redirect or icmp6[0] == 137") as redirects:
            for number in (1, 2):
                for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
                    for who in (client, n1):
                        assert answered(who, f"192.0.2.{200 + number}", 8000, kind).endswith(own[0])
                        assert answered(who, f"2001:db8:99::{number}", 8000, kind) == own[1]
                assert answered(out, "203.0.113.1", 30000 + number).endswith(own[0])
        assert not redirects, "a shorter way, which only the node could translate"
        # A pod that is a backend of its own Service.
        assert answered(here, "192.0.2.201", 8000).endswith(own[0])
        # Probes of a kubelet, and pods directly, without the node.
        assert answered(n1, here.ip4, 8000).endswith(own[0]) and answered(client, there.ip4, 8000).endswith(client.ip4)


def test_published_ports():
    """ports of the node lead to a pod: from outside, the node, 127.0.0.1, other pods; tcp, udp, one address only"""
    with Lab("host") as lab:
        n1, n2 = start(lab, "n1"), start(lab, "n2")
        out = outside(lab, n1)
        pod = add(n1, "p1", ports=[
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"HostPort": 5300, "ContainerPort": 53, "Protocol": "UDP", "HostIP": ""},
            {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "203.0.113.1"},
            {"hostPort": 8082, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}])
        other, far = add(n1, "p2"), add(n2, "p3")
        serve(pod, 80)
        serve(pod, 53, "SOCK_DGRAM")
        own = node_port(n1)
        for who, at in ((out, "203.0.113.1"), (out, "2001:db8:7::1"), (n1, "203.0.113.1"), (n1, "127.0.0.1"),
                        (n1, own[0]), (n1, own[1]), (other, n1.ip4), (pod, n1.ip4), (far, n1.ip4), (n2, n1.ip4),
                        (n2, n1.ip6), (far, own[0])):
            assert answered(who, at, 8080) in (f"::ffff:{own[0]}", *own), (who, at)
            assert answered(who, at, 5300, "SOCK_DGRAM") in (f"::ffff:{own[0]}", *own), (who, at)
        assert ask(out, "203.0.113.1", 8081) and ask(n1, "127.0.0.1", 8082)
        for who, at, port in ((n1, "127.0.0.1", 8081), (n2, n1.ip4, 8081), (out, "203.0.113.1", 8082),
                              (n1, "::1", 8080)):
            assert ask(who, at, port) is None, (who, at, port)

        # No member of the cloud reaches a service that listens on the node's loopback only; a frame for the node's
        # other address arrives.
        hears = {address: n1.start(f"loopback-{port}", "/usr/bin/python3", "-c", HEAR, address, port)
                 for address, port in (("127.0.0.1", 9000), (own[0], 9001))}
        for program in hears.values():
            program.says("listening")
        for address, port in (("127.0.0.1", 9000), (own[0], 9001)):
            other.run("/usr/bin/python3", "-c", FRAME, "eth0", n1.mac("vx-blue"), other.ip4, address, port)
        hears[own[0]].says("heard")
        assert "heard" not in hears["127.0.0.1"].output()

        # In use: the error names the owner.
        try:
            add(n1, "p4", ports=[{"hostPort": 8080, "containerPort": 81, "protocol": "tcp"}])
        except CniError as error:
            assert error.code == 113 and pod.container in error.msg and "8080/tcp" in error.msg, error
        else:
            raise AssertionError("a port in use was given twice")
        # DEL releases that port, and no other.
        pod.network.delete(pod)
        assert ask(out, "203.0.113.1", 8080) is None
        again = add(n1, "p5", ports=[{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}])
        serve(again, 80)
        assert answered(out, "203.0.113.1", 8080)


def test_one_family():
    """0.0.0.0 is IPv4 and :: is IPv6: each opens its own family, and both together are two ports"""
    with Lab("host") as lab:
        node = start(lab)
        out = outside(lab, node)
        both = add(node, "both", ports=[
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": address} for address in ("0.0.0.0", "::")])
        v4 = add(node, "v4", ports=[{"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "0.0.0.0"}])
        v6 = add(node, "v6", ports=[{"hostPort": 8081, "containerPort": 81, "protocol": "tcp", "hostIP": "::"}])
        for pod, port in ((both, 80), (v4, 80), (v6, 81)):
            serve(pod, port)
        own = node_port(node)
        assert answered(out, "203.0.113.1", 8080).endswith(own[0]) and answered(out, "2001:db8:7::1", 8080) == own[1]
        assert answered(out, "203.0.113.1", 8081) and answered(out, "2001:db8:7::1", 8081)
        v6.network.delete(v6)
        assert answered(out, "203.0.113.1", 8081)
        assert ask(out, "2001:db8:7::1", 8081) is None, "0.0.0.0 was opened on IPv6"
        v4.network.delete(v4)
        again = add(node, "again", ports=[{"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "::"}])
        serve(again, 80)
        # A restarted agent reads it from its record.
        node.agent.stop()
        node.agent.start()
        assert answered(out, "2001:db8:7::1", 8081)
        assert ask(out, "203.0.113.1", 8081) is None, ":: was opened on IPv4"


def test_udp_flows_follow():
    """a client that keeps sending reaches each pod that is published next; a flow that is only forwarded continues"""
    with Lab("host") as lab:
        node = start(lab)
        out, far = outside(lab, node), lab.netns("far")
        node.ip("link", "add", "far0", "type", "veth", "peer", "name", "eth0", "netns", far.path)
        node.address("far0", "198.18.0.1/24")
        far.address("eth0", "198.18.0.2/24")
        out.ip("route", "add", "default", "via", "203.0.113.1")

        def hears(where, port, after):
            program = where.start(f"hear-{after}", "/usr/bin/python3", "-c", HEAR, "0.0.0.0", port)
            program.says("listening")
            program.says("heard")
        # A flow that the operator's rules translated to the same port. It lasts as long as it is tracked.
        node.run("nft", "add table ip theirs; add chain ip theirs c { type nat hook prerouting priority -100; }; "
                        "add rule ip theirs c ip daddr 198.18.9.9 udp dport 5140 dnat to 198.18.0.2")
        out.start("sender", "/usr/bin/python3", "-c", SEND, 5140, "203.0.113.1", "198.18.9.9").says("sending")
        hears(far, 5140, "first")
        node.run("nft", "delete table ip theirs")
        ports = [{"hostPort": 5140, "containerPort": 514, "protocol": "udp"}]
        for name in ("one", "two"):
            pod = add(node, name, ports=ports)
            hears(pod, 514, name)
            pod.network.delete(pod)
        # Another program flushes the table, after which the flow begins again untranslated.
        pod = add(node, "three", ports=ports)
        node.run("nft", "flush ruleset")
        hears(pod, 514, "three")
        hears(far, 5140, "all that")


def test_without_gateway():
    """the first published port creates the node's own port, and the last one removes it"""
    with Lab("host") as lab:
        node = start(lab, gateway=False)
        out, before = outside(lab, node), sorted(node.links())
        plain = add(node, "p1")
        assert "vx-blue" not in node.links() and not plain.ip_json("route", "show", "default")
        ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
        pod = add(node, "p2", ports=ports)
        serve(pod, 80)
        assert answered(out, "203.0.113.1", 8080).endswith(node_port(node)[0])
        assert not pod.ip_json("route", "show", "default"), "publishing is no reason for a way out"
        pod.network.delete(pod)
        assert "vx-blue" not in node.links() and "table inet vxvde" not in tables(node)
        # Addresses that only the caller knows: requested ones, then those of an IPAM plugin. The cloud is not
        # configured.
        for ipam in ({}, {"type": "host-local", "ranges": [[{"subnet": "192.0.2.192/27"}]]}):
            section = {"vnl": "vxvde://239.9.9.9", "cloud": None, "ipam": ipam}
            pod = add(node, f"p-{ipam.get('type', 'static')}", ports=ports, network=net(node, **section),
                      capability_args={} if ipam else {"ips": ["192.0.2.200/27"]})
            serve(pod, 80)
            assert answered(out, "203.0.113.1", 8080)
            pod.network.delete(pod)
        plain.network.delete(plain)
        wait_for(lambda: sorted(node.links()) == before, 5, "no link is left")
        assert node.agent.clouds() == []


def test_restored():
    """a flushed firewall, a restarted or killed agent: the state is restored, and other programs' rules stay"""
    with Lab("host") as lab:
        node = start(lab, masquerade=True)
        node.run("nft", "add table inet theirs; add chain inet theirs c; add rule inet theirs c counter")
        theirs = node.run("nft", "list", "table", "inet", "theirs").stdout
        host = outside(lab, node)
        pod = add(node, "p1", ports=[{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}])
        serve(pod, 80)
        serve(host, 8000)

        def works(why):
            wait_for(lambda: ask(host, "203.0.113.1", 8080), 10, f"the port leads to the pod {why}")
            wait_for(lambda: (ask(pod, "203.0.113.2", 8000) or "").endswith("203.0.113.1"), 10, f"masquerading {why}")
        works("at first")
        table = node.run("nft", "-s", "list", "table", "inet", "vxvde").stdout
        own, index = node_port(node), node.links()["vx-blue"]["ifindex"]
        for damage in ("flush ruleset", "delete table inet vxvde", "flush table inet vxvde"):
            node.run("nft", damage)
            wait_for(lambda: node.run("nft", "-s", "list", "table", "inet", "vxvde", check=False).stdout == table, 10,
                     f"the table is there again after {damage}")
        works("after a flush")
        node.run("nft", "add table inet theirs; add chain inet theirs c; add rule inet theirs c counter")
        for sig in (signal.SIGTERM, signal.SIGKILL):
            node.agent.stop(sig)
            node.agent.start()
            works(f"after {sig!r}")
            assert node_port(node) == own and node.links()["vx-blue"]["ifindex"] == index
            assert node.run("nft", "-s", "list", "table", "inet", "vxvde").stdout == table
        # Deletes the link itself.
        node.ip("link", "del", "vx-blue")
        wait_for(lambda: "vx-blue" in node.links(), 10, "the link is made again")
        works("after its link was deleted")
        pod.network.delete(pod)
        assert "8080" not in node.run("nft", "list", "table", "inet", "vxvde").stdout
        node.agent.reload({"clouds": []})
        wait_for(lambda: "vx-blue" not in node.links(), 10, "nobody wants the port any more")
        assert node.run("nft", "list", "table", "inet", "theirs").stdout == theirs
        wait_for(lambda: tables(node) == ["table inet theirs"], 10, "with the last cloud the last rule of ours goes")


def test_bandwidth():
    """a pod with a rate gets no more than that, in each direction"""
    with Lab("host") as lab:
        node = start(lab)
        rate, size = 20_000_000, 5_000_000
        slow = add(node, "p1", capability_args={"bandwidth": {
            "ingressRate": rate, "ingressBurst": 800_000, "EgressRate": rate, "EgressBurst": 800_000}})
        pod = add(node, "p2")
        for number, (sender, receiver) in enumerate(((pod, slow), (slow, pod))):
            begin = time.monotonic()
            sender.send_file(receiver, receiver.ip4, size, port=5300 + number)
            took = time.monotonic() - begin
            assert took > 0.9 * (8 * size - 800_000) / rate, f"{sender} -> {receiver}: {took} s"


def test_podman():
    """podman 4 run -p through CNI, with the plugin's own portMappings; rm removes them"""
    with Lab("host") as lab:
        node = start(lab, gateway=False)
        out, podman = outside(lab, node), Podman(node)
        podman.make_image()
        podman.install(source("deploy/cni/10-vxvde.conflist"), agent=node.agent.socket, vnl=BLUE)
        podman.run("run", "-d", "--name", "web", "--network", "vxvde", "-p", "8080:80", "-p", "5000-5002:80-82/tcp",
                   IMAGE, "sh", "-c", "mkdir /tmp/w; echo hello > /tmp/w/index.html; httpd -f -p 80 -h /tmp/w")
        for port in (8080, 5000):
            wait_for(lambda: page(out, f"http://203.0.113.1:{port}/") == "hello\n", 20, f"a page of :{port}")
        assert page(node, "http://127.0.0.1:8080/") == "hello\n"
        podman.remove_all()
        wait_for(lambda: not tables(node), 10, "with the last cloud the last rule goes")


if __name__ == "__main__":
    runner.main(globals())
