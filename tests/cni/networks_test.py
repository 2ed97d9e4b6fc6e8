"""Several clouds for one pod, selected by its annotations: beside an eth0 of vxvde, and chained after another plugin.

Ids such as (M1) are requirements in docs/RUNTIMES.md."""

import json
import signal

from tests.lib import runner
from tests.lib.cni import CniError, execute
from tests.lib.lab import Lab, program
from tests.lib.process import wait_for

BLUE, GREEN = "vxvde://239.1.2.3/vni=7", "vxvde://239.1.2.4"
CLOUDS = [{"name": "blue", "vnl": BLUE}, {"name": "green", "vnl": GREEN},
          {"name": "team", "vnl": "vxvde://239.1.2.5", "namespaces": ["team-*"]},
          {"name": "routed", "vnl": "vxvde://239.1.2.6", "subnets": ["203.0.113.0/24"]}]
CAPABILITY = "io.kubernetes.cri.pod-annotations"
SECTION = {"type": "vxvde", "capabilities": {CAPABILITY: True, "mac": True, "ips": True}}
IN_SHOP = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u-1"
KILLED = -signal.SIGKILL


def asks(networks=None, cloud=None, npwg=None):
    """capability_args of a pod with these annotations."""
    annotations = {"example.com/other": "{[", "vxvde.io/networks": networks, "vxvde.io/cloud": cloud,
                   "k8s.v1.cni.cncf.io/networks": npwg}
    return {CAPABILITY: {key: value if isinstance(value, str) else json.dumps(value)
                         for key, value in annotations.items() if value is not None}}


