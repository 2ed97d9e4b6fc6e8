"""Bulk TCP whose bytes are compared, over all pairs of ends, on a fabric with offloads and on one without."""

from tests.lib import runner
from tests.lib.lab import Lab

VNL = "vxvde://239.1.2.3"
SIZE = 48 << 20


def transfers(offloads):
    with Lab("tcp", offloads=offloads) as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        n2.start_agent()
        veth1, tap1, veth2, tap2 = n1.pod("veth1"), n1.pod("tap1"), n2.pod("veth2"), n2.pod("tap2")
        for pod, mode in ((veth1, "veth"), (tap1, "tap"), (veth2, "veth"), (tap2, "tap")):
            pod.add(pod.node.net(VNL, mode=mode))
        plug1, plug2 = n1.vde_plug("plug1", VNL, mtu=1450).join(1), n2.vde_plug("plug2", VNL).join(2)
        lab.settle()
        # Across nodes, on one node, with a member of another node, and with one on the pods' own host.
        pairs = [(veth1, veth2), (veth1, tap2), (tap1, veth2), (tap1, tap2),
                 (veth1, tap1), (tap2, veth2),
                 (veth1, plug2), (plug2, veth1), (tap1, plug2), (plug2, tap1),
                 (veth1, plug1), (plug1, tap1)]
        for a, b in pairs:
            a.reaches(b.ip4)
            a.send_file(b, b.ip4, SIZE // 4 if {a, b} & {plug1, plug2} else SIZE)
        veth1.send_file(tap2, tap2.ip6, SIZE)
        tap1.send_file(plug2, plug2.ip6, SIZE // 4)
        veth1.iperf3(veth2, veth2.ip4, "-P", "4", "--bidir", seconds=2)
        for end in (veth1, tap1, veth2, tap2, plug1, plug2, n1, n2):
            assert not end.csum_errors(), f"{end}: {end.csum_errors()}"


def test_offloads_on():
    """a veth fabric, as between virtual machines of one host"""
    transfers(True)


def test_offloads_off():
    """simple NICs: every datagram leaves whole and with its checksum"""
    transfers(False)


if __name__ == "__main__":
    runner.main(globals())
