"""Devices behind a pod's interface: a bridge in the pod with a second network stack, as a virtual machine has one."""

from tests.lib import runner
from tests.lib.lab import Lab

VNL = "vxvde://239.1.2.3"


def bridged(lab, node, mode):
    """A pod whose eth0 is a bridge's port, and a guest behind that bridge; (network, pod, guest, result of the ADD)."""
    pod = node.pod(mode)
    network = node.network({"cniVersion": "1.1.0", "name": "vm", "plugins": [
        {"type": "vxvde", "vnl": VNL, "mode": mode, "ipam": {}, "allow": ["00:00:00:00:00:00/0"]}]})
    result = pod.add(network)
    guest = lab.netns(f"{node.name}-{mode}-guest")
    pod.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
    pod.ip("link", "add", "vm0", "mtu", "1450", "type", "veth",
           "peer", "name", "ens3", "mtu", "1450", "netns", guest.path)
    for port in ("eth0", "vm0"):
        pod.ip("link", "set", port, "master", "br0", "up")
    pod.ip("link", "set", "br0", "up")
    return network, pod, guest, result


def test_guest_behind_a_bridge():
    """in veth and in tap mode: a guest with its own MAC, a member and another guest exchange TCP; the guest moves; DEL"""
    with Lab("bridge") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        for node in (n1, n2):
            node.start_agent()
        member = n2.vdens("member", VNL).join(9)
        guests, pods = [], []
        for host, (node, mode) in enumerate(((n1, "veth"), (n1, "tap"), (n2, "tap")), 20):
            network, pod, guest, result = bridged(lab, node, mode)
            inside = next(i for i in result["interfaces"] if i.get("sandbox"))
            # A tap has no end on the host and no socket file: its queue belongs to the agent.
            assert len(result["interfaces"]) == (2 if mode == "veth" else 1), result
            assert inside["mtu"] == 1450 and "socketPath" not in inside, result
            guest.address("ens3", f"198.51.100.{host}/24", f"2001:db8:42::{host}/64")
            guest.reaches(member.ip4)
            guest.reaches(member.ip6)
            member.reaches(f"198.51.100.{host}")
            guest.ip4 = f"198.51.100.{host}"
            assert {guest.mac("ens3"), inside["mac"]} <= {entry["mac"] for entry in node.agent.fdb()}
            guests.append(guest)
            pods.append((network, pod))
        one, two, far = guests
        one.reaches(two.ip4)
        far.reaches(two.ip4)
        two.send_file(far, far.ip4, 20_000_000)
        one.send_file(two, two.ip4, 20_000_000)
        for guest in guests:
            assert not guest.csum_errors(), guest.csum_errors()

        # A virtual machine migrates in this way: the same MAC and address on the other node.
        mac = two.mac("ens3")
        two.ip("link", "set", "ens3", "down")
        far.ip("link", "set", "ens3", "down")
        far.ip("link", "set", "ens3", "address", mac)
        far.ip("addr", "flush", "dev", "ens3")
        far.address("ens3", f"{two.ip4}/24")
        far.reaches(member.ip4)
        one.reaches(two.ip4)  # stations that knew its old location find it at the new one

        for network, pod in pods:
            network.delete(pod)
            assert sorted(pod.links()) == ["br0", "lo", "vm0"], pod.links()
        for node in (n1, n2):
            assert not node.agent.ports(), node.agent.ports()


if __name__ == "__main__":
    runner.main(globals())
