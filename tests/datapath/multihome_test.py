"""Nodes with several uplinks and addresses: the right one is used, and unexpected sources are tolerated."""

from tests.lib import runner
from tests.lib.lab import Lab

GROUP = "239.1.2.3"


def two_uplinks(vnl, config):
    """The cloud must use eth1, whatever the route to its group."""
    with Lab("multihome") as lab:
        n1, n2, n3 = lab.node("n1"), lab.node("n2"), lab.node("n3")
        for node in (n1, n2):
            node.plug(lab.lan(1), "eth1")  # the multicast route is still eth0's
        n1.start_agent(config)
        pod, member = n1.pod("pod"), n2.vdens("member", f"vxvde://{GROUP}/if=eth1").join(1)
        wrong = n3.vdens("wrong", f"vxvde://{GROUP}").join(2)
        with n1.capture("eth0", "udp") as eth0, n1.capture("eth1", "udp port 14789") as eth1:
            pod.add(n1.net(vnl))
            pod.reaches(member.ip4)
            member.reaches(pod.ip6)
            assert not pod.ping(wrong.ip4, wait=1), "another LAN, another cloud"
        own = [line for line in eth0 if n1.ip4 + "." in line.split(" > ")[1]]
        assert not own, f"on the wrong uplink: {own[:3]}"
        assert eth1, "group datagrams leave by eth1"
        assert n1.agent.clouds()[0]["uplink"] == "eth1"


def test_if_option():
    """/if= in the locator"""
    two_uplinks(f"vxvde://{GROUP}/if=eth1", {})


def test_uplink_key():
    """uplink: in the agent's configuration"""
    two_uplinks(f"vxvde://{GROUP}", {"uplink": "eth1"})


def test_if_option_wins():
    """/if= against uplink:"""
    two_uplinks(f"vxvde://{GROUP}/if=eth1", {"uplink": "eth0"})


def test_ipv6_if_option():
    """/if= on an IPv6 group"""
    with Lab("multihome") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        for node in (n1, n2):
            node.plug(lab.lan(1), "eth1")
        n1.start_agent()
        pod, member = n1.pod("pod"), n2.vdens("member", "vxvde://ff05:56de::7/if=eth1").join(1)
        pod.add(n1.net("vxvde://ff05:56de::7/if=eth1"))
        pod.reaches(member.ip4)
        member.reaches(pod.ip6)


def sources_differ(who):
    """Datagrams to the group and to peers leave from two addresses of the node of `who` ("pod" or "member")."""
    with Lab("sources") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        odd = n1 if who == "pod" else n2
        second_address = f"192.0.2.{40 + odd.number}"
        odd.ip("addr", "add", f"{second_address}/26", "dev", "eth0")
        # The agent names the interface to send from, which gives the group the first address; members do not, and
        # follow the route's source hint.
        route, of_group, of_unicast = (("192.0.2.0/26", odd.ip4, second_address) if who == "pod" else
                                       ("224.0.0.0/4", second_address, odd.ip4))
        odd.ip("route", "change", route, "dev", "eth0", "src", second_address)
        n1.start_agent()
        pod, second, member = n1.pod("pod"), n1.pod("second"), n2.vde_plug("member", f"vxvde://{GROUP}").join(1)
        with n2.capture("eth0", f"udp dst port 14789 and src {of_group}") as group, \
             n2.capture("eth0", f"udp and not dst port 14789 and src {of_unicast}") as unicast:
            pod.add(n1.net(f"vxvde://{GROUP}"))
            second.add(n1.net(f"vxvde://{GROUP}", mode="tap"))
            for a, b in ((pod, member), (member, pod), (second, member), (pod, second)):
                a.reaches(b.ip4)
                a.reaches(b.ip6)
            (pod if who == "pod" else member).ping("198.51.100.251", wait=1)  # no such station: ARP requests to the group
        assert group and unicast, f"two sources: {len(group)} to the group, {len(unicast)} unicast"
        assert pod.ping(member.ip4, count=10) and member.ping(pod.ip4, count=10)
        # Echoes of the node's own frames are ignored: a neighbour sees one broadcast once, and the node is not its own
        # peer.
        with second.capture("eth0", "arp and ether broadcast") as seen:
            pod.ping("198.51.100.250", count=2, wait=1)
        asked = [line.split()[0] for line in seen if "198.51.100.250" in line]
        assert asked, "the neighbour sees the broadcast"
        for earlier, later in zip(asked, asked[1:]):
            assert seconds(later) - seconds(earlier) > 0.5, f"an echo was delivered: {asked}"
        ours = [p for p in n1.agent.peers() if p["address"].split(":")[0] in (n1.ip4, "192.0.2.41")]
        assert not ours, f"this node is its own peer: {ours}"
        own = {pod.mac("eth0"), second.mac("eth0")}
        for entry in n1.agent.fdb():
            assert entry["mac"] not in own or entry["location"].get("port"), f"a pod of ours at a peer: {entry}"


def test_uplink_made_again():
    """an uplink that is deleted and created again, or replaced by another one, is followed; the unicast port stays"""
    with Lab("multihome") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        pod, member = n1.pod("pod"), n2.vdens("member", f"vxvde://{GROUP}").join(1)
        pod.add(n1.net(f"vxvde://{GROUP}"))
        pod.reaches(member.ip4)
        port = n1.agent.clouds()[0]["unicastPort"]
        n1.ip("link", "del", "eth0")
        assert not pod.ping(member.ip4, wait=1)
        n1.plug(lab.lan(), "eth0")
        n1.route_multicast("eth0")
        pod.reaches(member.ip4)
        member.reaches(pod.ip6)
        for node in (n1, n2):
            node.plug(lab.lan(1), "eth1")
        n1.ip("link", "del", "eth0")
        n1.route_multicast("eth1")
        n2.route_multicast("eth1")
        other = n2.vdens("other", f"vxvde://{GROUP}/if=eth1").join(2)
        pod.reaches(other.ip4)
        other.reaches(pod.ip6)
        cloud, = n1.agent.clouds()
        assert (cloud["uplink"], cloud["unicastPort"]) == ("eth1", port), cloud


def seconds(stamp):
    hours, minutes, rest = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def test_our_sources_differ():
    """group and unicast datagrams of this node have different sources: echoes are recognized"""
    sources_differ("pod")


def test_members_sources_differ():
    """the same for a member"""
    sources_differ("member")


if __name__ == "__main__":
    runner.main(globals())
