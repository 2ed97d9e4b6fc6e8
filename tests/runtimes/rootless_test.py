"""Rootless podman and the user's own agent: a container on a cloud, without privileges on the host."""

import json

from tests.lib import runner
from tests.lib.lab import Lab, source
from tests.lib.process import run, wait_for
from tests.lib.rootless import RootlessPodman

CONFLIST = source("deploy/cni/10-vxvde.conflist")
VNL = "vxvde://239.1.2.3"


class User:
    """A user with podman and an agent on the first node, a member on the second."""

    def __init__(self, lab, **section):
        self.n1, n2 = lab.node("n1"), lab.node("n2")
        self.podman = RootlessPodman(self.n1)
        self.agent = self.podman.start_agent()
        self.podman.install(CONFLIST, agent=self.agent.socket, vnl=VNL, **section)
        self.image = self.podman.make_image()
        self.member = n2.vdens("member", VNL)
        self.member.address(self.member.ifname, "10.42.255.254/16")

    def start(self, name):
        self.podman.run("run", "--detach", "--name", name, "--cap-add", "NET_RAW", "--network", "vxvde", self.image,
                        "sleep", "100000")

    def address(self, name):
        return json.loads(self.podman.run("inspect", name).stdout)[0]["NetworkSettings"]["Networks"]["vxvde"]["IPAddress"]

    def reaches(self, name, address):
        wait_for(lambda: self.podman.run("exec", name, "ping", "-c", "1", "-W", "1", address, check=False).returncode == 0,
                 10, f"container {name} reaches {address}")

    def nothing_is_left(self):
        wait_for(lambda: not self.agent.ports() and not self.agent.clouds() and not self.n1.leases(), 5,
                 "nothing is left of the containers")


def test_containers_meet_a_member():
    """mode tap: a rootless container pings a member and is pinged; so does another; restart, and rm leaves nothing"""
    with Lab("rootless") as lab:
        user = User(lab, mode="tap")
        status = run(["cat", f"/proc/{user.agent.process.pid}/status"]).stdout
        for line in ("Uid:\t65000\t65000\t65000\t65000", f"CapPrm:\t{0:016x}", f"CapEff:\t{0:016x}"):
            assert line in status, status
        before = sorted(user.n1.links())
        for name in ("one", "two"):
            user.start(name)
            user.reaches(name, "10.42.255.254")
            user.member.reaches(user.address(name))
        user.reaches("one", user.address("two"))
        assert user.member.ping(user.address("one"), size=4000), "more than one datagram"
        assert sorted(user.n1.links()) == before, "the host has no interface more"
        assert {p["attachment"]["mode"] for p in user.agent.ports()} == {"tap"}
        user.podman.run("restart", "--time", "0", "one")
        user.reaches("one", "10.42.255.254")
        user.member.reaches(user.address("one"))
        user.podman.remove_all()
        user.nothing_is_left()


def test_agent_restart():
    """a user's agent cannot enter a container's namespace again, and need not: its tap was kept; it also continues after a
    restart"""
    with Lab("rootless") as lab:
        user = User(lab, mode="tap")
        user.start("web")
        user.reaches("web", "10.42.255.254")
        user.agent.stop()
        user.agent.start()
        user.reaches("web", "10.42.255.254")
        user.podman.run("restart", "--time", "0", "web")
        user.reaches("web", "10.42.255.254")
        user.podman.remove_all()
        user.nothing_is_left()


def test_veth_is_refused():
    """a veth pair has no end that the agent can see: the error contains the remedy, and nothing is left"""
    with Lab("rootless") as lab:
        user = User(lab)
        done = user.podman.run("run", "--rm", "--network", "vxvde", user.image, "true", check=False)
        assert done.returncode != 0 and "tap" in done.stderr, done
        user.nothing_is_left()


if __name__ == "__main__":
    runner.main(globals(), unable=None if Lab("rootless").user_namespaces() else
                "no user namespace can be made here (user_namespaces(7)), so there is no rootless podman")
