"""Addresses that agents assign: found on the cloud, kept, released, and handled correctly after failures."""

import concurrent.futures
import ipaddress
import json
import signal
import time

from tests.lib import runner
from tests.lib.addresses import (Cloud, VNL, add_all, delete_all, expect_no_duplicates, ipam, lease_files, leased,
                                 scan, wait_for_spare)
from tests.lib.cni import CniError, execute
from tests.lib.lab import Lab, program
from tests.lib.process import wait_for

V4, V6 = "198.51.100.0/24", "2001:db8:42::/64"


def address_of(result):
    return [str(ipaddress.ip_interface(ip["address"]).ip) for ip in result["ips"]]


def refused(network, pod, code, *words, **kwargs):
    try:
        network.add(pod, **kwargs)
    except CniError as error:
        text = f"{error.msg} {error.details}"
        assert error.code == code, error
        for word in words:
            assert word in text, f"{word!r} is not named: {error}"
        assert "eth0" not in pod.links()
        return error
    raise AssertionError(f"not refused: {code} {words}")


def test_two_nodes_and_a_member():
    """dual stack, no server: pods of two nodes and a vdens reach each other; usable at once; DEL releases the address"""
    with Lab("ipam") as lab:
        cloud = Cloud(lab, [V4, V6])
        n1, n2 = cloud.join("n1"), cloud.join("n2")
        member = cloud.member(n2, "m", "198.51.100.9/24", "2001:db8:42::9/64")
        pods = [n1.pod("a"), n1.pod("b"), n2.pod("c")]
        for pod in pods:
            result = pod.add(pod.node.net_blue)
            seen = [a for link in pod.ip_json("addr", "show", "dev", "eth0") for a in link["addr_info"]
                    if a["scope"] == "global"]
            assert not any(a.get("tentative") for a in seen), seen
            assert [ip["address"] for ip in result["ips"]] == [f"{a['local']}/{a['prefixlen']}" for a in seen], result
            assert all(ipaddress.ip_address(a) in ipaddress.ip_network(s)
                       for a, s in zip(address_of(result), (V4, V6))), result
        for pod in pods:
            for other in (*pods, member):
                pod.reaches(other.ip4)
                pod.reaches(other.ip6)
        expect_no_duplicates(member, V4, pods)
        assert leased(n1).keys() == {pods[0].ip4, pods[0].ip6, pods[1].ip4, pods[1].ip6}
        assert pods[0].ip4 in n1.agent.ctl("ipam").stdout and n1.agent.ctl("ipam", "blue").returncode == 0
        agent = [p for p in n1.agent.ports() if p["name"] == "(agent)"]
        assert len(agent) == 1 and "attachment" not in agent[0], agent
        delete_all(pods[:2])
        assert not n1.agent.clouds() and not lease_files(n1), n1.agent.files()
        assert len(lease_files(n2)) == 1


def test_everywhere_at_once():
    """4 nodes start pods at once where members have addresses of the range; no address twice, according to the answers on the
    wire"""
    with Lab("ipam") as lab:
        subnet = "198.51.100.0/26"  # 62 for 24 pods and 5 members
        cloud = Cloud(lab, [subnet])
        nodes = [cloud.join(f"n{i}") for i in range(1, 5)]
        members = [cloud.member(nodes[i % 4], f"m{i}", f"198.51.100.{9 + 11 * i}/26") for i in range(5)]
        pods = [node.pod(f"p{i}") for node in nodes for i in range(6)]
        for _ in range(2):
            took, _ = add_all(pods)
            print(f"   ADD of {len(pods)} at once: {min(took):.2f} to {max(took):.2f} s", flush=True)
            expect_no_duplicates(members[0], subnet, pods, members)
            delete_all(pods)
            assert not any(lease_files(node) for node in nodes)


