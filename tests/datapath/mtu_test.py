"""Full-size frames of real members (inner MTU 1500 on a wire of 1500: outer fragments), and the default MTU."""

from tests.lib import runner
from tests.lib.lab import Lab

FRAGMENTS = "ip[6:2] & 0x3fff != 0"  # more-fragments bit or an offset
FRAGMENTS6 = "ip6[6] == 44"


def full_size(vnl, fragments, mode):
    def source(node):
        return node.ip4 if fragments == FRAGMENTS else node.ip6

    with Lab("mtu") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        pod = n1.pod("pod")
        pod.add(n1.net(vnl, mode=mode, mtu=1500))
        assert pod.links()["eth0"]["mtu"] == 1500
        for i, member in enumerate((n2.vde_plug("plug", vnl), n2.vdens("vdens", vnl)), 1):
            member.join(i)
            assert member.links()[member.ifname]["mtu"] == 1500, "what members have by default"
            pod.reaches(member.ip4)
            lab.settle()
            with n2.capture("eth0", f"src {source(n1)} and {fragments}") as from_pod, \
                 n2.capture("eth0", f"src {source(n2)} and {fragments}") as from_member:
                assert pod.ping(member.ip4, count=3, size=1472, fragment=False), f"pod -> {member}, 1500 bytes"
                assert member.ping(pod.ip4, count=3, size=1472, fragment=False), f"{member} -> pod, 1500 bytes"
                assert pod.ping(member.ip6, size=1452, fragment=False)
                assert member.ping(pod.ip6, size=1452, fragment=False)
            assert len(from_pod) >= 6, "outer fragments leave the pod's node"
            assert len(from_member) >= 6, "outer fragments leave the member's node"
            pod.send_file(member, member.ip4, 4 << 20)
            member.send_file(pod, pod.ip4, 4 << 20)
            assert not pod.csum_errors() and not member.csum_errors()


def test_veth_and_members():
    """1500-byte frames both ways, veth pod, IPv4 underlay"""
    full_size("vxvde://239.1.2.3", FRAGMENTS, "veth")


def test_tap_and_members_ipv6():
    """1500-byte frames both ways, tap pod, IPv6 underlay"""
    full_size("vxvde://ff05:56de::1", FRAGMENTS6, "tap")


def test_default_mtu():
    """the uplink's MTU minus 50 or 70, and TCP with a member whose MTU is 1500"""
    for vnl, mtu in (("vxvde://239.1.2.3", 1450), ("vxvde://ff05:56de::1", 1430)):
        with Lab("mtu") as lab:
            n1, n2 = lab.node("n1"), lab.node("n2")
            n1.start_agent()
            pod, member = n1.pod("pod"), n2.vde_plug("plug", vnl).join(1)
            result = pod.add(n1.net(vnl))
            assert pod.links()["eth0"]["mtu"] == mtu, pod.links()["eth0"]
            pod.reaches(member.ip4)
            with n1.capture("eth0", f"{FRAGMENTS} or {FRAGMENTS6}") as fragments:
                assert member.ping(pod.ip4, size=mtu - 28, fragment=False)
                pod.send_file(member, member.ip4, 4 << 20)
                member.send_file(pod, pod.ip4, 4 << 20)
            assert not fragments, f"TCP keeps to the smaller MTU: {fragments[:2]}"
            assert result["ips"], result


def test_jumbo_uplink():
    """an uplink of 9000 gives pods 8950"""
    with Lab("mtu", mtu=9000) as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        pods = []
        for node in (n1, n2):
            node.start_agent()
            pod = node.pod("pod")
            pod.add(node.net("vxvde://239.1.2.3"))
            assert pod.links()["eth0"]["mtu"] == 8950
            pods.append(pod)
        lab.settle()
        assert pods[0].ping(pods[1].ip4, size=8922, fragment=False)
        pods[0].send_file(pods[1], pods[1].ip4, 8 << 20)


if __name__ == "__main__":
    runner.main(globals())
