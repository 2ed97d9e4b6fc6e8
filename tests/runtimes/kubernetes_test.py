"""vxvde on a two-node Kubernetes cluster, as deploy/kubernetes installs it; started by tests/kubernetes.

The checks of one shape run in order on one cluster, and each prints a line. A failed check does not stop the next one."""

import argparse
import json
import os
import re
import signal
import sys
import time
import traceback

from tests.lib import runner
from tests.lib.cluster import BUSYBOX, Cluster, make_busybox, make_root
from tests.lib.lab import Lab, source
from tests.lib.machine import remove_cgroups
from tests.lib.process import run, wait_for

PODS, BLUE, GREEN = "vxvde://239.86.88.1/vni=1", "vxvde://239.1.2.3/vni=42", "vxvde://239.1.2.4"
OURS = "00-vxvde.conflist"
BRIDGE = "10-bridge.conflist"


def bridge(number):
    """Another network for the node of that number: its part of the pods' subnet, addresses by host-local."""
    return {"cniVersion": "1.0.0", "name": "bridge", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": f"10.244.{number}.0/24"}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}}]}


def pod(name, node, *, annotations=None, labels=None, script="", **container):
    """A pod on `node` that runs `script`, and then serves its name on port 8080."""
    serve = "echo $HOSTNAME > /www/index.html; exec httpd -f -p 8080 -h /www"
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "annotations": annotations or {}, "labels": {"app": name, **(labels or {})}},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1,
                     "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                                     "command": ["sh", "-c", f"{script}\n{serve}"], **container}]}}


