"""Multicast that fails on the network is detected, reported and repaired as far as possible. Takes minutes: the protocol's own
timeouts."""

from tests.lib import runner
from tests.lib.lab import Lab
from tests.lib.process import wait_for

CLOUDS = {4: "vxvde://239.1.2.3", 6: "vxvde://ff05:56de::1"}


def problem(node):
    return node.agent.clouds()[0].get("groupProblem", "")


def deaf(vnl, shut):
    """The second node receives no more datagrams of the group; the first one does."""
    with Lab("deaf") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        pods = []
        for node in (n1, n2):
            node.start_agent({"clouds": [{"name": "blue", "vnl": vnl}]})
            pods.append(node.pod("pod"))
            pods[-1].add(node.net(vnl))
        a, b = pods
        a.reaches(b.ip4)
        dump = n2.start("joins", "tcpdump", "-n", "-v", "-l", "--immediate-mode", "-i", "eth0", "-Q", "out", "igmp or dst host ff02::16")
        dump.says("listening on")
        n2.run("nft", f"add table inet shut; add chain inet shut in {{ type filter hook input priority 0; }}; "
               f"add rule inet shut in iifname eth0 {shut(n1)} drop")
        wait_for(lambda: "1 of 1 agents are not heard by group" in problem(n2), 150, "the node that hears nothing says so")
        assert not problem(n1), "the other one hears it"
        assert problem(n2) in n2.agent.ctl("status").stdout
        assert "group not heard" in n2.agent.process.output()
        assert a.ping(b.ip4), "stations that know each other go on"
        assert int(n2.agent.clouds()[0]["rejoins"]) >= 1
        joined = "239.1.2.3 to_ex" if "239" in vnl else "ff05:56de::1 to_ex"
        wait_for(lambda: joined in dump.output(), 10, "the network was told of the member again")
        n2.run("nft", "delete table inet shut")
        wait_for(lambda: not problem(n2), 60, "the next Hello ends it")
        assert "group heard again" in n2.agent.process.output()


def test_ipv4():
    """a network that stops delivering the group to one node"""
    deaf(CLOUDS[4], lambda n1: f"ip saddr {n1.ip4} ip daddr 239.1.2.3")


def test_ipv6():
    """the same over IPv6"""
    deaf(CLOUDS[6], lambda n1: f"ip6 saddr {n1.ip6} ip6 daddr ff05:56de::1")


if __name__ == "__main__":
    runner.main(globals())
