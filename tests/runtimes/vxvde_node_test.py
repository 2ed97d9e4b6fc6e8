"""deploy/image/vxvde-node, the script around the agent on Kubernetes: the files that it installs on a node, when it removes
them, and its input from deploy/kubernetes.

It runs in a root of its own, with the real agent; the API server is a short program here that gives preset answers."""

import json
import os
import shutil
import signal

from tests.lib import runner
from tests.lib.lab import Lab, program, source
from tests.lib.process import run, wait_for

PRIMARY = {"cniVersion": "1.0.0", "name": "vxvde", "plugins": [{"type": "vxvde", "cloud": "pods"}]}
SECTION = {"type": "vxvde", "capabilities": {"io.kubernetes.cri.pod-annotations": True}}
CONFIG = {"metrics": "", "clouds": [{"name": "pods", "vnl": "vxvde://239.1.2.3", "subnets": ["198.51.100.0/24"],
                                     "gateway": True}]}
OURS = "00-vxvde.conflist"

# Answers every request with the status code and the body of the file.
API = """
import http.server, ssl, sys
certificate, answer = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code, _, body = open(answer).read().partition(" ")
        print(self.path, self.headers["Authorization"], flush=True)
        self.send_response(int(code))
        self.end_headers()
        self.wfile.write(body.encode())
server = http.server.HTTPServer(("127.0.0.1", 6443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("listening", flush=True)
server.serve_forever()
"""

# $1: the root. Programs come from the machine, everything else belongs to the root.
CHROOT = """
r=$1; shift
for d in usr proc dev; do mount --rbind "/$d" "$r/$d"; done
exec chroot "$r" "$@"
"""


class KubernetesNode:
    """A node with the folders that the DaemonSet mounts."""

    def __init__(self, lab, **config):
        self.node, self.root = lab.node("n1"), lab.file("root")
        for folder in ("usr", "proc", "dev", "tmp", "run/vxvde", "etc/vxvde", "opt/cni/bin", "host/opt/cni/bin",
                       "host/etc/cni/net.d", "host/proc", "var/run/secrets/kubernetes.io/serviceaccount"):
            os.makedirs(self.path(folder))
        for folder in ("bin", "sbin", "lib", "lib64"):
            if os.path.exists(f"/{folder}"):
                os.symlink(f"usr/{folder}", self.path(folder))
        os.symlink("/proc/sys", self.path("host/proc/sys"))
        for built, name in (("cni/vxvde", "opt/cni/bin/vxvde"), ("agent/vxvde-agent", "vxvde-agent"),
                            ("agent/vxvdectl", "vxvdectl")):
            shutil.copy(program(built), self.path(name))
        shutil.copy(source("deploy/image/vxvde-node"), self.path("vxvde-node"))
        shutil.copy("/etc/ld.so.cache", self.path("etc"))
        self.configure(agent=CONFIG, **config)
        self._start_api(lab)
        self.daemonset(200, {"metadata": {"name": "vxvde"}})

    def path(self, name):
        return os.path.join(self.root, name)

    def configure(self, agent=None, conflist=None, chained=None):
        for name, value in (("agent.yaml", agent), ("vxvde.conflist", conflist), ("chained.json", chained)):
            if value is not None:
                with open(self.path(f"etc/vxvde/{name}"), "w", encoding="utf-8") as f:
                    json.dump(value, f)

    def other(self, name, value):
        with open(self.path(f"host/etc/cni/net.d/{name}"), "w", encoding="utf-8") as f:
            json.dump(value, f)

    def _start_api(self, lab):
        account = self.path("var/run/secrets/kubernetes.io/serviceaccount")
        key, both = lab.file("key"), lab.file("key-and-cert")
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=api", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", f"{account}/ca.crt"])
        with open(both, "w", encoding="ascii") as out:
            for part in (key, f"{account}/ca.crt"):
                with open(part, encoding="ascii") as f:
                    out.write(f.read())
        with open(f"{account}/token", "w", encoding="ascii") as f:
            f.write("secret")
        self._answer = lab.file("answer")
        self.api = self.node.start("api", "/usr/bin/python3", "-c", API, both, self._answer).says("listening")

    def daemonset(self, code, body=None):
        """Sets the answer of the API server."""
        with open(self._answer, "w", encoding="utf-8") as f:
            f.write(f"{code} {json.dumps(body or {})}")

    def _chroot(self, *args):
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", CHROOT, "chroot", self.root, "env",
                "PATH=/:/usr/sbin:/usr/bin", "KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=6443",
                "POD_NAMESPACE=kube-system", "DAEMONSET=vxvde", "vxvde-node", *args]

    def start(self):
        self.node.run(*self._chroot("install"))
        self.process = self.node.start("vxvde-node", *self._chroot("run"))
        return self

    def ready(self):
        return self.node.run(*self._chroot("ready"), check=False).returncode == 0

    def stop(self):
        return self.process.stop(timeout=30)

    def list(self):
        """The plugin's list as the runtime sees it; None: it does not exist."""
        path = self.path(f"host/etc/cni/net.d/{OURS}")
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as f:
            return json.load(f)

    def becomes(self, wanted):
        wait_for(lambda: self.list() == wanted, 20, f"{OURS} is {wanted}")

    def files(self):
        return sorted(os.listdir(self.path("host/etc/cni/net.d"))), sorted(os.listdir(self.path("host/opt/cni/bin")))


