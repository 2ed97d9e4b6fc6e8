"""podman with its CNI backend on the sample conflist: containers and real members ping each other across nodes."""

import ipaddress
import json

from tests.lib import runner
from tests.lib.lab import Lab, source
from tests.lib.podman import Podman
from tests.lib.process import wait_for

CONFLIST = source("deploy/cni/10-vxvde.conflist")


def of_the_sample():
    """Values of the sample conflist: its subnet, an address of its range, and the locator."""
    with open(CONFLIST, encoding="utf-8") as f:
        section = next(p for p in json.load(f)["plugins"] if p["type"] == "vxvde")
    pool = section["ipam"]["ranges"][0][0]
    return ipaddress.ip_network(pool["subnet"]), pool["rangeEnd"], section.get("vnl", "vxvde://")


def test_containers_meet_a_member():
    """podman run --rm --network vxvde IMAGE ping MEMBER, and back; MAC and address as requested; nothing is left"""
    subnet, asked, vnl = of_the_sample()
    address = subnet[-2]
    with Lab("podman") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        member = n2.vdens("member", vnl)
        member.address(member.ifname, f"{address}/{subnet.prefixlen}")
        podman = Podman(n1)
        podman.install(CONFLIST, agent=n1.agent.socket)
        image = podman.make_image()
        assert "vxvde" in podman.run("network", "ls").stdout, "VERSION is probed for the list"
        before = sorted(n1.links())

        run = ("run", "--rm", "--cap-add", "NET_RAW", "--network", "vxvde")
        done = podman.run(*run, image, "ping", "-c", "3", "-i", "0.2", str(address))
        assert " 3 packets received" in done.stdout, done.stdout

        done = podman.run(*run, "--ip", asked, "--mac-address", "02:00:5e:10:00:09", image,
                          "ip", "addr", "show", "eth0")
        assert f"{asked}/" in done.stdout and "02:00:5e:10:00:09" in done.stdout, done.stdout

        podman.run("run", "--detach", "--name", "server", "--network", "vxvde", image, "sleep", "1000")
        shown = json.loads(podman.run("inspect", "server").stdout)[0]["NetworkSettings"]["Networks"]["vxvde"]
        member.reaches(shown["IPAddress"])
        assert member.ping(shown["IPAddress"], count=3)
        ports = n1.agent.ports()
        assert len(ports) == 1 and ports[0]["mac"] == shown["MacAddress"], (ports, shown)
        assert ports[0]["attachment"]["network"] == "vxvde"
        podman.run("exec", "server", "ping", "-c", "1", str(address))
        podman.remove_all()
        wait_for(lambda: not n1.agent.ports() and sorted(n1.links()) == before and not n1.leases(), 5,
                 "nothing is left of the containers")


def test_reload_restart_and_two_networks():
    """restart, `network reload` in the live namespace with the old address and MAC, two networks, dual stack, errors"""
    subnet, _, vnl = of_the_sample()
    green = {"cniVersion": "1.0.0", "name": "green", "plugins": [
        {"type": "vxvde", "vnl": "vxvde://239.1.2.4", "ipam": {"type": "host-local", "ranges": [
            [{"subnet": "198.51.100.0/24"}], [{"subnet": "2001:db8:42::/64"}]]}}]}
    with Lab("podman") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        member, other = n2.vdens("member", vnl), n2.vdens("other", "vxvde://239.1.2.4")
        member.address(member.ifname, f"{subnet[-2]}/{subnet.prefixlen}")
        other.address(other.ifname, "198.51.100.9/24", "2001:db8:42::9/64")
        podman = Podman(n1)
        podman.install(CONFLIST, agent=n1.agent.socket)
        path = lab.file("20-green.conflist")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(green, f)
        podman.install(path, agent=n1.agent.socket, capabilities={"ips": True, "mac": True})
        image = podman.make_image()
        before = sorted(n1.links())

        def reaches(name, *addresses):
            for address in addresses:
                wait_for(lambda: podman.run("exec", name, "ping", "-c", "1", "-W", "1", address,
                                            check=False).returncode == 0, 10, f"{name} reaches {address}")

        start = ("run", "--detach", "--cap-add", "NET_RAW", "--name")
        podman.run(*start, "both", "--network", "vxvde", "--network", "green", image, "sleep", "1000")
        reaches("both", str(subnet[-2]), "198.51.100.9", "2001:db8:42::9")
        podman.run(*start, "asked", "--network", "green:ip=198.51.100.40,ip=2001:db8:42::40,mac=02:00:5e:10:00:40",
                   image, "sleep", "1000")
        other.reaches("198.51.100.40")
        other.reaches("2001:db8:42::40")
        assert "02:00:5e:10:00:40" in [p["mac"] for p in n1.agent.ports()]

        ports = sorted((p["mac"], tuple(p["attachment"]["addresses"])) for p in n1.agent.ports())
        podman.run("network", "reload", "--all")
        assert ports == sorted((p["mac"], tuple(p["attachment"]["addresses"])) for p in n1.agent.ports())
        reaches("both", str(subnet[-2]), "198.51.100.9")
        podman.run("restart", "--time", "0", "both")
        reaches("both", str(subnet[-2]), "198.51.100.9")

        done = podman.run("run", "--rm", "--network", "green:mac=02:00:5e:10:00:40", image, "true", check=False)
        assert done.returncode == 126 and "02:00:5e:10:00:40 is in use" in done.stderr, done
        podman.remove_all()
        wait_for(lambda: not n1.agent.ports() and sorted(n1.links()) == before and not n1.leases(), 5,
                 "nothing is left of the containers")


if __name__ == "__main__":
    runner.main(globals())
