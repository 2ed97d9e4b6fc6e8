"""One cloud of pods (veth, tap) and real members (vde_plug, vdens), across nodes and on one; and the separation of clouds."""

import itertools

from tests.lib import runner
from tests.lib.lab import Lab, Member


def all_meet(vnl):
    with Lab("cloud") as lab:
        n1, n2, n3 = lab.node("n1"), lab.node("n2"), lab.node("n3")
        n1.start_agent()
        n2.start_agent()
        veth, tap, second = n1.pod("veth"), n2.pod("tap"), n1.pod("second")
        members = [
            n3.vde_plug("plug3", vnl).join(1), n3.vdens("vdens3", vnl).join(2),
            n1.vde_plug("plug1", vnl).join(3), n1.vdens("vdens1", vnl).join(4),  # on a pod's own host
        ]
        veth.add(n1.net(vnl))
        tap.add(n2.net(vnl, mode="tap"))
        second.add(n1.net(vnl, mode="tap"))
        assert veth.ping(tap.ip4) and veth.ping(tap.ip6), "frames flow when ADD returns"
        stations = [veth, tap, second, *members]
        for a, b in itertools.permutations(stations, 2):
            a.reaches(b.ip4)
            a.reaches(b.ip6)
        lab.settle()
        # All stations are known by now: no frame may be lost.
        for a, b in itertools.permutations(stations, 2):
            assert a.ping(b.ip4, count=2), f"{a} -> {b}"


def test_ipv4_underlay():
    """pods and members ping each other, inner IPv4 and IPv6, on group 239.1.2.3"""
    all_meet("vxvde://239.1.2.3")


def test_ipv6_underlay():
    """the same on group ff05:56de::1, the default of v6"""
    all_meet("vxvde:///v6")


def test_defaults_are_the_references():
    """a network without a locator joins `vxvde://`; grp= and other options have the same meaning as for members"""
    with Lab("cloud") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        vnls = ("vxvde://", "vxvde:///grp=4711", "vxvde://239.7.7.7/port=20000/vni=16777215/ttl=2")
        for i, vnl in enumerate(vnls, 1):
            member = n2.vdens(f"m{i}", vnl).join(i)
            pod = n1.pod(f"p{i}")
            network = n1.net(vnl, name=f"net{i}")
            if vnl == "vxvde://":
                del network.conflist["plugins"][0]["vnl"]
            pod.add(network)
            pod.reaches(member.ip4)


def ifname(station):
    return station.ifname if isinstance(station, Member) else "eth0"


def test_clouds_are_kept_apart():
    """the same VNI in another group, the same group with another VNI: no frame leaks, broadcast or unicast"""
    vnls = {"red": "vxvde://239.1.2.3/vni=42", "green": "vxvde://239.1.2.4/vni=42", "blue": "vxvde://239.1.2.3/vni=43"}
    with Lab("apart") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        n2.start_agent()
        clouds = {}
        for i, (name, vnl) in enumerate(vnls.items(), 1):
            near, far = n1.pod(f"{name}1"), n2.pod(f"{name}2")
            member = n1.vdens(f"{name}m", vnl).join(i)
            near.add(n1.net(vnl, name=name))
            far.add(n2.net(vnl, name=name, mode="tap"))
            near.reaches(far.ip4)
            near.reaches(member.ip4)
            clouds[name] = [near, far, member]
        macs = {name: {s.mac(ifname(s)) for s in stations} for name, stations in clouds.items()}
        assert len(set.union(*macs.values())) == 9
        captures = {(name, s): s.capture(ifname(s)) for name, stations in clouds.items() for s in stations}
        lines = {key: capture.__enter__() for key, capture in captures.items()}
        for stations in clouds.values():
            for a in stations:
                a.ping("198.51.100.255", wait=1, args=("-b",))  # broadcast
                a.ping("ff02::1", wait=1, args=("-I", ifname(a)))
                a.ping("198.51.100.250", wait=1)  # no such station: ARP requests are broadcast
            for a, b in itertools.permutations(stations, 2):
                a.ip("neigh", "flush", "all")
                assert a.ping(b.ip4), "unicast inside the cloud"
        for capture in captures.values():
            capture.__exit__(None, None, None)
        for (name, station), seen in lines.items():
            text = "\n".join(seen)
            for mac in macs[name]:
                assert mac in text, f"{station} saw nothing of its own cloud's {mac}"
            for other in vnls.keys() - {name}:
                leaked = [line for line in seen for mac in macs[other] if mac in line]
                assert not leaked, f"{station} of {name} saw {other}: {leaked[:3]}"


if __name__ == "__main__":
    runner.main(globals())