def test_spare_and_kept():
    """with spare addresses an ADD does not wait; a returning pod of a StatefulSet gets its address again"""
    with Lab("ipam") as lab:
        cloud = Cloud(lab, [V4])
        n1 = cloud.join("n1")
        keeper = n1.pod("keeper")
        keeper.add(n1.net_blue)  # joins the cloud
        wait_for_spare(n1, 7)
        name = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID={}"
        first, again = n1.pod("first"), n1.pod("again")
        first.add(n1.net_blue, args=name.format(1))
        assert leased(n1)[first.ip4] == "shop/web-0"
        n1.net_blue.delete(first)
        kept = [one for one in ipam(n1)["addresses"] if one["use"] == "KEPT"]
        assert [(one["address"], one["owner"]) for one in kept] == [(first.ip4, "shop/web-0")], kept
        others = [n1.pod(f"other{i}") for i in range(3)]
        add_all(others)
        again.add(n1.net_blue, args=name.format(2))
        assert again.ip4 == first.ip4
        wait_for_spare(n1, 7)


def test_certain_addresses():
    """a requested address is granted, or refused with the MAC and the location of its holder (A7)"""
    with Lab("ipam") as lab:
        cloud = Cloud(lab, [V4, V6])
        n1, n2 = cloud.join("n1"), cloud.join("n2")
        member = cloud.member(n2, "m", "198.51.100.9/24", "2001:db8:42::9/64")
        pod, other, remote = n1.pod("pod"), n1.pod("other"), n2.pod("remote")
        for taken in ("198.51.100.9", "2001:db8:42::9"):
            refused(n1.net_blue, pod, 102, taken, member.mac_address, f"peer {n2.ip4}:",
                    capability_args={"ips": [taken]})
        assert not n1.agent.clouds() and not lease_files(n1), n1.agent.files()
        result = pod.add(n1.net_blue, capability_args={"ips": ["198.51.100.77", "2001:db8:42::77"]})
        assert [ip["address"] for ip in result["ips"]] == ["198.51.100.77/24", "2001:db8:42::77/64"], result
        refused(n1.net_blue, other, 102, "198.51.100.77", pod.mac("eth0"), "this node", args="IP=198.51.100.77")
        refused(n2.net_blue, remote, 102, "198.51.100.77", pod.mac("eth0"), f"peer {n1.ip4}:",
                args="IP=198.51.100.77/24")
        refused(n1.net_blue, other, 7, "203.0.113.1", V4, args="IP=203.0.113.1")
        refused(n1.net_blue, other, 7, "198.51.100.255", args="IP=198.51.100.255")
        # Whatever its source, an address is probed for on the cloud before it is used.
        brought = cloud.network(n1, ipam={})
        refused(brought, other, 102, member.mac_address, capability_args={"ips": ["198.51.100.9/24"]})
        other.add(brought, capability_args={"ips": ["198.51.100.78/25", "203.0.113.1/24"]})
        assert other.addresses("eth0") == ["198.51.100.78/25", "203.0.113.1/24"], other.addresses("eth0")
        assert leased(n1).keys() >= {"198.51.100.78"}
        # While spare addresses are missing, the released one is probed for at once, and two probes may meet.
        wait_for_spare(n1, 7)
        n1.net_blue.delete(pod)
        remote.add(n2.net_blue, args="IP=198.51.100.77")
        assert remote.ip4 == "198.51.100.77"


def test_dhcp_is_heard():
    """an address that a DHCP server has assigned counts as taken before its holder sends a frame"""
    with Lab("ipam") as lab:
        cloud = Cloud(lab, ["198.51.100.0/28"])
        n1, n2 = cloud.join("n1"), lab.node("n2")
        pod = n1.pod("pod")
        pod.add(n1.net_blue)
        wanted = next(a for a in ("198.51.100.2", "198.51.100.3") if a != pod.ip4)
        # Outside the subnet, so that its own address is not detected.
        server, client = cloud.member(n2, "server", "198.51.100.200/24"), n2.vdens("client", VNL)
        client.ip("link", "set", client.ifname, "up")

        def others():
            return ipam(n1)["pools"][0].get("others", 0)
        before = others()
        leases = lab.file("leases")
        config = lab.file("udhcpd.conf")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"interface {server.ifname}\nstart {wanted}\nend {wanted}\nlease_file {leases}\n"
                    f"pidfile {lab.file('udhcpd.pid')}\nopt subnet 255.255.255.0\n")
        with open(leases, "wb"):
            pass
        server.start("udhcpd", "busybox", "udhcpd", "-f", config)
        # The client takes the lease and does not use it: only the server's message mentions the address.
        got = client.run("busybox", "udhcpc", "-i", client.ifname, "-f", "-q", "-n", "-B", "-s", "/bin/true", timeout=30)
        assert wanted in got.stdout + got.stderr, got
        wait_for(lambda: int(others()) == int(before) + 1, 5, "the lease is heard of")