def service(name, selector, **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": selector}, "ports": [{"port": 80, "targetPort": 8080}], **spec}}


class World:
    """A cluster without vxvde: two nodes, and a host on their LAN with a member of each cloud."""

    def __init__(self, lab, shape, options, images):
        self.lab, self.shape = lab, shape
        self.cluster = Cluster(lab, options.binaries, options.root, images)
        self.kubectl = self.cluster.kubectl
        self.manifests = [source("deploy/kubernetes/vxvde.yaml"), source(f"deploy/kubernetes/{shape}.yaml")]
        for name in ("node1", "node2"):
            self.cluster.add_node(name)
        self.nodes = self.cluster.machines
        self.lan = lab.node("lan")
        self.blue = self.lan.vdens("blue", BLUE)
        self.blue.address("vde0", "10.42.255.9/16")
        self.green = self.lan.vdens("green", GREEN)
        self.green.address("vde0", "203.0.113.9/24")
        if shape == "primary":
            self.member = self.lan.vdens("member", PODS)
            self.member.address("vde0", "10.244.255.9/16")
        else:
            for machine in self.nodes.values():
                self.bridge_network(machine)

    def bridge_network(self, machine):
        """The other network, and routes to its pods."""
        machine.write(f"/etc/cni/net.d/{BRIDGE}", json.dumps(bridge(machine.node.number)))
        for other in self.nodes.values():
            if other is not machine:
                machine.node.ip("route", "replace", f"10.244.{other.node.number}.0/24", "via", other.node.ip4)

    def files(self, *names):
        return [word for name in names for word in ("-f", name)]

    def apply(self):
        self.kubectl("apply", *self.files(*self.manifests))
        self.kubectl("-n", "kube-system", "rollout", "status", "daemonset/vxvde", "--timeout=120s", timeout=130)

    def agent_pod(self, node):
        """Name of the DaemonSet's pod on `node` that is not terminating."""
        pods = self.cluster.get("pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=vxvde",
                                "--field-selector", f"spec.nodeName={node}")["items"]
        return next(p["metadata"]["name"] for p in pods if not p["metadata"].get("deletionTimestamp"))

    def ctl(self, node, *args):
        out = self.kubectl("-n", "kube-system", "exec", self.agent_pod(node), "-c", "agent", "--", "vxvdectl", "-o",
                           "json", *args).stdout
        return json.loads(out)

    def pods_of(self, node):
        """Names of the attached pods, one for each port."""
        names = (port.get("attachment", {}).get("podName") for port in self.ctl(node, "ports").get("ports", []))
        return sorted(name for name in names if name)

    def list_on(self, node):
        return self.nodes[node].json("cat", f"/etc/cni/net.d/{OURS}")

    def start(self, *objects):
        """Creates pods and waits for them; returns their addresses."""
        self.cluster.apply(*objects)
        return [self.cluster.wait_ready(p["metadata"]["name"])["status"]["podIP"] for p in objects]

    def delete(self, *names):
        self.kubectl("delete", "pod", "--wait=true", *names, timeout=90)


# The checks, in this order. The first line of each docstring is the text of the line of output. "(primary)" or
# "(chained)" after it limits the check to that shape.

def check_waits_for_us(world):
    """without a network the nodes are not ready (primary)"""
    for name in world.nodes:
        wait_for(lambda name=name: "cni" in world.kubectl("describe", "node", name).stdout, 30,
                 f"{name} says that it has no network")
        assert not world.cluster.ready(name)


def check_ready(world):
    """kubectl apply alone makes both nodes ready (primary)"""
    world.apply()
    for name in world.nodes:
        wait_for(lambda name=name: world.cluster.ready(name), 60, f"{name} is ready")
        assert world.list_on(name)["name"] == "vxvde"


def check_chained(world):
    """kubectl apply alone appends vxvde to each node's own network (chained)"""
    for name in world.nodes:
        wait_for(lambda name=name: world.cluster.ready(name), 60, f"{name} is ready by its own network")
    world.apply()
    for name, machine in world.nodes.items():
        ours = world.list_on(name)
        other = machine.json("cat", f"/etc/cni/net.d/{BRIDGE}")
        assert ours["name"] == other["name"] and ours["plugins"][:-1] == other["plugins"], (ours, other)
        assert ours["plugins"][-1]["type"] == "vxvde", ours


def check_ping(world):
    """pods of both nodes reach each other"""
    a1, a2, b1 = world.start(pod("a1", "node1"), pod("a2", "node1"), pod("b1", "node2"))
    for name, address in (("a1", a2), ("a1", b1), ("b1", a1), ("a2", b1)):
        world.cluster.reaches(name, address)
    world.addresses = {"a1": a1, "a2": a2, "b1": b1}


def check_member(world):
    """a pod and a vdens member on the LAN reach each other (primary)"""
    for name in ("a1", "b1"):
        world.cluster.reaches(name, "10.244.255.9")
        world.member.reaches(world.addresses[name])


def check_annotation(world):
    """a pod is on the cloud that its annotation names, and members of the cloud answer"""
    world.start(pod("blue1", "node1", annotations={"vxvde.io/networks": "blue"}),
                pod("blue2", "node2", annotations={"vxvde.io/networks": '[{"name": "blue", "interface": "lab0", '
                                                                        '"ips": ["10.42.255.10/16"]}]'}))
    for name in ("blue1", "blue2"):
        world.cluster.reaches(name, "10.42.255.9")
    world.cluster.reaches("blue1", "10.42.255.10")
    world.blue.reaches("10.42.255.10")
    assert "lab0" in world.cluster.sh("blue2", "ip addr")
    world.cluster.reaches("blue1", world.addresses["b1"])  # by eth0
    assert world.cluster.sh("a1", "ip addr").count("inet 10.42") == 0


def check_reload(world):
    """a cloud that is added to the ConfigMap is usable without a restart"""
    was = world.cluster.get("configmap", "vxvde", "-n", "kube-system")["data"]["agent.yaml"]
    more = was + f"  - name: green\n    vnl: {GREEN}\n"
    world.kubectl("-n", "kube-system", "patch", "configmap", "vxvde", "--type=merge", "-p",
                  json.dumps({"data": {"agent.yaml": more}}))
    before = world.agent_pod("node1")
    asked = {"vxvde.io/networks": '[{"name": "blue", "ips": ["10.42.255.11/16"]}, '
                                  '{"name": "green", "ips": ["203.0.113.40/24"]}]'}
    world.cluster.apply(pod("both", "node1", annotations=asked))
    world.cluster.wait_ready("both", 150)
    world.cluster.reaches("both", "10.42.255.9")
    world.cluster.reaches("both", "203.0.113.9")
    world.green.reaches("203.0.113.40")
    world.cluster.reaches("both", world.addresses["b1"])
    assert world.agent_pod("node1") == before
    world.delete("both", "blue2")


def check_bad_annotation(world):
    """an invalid annotation is named in an event, and the pod starts once it is corrected"""
    world.cluster.apply(pod("wrong", "node1", annotations={"vxvde.io/networks": "blue, azure@net7"}))
    said = wait_for(lambda: [m for m in world.cluster.events("wrong") if "azure" in m], 60, "an event names azure")
    assert "vxvde.io/networks" in said[0], said
    print(f"          {said[0][-260:]}")
    assert "wrong" not in world.pods_of("node1")
    world.kubectl("annotate", "--overwrite", "pod", "wrong",
                  'vxvde.io/networks=[{"name": "blue", "interface": "net7", "ips": ["10.42.255.12/16"]}]')
    world.cluster.wait_ready("wrong", 90)
    world.cluster.reaches("wrong", "10.42.255.9")
    world.delete("wrong")


def check_probes(world):
    """kubelet's probes: HTTP, TCP and exec, succeeding and failing"""
    def http(path):
        return {"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, "failureThreshold": 2}
    world.start(
        pod("http", "node1", readinessProbe=http("/index.html"), livenessProbe=http("/index.html")),
        pod("tcp", "node2", readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            livenessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1}),
        pod("exec", "node2", readinessProbe={"exec": {"command": ["test", "-e", "/www/index.html"]},
                                             "periodSeconds": 1}))
    world.cluster.sh("http", "rm /www/index.html")
    wait_for(lambda: world.cluster.get("pod", "http")["status"]["containerStatuses"][0]["restartCount"] > 0, 90,
             "a failing HTTP probe restarts the container")
    world.cluster.wait_ready("http")
    world.cluster.sh("exec", "rm /www/index.html")
    world.kubectl("wait", "--for=condition=Ready=false", "--timeout=30s", "pod/exec")
    world.delete("http", "tcp", "exec")


def check_exec(world):
    """kubectl exec and kubectl logs"""
    assert world.cluster.sh("b1", "hostname").strip() == "b1"
    said = world.kubectl("-n", "kube-system", "logs", world.agent_pod("node1"), "-c", "agent").stdout
    assert "ready" in said and OURS in said, said


def check_rollout(world):
    """a Deployment's rollout: all pods are replaced, and the old ones leave no port"""
    template = pod("unused", None, readinessProbe={"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1})
    spec = {key: value for key, value in template["spec"].items() if key != "nodeName"}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}, "annotations": {"round": "1"}}, "spec": spec}}}
    for number in ("1", "2"):
        deployment["spec"]["template"]["metadata"]["annotations"]["round"] = number
        world.cluster.apply(deployment)
        world.kubectl("rollout", "status", "deployment/web", "--timeout=120s", timeout=130)
    world.kubectl("delete", "deployment", "web")
    wait_for(lambda: not world.cluster.get("pods", "-l", "app=web")["items"], 60, "the Deployment's pods are gone")
    for node in world.nodes:
        wait_for(lambda node=node: not any(p.startswith("web-") for p in world.pods_of(node)), 30,
                 f"no port of theirs on {node}")


