"""Port security: a pod cannot pose as another pod, a router or a DHCP server; legitimate traffic continues."""

import json
import signal

from tests.lib import runner
from tests.lib.cni import CniError
from tests.lib.frames import BROADCAST, arp, attacks, drops, frame, heard, row_of, send
from tests.lib.lab import Lab
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3/vni=7"
CAPABILITY = "io.kubernetes.cri.pod-annotations"
VRRP = "00:00:5e:00:01:0a"  # virtual router 10: RFC 5798, section 7.3
# The agents assign addresses below .128; those above are on the link, too.
VIP, MEMBER = "198.51.100.200", "198.51.100.209"
CLOUD = {"name": "blue", "vnl": VNL, "subnets": ["198.51.100.0/25", "2001:db8:42::/64"],
         "allowByAnnotation": ["00:00:5e:00:01:00/40", VIP]}


def pods_of(lab, config=None):
    """Two nodes, with two pods on the first and one on the second, and a plain member. All know each other."""
    n1, n2 = lab.node("n1"), lab.node("n2")
    pods = []
    for node, name in ((n1, "attacker"), (n1, "near"), (n2, "far")):
        if node.agent is None:
            node.start_agent({"clouds": [config or CLOUD]})
        pod = node.pod(name)
        pod.add(network(node))
        pod.ip("route", "add", "198.51.100.128/25", "dev", "eth0")
        pods.append(pod)
    member = n2.vdens("member", VNL)
    member.address(member.ifname, f"{MEMBER}/24", "2001:db8:42::9/64")
    good_traffic(pods, member)
    lab.settle()
    return (n1, n2), pods, member


def network(node, name="blue", **section):
    return node.network({"cniVersion": "1.0.0", "name": name, "plugins": [
        {"type": "vxvde", "cloud": "blue", "capabilities": {CAPABILITY: True}, **section}]})


def annotated(allow):
    return {CAPABILITY: {"vxvde.io/allow": allow}}


def good_traffic(pods, member):
    for pod in pods:
        for other in [*pods, member]:
            if other is not pod:
                for address in (MEMBER, "2001:db8:42::9") if other is member else (other.ip4, other.ip6):
                    pod.reaches(address)


def test_pretenders():
    """another MAC, ARP, NA, an RA, DHCP offers, hidden ones, by broadcast and unicast: no frame arrives, no cache is poisoned"""
    with Lab("guard") as lab:
        (n1, _), (attacker, near, far), member = pods_of(lab)
        listeners = [(near, "eth0"), (far, "eth0"), (member, member.ifname)]
        assert all(port.get("guarded") for port in n1.agent.ports() if port.get("attachment")), n1.agent.ports()
        for victim in (near, far):
            before = drops(n1.agent, attacker)
            bad = {}
            for to in (BROADCAST, "33:33:00:00:00:01", near.mac("eth0"), far.mac("eth0"), member.mac(member.ifname)):
                for reason, frames in attacks(attacker, victim, to).items():
                    bad.setdefault(reason, []).extend(frames)
            arrived = heard(attacker, listeners, [one for frames in bad.values() for one in frames])
            assert not any(arrived), [[one.hex() for one in frames] for frames in arrived]
            after = drops(n1.agent, attacker)
            for reason, frames in bad.items():
                assert after[reason] - before.get(reason, 0) == len(frames), (victim, reason, before, after)
        at = {entry["mac"]: entry["location"] for entry in n1.agent.fdb()}
        assert at[near.mac("eth0")].get("port") and at[far.mac("eth0")].get("peer"), at
        assert "02:00:5e:10:00:99" not in at, at
        for pod, other in ((near, far), (far, near)):
            for address in (other.ip4, other.ip6):
                seen = {row.get("lladdr") for row in pod.ip_json("neigh", "show", address)}
                assert seen == {other.mac("eth0")}, (pod, address, seen)
        good_traffic((attacker, near, far), member)
        attacker.send_file(near, near.ip4, 4 << 20)
        attacker.send_file(far, far.ip6, 4 << 20)
        near.send_file(attacker, attacker.ip6, 4 << 20)

        ports = n1.agent.ctl("-o", "wide", "ports").stdout
        assert "GUARDED" in ports and " yes" in ports, ports


def virtual_router(pod):
    """An interface for the virtual MAC as keepalived's use_vmac creates it; it alone answers for the address."""
    for key, value in (("all/arp_ignore", 1), ("all/arp_announce", 2), ("all/rp_filter", 0), ("default/rp_filter", 0)):
        pod.sysctl(f"net/ipv4/conf/{key}", value)
    pod.ip("link", "add", "vrrp.10", "link", "eth0", "address", VRRP, "type", "macvlan", "mode", "private")
    pod.address("vrrp.10", f"{VIP}/32")


def announce(pod):
    """A gratuitous ARP from the virtual MAC (RFC 5798, section 6.4.1)."""
    send(pod, "vrrp.10", [frame(BROADCAST, VRRP, arp(1, VRRP, VIP, VIP))])


