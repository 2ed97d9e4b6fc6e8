"""Routes and addresses of pods on real networks: several networks, gateways, and plugins chained after vxvde.

Ids such as (M1) are requirements in docs/RUNTIMES.md."""

from tests.lib import runner
from tests.lib.cni import CniError, execute
from tests.lib.lab import Lab, program
from tests.lib.process import wait_for

CLOUDS = [{"name": "blue", "vnl": "vxvde://239.1.2.3/vni=7", "subnets": ["198.51.100.0/25"], "gateway": True},
          {"name": "green", "vnl": "vxvde://239.1.2.4", "subnets": ["198.51.100.128/25"], "gateway": True}]
BROADCAST = """
import fcntl, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
SIOCGIFBRDADDR = 0x8919
print(socket.inet_ntoa(fcntl.ioctl(s.fileno(), SIOCGIFBRDADDR, struct.pack("256s", sys.argv[1].encode()))[20:24]))
"""


def start(lab):
    node = lab.node("n1")
    node.start_agent({"clouds": CLOUDS})
    wait_for(lambda: node.links().keys() >= {"vx-blue", "vx-green"}
             and node.addresses("vx-blue") and node.addresses("vx-green"), 20, "the node's own ports")
    return node


def network(node, cloud, behind=(), version="1.0.0", **section):
    return node.network({"cniVersion": version, "name": cloud, "plugins": [
        {"type": "vxvde", "cloud": cloud, **section}, *behind]})


def host_local(subnet, *destinations):
    return {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": one} for one in destinations]}


def defaults(pod):
    return [(route["gateway"], route["dev"]) for route in pod.ip_json("route", "show", "default")]


def result_defaults(result):
    return [route["gw"] for route in result.get("routes", []) if route["dst"] == "0.0.0.0/0"]


def test_the_first_default_route_wins():
    """two networks with a gateway, another plugin's network first, and a key that refuses the route (M1)"""
    with Lab("routes") as lab:
        node = start(lab)
        blue, green = network(node, "blue"), network(node, "green")
        pod = node.pod("two")
        first = result_defaults(pod.add(blue))
        assert len(first) == 1 and defaults(pod) == [(first[0], "eth0")], first
        assert result_defaults(pod.add(green, ifname="eth1")) == []
        assert defaults(pod) == [(first[0], "eth0")]
        green.delete(pod, ifname="eth1")
        blue.delete(pod)

        declined = network(node, "blue", noDefaultRoute=True)
        assert result_defaults(pod.add(declined)) == [] and defaults(pod) == []
        assert result_defaults(pod.add(green, ifname="eth1")) and defaults(pod)[0][1] == "eth1"

        # As with podman 4 and Multus: eth0 belongs to another plugin, and the IPAM plugin has a default route, too.
        other = node.pod("other")
        node.ip("link", "add", "other0", "type", "veth", "peer", "name", "eth0", "netns", other.path)
        node.address("other0", "203.0.113.1/24")
        other.address("eth0", "203.0.113.2/24")
        other.ip("route", "add", "default", "via", "203.0.113.1")
        for number, ipam in enumerate((None, host_local("192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/8"))):
            second = network(node, "blue", **({} if ipam is None else {"ipam": ipam}))
            result = other.add(second, ifname=f"net{number}")
            assert result_defaults(result) == [], result
            assert defaults(other) == [("203.0.113.1", "eth0")]
        assert [route["dst"] for route in result["routes"]] == ["10.0.0.0/8"], result


def test_sbr_behind_a_second_network():
    """source-based routing of a second network, whose gateway is not the pod's (M1, C1)"""
    with Lab("routes") as lab:
        node = start(lab)
        pod = node.pod("pod")
        pod.add(network(node, "blue"))
        for ipam in (None, host_local("192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/8")):
            section = {} if ipam is None else {"ipam": ipam}
            second = network(node, "green", behind=[{"type": "sbr"}], **section)
            result = pod.add(second, ifname="net1")
            gateway = result["ips"][0]["gateway"]
            own = result["ips"][0]["address"].split("/")[0]
            assert f" via {gateway} dev net1 " in pod.run("ip", "route", "get", "8.8.8.8", "from", own).stdout
            assert " dev eth0 " in pod.run("ip", "route", "get", "8.8.8.8").stdout
            for config in second.configs(previous=result):
                done = execute(node, second.program(config["type"]), "CHECK", config,
                               environment=second.environment(pod.container, pod.path, "net1"))
                assert done.returncode == 0, (config["type"], done.stdout)
            second.delete(pod, ifname="net1")
            assert pod.links().keys() == {"lo", "eth0"}


def static(*addresses, routes=()):
    return {"type": "static", "addresses": [{"address": address, **({} if gateway is None else {"gateway": gateway})}
                                            for address, gateway in addresses], "routes": list(routes)}


def test_gateways():
    """a route to the pod's own subnet, a gateway of an address without a subnet, and an impossible gateway (A3, E7)"""
    with Lab("routes") as lab:
        node = lab.node("n1")
        node.start_agent()
        pod = node.pod("pod")

        def add(ipam):
            result = pod.add(node.network({"cniVersion": "1.0.0", "name": "x", "plugins": [
                {"type": "vxvde", "vnl": "vxvde://239.1.2.5", "ipam": ipam}]}))
            return [(route["dst"], route.get("gw")) for route in result.get("routes", [])]

        def again():
            node.net("vxvde://239.1.2.5", name="x", ipam={}).delete(pod)
        assert add(host_local("192.0.2.0/24", "192.0.2.0/24", "10.0.0.0/8")) == [
            ("192.0.2.0/24", None), ("10.0.0.0/8", "192.0.2.1")]
        again()
        routes = add(static(("192.0.2.7/32", "169.254.1.1"), ("2001:db8::7/128", "2001:db8:1::1"),
                            routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]))
        assert ("0.0.0.0/0", "169.254.1.1") in routes and ("::/0", "2001:db8:1::1") in routes, routes
        assert defaults(pod) == [("169.254.1.1", "eth0")]
        assert pod.run("ip", "route", "get", "8.8.8.8").stdout.startswith("8.8.8.8 via 169.254.1.1 dev eth0")
        assert " via 2001:db8:1::1 dev eth0" in pod.run("ip", "route", "get", "2001:db8:9::9").stdout
        again()
        for address in ("192.0.2.7/24", "2001:db8::7/64"):
            try:
                add(static((address, None), routes=[{"dst": "10.0.0.0/8", "gw": "198.51.100.1"}]))
            except CniError as error:
                assert error.code == 7 and "198.51.100.1" in error.msg and error.details, error
            else:
                raise AssertionError("a gateway that is not on the link")
            assert pod.links().keys() == {"lo"}