def test_brought_addresses_are_occupied():
    """addresses that pods got from another IPAM plugin are shown, answered for and never assigned"""
    with Lab("ipam") as lab:
        subnet = "198.51.100.0/30"  # 2
        cloud = Cloud(lab, [subnet])
        n1, n2 = cloud.join("n1"), cloud.join("n2")
        static = cloud.network(n1, ipam={"type": "static", "addresses": [{"address": "198.51.100.1/30"}]})
        brought, here, there = n1.pod("brought"), n1.pod("here"), n2.pod("there")
        brought.add(static)
        occupied = [one for one in ipam(n1)["addresses"] if one["use"] == "OCCUPIED"]
        assert [(one["address"], one["mac"]) for one in occupied] == [("198.51.100.1", brought.mac("eth0"))], occupied
        here.add(n1.net_blue)
        assert here.ip4 == "198.51.100.2"
        refused(n2.net_blue, there, 104, subnet)
        # The same if its kernel no longer responds.
        brought.ip("link", "set", "eth0", "arp", "off")
        refused(n2.net_blue, there, 102, brought.mac("eth0"), args="IP=198.51.100.1")


def test_exhaustion():
    """no address left: code 104 with figures, STATUS 50, nothing left behind; then one is released"""
    with Lab("ipam") as lab:
        subnet = "198.51.100.0/29"  # 6
        cloud = Cloud(lab, [subnet])
        n1, n2 = cloud.join("n1"), cloud.join("n2")
        pods = [n1.pod(f"a{i}") for i in range(3)] + [n2.pod(f"b{i}") for i in range(3)]
        add_all(pods)
        more = n1.pod("more")
        before = n1.footprint(more)
        refused(n1.net_blue, more, 104, subnet, "subnets")
        n1.expect_footprint(more, before, "an ADD without an address")
        config = {**next(n1.net_blue.configs()), "cniVersion": "1.1.0"}
        done = execute(n1, program("cni/vxvde"), "STATUS", config)
        assert done.returncode != 0 and json.loads(done.stdout)["code"] == 50 and subnet in done.stdout, done
        n2.net_blue.delete(pods[-1])
        more.add(n1.net_blue)
        assert execute(n1, program("cni/vxvde"), "STATUS", config).returncode == 0