def fetches(world, name, url):
    """The answer to pod `name`, or None."""
    said = world.cluster.sh(name, f"timeout 3 wget -q -O - {url}", check=False)
    return said.strip() if said else None


def lan_fetches(world, url):
    done = world.lan.run("curl", "--silent", "--max-time", "2", url, check=False)
    return done.stdout.strip() or None


def cluster_ip(world, name):
    return world.cluster.get("service", name)["spec"]["clusterIP"]


def check_cluster_ip(world):
    """ClusterIP Services: from a pod to a backend on another node"""
    world.cluster.apply(service("to-b1", "b1"), service("to-a1", "a1"))
    for client, backend in (("a1", "b1"), ("b1", "a1")):
        url = f"http://{cluster_ip(world, f'to-{backend}')}/"
        wait_for(lambda client=client, url=url, backend=backend: fetches(world, client, url) == backend, 30,
                 f"{client} fetches {url} from {backend}")


def check_same_node(world):
    """ClusterIP Services: from a pod to one of its node, to itself, and from the node (primary)"""
    url = f"http://{cluster_ip(world, 'to-a1')}/"
    for client in ("a2", "a1"):
        wait_for(lambda client=client: fetches(world, client, url) == "a1", 30, f"{client} fetches {url} from a1")
    for machine in world.nodes.values():
        assert machine.run("curl", "--silent", "--max-time", "5", url).stdout.strip() == "a1", machine.name


