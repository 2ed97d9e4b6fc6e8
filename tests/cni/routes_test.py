"""Routes and addresses of pods on networks as they are: several networks, gateways, and plugins behind ours.

Ids such as (M1) are requirements in docs/RUNTIMES.md."""

from tests.lib import runner
from tests.lib.lab import Lab
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
    """two networks with a gateway, another plugin's network before ours, and a key that says no (M1)"""
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

        # As podman 4 and Multus: eth0 is another plugin's, and the IPAM plugin has a default route too.
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