def test_partition():
    """two halves of a cloud assign the same address while cut off; when they meet, both report each duplicate with its
    location"""
    for policy in ("report", "defend"):
        with Lab("ipam") as lab:
            # Too small for spare addresses: pods of the same names then choose the same ones.
            cloud = Cloud(lab, ["198.51.100.0/28", "2001:db8:42::/124"], conflicts=policy)
            n1, n2 = cloud.join("n1"), cloud.join("n2")
            pods = {node: [node.pod(f"p{i}") for i in range(4)] for node in (n1, n2)}
            before = {node: node.pod("before") for node in (n1, n2)}
            for pod in before.values():
                pod.add(pod.node.net_blue)
            before[n1].reaches(before[n2].ip4)

            def cut(on):
                for node in (n1, n2):
                    lab.lan().netns.ip("link", "set", f"{node.name}.eth0", "type", "bridge_slave", "isolated", on)

            cut("on")
            wait_for(lambda: not before[n1].ping(before[n2].ip4, wait=1), 10, "the halves are apart")
            # A fixed time: agents treat a silence of less than 4 s (kAgentSilent) as presence. They do not show since
            # when they have not heard each other, so there is no condition to wait for.
            time.sleep(5)
            for node in (n1, n2):
                add_all(pods[node], args=lambda pod: f"K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod.name};"
                                                     f"K8S_POD_UID={pod.container}")
            twice = {a for p in pods[n1] for a in (p.ip4, p.ip6)} & {a for p in pods[n2] for a in (p.ip4, p.ip6)}
            assert len(twice) >= 4, f"not enough in common: {twice}"
            assert not ipam(n1).get("conflicts") and not ipam(n2).get("conflicts")
            cut("off")
            start = time.monotonic()

            def reported(node):
                return {one["address"]: one for one in ipam(node).get("conflicts", [])}

            wait_for(lambda: all(reported(node).keys() >= twice for node in (n1, n2)), 30, "both sides report")
            print(f"   {len(twice)} duplicates reported on both sides after {time.monotonic() - start:.1f} s", flush=True)
            for node, other in ((n1, n2), (n2, n1)):
                mac = {a: p.mac("eth0") for p in pods[other] for a in (p.ip4, p.ip6)}
                own = {a: p.mac("eth0") for p in pods[node] for a in (p.ip4, p.ip6)}
                for address in twice:
                    one = reported(node)[address]
                    assert one["otherMac"] == mac[address] and one["mac"] == own[address], one
                    assert one["otherWhere"].startswith(f"peer {other.ip4}:"), one
                    assert one["owner"].startswith("shop/p"), one
                assert "address conflict" in node.agent.process.output()
            delete_all(pods[n2])
            assert not ipam(n2).get("conflicts"), "whose pod has gone is no conflict"


def test_the_agent_may_die_at_any_time():
    """kill -9 between and in the middle of ADDs: no lease is lost, and none leaks"""
    with Lab("ipam") as lab:
        cloud = Cloud(lab, [V4, V6])
        n1, n2 = cloud.join("n1"), cloud.join("n2")
        settled, other = n1.pod("settled"), n2.pod("other")
        settled.add(n1.net_blue)
        other.add(n2.net_blue)
        held = leased(n1)
        n1.agent.stop(signal.SIGKILL)
        n1.agent.start()
        assert leased(n1) == held
        settled.reaches(other.ip4)
        refused(n2.net_blue, n2.pod("late"), 102, settled.mac("eth0"), args=f"IP={settled.ip4}")

        pods = [n1.pod(f"p{i}") for i in range(6)]
        for number, pod in enumerate(pods):
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                adding = pool.submit(pod.add, n1.net_blue)
                # A fixed time and no condition: each ADD is to be interrupted at another moment, whichever it is.
                time.sleep(0.006 * number)
                n1.agent.stop(signal.SIGKILL)
                n1.agent.start()
                try:
                    adding.result()
                except CniError:
                    n1.net_blue.delete(pod)
        living = [pod for pod in (settled, *pods) if "eth0" in pod.links()]
        expected = {a.split("/")[0] for pod in living for a in pod.addresses("eth0")}
        assert leased(n1).keys() == expected and len(lease_files(n1)) == len(living), (leased(n1), expected)
        # A DEL while the agent is down releases the lease when the agent starts.
        n1.agent.stop(signal.SIGKILL)
        delete_all(living)
        n1.agent.start()
        assert not lease_files(n1) and not n1.agent.clouds(), n1.agent.files()


def test_a_member_that_does_not_ask():
    """an address set by hand that a pod has is detected at its first broadcast"""
    with Lab("ipam") as lab:
        cloud = Cloud(lab, [V4])
        n1, n2 = cloud.join("n1"), cloud.join("n2")
        pod = n1.pod("pod")
        pod.add(n1.net_blue)
        member = n2.vdens("m", VNL)
        member.address(member.ifname, f"{pod.ip4}/24")
        scan(member, pod.ip4, "198.51.100.8/29")  # sends as another host
        conflict = wait_for(lambda: ipam(n1).get("conflicts"), 10, "a conflict")[0]
        assert conflict["address"] == pod.ip4 and conflict["otherMac"] == member.mac(member.ifname), conflict
        assert conflict["otherWhere"].startswith(f"peer {n2.ip4}:"), conflict


if __name__ == "__main__":
    runner.main(globals())
