"""containerd's CRI and `ctr run --cni` with the real plugin: clouds by annotation beside a bridge, and vxvde as main plugin.

  tests/py.sh tests/runtimes/containerd_test.py [SUITE] [test_name...]

SUITE is "trixie" or "sid": its containerd is fetched from the apt mirror, kept in /var/tmp, and used with this machine's
runc. Ids such as (M2) are requirements in docs/RUNTIMES.md."""

import concurrent.futures
import json
import sys

import grpc

from tests.lib import runner
from tests.lib.containerd import IMAGE, Containerd, fetch_programs
from tests.lib.lab import Lab
from tests.lib.process import wait_for

PROGRAMS = "/usr/bin"
BLUE, GREEN = "vxvde://239.1.2.3/vni=7", "vxvde://239.1.2.4"
CLOUDS = [{"name": "blue", "vnl": BLUE}, {"name": "green", "vnl": GREEN},
          {"name": "team", "vnl": "vxvde://239.1.2.5", "namespaces": ["team-*"]},
          {"name": "given", "vnl": "vxvde://239.1.2.6", "subnets": ["198.51.100.0/24", "2001:db8:42::/64"]}]
ANNOTATIONS = {"io.kubernetes.cri.pod-annotations": True}
BRIDGE = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": {
    "type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}
CHAINED = {"cniVersion": "1.0.0", "name": "pods", "plugins": [
    BRIDGE, {"type": "vxvde", "capabilities": ANNOTATIONS}]}