def check_node_port(world):
    """NodePort: from the LAN, by either node, to a pod on either node"""
    world.cluster.apply(service("port-a1", "a1", type="NodePort"), service("port-b1", "b1", type="NodePort"))
    for backend in ("a1", "b1"):
        port = world.cluster.get("service", f"port-{backend}")["spec"]["ports"][0]["nodePort"]
        for machine in world.nodes.values():
            url = f"http://{machine.node.ip4}:{port}/"
            wait_for(lambda url=url, backend=backend: lan_fetches(world, url) == backend, 30, f"{url} is {backend}")


def check_host_port(world):
    """hostPort: from the LAN to the pod, for as long as it lives"""
    world.start(pod("port", "node2", ports=[{"containerPort": 8080, "hostPort": 8081}]))
    url = f"http://{world.nodes['node2'].node.ip4}:8081/"
    wait_for(lambda: lan_fetches(world, url) == "port", 20, f"{url} is the pod")
    said = world.nodes["node2"].run("curl", "--silent", "--max-time", "5", "http://127.0.0.1:8081/").stdout.strip()
    assert said == "port", said
    world.delete("port")
    wait_for(lambda: lan_fetches(world, url) is None, 20, f"{url} is nobody")


def check_bandwidth(world):
    """a pod's bandwidth annotations are its rates (primary)"""
    world.start(pod("shaped", "node1", annotations={"kubernetes.io/ingress-bandwidth": "10M"}))
    shown = world.nodes["node1"].run("tc", "qdisc", "show").stdout
    assert "tbf" in shown and "rate 10Mbit" in shown, shown
    world.delete("shaped")


def check_outside(world):
    """a pod reaches a host on the LAN that has no route to pods"""
    for name in ("a1", "b1"):
        world.cluster.reaches(name, world.lan.ip4)


def check_agent_killed(world):
    """the agent is killed: it is restarted, and the pods' links survive"""
    before = world.pods_of("node1")
    name = world.agent_pod("node1")
    # The container's end may end the shell before it can answer; the restart below is the proof.
    world.kubectl("-n", "kube-system", "exec", name, "-c", "agent", "--", "sh", "-c",
                  "kill -9 $(cat /proc/1/task/1/children | cut -d' ' -f1)", check=False)
    wait_for(lambda: world.cluster.get("pod", name, "-n", "kube-system")["status"]["containerStatuses"][0]
             ["restartCount"] > 0, 60, "the container is started again")
    world.kubectl("-n", "kube-system", "wait", "--for=condition=Ready", "--timeout=60s", f"pod/{name}", timeout=70)
    assert world.pods_of("node1") == before
    world.cluster.reaches("blue1", "10.42.255.9")
    world.cluster.reaches("a1", world.addresses["b1"])


# Prints the data of one connection.
LISTEN = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening")
connection, _ = listener.accept()
while data := connection.recv(4096):
    print(data.decode(), end="")
