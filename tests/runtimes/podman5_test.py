"""podman 5 with netavark and the real driver: containers and real members of two clouds.

  tests/py.sh tests/runtimes/podman5_test.py [ROOT] [test_name...]

ROOT is a folder with a Debian trixie that has podman 5; it is created if it does not exist (about 100 s, from the
machine's apt mirror), and kept for the next run. Default: /var/tmp/vxvde-podman5/root."""

import os
import re
import sys

from tests.lib import runner
from tests.lib.lab import Lab
from tests.lib.podman5 import Podman5, make_root
from tests.lib.process import wait_for

ROOT = "/var/tmp/vxvde-podman5/root"
BLUE, GREEN = "vxvde://239.1.2.3", "vxvde://239.1.2.4"
DUAL = ("--subnet", "198.51.100.0/24", "--ip-range", "198.51.100.64/26", "--subnet", "2001:db8:42::/64")


class Two:
    """Two nodes: podman on the first, members of both clouds on the second."""

    def __init__(self, lab, config=None):
        self.n1, self.n2 = lab.node("n1"), lab.node("n2")
        self.n1.start_agent(config)
        self.before = sorted(self.n1.links())
        self.podman = Podman5(self.n1, ROOT)
        self.podman.make_image()
        runner.tried("podman", self.podman.version())
        self.member = self.n2.vdens("member", BLUE).join(9)
        self.other = self.n2.vdens("other", GREEN)
        self.other.address("vde0", "203.0.113.9/24")

    def nothing_is_left(self):
        self.podman.remove_all()
        wait_for(lambda: not self.n1.agent.ports() and not self.n1.agent.clouds() and
                 sorted(self.n1.links()) == self.before, 5, "nothing is left of the containers")


def test_containers_meet_a_member():
    """run, inspect, ping both ways in both families; --ip, --ip6 and --mac-address as requested; restart; tap; rm"""
    with Lab("podman5") as lab:
        two = Two(lab)
        podman, member = two.podman, two.member
        network = podman.create("blue", *DUAL, vnl=BLUE)
        assert network["ipv6_enabled"] and not network["dns_enabled"], network
        podman.start("web", "--network", "blue")
        shown = podman.shown("web", "blue")
        podman.reaches("web", member.ip4)
        podman.reaches("web", member.ip6)
        member.reaches(shown["IPAddress"])
        member.reaches(shown["GlobalIPv6Address"])
        port, = two.n1.agent.ports()
        assert port["mac"] == shown["MacAddress"] and port["attachment"]["network"] == "blue", (port, shown)
        assert shown["IPPrefixLen"] == 24 and shown["GlobalIPv6PrefixLen"] == 64, shown
        assert "default" not in podman.run("exec", "web", "ip", "route").stdout, "nobody named a gateway"

        for mode in ("veth", "tap"):
            asked = {"ip": "198.51.100.40", "ip6": "2001:db8:42::40", "mac": "02:00:5e:10:00:40"}
            podman.start(mode, "--network", f"blue:mode={mode},mtu=1400,ip={asked['ip']},ip={asked['ip6']},"
                         f"mac={asked['mac']},interface_name=cloud0")
            said = podman.run("exec", mode, "ip", "addr", "show", "cloud0").stdout
            assert "mtu 1400" in said and all(value in said for value in asked.values()), said
            member.reaches(asked["ip"])
            member.reaches(asked["ip6"])
            podman.reaches(mode, shown["IPAddress"])
            podman.run("restart", "--time", "0", mode)
            podman.reaches(mode, member.ip4)
            assert asked["mac"] in podman.run("exec", mode, "ip", "addr", "show", "cloud0").stdout
            podman.run("rm", "--force", "--time", "0", mode)
            assert len(two.n1.agent.ports()) == 1
        two.nothing_is_left()