# portmap follows vxvde, so that containerd has a plugin to which it passes port mappings.
MAIN = {"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "vxvde", "cloud": "blue", "capabilities": {**ANNOTATIONS, "dns": True},
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "198.51.100.0/24", "rangeStart": "198.51.100.40",
                                                 "rangeEnd": "198.51.100.90"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": True}, "snat": False}]}

OURS = {"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "vxvde", "cloud": "given", "capabilities": {**ANNOTATIONS, "portMappings": True, "bandwidth": True}}]}


class Two:
    """containerd on the first node, members of both clouds on the second."""

    def __init__(self, lab, conflist):
        self.n1, self.n2 = lab.node("n1"), lab.node("n2")
        self.n1.start_agent({"clouds": CLOUDS})
        self.blue = self.n2.vdens("blue", BLUE).join(9)
        self.green = self.n2.vdens("green", GREEN)
        self.green.address(self.green.ifname, "203.0.113.9/24")
        self.runtime = Containerd(self.n1, PROGRAMS)
        self._conflist = conflist

    def __enter__(self):
        self.runtime.__enter__()
        self.runtime.configure(self._conflist)
        runner.tried("containerd", self.runtime.version())
        return self

    def __exit__(self, *error):
        self.runtime.__exit__(*error)

    def footprint(self):
        agent = self.n1.agent
        return {"links": sorted(name for name in self.n1.links() if name != "cni0"), "ports": agent.ports(),
                "clouds": agent.clouds(), "records": [f for f in agent.files() if "/" in f],
                "leases": self.n1.leases(), "namespaces": self.runtime.namespaces(), "pods": self.runtime.pods()}

    def nothing_is_left(self, why):
        nothing = {"links": ["eth0", "lo"], "ports": [], "clouds": [], "records": [], "leases": [], "namespaces": [],
                   "pods": []}
        try:
            wait_for(lambda: self.footprint() == nothing, 5, why)
        except AssertionError:
            raise AssertionError(f"{why}: left is {self.footprint()}") from None


def beside(ips="203.0.113.7/24"):
    return {"vxvde.io/networks": json.dumps([{"name": "blue", "ips": ["198.51.100.7/24", "2001:db8:42::7/64"]},
                                             {"name": "green", "interface": "lab0", "ips": [ips]}])}


def test_two_clouds_beside_a_bridge():
    """RunPodSandbox with an annotation: eth0 by bridge, two clouds beside it; pings both ways; nothing is left (M2)"""
    with Lab("containerd") as lab, Two(lab, CHAINED) as two:
        pod = two.runtime.pod("web", annotations=beside())
        inside = pod.inside()
        assert sorted(inside.links()) == ["eth0", "lab0", "lo", "net1"], inside.links()
        assert pod.ips()[0].startswith("10.88.0."), pod.ips()
        for address in ("10.88.0.1", two.blue.ip4, two.blue.ip6, "203.0.113.9"):
            pod.reaches(address)  # from a container of the pod
        two.blue.reaches("198.51.100.7")
        two.blue.reaches("2001:db8:42::7")
        two.green.reaches("203.0.113.7")
        ports = two.n1.agent.ports()
        assert {p["mac"] for p in ports} == {inside.mac("net1"), inside.mac("lab0")}, ports
        assert {(p["attachment"]["podNamespace"], p["attachment"]["podName"]) for p in ports} == {("shop", "web")}
        pod.stop()
        assert not two.n1.agent.ports() and not two.n1.leases()
        pod.remove()
        two.nothing_is_left("after RemovePodSandbox")

        plain = two.runtime.pod("plain")
        assert sorted(plain.inside().links()) == ["eth0", "lo"]
        plain.stop()
        plain.remove()
        two.nothing_is_left("after a pod without annotations")


def test_mistakes_fail_the_pod():
    """a bad entry, an unknown or forbidden cloud: the error names it; nothing stays; the corrected pod starts"""
    with Lab("containerd") as lab, Two(lab, CHAINED) as two:
        def refused(networks, *words):
            try:
                two.runtime.pod("web", annotations={"vxvde.io/networks": networks})
            except grpc.RpcError as error:
                for word in words:
                    assert word in error.details(), (word, error.details())
            else:
                raise AssertionError(f"{networks} is not refused")
            two.nothing_is_left(f"refused: {networks}")

        refused("blue@net7, mauve@net8", "vxvde.io/networks", "mauve")
        refused("blue, team", "team", "namespaces: [team-*]")
        refused("blue, vxvde://239.1.2.9", "vxvde://239.1.2.9", "allowVnl")
        refused("blue@far-too-long-a-name", "far-too-long-a-name")
        refused('[{"name": "blue", "ips": ["198.51.100.300/24"]}]', "198.51.100.300")
        pod = two.runtime.pod("web", annotations=beside())
        pod.reaches(two.blue.ip4)
        pod.stop()
        pod.remove()
        pod = two.runtime.pod("web", annotations={"vxvde.io/networks": "team"}, namespace="team-a")
        assert "net1" in pod.inside().links()
        pod.stop()
        pod.remove()
        two.nothing_is_left("after the last pod")


def test_main_plugin():
    """eth0 in a cloud, or in that of vxvde.io/cloud; Stop twice; containerd's spelling of keys is accepted (A9, D1)"""
    with Lab("containerd") as lab, Two(lab, MAIN) as two:
        runtime = two.runtime
        pod = runtime.pod("web", ports=[(80, 8080)], dns_config={"servers": ["192.0.2.53"], "searches": ["shop.test"]})
        inside = pod.inside()
        assert pod.ips() == [a.split("/")[0] for a in inside.addresses("eth0")], pod.ips()
        pod.reaches(two.blue.ip4)
        two.blue.reaches(pod.ips()[0])
        assert f"{pod.ips()[0]}:80" in two.n1.run("iptables-save", "-t", "nat").stdout
        other = runtime.pod("other", annotations={"vxvde.io/cloud": "green", "vxvde.io/networks": "blue@net1"})
        clouds = {p["attachment"]["ifname"]: p["cloud"] for p in two.n1.agent.ports()
                  if p["attachment"]["podName"] == "other"}
        assert clouds == {"eth0": "green", "net1": "blue"}, two.n1.agent.ports()
        for one in (pod, other):
            one.stop()
            one.stop()
            one.remove()
        two.nothing_is_left("after both pods")

        (_, added), = runtime.calls("ADD", K8S_POD_NAME="web")
        asked = added["runtimeConfig"]
        assert asked["io.kubernetes.cri.pod-annotations"] is None, "a pod without annotations"
        assert asked["dns"]["Servers"] == ["192.0.2.53"], "names of Go's fields"
        deleted = runtime.calls("DEL", K8S_POD_NAME="web")
        assert sorted(bool(env["CNI_NETNS"]) for env, _ in deleted) == [False, False, True], deleted
        for env, config in deleted:
            assert ("prevResult" in config) == bool(env["CNI_NETNS"]), "the cached result is forgotten by the first DEL"
            if env["CNI_NETNS"]:
                assert config["prevResult"]["dns"] == {"nameservers": ["192.0.2.53"], "search": ["shop.test"]}, config


def test_all_that_is_ours():
    """addresses, host ports and rates served by the agent, requested as containerd writes them (A9)"""
    with Lab("containerd") as lab, Two(lab, OURS) as two:
        pod = two.runtime.pod("web", ports=[(80, 8080)], annotations={
            "kubernetes.io/ingress-bandwidth": "80M", "kubernetes.io/egress-bandwidth": "40M"})
        inside = pod.inside()
        ipv4, ipv6 = pod.ips()
        assert [f"{ipv4}/24", f"{ipv6}/64"] == inside.addresses("eth0"), pod.ips()
        given = two.n2.vdens("given", "vxvde://239.1.2.6").join(9)
        pod.reaches(given.ip4)
        given.reaches(ipv6)
        code, said = pod.exec("sh", "-c", "echo from the pod > /tmp/index.html; httpd -p 80 -h /tmp")
        assert code == 0, said
        get = f"import urllib.request as u; print(u.urlopen('http://{two.n1.ip4}:8080/', timeout=2).read().decode())"
        wait_for(lambda: "from the pod" in two.n2.run("/usr/bin/python3", "-c", get, check=False).stdout, 20,
                 "another host reaches the pod's port on the node's address")
        host = next(p["name"] for p in two.n1.agent.ports() if p.get("attachment", {}).get("podName"))
        assert "tbf" in two.n1.run("tc", "qdisc", "show", "dev", host).stdout
        assert "tbf" in inside.run("tc", "qdisc", "show", "dev", "eth0").stdout
        pod.stop()
        pod.remove()
        (_, added), = two.runtime.calls("ADD", K8S_POD_NAME="web")
        assert added["runtimeConfig"]["portMappings"][0]["HostPort"] == 8080, added
        assert added["runtimeConfig"]["bandwidth"]["IngressRate"] == 80_000_000, added
        two.nothing_is_left("after the pod")
        wait_for(lambda: not two.n1.run("nft", "list", "tables").stdout, 10, "with the last cloud the last rule goes")


def test_without_an_agent():
    """pods end without an agent (D1), and a new one fails with the name of the socket (E7); then everything works again"""
    with Lab("containerd") as lab, Two(lab, CHAINED) as two:
        pod = two.runtime.pod("web", annotations=beside())
        two.n1.agent.stop()
        pod.stop()
        pod.remove()
        assert two.runtime.pod("plain").inside().links().keys() == {"lo", "eth0"}, "no annotation, no agent needed"
        try:
            two.runtime.pod("late", annotations=beside())
        except grpc.RpcError as error:
            assert two.n1.agent.socket in error.details(), error.details()
        else:
            raise AssertionError("a pod started without its networks")
        two.n1.agent.start()
        late = two.runtime.pod("late", annotations=beside())
        late.reaches(two.blue.ip4)
        for one in two.runtime.pods():
            two.runtime.cri.StopPodSandbox(pod_sandbox_id=one["id"])
            two.runtime.cri.RemovePodSandbox(pod_sandbox_id=one["id"])
        two.nothing_is_left("after all pods")


def test_pods_at_once():
    """eight pods start and end at the same time, each on both clouds"""
    with Lab("containerd") as lab, Two(lab, CHAINED) as two:
        names = [f"pod{i}" for i in range(8)]

        def live(name):
            number = names.index(name) + 40
            pod = two.runtime.pod(name, annotations={"vxvde.io/networks": json.dumps(
                [{"name": "blue", "ips": [f"198.51.100.{number}/24"]},
                 {"name": "green", "ips": [f"203.0.113.{number}/24"]}])})
            inside = pod.inside()
            inside.reaches(two.blue.ip4)
            inside.reaches("203.0.113.9")
            macs = [inside.mac("net1"), inside.mac("net2")]
            pod.stop()
            pod.remove()
            return macs

        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            macs = [mac for both in pool.map(live, names) for mac in both]
        assert len(set(macs)) == 2 * len(names), macs
        two.nothing_is_left("after all pods")


def test_status():
    """containerd from 2.1 on calls STATUS: its node is not ready, with the plugin's message, while no agent runs (S1)"""
    with Lab("containerd") as lab, Two(lab, {**CHAINED, "cniVersion": "1.1.0", "plugins": MAIN["plugins"][:1]}) as two:
        if two.runtime.version() < "2.1":
            print(f"   not for containerd {two.runtime.version()}", flush=True)
            return

        def network():
            conditions = two.runtime.cri.Status()["status"]["conditions"]
            return next(c for c in conditions if c["type"] == "NetworkReady")

        assert network()["status"]
        two.n1.agent.stop()
        wait_for(lambda: not network().get("status"), 20, "the network is not ready")
        assert two.n1.agent.socket in network()["message"], network()
        two.n1.agent.start()
        wait_for(lambda: network().get("status"), 20, "the network is ready")
        pod = two.runtime.pod("web")
        pod.reaches(two.blue.ip4)
        assert two.runtime.calls("STATUS")
        pod.stop()
        pod.remove()
        two.nothing_is_left("after the pod")


def test_ctr_run():
    """ctr run --cni: ADD without any runtimeConfig, the namespace of a process, DEL without one"""
    with Lab("containerd") as lab, Two(lab, MAIN) as two:
        run = ("run", "--rm", "--cni", "--cgroup", f"/{lab.name}", IMAGE)
        done = two.runtime.ctr(*run, "one", "ping", "-c", "3", "-W", "2", two.blue.ip4)
        assert " 3 packets received" in done.stdout, done
        two.nothing_is_left("after ctr run")
        (env, config), = two.runtime.calls("ADD")
        assert env["CNI_CONTAINERID"] == "default-one" and env["CNI_NETNS"].startswith("/proc/"), env
        assert "runtimeConfig" not in config and "K8S_POD_NAME" not in env.get("CNI_ARGS", ""), (env, config)
        (env, _), = two.runtime.calls("DEL")
        assert not env["CNI_NETNS"], env

        two.n1.agent.stop()
        done = two.runtime.ctr(*run, "two", "ip", "addr", check=False)
        assert done.returncode != 0 and two.n1.agent.socket in done.stderr, done
        two.n1.agent.start()
        two.nothing_is_left("after a run that failed")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("trixie", "sid"):
        PROGRAMS = fetch_programs(sys.argv.pop(1))
    runner.main(globals())