def test_upgrade_and_removal():
    """the list appears when the agent answers, stays over an upgrade, and is removed with the DaemonSet; so is everything else"""
    for code, body in ((404, None), (403, None), (401, None), (200, {"metadata": {"deletionTimestamp": "2026-01-01"}})):
        with Lab("vxvde-node") as lab:
            node = KubernetesNode(lab, conflist=PRIMARY)
            assert not node.ready()
            node.start().becomes(PRIMARY)
            wait_for(node.ready, 10, "it says that it is ready")
            assert os.access(node.path("host/opt/cni/bin/vxvde"), os.X_OK)
            wait_for(lambda node=node: "vx-pods" in node.node.links(), 20, "the node's own port")
            inode = os.stat(node.path(f"host/etc/cni/net.d/{OURS}")).st_ino
            assert node.stop() == 0 and node.list() == PRIMARY
            assert not node.ready()
            assert "/apis/apps/v1/namespaces/kube-system/daemonsets/vxvde Bearer secret" in node.api.output()
            node.start()
            wait_for(node.ready, 20, "it is ready again")
            assert os.stat(node.path(f"host/etc/cni/net.d/{OURS}")).st_ino == inode, "not even written again"
            assert "vx-pods" in node.node.links()
            node.daemonset(code, body)
            assert node.stop() == 0
            assert node.files() == ([], []), (code, node.files())
            assert sorted(node.node.links()) == ["eth0", "lo"], (code, node.node.links())
            assert "vxvde" not in node.node.run("nft", "list", "tables").stdout


def test_nobody_answers():
    """an API server that is away or broken proves nothing: everything stays, and is restored if it is removed"""
    with Lab("vxvde-node") as lab:
        node = KubernetesNode(lab, conflist=PRIMARY)
        node.start().becomes(PRIMARY)
        os.remove(node.path(f"host/etc/cni/net.d/{OURS}"))
        os.remove(node.path("host/opt/cni/bin/vxvde"))
        node.becomes(PRIMARY)
        wait_for(lambda: node.files() == ([OURS], ["vxvde"]), 10, "the plugin, too")
        node.daemonset(500)
        node.stop()
        assert node.files() == ([OURS], ["vxvde"])
        assert "nothing is removed" in node.process.output()
        node.start()
        wait_for(node.ready, 20, "it is ready")
        node.api.stop(signal.SIGKILL)
        node.stop()
        assert node.files() == ([OURS], ["vxvde"])


def test_chained():
    """the other network's list with the vxvde section appended; it follows that list, and waits for it"""
    with Lab("vxvde-node") as lab:
        node = KubernetesNode(lab, chained=SECTION).start()
        node.process.says("waiting for another network's configuration")
        assert not node.ready()
        other = {"cniVersion": "0.3.1", "name": "flat",
                 "plugins": [{"type": "bridge", "mtu": 1400}, {"type": "portmap"}]}
        node.other("10-flat.conflist", other)
        node.becomes({**other, "plugins": [*other["plugins"], SECTION]})
        wait_for(node.ready, 10, "it is ready")
        other["plugins"][0]["mtu"] = 1300
        node.other("10-flat.conflist", other)
        node.becomes({**other, "plugins": [*other["plugins"], SECTION]})
        single = {"cniVersion": "1.0.0", "name": "single", "type": "ptp"}
        node.other("05-single.conf", single)
        node.becomes({"cniVersion": "1.0.0", "name": "single", "plugins": [single, SECTION]})
        node.daemonset(404)
        node.stop()
        assert node.files() == (["05-single.conf", "10-flat.conflist"], [])


def test_configuration_is_reloaded():
    """a changed agent.yaml reaches the agent; an invalid one changes nothing; the script ends with the agent"""
    with Lab("vxvde-node") as lab:
        node = KubernetesNode(lab, conflist=PRIMARY)
        node.start().becomes(PRIMARY)
        node.configure(agent={"clouds": []})
        node.process.says("configuration reloaded", timeout=20)
        node.configure(agent={"colour": "red"})
        node.process.says("configuration refused", timeout=20)
        wait_for(node.ready, 10, "it is ready")
        agent = run(["pgrep", "--session", str(node.process.pid), "vxvde-agent"]).stdout.strip()
        os.kill(int(agent), signal.SIGKILL)
        assert node.process.wait(20) == 128 + signal.SIGKILL
        assert node.list() == PRIMARY


def data_of(manifest):
    """{key: text} of a manifest's ConfigMap."""
    data, key = {}, None
    for line in manifest[manifest.index("\ndata:\n") + 7:].splitlines():
        if line.startswith("    ") or not line.strip():
            data[key] = data.get(key, "") + line[4:] + "\n"
        elif line.endswith(": |"):
            key = line.strip()[:-3]
    return data


def test_manifests():
    """both ConfigMaps: the agent accepts its part, the rest is JSON; the image is of this version"""
    version = run([program("agent/vxvde-agent"), "--version"]).stdout.split()[1]
    with open(source("deploy/kubernetes/vxvde.yaml"), encoding="utf-8") as f:
        images = [line.split("image: ")[1].strip() for line in f if " image: " in line]
    assert images == [f"localhost/vxvde:{version}"] * 2, images
    with Lab("vxvde-node") as lab:
        for shape, key in (("primary", "vxvde.conflist"), ("chained", "chained.json")):
            with open(source(f"deploy/kubernetes/{shape}.yaml"), encoding="utf-8") as f:
                data = data_of(f.read())
            assert sorted(data) == sorted(["agent.yaml", key]), data
            with open(lab.file("agent.yaml"), "w", encoding="utf-8") as f:
                f.write(data["agent.yaml"])
            run([program("agent/vxvde-agent"), "--config", lab.file("agent.yaml"), "--check-config"])
            section = json.loads(data[key])
            section = section.get("plugins", [section])[0]
            assert section["type"] == "vxvde" and section.get("cloud", "pods") == "pods", section


if __name__ == "__main__":
    runner.main(globals())