def test_two_networks_connect_and_reload():
    """two clouds for one container; connect and disconnect while it runs; reload keeps address and MAC"""
    with Lab("podman5") as lab:
        two = Two(lab)
        podman, member = two.podman, two.member
        podman.create("blue", *DUAL, vnl=BLUE)
        podman.create("green", "--subnet", "203.0.113.0/24", vnl=GREEN)
        podman.start("both", "--network", "blue", "--network", "green")
        podman.reaches("both", member.ip4)
        podman.reaches("both", "203.0.113.9")
        assert len(two.n1.agent.ports()) == 2

        podman.start("web", "--network", "blue")
        podman.run("network", "connect", "--ip", "203.0.113.40", "green", "web")
        podman.reaches("web", "203.0.113.9")
        two.other.reaches("203.0.113.40")
        podman.run("network", "disconnect", "green", "web")
        assert not podman.pings("web", "203.0.113.9")
        assert podman.pings("web", member.ip4), "the other network is not disturbed"

        before = podman.shown("web", "blue")
        podman.run("network", "reload", "--all")
        after = podman.shown("web", "blue")
        assert [before[k] for k in ("IPAddress", "GlobalIPv6Address", "MacAddress")] == [
            after[k] for k in ("IPAddress", "GlobalIPv6Address", "MacAddress")], (before, after)
        podman.reaches("web", member.ip4)
        podman.reaches("both", "203.0.113.9")
        two.nothing_is_left()
        podman.run("network", "rm", "green")


def test_reboots():
    """a power cut of the host: containers start again with their addresses, and with the agent's records fresh, stale or gone"""
    with Lab("podman5") as lab:
        two = Two(lab)
        podman, member = two.podman, two.member
        podman.create("blue", *DUAL, vnl=BLUE)
        podman.start("web", "--network", "blue:ip=198.51.100.40")
        for restart in (False, True):
            podman.reboot()
            if restart:
                two.n1.agent.stop()
                two.n1.agent.start()
            podman.run("start", "web")
            podman.reaches("web", member.ip4)
            member.reaches("198.51.100.40")
            assert len(two.n1.agent.ports()) == 1
        two.n1.agent.stop(sig=9)
        two.n1.agent.start()
        podman.reaches("web", member.ip4)
        two.nothing_is_left()


def test_published_ports():
    """-p: another host, the node itself and 127.0.0.1 reach the container; rm removes it"""
    with Lab("podman5") as lab:
        two = Two(lab)
        podman = two.podman
        podman.create("blue", *DUAL, vnl=BLUE)
        podman.start("web", "--network", "blue", "-p", "8080:80")
        podman.run("exec", "web", "httpd", "-p", "80")

        def reaches(where, address):
            connect = f"import socket; socket.create_connection(('{address}', 8080), 2)"
            return where.run("/usr/bin/python3", "-c", connect, check=False).returncode == 0
        for where, address in ((two.n2, two.n1.ip4), (two.n2, two.n1.ip6), (two.n1, two.n1.ip4), (two.n1, "127.0.0.1")):
            wait_for(lambda where=where, address=address: reaches(where, address), 10, f"{where} reaches {address}")
        two.n1.agent.stop(sig=9)
        two.n1.agent.start()
        wait_for(lambda: reaches(two.n2, two.n1.ip4), 10, "with the agent that was started again")
        podman.run("rm", "--force", "--time", "0", "web")
        assert not reaches(two.n2, two.n1.ip4)
        two.nothing_is_left()


def test_beside_a_bridge():
    """a bridge network and a cloud: the bridge keeps the default route and the ports; a named gateway is used alone"""
    with Lab("podman5") as lab:
        two = Two(lab)
        podman, member = two.podman, two.member
        podman.create("blue", *DUAL, "--gateway", "198.51.100.9", vnl=BLUE)
        podman.run("network", "create", "-d", "bridge", "--subnet", "203.0.113.0/24", "bridge0")
        podman.start("both", "--network", "bridge0", "--network", "blue:ports=ignore", "-p", "8080:80")
        routes = podman.run("exec", "both", "ip", "route").stdout
        assert "default via 203.0.113.1" in routes.splitlines()[0], routes
        podman.reaches("both", member.ip4)
        podman.run("exec", "both", "httpd", "-p", "80")
        connect = f"import socket; socket.create_connection(('{two.n1.ip4}', 8080), 1)"
        wait_for(lambda: two.n2.run("/usr/bin/python3", "-c", connect, check=False).returncode == 0, 5,
                 "another host reaches the port that the bridge publishes")
        podman.run("rm", "--force", "--time", "0", "both")
        podman.start("web", "--network", "blue")
        routes = podman.run("exec", "web", "ip", "route").stdout
        assert "default via 198.51.100.9" in routes, routes
        assert podman.shown("web", "blue")["Gateway"] == "198.51.100.9"
        member.ip("addr", "add", "192.0.2.200/32", "dev", "lo")
        podman.reaches("web", "192.0.2.200")
        podman.remove_all()
        podman.create("inner", "--internal", "--subnet", "198.51.100.0/24", vnl=GREEN)
        podman.start("inside", "--network", "inner")
        assert "default" not in podman.run("exec", "inside", "ip", "route").stdout
        podman.remove_all()


