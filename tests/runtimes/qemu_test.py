"""Virtual machines on a cloud: qemu in a pod, behind a bridge there, and qemu as a member by itself.

  tests/py.sh tests/runtimes/qemu_test.py [test_name...]

Needs qemu-system-x86, kmod and busybox-static; a kernel is fetched from the machine's apt mirror once and kept in
/var/tmp/vxvde-qemu. Software emulation: a guest takes some 10 s to start."""

from tests.lib import runner
from tests.lib.lab import Lab
from tests.lib.qemu import Guest, kernel

VNL = "vxvde://239.1.2.3"
TAP = "tap,ifname=vm0,script=no,downscript=no"


def tried(node):
    """Names the versions of qemu and of the guest's kernel."""
    runner.tried("qemu", node.run("qemu-system-x86_64", "--version").stdout.split()[3])
    runner.tried("guest Linux", kernel()[1])


def test_guest_in_a_pod():
    """tap and veth mode: qemu's tap and the pod's interface on a bridge in the pod; a member and the guest ping each other"""
    with Lab("qemu") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        tried(n1)
        n1.start_agent()
        member = n2.vdens("member", VNL).join(9)
        for host, mode in enumerate(("tap", "veth"), 40):
            pod = n1.pod(mode)
            mac = f"02:00:5e:10:00:{host}"
            network = n1.net(VNL, mode=mode, ipam={}, allow=[mac])
            network.add(pod)
            pod.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
            pod.ip("tuntap", "add", "vm0", "mode", "tap")
            for port in ("eth0", "vm0"):
                pod.ip("link", "set", port, "mtu", "1450", "master", "br0", "up")
            pod.ip("link", "set", "br0", "up")
            guest = Guest(pod, f"vm-{mode}", f"198.51.100.{host}/24", mac, TAP)
            guest.up()
            guest.reaches(member.ip4)
            member.reaches(f"198.51.100.{host}")
            assert mac in {entry["mac"] for entry in n1.agent.fdb()}
            guest.stop()
            network.delete(pod)
            assert "eth0" not in pod.links() and not n1.agent.ports()


def test_guest_as_a_member():
    """qemu -netdev vde,sock=vxvde://... and a pod ping each other"""
    with Lab("qemu") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        pod = n1.pod("pod")
        pod.add(n1.net(VNL))
        guest = Guest(n2, "vm", "198.51.100.40/24", "02:00:5e:10:00:40", f"vde,sock={VNL}")
        guest.up()
        guest.reaches(pod.ip4)
        pod.reaches("198.51.100.40")
        guest.stop()


if __name__ == "__main__":
    runner.main(globals())
