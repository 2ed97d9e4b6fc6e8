"""The real CNI binary as a runtime calls it: versions, results, errors, and DEL in every state.

Ids such as (E1) are requirements in docs/RUNTIMES.md."""

import ipaddress
import json

from tests.lib import runner
from tests.lib.cni import CniError, execute
from tests.lib.lab import Lab, program
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def baseline(network, pod):
    """The node's footprint after one ADD and DEL: the agent remembers a cloud's port, host-local its last address."""
    network.add(pod)
    network.delete(pod)
    wait_for(lambda: not network.node.agent.clouds(), 5, "the cloud is left")
    return network.node.footprint(pod)


def test_versions():
    """ADD and DEL in every version of the specification, each result in the format of that version"""
    with Lab("cni") as lab:
        node = lab.node("n1")
        node.start_agent()
        pod = node.pod("pod")
        for version in VERSIONS:
            # Debian 12's host-local supports all versions except 1.1.0.
            network = node.net(VNL, **({"ipam": {}} if version == "1.1.0" else {}))
            network.conflist["cniVersion"] = version
            result = network.add(pod)
            assert result["cniVersion"] == version, result
            if version <= "0.2.0":
                shown = [result["ip4"]["ip"], result["ip6"]["ip"]]
                assert "interfaces" not in result and "ips" not in result, result
            else:
                ips = result.get("ips", [])
                shown = [ip["address"] for ip in ips]
                assert [ip.get("version") for ip in ips] == {"1.0.0": [None, None], "1.1.0": []}.get(
                    version, ["4", "6"]), result
                inside = [i for i in result["interfaces"] if i.get("sandbox")]
                assert len(inside) == 1 and inside[0]["name"] == "eth0" and inside[0]["sandbox"] == pod.path, result
                assert inside[0]["mac"] == pod.mac("eth0")
                outside = [i for i in result["interfaces"] if not i.get("sandbox")]
                assert all(i["name"] in node.links() for i in outside), result
                for ip in ips:
                    assert result["interfaces"][ip["interface"]] == inside[0], result
                if version == "1.1.0":
                    assert inside[0]["mtu"] == 1450, result
                else:
                    assert "mtu" not in inside[0], result
            assert shown == pod.addresses("eth0"), (version, shown)
            network.delete(pod)
            assert pod.links().keys() == {"lo"}
            assert not node.leases() and not node.agent.ports()


def test_version_command():
    """VERSION needs no other variable; without a command the plugin introduces itself; unknown commands are code 4 (E2)"""
    with Lab("cni") as lab:
        node = lab.node("n1")
        binary = program("cni/vxvde")
        for stdin in ("", '{"cniVersion": "1.0.0"}'):
            done = execute(node, binary, "VERSION", stdin)
            assert done.returncode == 0, done
            assert json.loads(done.stdout)["supportedVersions"] == VERSIONS
        done = execute(node, binary, None, "")
        assert done.returncode == 0 and done.stdout == "" and "1.1.0" in done.stderr, done
        done = execute(node, binary, "JUMP", "{}")
        assert done.returncode != 0 and json.loads(done.stdout)["code"] == 4 and "JUMP" in done.stdout, done
        done = node.run(binary, "--version")
        assert done.stdout.strip()