def test_static_in_a_list_of_1_1_0():
    """CHECK of Debian's static, which does not know 1.1.0 (C1)"""
    with Lab("routes") as lab:
        node = lab.node("n1")
        node.start_agent()
        pod = node.pod("pod")
        made = node.network({"cniVersion": "1.1.0", "name": "x", "plugins": [
            {"type": "vxvde", "vnl": "vxvde://239.1.2.5", "ipam": static(("192.0.2.7/24", None))}]})
        config = next(made.configs(previous=pod.add(made)))
        done = execute(node, program("cni/vxvde"), "CHECK", config,
                       environment=made.environment(pod.container, pod.path, "eth0"))
        assert done.returncode == 0, done.stdout


ADVERTISE = """
import socket, struct, sys, time
interface, prefix = sys.argv[1:]
ROUTER_ADVERTISEMENT, PREFIX, ON_LINK_AND_AUTONOMOUS = 134, 3, 0xc0  # RFC 4861, 4.2 and 4.6.2
message = struct.pack("!BBHBBHII", ROUTER_ADVERTISEMENT, 0, 0, 64, 0, 1800, 0, 0)
message += struct.pack("!BBBBIII16s", PREFIX, 4, 64, ON_LINK_AND_AUTONOMOUS, 3600, 3600, 0,
                       socket.inet_pton(socket.AF_INET6, prefix))
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
print("advertising", flush=True)
while True:
    try:
        s.sendto(message, ("ff02::1", 0, 0, socket.if_nametoindex(interface)))
    except OSError:  # the link-local address is still tentative
        pass
    time.sleep(0.2)
"""


def test_a_router_on_the_cloud():
    """router advertisements change nothing for pods with an IPv6 address, and configure those without (A6)"""
    with Lab("routes") as lab:
        node, other = lab.node("n1"), lab.node("n2")
        for one in (node, other):
            one.start_agent()
        pods = [where.pod(f"p{number}") for number, where in enumerate((node, node, other))]
        for pod, where in zip(pods, (node, node, other)):
            pod.add(where.net("vxvde://239.1.2.5"))
        plain = node.pod("plain")
        plain.add(node.net("vxvde://239.1.2.5", ipam={}))
        router = other.vdens("router", "vxvde://239.1.2.5")
        router.address("vde0", "2001:db8:42::ffff/64")
        pods[0].reaches(pods[2].ip6)

        def state():
            return [(pod.addresses("eth0"), pod.ip_json("-6", "route", "show", "default")) for pod in pods]
        before = state()
        router.start("advertise", "/usr/bin/python3", "-c", ADVERTISE, "vde0", "2001:db8:42::").says("advertising")
        wait_for(lambda: plain.addresses("eth0"), 20, "the layer-2-only pod forms an address")
        assert state() == before
        for pod in pods:
            pod.ip("-6", "neigh", "flush", "dev", "eth0")
        for one, another in ((0, 1), (0, 2), (2, 0)):
            pods[one].reaches(pods[another].ip6)
        pods[0].reaches("2001:db8:42::ffff")
        plain.reaches("2001:db8:42::ffff")


def test_broadcast_addresses():
    """SIOCGIFBRDADDR of pods and of the node's own ports"""
    with Lab("routes") as lab:
        node = start(lab)
        pod = node.pod("pod")
        pod.add(network(node, "blue"))
        for where, ifname, expected in ((pod, "eth0", "198.51.100.127"), (node, "vx-green", "198.51.100.255")):
            seen = where.run("/usr/bin/python3", "-c", BROADCAST, ifname).stdout.strip()
            assert seen == expected, (ifname, seen)


if __name__ == "__main__":
    runner.main(globals())