def chained(node, version="1.0.0"):
    """bridge makes eth0, then vxvde follows."""
    return node.network({"cniVersion": version, "name": "pods", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": True,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        SECTION]})


def start(lab, **config):
    node = lab.node("n1")
    node.start_agent({"clouds": CLOUDS, **config})
    return node


def baseline(network, pod):
    """The state after a first ADD and DEL: the bridge, and the ports that the agent remembers."""
    network.add(pod, capability_args=asks("blue, green"))
    network.delete(pod)
    wait_for(lambda: not network.node.agent.clouds(), 5, "the clouds are left")
    return network.node.footprint(pod)


def refused(network, pod, code, *words, **kwargs):
    before = network.node.footprint(pod)
    try:
        network.add(pod, **kwargs)
    except CniError as error:
        assert error.code == code, error
        for word in words:
            assert word in error.msg + error.details, (word, str(error))
    else:
        raise AssertionError(f"not refused: {kwargs}")
    return before


def test_chained_after_bridge():
    """eth0 by bridge, and two clouds beside it: members of both answer; DEL leaves nothing (M2, A4)"""
    for version in ("0.4.0", "1.0.0"):
        with Lab("nets") as lab:
            node, other = start(lab), lab.node("n2")
            blue, green = other.vdens("blue", BLUE), other.vdens("green", GREEN)
            blue.address("vde0", "198.51.100.9/24", "2001:db8:1::9/64")
            green.address("vde0", "203.0.113.9/24")
            pod, network = node.pod("pod"), chained(node, version)
            before = baseline(network, pod)
            result = network.add(pod, args=IN_SHOP, capability_args=asks([
                {"name": "blue", "ips": ["198.51.100.7/24", "2001:db8:1::7/64"], "mac": "02:00:5e:10:00:07"},
                {"name": "green", "interface": "lab0", "ips": ["203.0.113.7/24"]}]))
            pod.reaches("198.51.100.9")
            pod.reaches("2001:db8:1::9")
            pod.reaches("203.0.113.9")
            assert pod.ping("10.88.0.1"), "the bridge's eth0 is as it was"
            assert [r["dev"] for r in pod.ip_json("route", "show", "default")] == ["eth0"]
            assert pod.mac("net1") == "02:00:5e:10:00:07"

            inside = {i["name"]: n for n, i in enumerate(result["interfaces"]) if i.get("sandbox")}
            assert list(inside) == ["eth0", "net1", "lab0"], result
            assert result["interfaces"][0]["name"] == "cni0" and result["cniVersion"] == version, result
            assert all(i["name"] in node.links() for i in result["interfaces"] if not i.get("sandbox")), result
            assert [(ip["address"], ip["interface"]) for ip in result["ips"][1:]] == [
                ("198.51.100.7/24", inside["net1"]), ("2001:db8:1::7/64", inside["net1"]),
                ("203.0.113.7/24", inside["lab0"])], result
            assert result["ips"][0]["interface"] == inside["eth0"] and result["routes"], result

            # A restarted agent restores all attachments; the DEL contains no annotations.
            node.agent.stop()
            node.agent.start()
            pod.reaches("198.51.100.9")
            network.delete(pod)
            network.delete(pod, netns="")
            node.expect_footprint(pod, before, "DEL")


def test_chained_without_annotations():
    """no annotation: the result is that of the preceding plugins, with the agent down as well (A4, C1, S1)"""
    with Lab("nets") as lab:
        node = start(lab)
        pod, network = node.pod("pod"), chained(node)
        node.agent.stop()
        for annotations in ({}, {CAPABILITY: None}, asks()):
            result = network.add(pod, capability_args=annotations)
            assert [i["name"] for i in result["interfaces"] if i.get("sandbox")] == ["eth0"], result
            section = list(network.configs(previous=result))[1]
            for command, config in (("CHECK", section),
                                    ("STATUS", {**section, "cniVersion": "1.1.0", "prevResult": None})):
                done = execute(node, program("cni/vxvde"), command, config,
                               environment=network.environment(pod.container, pod.path, "eth0"))
                assert done.returncode == 0, (command, done.stdout)
            network.delete(pod)
            assert pod.links().keys() == {"lo"} and not node.leases()
        previous = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": pod.path, "colour": "red"}],
                    "ips": [], "shape": {"round": [1, None]}}
        done = execute(node, program("cni/vxvde"), "ADD",
                       {"cniVersion": "1.0.0", "name": "pods", "type": "vxvde", "prevResult": previous,
                        "runtimeConfig": {"IO.Kubernetes.CRI.Pod-Annotations": None}},
                       environment=network.environment("c1", pod.path, "eth0"))
        assert done.returncode == 0 and json.loads(done.stdout) == previous, done


def test_main_plugin():
    """eth0 of vxvde in the cloud of vxvde.io/cloud, and others by name, by locator and in tap mode; layer 2 only"""
    with Lab("nets") as lab:
        node, other = start(lab, allowVnl=True), lab.node("n2")
        vdens = {vnl: other.vdens(f"m{i}", vnl) for i, vnl in enumerate((BLUE, GREEN, "vxvde://239.9.9.9"))}
        for number, member in enumerate(vdens.values()):
            member.address("vde0", f"203.0.113.{16 * number + 9}/28")
        for mode in ("veth", "tap"):
            pod = node.pod(f"pod-{mode}")
            network = node.net("vxvde://239.8.8.8", mode=mode, capabilities=SECTION["capabilities"],
                               allow=["203.0.113.7"])  # beside its lease, below
            before = baseline(network, pod)
            result = network.add(pod, args=IN_SHOP, capability_args=asks(
                "green, vxvde://239.9.9.9@lab0", cloud="blue"))
            assert [i["name"] for i in result["interfaces"] if i.get("sandbox")] == ["eth0", "net1", "lab0"], result
            assert len(result["ips"]) == 2, result  # of host-local, for eth0
            assert sorted(cloud["name"] for cloud in node.agent.clouds()) == ["blue", "green", "vxvde://239.9.9.9"]
            assert len({pod.mac(i) for i in ("eth0", "net1", "lab0")}) == 3
            for number, ifname in enumerate(("eth0", "net1", "lab0")):
                pod.address(ifname, f"203.0.113.{16 * number + 7}/28")
                pod.reaches(f"203.0.113.{16 * number + 9}")
            network.delete(pod)
            node.expect_footprint(pod, before, f"DEL, {mode}")


def test_bad_entries():
    """one bad entry fails the pod, is named in the error and leaves nothing (M2, A5)"""
    with Lab("nets") as lab:
        node = start(lab)
        pod, other = node.pod("pod"), node.pod("other")
        main = node.net(BLUE, capabilities=SECTION["capabilities"])
        for network in (main, chained(node)):
            before = baseline(network, pod)

            def bad(code, *words, network=network, **annotations):
                refused(network, pod, code, *words, capability_args=asks(**annotations))
                if network is not main:
                    network.delete(pod)  # libcni's DEL, which includes the bridge
                node.expect_footprint(pod, before, str(words))

            bad(101, "vxvde.io/networks", '"mauve"', "blue", networks="blue, mauve, green")
            bad(7, "vxvde.io/networks", '"green@eth0"', networks="blue, green@eth0")
            bad(7, '"green@x"', networks="blue@x, green@x")
            bad(7, "entry 2", "198.51.100.7", networks=[{"name": "blue"}, {"name": "green", "ips": ["198.51.100.7"]}])
            bad(7, "entry 2", "colour", networks=[{"name": "blue"}, {"name": "green", "colour": "red"}])
            bad(7, "k8s.v1.cni.cncf.io/networks", "192.0.2.7",
                npwg=[{"name": "blue"}, {"name": "green", "ips": ["192.0.2.7"]}])
            pod.ip("link", "add", "net2", "type", "bridge")
            bad_before = {**before, "links of the pod": sorted(pod.links())}
            refused(network, pod, 999, "green", "net2", capability_args=asks("blue, green"))
            network.delete(pod)
            node.expect_footprint(pod, bad_before, "an interface that is not ours is left alone")
            pod.ip("link", "del", "net2")

            # Found last, when everything else has been made: an address of another pod.
            main.add(other, capability_args=asks([{"name": "green", "ips": ["192.0.2.7/24"]}]))
            there = node.footprint(pod)
            refused(network, pod, 102, "192.0.2.7", "entry 2", capability_args=asks(
                [{"name": "blue"}, {"name": "green", "ips": ["192.0.2.7/24"]}]))
            network.delete(pod)
            node.expect_footprint(pod, there, "an address in use")
            main.delete(other)
            node.expect_footprint(pod, before, "DEL")
        refused(chained(node), pod, 7, "vxvde.io/cloud", "eth0", capability_args=asks(cloud="blue"))
        chained(node).delete(pod)


def test_policy():
    """clouds for some namespaces, locators only with allowVnl; the refusal names the rule and the entry (M3)"""
    with Lab("nets") as lab:
        node = start(lab)
        pod = node.pod("pod")
        network = node.net(BLUE, capabilities=SECTION["capabilities"])
        before = baseline(network, pod)
        refused(network, pod, 107, '"team"', "shop", "team-*", args=IN_SHOP, capability_args=asks("green, team"))
        refused(network, pod, 107, "vxvde.io/cloud", "shop", args=IN_SHOP, capability_args=asks(cloud="team"))
        refused(network, pod, 107, "k8s.v1.cni.cncf.io/networks", args=IN_SHOP, capability_args=asks(npwg="team"))
        refused(network, pod, 107, "vxvde://239.9.9.9@lab0", "allowVnl", args=IN_SHOP,
                capability_args=asks("green, vxvde://239.9.9.9@lab0"))
        node.expect_footprint(pod, before, "refused")
        network.add(pod, args=IN_SHOP.replace("shop", "team-1"), capability_args=asks("team"))
        network.delete(pod)
        node.agent.reload({"clouds": CLOUDS, "allowVnl": True})

        def allowed():
            try:
                network.add(pod, args=IN_SHOP, capability_args=asks("vxvde://239.9.9.9"))
            except CniError:
                return False
            return True
        wait_for(allowed, 5, "the reloaded rule counts")
        network.delete(pod)
        # A locator does not bypass a cloud's rule.
        refused(network, pod, 107, "team-*", args=IN_SHOP, capability_args=asks("vxvde://239.1.2.5"))
        node.expect_footprint(pod, before, "DEL")


def test_namespaces_are_confined():
    """a NetworkAttachmentDefinition joins configured clouds only, and gets only what these permit (M3)"""
    with Lab("nets") as lab:
        node = start(lab)
        pod = node.pod("pod")

        def nad(ipam=None, **section):
            """A configuration as a user of the namespace writes it, passed on by Multus."""
            return node.network({"cniVersion": "1.0.0", "name": "nad", "plugins": [
                {"type": "vxvde", **({} if ipam is None else {"ipam": ipam}), **section}]})

        def static(*addresses):
            return {"type": "static", "addresses": [{"address": address} for address in addresses]}
        named = nad(cloud="routed")
        raw = nad(vnl="vxvde://239.9.9.9", ipam={})
        for network in (named, raw):  # the agent remembers the ports of all clouds that it joined
            network.add(pod)
            network.delete(pod)
        before = baseline(nad(cloud="blue", ipam={}, capabilities=SECTION["capabilities"]), pod)

        def no(network, *words, **kwargs):
            refused(network, pod, 107, "shop", *words, ifname="net1", args=IN_SHOP, **kwargs)
            network.delete(pod, ifname="net1", args=IN_SHOP)
            node.expect_footprint(pod, before, str(words))

        rule = "confineNamespaces: true"
        no(nad(vnl="vxvde://239.9.9.9"), "vxvde://239.9.9.9", rule)
        no(nad(), "vxvde://,", rule)  # the default cloud
        no(nad(vnl="vxvde://239.1.2.5"), "team-*")  # a locator does not bypass a cloud's rule
        no(nad(cloud="team"), "team-*")
        no(nad(cloud="blue", mtu=1451), "1451", "1450", rule)
        no(nad(cloud="blue", allow=["all"]), "all", "allowByAnnotation: []")
        no(nad(cloud="routed", ipam=static("192.0.2.7/24")), "192.0.2.7/24", "203.0.113.0/24", rule)
        no(nad(cloud="routed", ipam=static("203.0.113.7/24")), "203.0.113.7", "IPAM plugin", rule)
        no(nad(cloud="routed", ipam={}, args={"cni": {"ips": ["203.0.113.7/8"]}}), "203.0.113.7/8", rule)
        no(nad(cloud="blue", ipam={}, args={"cni": {"ips": ["192.0.2.7/24"]}},
               runtimeConfig={"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}),
           "8080", "subnets", rule)

        # Permitted requests, and properties that a namespace may never choose.
        named.add(pod, ifname="net1", args=IN_SHOP)
        assert pod.addresses("net1")[0].startswith("203.0.113."), pod.addresses("net1")
        named.delete(pod, ifname="net1", args=IN_SHOP)
        bring = nad(cloud="routed", mtu=1400, ipam={}, args={"cni": {"ips": ["203.0.113.7/24"]}})
        bring.add(pod, ifname="net1", args=IN_SHOP)
        assert pod.addresses("net1") == ["203.0.113.7/24"] and pod.links()["net1"]["mtu"] == 1400
        bring.delete(pod, ifname="net1", args=IN_SHOP)
        by_locator = nad(vnl=BLUE, ipam={})
        by_locator.add(pod, ifname="net1", args=IN_SHOP)
        assert [cloud["name"] for cloud in node.agent.clouds()] == ["blue"], "the cloud that it names"
        by_locator.delete(pod, ifname="net1", args=IN_SHOP)
        for nobody in ("", "IgnoreUnknown=1;K8S_POD_NAME=web"):  # podman passes the container's name in this way
            raw.add(pod, ifname="net1", args=nobody)
            raw.delete(pod, ifname="net1", args=nobody)
        node.expect_footprint(pod, before, "what is allowed")

        # The operator's decision: a locator in a network configuration is the operator's.
        node.agent.reload({"clouds": CLOUDS, "confineNamespaces": False})

        def allowed():
            try:
                raw.add(pod, ifname="net1", args=IN_SHOP)
            except CniError:
                return False
            return True
        wait_for(allowed, 5, "the reloaded rule counts")
        raw.delete(pod, ifname="net1", args=IN_SHOP)
        node.agent.stop()
        node.start_agent()  # no clouds are configured, so there is nothing to confine callers to
        raw.add(pod, ifname="net1", args=IN_SHOP)
        raw.delete(pod, ifname="net1", args=IN_SHOP)


def test_npwg():
    """the annotation that Multus reads: clouds of the agent are attached, other names are left to other plugins (M2)"""
    with Lab("nets") as lab:
        node = start(lab)
        pod, network = node.pod("pod"), chained(node)
        before = baseline(network, pod)
        result = network.add(pod, capability_args=asks(npwg="kube-system/blue@lab0, macvlan-conf, green"))
        assert [i["name"] for i in result["interfaces"] if i.get("sandbox")] == ["eth0", "lab0", "net2"], result
        network.delete(pod)
        result = network.add(pod, capability_args=asks(npwg=[
            {"name": "sriov", "deviceID": "0000:03:02.3", "interface": "net1"},
            {"name": "blue", "namespace": "x", "ips": ["192.0.2.7/24"], "mac": "02:00:5e:10:00:09"}]))
        assert pod.mac("net2") == "02:00:5e:10:00:09" and pod.addresses("net2") == ["192.0.2.7/24"], result
        network.delete(pod)
        node.expect_footprint(pod, before, "DEL")

        # An additional interface gets a default route only on request (M1), and no other plugin provides one here.
        alone = node.network({"cniVersion": "1.0.0", "name": "alone", "plugins": [
            {**SECTION, "cloud": "blue", "ipam": {}}]})
        alone.add(pod, capability_args=asks(npwg=[
            {"name": "green", "ips": ["192.0.2.7/24"], "default-route": ["192.0.2.1"]}]))
        assert [(r["gateway"], r["dev"]) for r in pod.ip_json("route", "show", "default")] == [("192.0.2.1", "net1")]
        alone.delete(pod)
        node.expect_footprint(pod, before, "DEL")

        # The agent completes addresses; cni-args; a GUID, which Ethernet has not.
        alone.add(pod, capability_args=asks(npwg=[
            {"name": "routed", "ips": ["203.0.113.50"], "infiniband-guid": "c2:11:22:33:44:55:66:77"},
            {"name": "blue", "cni-args": {"foo": "bar", "mac": "02:00:5e:10:00:0a", "ips": ["192.0.2.8/24"]}}]))
        assert pod.addresses("net1") == ["203.0.113.50/24"], pod.addresses("net1")
        assert pod.addresses("net2") == ["192.0.2.8/24"] and pod.mac("net2") == "02:00:5e:10:00:0a"
        alone.delete(pod)

        # The default route that is asked for replaces the bridge's, in the pod and in the result.
        result = network.add(pod, capability_args=asks(npwg=[
            {"name": "routed", "ips": ["203.0.113.50"], "default-route": ["203.0.113.1"]}]))
        assert [(r["gateway"], r["dev"]) for r in pod.ip_json("route", "show", "default")] == [("203.0.113.1", "net1")]
        assert [r for r in result["routes"] if r["dst"] == "0.0.0.0/0"] == [
            {"dst": "0.0.0.0/0", "gw": "203.0.113.1"}], result["routes"]
        network.delete(pod)
        node.expect_footprint(pod, before, "DEL")


def test_as_multus_calls():
    """one network twice in one pod, each by an ADD of its own: two ports, MACs, addresses; a DEL ends one (M1)"""
    with Lab("nets") as lab:
        node = start(lab)
        pod = node.pod("pod")
        network = node.net(BLUE, capabilities=SECTION["capabilities"])
        before = baseline(network, pod)
        network.add(pod)
        network.add(pod, ifname="net1", args=IN_SHOP)
        network.add(pod, ifname="lab-2.x", args=IN_SHOP, capability_args={"mac": "02:00:5e:10:00:08"})
        names = ["eth0", "net1", "lab-2.x"]
        assert len({pod.mac(i) for i in names}) == 3 and pod.mac("lab-2.x") == "02:00:5e:10:00:08"
        assert len({a for i in names for a in pod.addresses(i)}) == 6
        assert len(node.agent.ports()) == 3
        assert not pod.ip_json("route", "show", "default")
        network.delete(pod, ifname="eth0")
        assert pod.links().keys() == {"lo", "net1", "lab-2.x"} and len(node.agent.ports()) == 2
        network.delete(pod, ifname="lab-2.x", netns="")
        network.delete(pod, ifname="net1")
        network.delete(pod, ifname="lab-2.x")
        node.expect_footprint(pod, before, "DEL of each")

        # cni-args of a NetworkAttachmentDefinition: in args.cni.
        config = {**next(network.configs()), "ipam": {}, "args": {"cni": {
            "ips": ["192.0.2.66/24"], "mac": "02:00:5e:10:00:66"}}}
        env = network.environment(pod.container, pod.path, "net7")
        done = execute(node, program("cni/vxvde"), "ADD", config, environment=env)
        assert done.returncode == 0, done
        assert pod.addresses("net7") == ["192.0.2.66/24"] and pod.mac("net7") == "02:00:5e:10:00:66"
        assert execute(node, program("cni/vxvde"), "DEL", config, environment=env).returncode == 0
        node.expect_footprint(pod, before, "DEL of a single configuration")


def test_del_in_every_condition():
    """DEL ends all of them: twice, without a namespace, after the namespace is gone, without an agent (D1)"""
    with Lab("nets") as lab:
        node = start(lab)
        for mode in ("veth", "tap"):
            network = node.net(BLUE, mode=mode, capabilities=SECTION["capabilities"])
            pod = node.pod(f"pod-{mode}")
            before = baseline(network, pod)

            def add(where, network=network):
                network.add(where, capability_args=asks("green, blue@lab0"))
                assert len(node.agent.ports()) == 3
            add(pod)
            network.delete(pod)
            network.delete(pod)
            node.expect_footprint(pod, before, "DEL twice")

            add(pod)
            network.delete(pod, netns="")
            network.delete(pod)
            node.expect_footprint(pod, before, "DEL without CNI_NETNS, then with it")

            gone = node.pod(f"gone-{mode}")
            add(gone)
            gone.remove_netns()
            network.delete(gone, netns="")
            node.expect_footprint(pod, before, "DEL of a pod whose namespace is gone")

            add(pod)
            node.agent.stop()
            network.delete(pod)
            assert pod.links().keys() == {"lo"} and not node.leases(), "DEL while the agent is down"
            node.agent.start()
            node.expect_footprint(pod, before, "DEL while the agent was down")


def test_killed_at_every_step():
    """kill -9 at every step of an ADD of two networks, then DEL: nothing is left (E9)"""
    with Lab("nets") as lab:
        node = start(lab)
        pod, network = node.pod("pod"), node.net(BLUE, capabilities=SECTION["capabilities"])
        before = baseline(network, pod)
        config = next(network.configs(asks([{"name": "green", "ips": ["192.0.2.7/24"]}])))
        environment = network.environment(pod.container, pod.path, "eth0")
        for step in range(1, 2000):
            done = execute(node, program("cni/vxvde"), "ADD", config, environment=environment,
                           prefix=[program("tests/fault_at"), "kill", step])
            if done.returncode != KILLED:
                break
            network.delete(pod)
            node.expect_footprint(pod, before, done.stderr.strip())
        assert done.returncode == 0, f"ADD fails by itself when traced: {done.stdout} {done.stderr}"
        assert step > 30 and pod.addresses("net1") == ["192.0.2.7/24"], (step, done.stderr)
        network.delete(pod)
        node.expect_footprint(pod, before, "DEL of what survived")
        print(f"killed at each of {step - 1} steps")


def test_plugins_after_ours():
    """portmap, tuning and bandwidth of containernetworking-plugins work on vxvde's interfaces (A2)"""
    with Lab("nets") as lab:
        node = start(lab)
        pod = node.pod("pod")
        network = node.network({"cniVersion": "1.0.0", "name": "pods", "plugins": [
            {**SECTION, "cloud": "blue", "ipam": {}},
            {"type": "tuning", "sysctl": {"net.core.somaxconn": "555"}, "mtu": 1300},
            {"type": "bandwidth", "capabilities": {"bandwidth": True}},
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": False}]})
        before = baseline(network, pod)
        wishes = {**asks("green"), "ips": ["198.51.100.7/24"],
                  "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 8_000_000,
                                "egressRate": 8_000_000, "egressBurst": 8_000_000},
                  "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
        result = network.add(pod, capability_args=wishes)
        assert pod.run("cat", "/proc/sys/net/core/somaxconn").stdout.strip() == "555"
        assert pod.links()["eth0"]["mtu"] == 1300 and pod.links()["net1"]["mtu"] == 1450
        host = next(i["name"] for i in result["interfaces"] if not i.get("sandbox"))
        assert "tbf" in node.run("tc", "qdisc", "show", "dev", host).stdout
        rules = node.run("iptables-save", "-t", "nat").stdout
        assert "8080" in rules and "198.51.100.7:80" in rules, rules
        network.delete(pod, capability_args=wishes)
        rules = node.run("iptables-save", "-t", "nat").stdout
        assert "198.51.100.7" not in rules, rules
        node.expect_footprint(pod, before, "DEL")


if __name__ == "__main__":
    runner.main(globals())
