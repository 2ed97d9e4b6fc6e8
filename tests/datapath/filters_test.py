"""Programs of other software beside the agent's: both work as if alone; if that is impossible, the agent reports it and
forwards by itself. Also: pods that protect themselves, and pods that flood."""

import re
import signal

from tests.lib import runner
from tests.lib.lab import Lab, program
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3/vni=21"
PASS, NEXT = 0, -1  # TC_ACT_OK and TCX_PASS, TC_ACT_UNSPEC and TCX_NEXT
XDP_DROP, XDP_PASS = 1, 2
NOTICED = 5  # seconds


def foreign(netns, ifname, hook, answer, *priority):
    """Drops the namespace's own ICMP; XDP programs give the same answer to all."""
    process = netns.start(f"foreign-{hook}", program("tests/foreign"), ifname, hook, answer, *priority)
    process.says("attached")
    return process


def start(lab):
    """Two nodes with a pod each whose frames the kernel forwards."""
    n1, n2 = lab.node("n1"), lab.node("n2")
    pods = []
    for node, name in ((n1, "a"), (n2, "b")):
        node.start_agent({"datapath": "kernel", "metrics": "127.0.0.1:9478"})
        pod = node.pod(name)
        pod.add(node.net(VNL))
        pods.append(pod)
    a, b = pods
    a.reaches(b.ip4)
    b.reaches(a.ip4)
    lab.settle()
    wait_for(lambda: fast(n1) and fast(n2), 10, "the agents use each other's fast port")
    return n1, n2, a, b


def fast(node):
    return (all(cloud["datapath"] == "kernel" for cloud in node.agent.clouds())
            and any(peer.get("fastPort") for peer in node.agent.peers())
            and all(port["datapath"] == "kernel" for port in node.agent.ports()))


def host_end(node):
    ends = [name for name, link in node.links().items() if name.startswith("vx") and not re.match("vx[tdf][0-9]+$", name)]
    assert len(ends) == 1, ends
    return ends[0]


def by_kernel(node, act):
    """True if the kernel forwards the traffic of `act`: few of its frames reach the agent."""
    slow = lambda: sum(int(one["count"]) for one in node.agent.clouds()[0].get("slow", []))
    before = slow()
    assert act()
    return slow() - before < 20


def named(node, program, uplink, ports):
    """`status`, `check` and the metrics name the program that stands in the way."""
    assert re.search(program, node.agent.ctl("status").stdout), node.agent.ctl("status").stdout
    checked = node.agent.ctl("check", check=False)
    assert checked.returncode == 1 and re.search(program, checked.stdout), checked
    shown = node.agent.metrics()
    for where, count in (("uplink", uplink), ("port", ports)):
        lines = [line for line in shown.splitlines() if line.startswith("vxvde_fastpath_obstructed{") and f'where="{where}"' in line]
        assert [line.split()[-1] for line in lines] == [str(count)], lines


def has_tcx(node, ifname="lo"):
    """Whether this kernel supports it."""
    process = node.start("probe", program("tests/foreign"), ifname, "tcx-last", NEXT)
    try:
        process.says("attached")
    except AssertionError:
        return False
    process.stop()
    return True


def test_uplink():
    """a filter at the uplink sees the node's packets and drops some; the cloud continues in the kernel datapath"""
    with Lab("uplink-filter") as lab:
        n1, n2, a, b = start(lab)
        hooks = [("clsact", PASS, 1), ("clsact", PASS, 49152), ("clsact", NEXT, 1), ("xdp-generic", XDP_PASS)]
        if not has_tcx(n2):
            hooks.remove(("clsact", PASS, 1))
        else:
            hooks += [("tcx-last", PASS), ("tcx-last", NEXT), ("tcx-first", NEXT)]
        for hook, answer, *priority in hooks:
            what = f"{hook} {answer} {priority}"
            assert n1.ping(n2.ip4), what
            process = foreign(n2, "eth0", hook, answer, *priority)
            if not hook.startswith("xdp"):
                assert not n1.ping(n2.ip4, wait=1), f"{what} is alive"
            wait_for(lambda: a.ping(b.ip4, wait=1), NOTICED, what)
            assert by_kernel(n2, lambda: a.ping(b.ip4, count=100)), what
            process.stop()
            assert fast(n2), what


def test_uplink_before_the_cloud():
    """the same for a filter that was attached first"""
    with Lab("uplink-before") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        foreign(n2, "eth0", "clsact", PASS, 49152)
        assert not n1.ping(n2.ip4, wait=1)
        n2.start_agent({"datapath": "kernel"})
        n2.pod("b").add(n2.net(VNL))
        assert not n1.ping(n2.ip4, wait=1), "a cloud does not switch it off"
        n2.agent.stop(signal.SIGKILL)
        assert not n1.ping(n2.ip4, wait=1)


def test_who_insists():
    """a program that precedes the agent's again is named, and the agent serves the cloud until it is gone"""
    with Lab("insists") as lab:
        n1, n2, a, b = start(lab)
        if not has_tcx(n2):
            return
        for _ in range(2):
            process = foreign(n2, "eth0", "tcx-first", PASS)
            wait_for(lambda: a.ping(b.ip4, wait=1), NOTICED, "frames pass")
            assert not n1.ping(n2.ip4, wait=1)
            if _ == 0:
                process.stop()
        cloud = lambda: n2.agent.clouds()[0]
        wait_for(lambda: cloud()["datapath"] == "user", NOTICED, "the agent forwards")
        assert re.search(r"tcx program \d+ at eth0", cloud()["datapathReason"]), cloud()
        assert "tcx program" in n2.agent.ctl("-o", "wide", "clouds").stdout
        named(n2, r"tcx program \d+ at eth0", uplink=1, ports=0)
        wait_for(lambda: a.ping(b.ip4, count=3, wait=1) and b.ping(a.ip4, count=3, wait=1), NOTICED, "and frames pass")
        process.stop()
        wait_for(lambda: fast(n1) and fast(n2), 20, "the kernel forwards again")
        assert a.ping(b.ip4, count=3)
        assert n2.agent.ctl("check").returncode == 0, "nobody is named any more"


