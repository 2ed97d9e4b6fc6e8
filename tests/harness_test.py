"""The lab itself: LAN, real members alone, both families. When this fails, so will the rest."""

import os

from tests.lib import runner
from tests.lib.lab import Lab


def test_members_meet():
    """vde_plug and vdens, on two nodes and on one, over IPv4 and over IPv6"""
    for vnl in ("vxvde://239.9.9.9", "vxvde://ff05:56de::9"):
        with Lab("harness") as lab:
            n1, n2 = lab.node("n1"), lab.node("n2")
            plug = n1.vde_plug("plug", vnl)
            near = n1.vdens("near", vnl)
            far = n2.vdens("far", vnl)
            for i, member in enumerate((plug, near, far), 1):
                member.join(i)
            for member in (plug, near, far):
                for other in (plug, near, far):
                    member.reaches(other.ip4)
                    member.reaches(other.ip6)
            with n2.capture("eth0", "udp") as seen:
                far.reaches(plug.ip4)
            assert seen, "pings cross the fabric"
            far.send_file(plug, plug.ip4, 1 << 20)
            assert not plug.csum_errors()
            result = far.iperf3(near, near.ip4, seconds=1)
            assert result["end"]["sum_received"]["bytes"] > 0
        assert not os.path.exists(lab.dir)
        assert not [n for n in os.listdir("/run/netns") if n.startswith(lab.name)]


def test_failure_leaves_nothing():
    """an exception inside the block: logs are printed, everything is removed"""
    try:
        with Lab("harness") as lab:
            lab.node("n1").start("sleep", "sh", "-c", "echo A LINE IN A LOG; exec sleep 1000").says("A LINE")
            raise KeyError("wanted")
    except KeyError:
        pass
    assert not os.path.exists(lab.dir)
    assert not [n for n in os.listdir("/run/netns") if n.startswith(lab.name)]


if __name__ == "__main__":
    runner.main(globals())