"""


def longest_silence(pings):
    """The longest time between two answers of `ping -D`, in seconds."""
    times = [float(line[1:line.index("]")]) for line in pings.splitlines() if line.startswith("[") and "ttl=" in line]
    return max(after - before for before, after in zip(times, times[1:]))


def check_upgrade(world):
    """a rollout of the DaemonSet: a TCP connection between pods survives, and so does the conflist"""
    target, port = "10.42.255.9", 9000
    listener = world.blue.start("stream", "/usr/bin/python3", "-u", "-c", LISTEN, target, port)
    listener.says("listening")
    world.start(pod("stream", "node1", annotations={"vxvde.io/networks": "blue"},
                    script=f"(while echo tick; do sleep 0.1; done | nc {target} {port}) &"))
    listener.says("tick")
    inside = re.search(r"inet (10\.42\.[0-9.]+)", world.cluster.sh("blue1", "ip addr"))[1]
    pings = world.blue.start("pings", "ping", "-n", "-D", "-i", "0.1", inside)
    watch = {}
    for name, machine in world.nodes.items():
        watch[name] = machine.start("watch", "sh", "-c", f"cd /etc/cni/net.d; stat -c %i {OURS}; "
                                    f"while test -e {OURS}; do sleep 0.02; done; echo gone")
    pods = {name: world.pods_of(name) for name in world.nodes}
    old = {world.agent_pod(name) for name in world.nodes}
    world.kubectl("-n", "kube-system", "rollout", "restart", "daemonset/vxvde")
    world.kubectl("-n", "kube-system", "rollout", "status", "daemonset/vxvde", "--timeout=150s", timeout=160)
    assert not old & {world.agent_pod(name) for name in world.nodes}
    seen = len(listener.output())
    wait_for(lambda: len(listener.output()) > seen + 50, 60, "the stream goes on")
    for name, machine in world.nodes.items():
        inode = machine.run("stat", "-c", "%i", f"/etc/cni/net.d/{OURS}").stdout.strip()
        assert watch[name].alive and watch[name].output().split() == [inode], (name, watch[name].output(), inode)
        watch[name].kill()
        assert world.pods_of(name) == pods[name]
    world.cluster.reaches("a1", world.addresses["b1"])
    pings.stop(signal.SIGINT)
    print(f"        the pod was not heard for {longest_silence(pings.output()):.1f} s")
    listener.kill()
    world.delete("stream")


def check_reboot(world):
    """a node's power is cut: it becomes ready by itself, its pods have their networks, the others notice nothing"""
    machine = world.nodes["node2"]
    restarts = {name: world.cluster.get("pod", name)["status"]["containerStatuses"][0]["restartCount"]
                for name in ("b1",)}
    machine.power_off()
    wait_for(lambda: not world.cluster.ready("node2"), 60, "node2 is missed")
    machine.power_on()
    world.cluster.start_services(machine)
    if world.shape == "chained":
        world.bridge_network(machine)
    wait_for(lambda: world.cluster.ready("node2"), 90, "node2 is ready")
    for name, count in restarts.items():
        wait_for(lambda name=name, count=count: world.cluster.get("pod", name)["status"]["containerStatuses"][0]
                 ["restartCount"] > count, 120, f"{name} runs again")
        world.addresses[name] = world.cluster.wait_ready(name, 120)["status"]["podIP"]
    world.cluster.reaches("b1", world.addresses["a1"])
    world.cluster.reaches("a1", world.addresses["b1"])
    world.start(pod("blue3", "node2", annotations={"vxvde.io/networks": "blue"}))
    world.cluster.reaches("blue3", "10.42.255.9")
    world.delete("blue3")