def test_who_insists_at_a_host_end():
    """the same at a pod's host end: that port goes by the agent, and no other one"""
    with Lab("insists-port") as lab:
        n1, n2, a, b = start(lab)
        if not has_tcx(n2):
            return
        end = host_end(n2)
        for last in (False, False, True):  # the first one only brings the agent's program into the tcx chain
            process = foreign(n2, end, "tcx-first", PASS)
            wait_for(lambda: a.ping(b.ip4, count=3, wait=1) and b.ping(a.ip4, count=3, wait=1), NOTICED, "frames pass")
            if not last:
                process.stop()
        wait_for(lambda: [port["datapath"] for port in n2.agent.ports()] == ["user"], NOTICED, "the agent takes the port")
        named(n2, rf"tcx program \d+ at {end}", uplink=0, ports=1)
        process.stop()
        wait_for(lambda: fast(n2), 20, "the kernel forwards again")
        assert n2.agent.ctl("check").returncode == 0, "nobody is named any more"


def test_host_end():
    """a program at a pod's host end that ends the chain does not cut the pod off"""
    with Lab("hostend") as lab:
        n1, n2, a, b = start(lab)
        end = host_end(n2)
        hooks = [("clsact", PASS, 1), ("clsact", PASS, 49152)]
        if has_tcx(n2):
            hooks += [("tcx-last", PASS), ("tcx-first", PASS)]
        for hook, answer, *priority in hooks:
            process = foreign(n2, end, hook, answer, *priority)
            wait_for(lambda: a.ping(b.ip4, count=3, wait=1) and b.ping(a.ip4, count=3, wait=1), NOTICED, hook)
            process.stop()
            wait_for(lambda: fast(n2), 20, f"the kernel forwards after {hook}")


def test_deleted():
    """deleted filters are restored within seconds"""
    with Lab("deleted") as lab:
        n1, n2, a, b = start(lab)
        for node, ifname in ((n2, "eth0"), (n2, host_end(n2))):
            node.run("tc", "qdisc", "del", "dev", ifname, "clsact")
            wait_for(lambda: "vx" if "from_" in node.run("tc", "filter", "show", "dev", ifname, "ingress").stdout else "",
                     NOTICED, f"the filter of {ifname} is back")
            assert a.ping(b.ip4, count=3) and b.ping(a.ip4, count=3)
        assert fast(n2)


def test_a_pods_own_program():
    """frames that a pod's native XDP program drops do not reach the pod, and there is no way around the program"""
    with Lab("podxdp") as lab:
        n1, n2, a, b = start(lab)
        for hook in ("xdp-native", "xdp-generic"):
            assert a.ping(b.ip4), hook
            process = foreign(b, "eth0", hook, XDP_DROP)
            wait_for(lambda: not a.ping(b.ip4, wait=0.3), NOTICED, f"{hook} is asked")
            assert not a.ping(b.ip4, count=5, wait=0.3), hook
            process.stop()
            wait_for(lambda: a.ping(b.ip4, wait=1), NOTICED, f"{hook} is gone")
        assert fast(n2), "the kernel forwards all the time"


def flood_test(datapath):
    with Lab(f"flood-{datapath}") as lab:
        n1 = lab.node("n1")
        n1.start_agent({"datapath": datapath})
        a, b, c = (n1.pod(name) for name in "abc")
        for pod in (a, b, c):
            pod.add(n1.net(VNL))
        lab.settle()
        b.reaches(c.ip4)
        if datapath == "kernel":
            wait_for(lambda: all(port["datapath"] == "kernel" for port in n1.agent.ports()), 10, "all ports are the kernel's")

        def answered(count):
            """How many of `count` pings are answered with a new neighbour entry: each begins with an ARP broadcast."""
            got = 0
            for _ in range(count):
                b.run("ip", "neigh", "flush", "dev", "eth0")
                got += b.ping(c.ip4, wait=1)
            return got

        assert answered(3) == 3
        a.run("ip", "neigh", "add", "198.51.100.77", "lladdr", "02:00:00:00:77:77", "dev", "eth0")
        for kind, target in (("broadcast", "198.51.100.255"), ("unknown", "198.51.100.77")):
            floods = [a.start(f"{kind}{k}", program("tests/traffic"), "flood", target, 7777, 18, 60000) for k in range(2)]
            taken = lambda: (sum(int(port.get("fromPod", {}).get("frames", 0)) for port in n1.agent.ports())
                             + sum(int(row.get("drop", row)["count"]) for row in n1.agent.ctl_json("drops").get("drops", [])))
            before = taken()
            wait_for(lambda: taken() > before + 10000, 20, f"the {kind} flood is there")
            got = answered(20)
            assert got == 20, f"{got} of 20 during {kind}"
            for flood in floods:
                flood.stop()


def test_flood_kernel():
    """a pod that floods takes no share of the slow path from the others: ARP continues, in the kernel datapath"""
    flood_test("kernel")


def test_flood_user():
    """the same in the user datapath"""
    flood_test("user")


if __name__ == "__main__":
    runner.main(globals())