def test_without_subnets():
    """no subnets: an interface with a MAC, on which the container may set its own addresses"""
    with Lab("podman5") as lab:
        two = Two(lab)
        podman = two.podman
        podman.create("flat", "--ipam-driver", "none", vnl=BLUE)
        podman.create("plain", vnl=BLUE)
        for network in ("flat", "plain"):
            podman.start(network, "--network", network, "--cap-add", "NET_ADMIN")
            assert podman.shown(network, network)["MacAddress"], network
            podman.run("exec", network, "ip", "addr", "add", "198.51.100.40/24", "dev", "eth0")
            podman.reaches(network, two.member.ip4)
            podman.remove_all()
        two.nothing_is_left()


def test_addresses_of_the_agents_own():
    """no subnets, in a cloud that has some: each container gets addresses of these, and keeps them over restart and reload"""
    with Lab("podman5") as lab:
        two = Two(lab, {"clouds": [{"name": "lab", "vnl": BLUE, "subnets": ["198.51.100.0/24", "2001:db8:42::/64"]}]})
        podman = two.podman
        podman.create("lab", cloud="lab")

        def addresses(name):
            said = podman.run("exec", name, "ip", "addr", "show", "eth0").stdout
            return set(re.findall(r"inet6? ((?:198\.51\.100|2001:db8:42)[.:][^/]*)/", said))

        for name in ("one", "other"):
            podman.start(name, "--network", "lab")
            shown = podman.shown(name, "lab")
            assert addresses(name) == {shown["IPAddress"], shown["GlobalIPv6Address"]}, (addresses(name), shown)
        first, second = addresses("one"), addresses("other")
        assert len(first) == len(second) == 2 and not first & second, (first, second)
        for address in (two.member.ip4, two.member.ip6, *second):
            podman.reaches("one", address)
        podman.run("network", "reload", "one")
        assert addresses("one") == first
        podman.run("restart", "--time", "0", "one")
        assert addresses("one") == first
        for address in first:
            two.member.reaches(address)
        two.nothing_is_left()


def test_errors_reach_the_user():
    """an error is named on podman's terminal, and leaves neither network nor container interface"""
    with Lab("podman5") as lab:
        two = Two(lab)
        podman = two.podman

        def fails(word, *args):
            done = podman.run(*args, check=False)
            assert done.returncode != 0 and word in done.stderr, (args, done.stdout, done.stderr)

        create = ("network", "create", "-d", "vxvde")
        fails("colour", *create, "-o", "colour=red", "bad")
        fails("speed", *create, "-o", "vnl=vxvde://239.1.2.3/speed=9", "bad")
        assert "bad" not in podman.run("network", "ls").stdout
        podman.create("blue", *DUAL, vnl=BLUE)
        run = ("run", "--rm", "--network")
        fails("8080:80/tcp", *run, "blue:ports=refuse", "-p", "8080:80", "localhost/busybox", "true")
        fails("\"foo\" is unknown", *run, "blue:foo=bar", "localhost/busybox", "true")
        podman.start("web", "--network", "blue:mac=02:00:5e:10:00:40")
        fails("02:00:5e:10:00:40", *run, "blue:mac=02:00:5e:10:00:40", "localhost/busybox", "true")
        podman.run("rm", "--force", "--time", "0", "web")
        two.n1.agent.stop()
        fails(two.n1.agent.socket, *run, "blue", "localhost/busybox", "true")
        two.n1.agent.start()
        two.nothing_is_left()


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("/"):
        ROOT = sys.argv.pop(1)
    if not os.path.isdir(ROOT):
        make_root(ROOT)
    runner.main(globals())