def test_virtual_router():
    """VRRP's MAC and address, allowed by annotation, move from node to node; a pod without the annotation cannot use them"""
    with Lab("vrrp") as lab:
        (n1, n2), (attacker, near, far), member = pods_of(lab)
        routers = []
        for node in (n1, n2):
            pod = node.pod("router")
            pod.add(network(node), capability_args=annotated(f"{VRRP}, {VIP}"))
            pod.ip("route", "add", "198.51.100.128/25", "dev", "eth0")
            assert row_of(node.agent, pod)["attachment"]["allow"] == [VRRP, VIP], row_of(node.agent, pod)
            routers.append(pod)
        for pod, beyond in ((near, "router"), (far, f"{VRRP}, 198.51.100.201"), (near, "all"), (far, "nonsense")):
            other = pod.node.pod("refused")
            try:
                other.add(network(pod.node, "other"), capability_args=annotated(beyond))
            except CniError as error:
                assert error.code == (7 if beyond == "nonsense" else 107), error
                assert beyond.rsplit(" ", maxsplit=1)[-1] in error.msg, error
                assert "allow" in error.msg, error
            else:
                raise AssertionError(f"{beyond} is not refused")
            other.remove_netns()

        listeners = [near, far, member]
        virtual_router(attacker)
        announce(attacker)
        wait_for(lambda: drops(n1.agent, attacker).get("spoofed-mac"), 10, "who did not ask is refused")
        attacker.ip("link", "del", "vrrp.10")
        for step in (0, 1, 0):
            virtual_router(routers[step])
            announce(routers[step])
            for listener in listeners:
                listener.reaches(VIP)
                seen = listener.ip_json("neigh", "show", VIP)
                assert [row.get("lladdr") for row in seen] == [VRRP], (step, listener, seen, routers[step].links())
            place = next(entry["location"] for entry in n1.agent.fdb() if entry["mac"] == VRRP)
            assert bool(place.get("port")) == (step == 0), place
            routers[step].ip("link", "del", "vrrp.10")
            if step == 0:
                # Exceptions outlive the agent.
                n1.agent.stop(signal.SIGKILL)
                n1.agent.start()
                wait_for(lambda: len(n1.agent.ports()) >= 3, 10, "ports are back")
                assert row_of(n1.agent, routers[0])["attachment"]["allow"] == [VRRP, VIP]
                lab.settle()
        lost = drops(n1.agent, routers[0])
        assert not {"spoofed-mac", "spoofed-address"} & set(lost), lost


def test_configuration():
    """a network's own "allow"; portSecurity switched off and on by reload; interfaces without a lease"""
    with Lab("allow") as lab:
        (n1, _), (attacker, near, far), member = pods_of(lab)
        listeners = [(near, "eth0"), (far, "eth0"), (member, member.ifname)]
        bad = attacks(attacker, far, BROADCAST)
        every = [one for frames in bad.values() for one in frames]
        for secure in (False, True):
            n1.agent.reload({"clouds": [{**CLOUD, "portSecurity": secure}]})
            wait_for(lambda: row_of(n1.agent, attacker).get("guarded", False) == secure, 10, f"portSecurity: {secure}")
            arrived = heard(attacker, listeners, every)
            assert arrived == [[] if secure else every] * 3, [[one.hex() for one in frames] for frames in arrived]
        for misled in (near, far, member):
            misled.ip("neigh", "flush", "all")
        good_traffic((attacker, near, far), member)

        # A port without a lease may have any address except those that agents assign.
        flat = n1.pod("flat")
        flat.add(network(n1, "flat", ipam={}))
        flat.address("eth0", "203.0.113.7/24", "198.51.100.77/24")
        member.address(member.ifname, "203.0.113.9/24")
        flat.reaches("203.0.113.9")
        assert not flat.ping(MEMBER), "an address of the agents'"
        assert drops(n1.agent, flat)["spoofed-address"] > 0

        server = n1.pod("server")
        server.add(network(n1, "servers", allow=["dhcp-server", "router", "02:00:5e:10:00:99", far.ip4, far.ip6]))
        allowed = attacks(server, far, BROADCAST)
        sent = [allowed["spoofed-mac"][1], *allowed["spoofed-address"], *allowed["rogue-server"]]
        arrived = heard(server, [(near, "eth0")], sent)
        assert arrived == [sent], [one.hex() for one in sent if one not in arrived[0]]
        assert set(drops(n1.agent, server)) <= {"own-echo"}, drops(n1.agent, server)
        said = json.loads(n1.agent.ctl("-o", "json", "ports").stdout)["ports"]
        row = next(port for port in said if port["mac"] == server.mac("eth0"))
        assert row["guarded"] and row["attachment"]["allow"][:2] == ["dhcp-server", "router"], row


if __name__ == "__main__":
    runner.main(globals())
