"""podman with its CNI backend on the sample conflist: containers and real members ping each other across nodes."""

import ipaddress
import json

from tests.lib import runner
from tests.lib.lab import Lab, source
from tests.lib.podman import Podman
from tests.lib.process import wait_for

CONFLIST = source("deploy/cni/10-vxvde.conflist")


def of_the_sample():
    """Of the sample conflist: its subnet, an address that it may hand out, and the locator."""
    with open(CONFLIST, encoding="utf-8") as f:
        section = next(p for p in json.load(f)["plugins"] if p["type"] == "vxvde")
    pool = section["ipam"]["ranges"][0][0]
    return ipaddress.ip_network(pool["subnet"]), pool["rangeEnd"], section.get("vnl", "vxvde://")


def test_containers_meet_a_member():
    """podman run --rm --network vxvde IMAGE ping MEMBER, and back; MAC and address as asked; nothing is left"""
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


if __name__ == "__main__":
    runner.main(globals())