def test_errors():
    """wrong requests: the code, and a message that names the value; nothing is changed"""
    with Lab("cni") as lab:
        node = lab.node("n1")
        node.start_agent()
        pod = node.pod("pod")
        network = node.net(VNL)
        good_env = network.environment("c1", pod.path, "eth0")
        good = next(network.configs())
        before = baseline(network, pod)

        def refused(code, *words, command="ADD", env=None, config=None, drop_env=()):
            environment = {k: v for k, v in {**good_env, **(env or {})}.items() if k not in drop_env}
            done = execute(node, program("cni/vxvde"), command, good if config is None else config,
                           environment=environment)
            assert done.returncode != 0, f"not refused: {env} {config} {done.stdout}"
            error = json.loads(done.stdout)
            text = error["msg"] + " " + error.get("details", "")
            assert error["code"] == code, (code, words, error)
            assert isinstance(error["cniVersion"], str) and error["msg"], error
            for word in words:
                assert word in text, f"{word!r} is not named: {error}"
            node.expect_footprint(pod, before, f"something was touched: {error}")

        refused(4, "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME",
                drop_env=("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"))
        refused(4, "CNI_CONTAINERID", command="DEL", drop_env=("CNI_CONTAINERID",))
        for container in ("../up", "-c", "a b", ""):
            refused(4, env={"CNI_CONTAINERID": container})
        for ifname in ("sixteen-letters-", ".", "..", "a/b", "a:b", "a b"):
            refused(4, ifname, env={"CNI_IFNAME": ifname})
        refused(4, "COLOUR", env={"CNI_ARGS": "COLOUR=red"})
        for text in ("", "{", "[]", '"x"', "nonsense", '{"name": }'):
            refused(6, config=text)
        refused(7, "name", config={k: v for k, v in good.items() if k != "name"})
        refused(7, "bad/name", config={**good, "name": "bad/name"})
        refused(1, "9.9.9", "1.1.0", config={**good, "cniVersion": "9.9.9"})
        refused(2, "mode", "bridge", config={**good, "mode": "bridge"})
        refused(7, "mtu", config={**good, "mtu": "big"})
        refused(7, "speed", config={**good, "vnl": VNL + "/speed=9"})
        refused(101, "mauve", config={**{k: v for k, v in good.items() if k != "vnl"}, "cloud": "mauve"})
        refused(8, env={"CNI_NETNS": node.path})  # E6: the plugin's own namespace
        refused(4, "no-such", env={"CNI_NETNS": "/run/netns/no-such"})
        refused(7, "nowhere", config={**good, "ipam": {"type": "nowhere"}})

        # Unknown keys at the top level belong to other plugins.
        network.conflist["plugins"][0]["colour"] = "red"
        network.add(pod)
        network.delete(pod)

        # A foreign interface of that name is left alone.
        pod.ip("link", "add", "eth0", "type", "bridge")
        before = node.footprint(pod)
        try:
            network.add(pod)
        except CniError as error:
            assert "eth0" in error.msg + error.details, error
        else:
            raise AssertionError("ADD over a foreign eth0 succeeded")
        assert pod.links()["eth0"]["linkinfo"]["info_kind"] == "bridge"
        node.expect_footprint(pod, before, "a refused ADD is undone")


def test_layer_two_only():
    """ipam {}: an interface without addresses, to which users may assign their own"""
    with Lab("cni") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        pods = []
        for node in (n1, n2):
            node.start_agent()
            pod = node.pod("pod")
            network = node.net(VNL, ipam={})
            result = network.add(pod)
            assert not result.get("ips") and pod.addresses("eth0") == [], result
            pods.append(pod)
        assert pods[0].mac("eth0") != pods[1].mac("eth0")
        pods[0].address("eth0", "203.0.113.1/24")
        pods[1].address("eth0", "203.0.113.2/24")
        pods[0].reaches("203.0.113.2")
        network.delete(pods[1])
        assert pods[1].links().keys() == {"lo"}


def test_mac_and_ips():
    """a requested MAC and addresses are granted; the same pod gets the same MAC again; one in use is an error"""
    with Lab("cni") as lab:
        node = lab.node("n1")
        node.start_agent()
        one, two = node.pod("one"), node.pod("two")
        network = node.net(VNL, capabilities={"mac": True, "ips": True})
        network.add(one)
        first = one.mac("eth0")
        network.delete(one)
        network.add(one)
        assert one.mac("eth0") == first, "deterministic"
        network.delete(one)
        wanted = f"198.51.100.{32 * node.number + 9}"
        network.add(one, capability_args={"mac": "02:00:5e:10:00:01", "ips": [f"{wanted}/24"]})
        assert one.mac("eth0") == "02:00:5e:10:00:01"
        assert wanted in [str(ipaddress.ip_interface(a).ip) for a in one.addresses("eth0")]
        before = node.footprint(two)
        try:
            network.add(two, capability_args={"mac": "02:00:5e:10:00:01"})
        except CniError as error:
            assert error.code == 103 and "02:00:5e:10:00:01" in error.msg, error
        else:
            raise AssertionError("a MAC in use was given twice")
        node.expect_footprint(two, before, "a refused ADD is undone")