def check_delete(world):
    """kubectl delete removes conflist, plugin, the node's links and rules from both nodes"""
    world.kubectl("delete", *world.files(*world.manifests), timeout=90)
    for name, machine in world.nodes.items():
        wait_for(lambda machine=machine: OURS not in machine.files("/etc/cni/net.d"), 40, f"conflist gone from {name}")
        wait_for(lambda machine=machine: "vxvde" not in machine.files("/opt/cni/bin"), 10, f"plugin gone from {name}")
        # They outlive the agent; a final agent, which has nothing to do, removes them.
        wait_for(lambda machine=machine: not [link for link in machine.node.links() if link.startswith("vx-")], 30,
                 f"links gone from {name}")
        wait_for(lambda machine=machine: machine.run("pgrep", "vxvde-agent", check=False).returncode == 1, 30,
                 f"agent gone from {name}")
        tables = [line for line in machine.run("nft", "list", "tables").stdout.splitlines() if "vxvde" in line]
        # Pods that are still there keep their host ends, and these their wall.
        assert all("vxvde-wall" in line for line in tables), (name, tables)
        assert not tables or [link for link in machine.node.links() if link.startswith("vx")], (name, tables)
        hidden = [f for f in machine.files("/etc/cni/net.d") + machine.files("/opt/cni/bin") if f.startswith(".")]
        assert not hidden, hidden


def check_after_delete_chained(world):
    """after that the other network is alone: new pods start, and the old ones end (chained)"""
    world.start(pod("after", "node1"))
    world.cluster.reaches("after", world.addresses["b1"])
    world.delete("after", "a1", "a2", "blue1", "b1")


def check_after_delete_primary(world):
    """after that the nodes report that they have no network, and pods end with the next one (primary)"""
    for name in world.nodes:
        wait_for(lambda name=name: not world.cluster.ready(name), 60, f"{name} is not ready")
    world.kubectl("delete", "pod", "--wait=false", "--all")
    said = wait_for(lambda: [message for name in ("a1", "a2", "b1") for message in world.cluster.events(name)
                             if "not initialized" in message], 60, "an event says why")
    print(f"          {said[-1][-200:]}")
    world.apply()
    wait_for(lambda: not world.cluster.get("pods")["items"], 120, "the pods are gone")
    for name in world.nodes:
        wait_for(lambda name=name: world.cluster.ready(name), 60, f"{name} is ready")
        assert not world.pods_of(name), world.pods_of(name)


def verdict(world, check):
    title = check.__doc__.splitlines()[0]
    for shape in ("primary", "chained"):
        if title.endswith(f"({shape})"):
            if shape != world.shape:
                return None
            title = title[:-len(shape) - 3]
    start = time.monotonic()
    try:
        check(world)
        word = "ok"
    except Exception:  # the next check is still worth running
        traceback.print_exc(file=sys.stdout)
        word = "FAILED"
    print(f"{word:8}{world.shape}: {title} ({time.monotonic() - start:.1f} s)", flush=True)
    return word == "ok"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries", help="folder of kube-apiserver, kubelet and the others")
    parser.add_argument("--root", required=True, help="folder of the nodes' Debian, created if it does not exist")
    parser.add_argument("--image", required=True, help="file of the image of deploy/image")
    parser.add_argument("--shape", choices=("primary", "chained"), action="append")
    parser.add_argument("--only", action="append", help="name of a check without check_; its preconditions are the caller's responsibility")
    options = parser.parse_args()
    options.binaries = os.path.abspath(options.binaries)
    if not os.path.isdir(options.root):
        make_root(options.root)
    runner.tried("Kubernetes", run([f"{options.binaries}/kubelet", "--version"]).stdout.split()[-1])
    checks = [f for name, f in globals().items() if name.startswith("check_")]
    if options.only:
        checks = [f for f in checks if f.__name__[len("check_"):] in options.only]
    verdicts = []
    for shape in options.shape or ("chained", "primary"):
        lab = Lab(f"kube-{shape}")
        try:
            with lab:
                busybox = lab.file("busybox.tar")
                make_busybox(busybox)
                start = time.monotonic()
                world = World(lab, shape, options, [busybox, options.image])
                print(f"        {shape}: a cluster of two nodes runs ({time.monotonic() - start:.1f} s)", flush=True)
                verdicts += [verdict(world, check) for check in checks]
                if False in verdicts:
                    lab.print_logs()
        finally:
            remove_cgroups(lab)
    verdicts = [v for v in verdicts if v is not None]
    print(f"{verdicts.count(True)} passed, {verdicts.count(False)} failed")
    sys.exit(0 if verdicts and all(verdicts) else 1)


if __name__ == "__main__":
    main()