def test_del_in_every_condition():
    """DEL twice, without a namespace, without an ADD, without the interface, without an agent: it succeeds and nothing remains
    (D1)"""
    with Lab("cni") as lab:
        node = lab.node("n1")
        node.start_agent()
        for mode in ("veth", "tap"):
            network = node.net(VNL, mode=mode)
            pod = node.pod(f"{mode}0")
            network.delete(pod)  # without an ADD
            before = baseline(network, pod)
            network.add(pod)
            network.delete(pod)
            network.delete(pod)
            node.expect_footprint(pod, before, "DEL twice")

            network.add(pod)
            network.delete(pod, netns="")  # the runtime has forgotten the namespace; the pod's end may remain inside it
            here = {**before, "links of the pod": sorted(pod.links())}
            node.expect_footprint(pod, here, "DEL without CNI_NETNS")
            network.delete(pod)
            node.expect_footprint(pod, before, "DEL with CNI_NETNS after that")

            gone = node.pod(f"{mode}1")
            network.add(gone)
            gone.remove_netns()
            network.delete(gone)
            node.expect_footprint(pod, before, "DEL of a pod whose namespace is gone")

            network.add(pod)
            pod.ip("link", "del", "eth0")
            network.delete(pod)
            node.expect_footprint(pod, before, "DEL of a pod whose interface is gone")

            network.add(pod)
            node.agent.stop()
            network.delete(pod)
            network.delete(pod)
            assert pod.links().keys() == {"lo"} and not node.leases(), "DEL while the agent is down"
            node.agent.start()
            node.expect_footprint(pod, before, "DEL while the agent was down")


def test_agent_unreachable():
    """ADD without an agent: code 11, retry later, with the remedy (E7); nothing is left"""
    with Lab("cni") as lab:
        node = lab.node("n1")
        node.start_agent()
        network, pod = node.net(VNL), node.pod("pod")
        before = baseline(network, pod)
        node.agent.stop()
        try:
            network.add(pod)
        except CniError as error:
            assert error.code == 11 and node.agent.socket in error.msg + error.details, error
        else:
            raise AssertionError("ADD without an agent succeeded")
        assert pod.links().keys() == {"lo"} and not node.leases()
        network.delete(pod)
        node.agent.start()
        node.expect_footprint(pod, before, "ADD without an agent")
        network.add(pod)


def test_ipam_failure_rolls_back():
    """an IPAM plugin that fails, and one that has no address left: everything is undone"""
    with Lab("cni") as lab:
        node = lab.node("n1")
        node.start_agent()
        pod, other = node.pod("pod"), node.pod("other")
        full = node.net(VNL)
        full.conflist["plugins"][0]["ipam"]["ranges"] = [
            [{"subnet": "198.51.100.0/24", "rangeStart": "198.51.100.77", "rangeEnd": "198.51.100.77"}]]
        before = baseline(full, pod)
        full.add(pod)
        try:
            full.add(other)
        except CniError as error:
            assert "host-local" in str(error) or "no IP addresses" in str(error), error
        else:
            raise AssertionError("an address out of an empty pool")
        assert other.links().keys() == {"lo"} and len(node.agent.ports()) == 1 and len(node.leases()) == 1, (
            node.footprint(other))
        full.delete(pod)
        node.expect_footprint(pod, before, "DEL after another pod's ADD failed")


if __name__ == "__main__":
    runner.main(globals())
