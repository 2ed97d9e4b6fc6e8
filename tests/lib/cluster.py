"""A Kubernetes cluster from scratch on this computer: a control plane, and nodes that are machines of a lab.

    with Lab("kubernetes") as lab:
        cluster = Cluster(lab, binaries, root, images=["image.tar"])
        cluster.add_node("node1")
        cluster.kubectl("get", "nodes")

`binaries` is a folder with kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, kubelet and kubectl;
`root` is a Debian root made by make_root(). RBAC is on. Nodes have no network at first: that is the subject of the test."""

import json
import os
import secrets

from tests.lib.machine import Machine
from tests.lib.process import run, wait_for

PACKAGES = ["ca-certificates", "conntrack", "containerd", "containernetworking-plugins", "curl", "ebtables",
            "etcd-server", "ethtool", "iproute2", "iptables", "iputils-ping", "kmod", "mount", "nftables", "procps", "runc", "socat"]
SERVICES, PODS = "10.96.0.0/16", "10.244.0.0/16"
BUSYBOX = "localhost/busybox:1"  # also the program that holds a pod's namespaces

# Restarts it, as an init system or kubelet does. This is necessary: the API server of Kubernetes 1.20, built with
# Debian 12's Go, occasionally crashes in its JSON library (reflect2 1.0.1 does not know Go 1.18).
RESTARTED = ("sh", "-c", 'while :; do "$0" "$@"; echo "ended with $?: started again"; sleep 1; done')
UNREACHABLE = ("The connection to the server", "dial tcp", ": EOF", "http2: ", "TLS handshake")

CONTAINERD = f"""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{BUSYBOX}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
"""


def make_root(folder):
    """A Debian bookworm with containerd, etcd and the programs that kubelet and kube-proxy call. Takes about a minute."""
    sources = next(path for path in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
                   if os.path.exists(path))
    run(["mmdebstrap", "--variant=apt", "--mode=root", f"--include={','.join(PACKAGES)}",
         "--aptopt=Acquire::Languages \"none\"", "--aptopt=APT::Install-Recommends \"false\"",
         "--aptopt=Acquire::Check-Valid-Until \"false\"", "--dpkgopt=path-exclude=/usr/share/man/*", "bookworm", folder,
         sources], timeout=900)


def make_busybox(archive):
    """The image BUSYBOX as a file; its command sleeps."""
    folder = f"{archive}.d"
    applets = "sh cat echo env hostname httpd ip kill ls nc ping ping6 rm sleep test timeout touch wget"
    run(["sh", "-ec", f"mkdir -p {folder}/bin {folder}/www {folder}/tmp; cp /bin/busybox {folder}/bin/; "
         f"for a in {applets}; do ln -s busybox {folder}/bin/$a; done; tar -C {folder} -cf {folder}.tar .; "
         f"podman import --quiet --change 'CMD [\"/bin/sleep\", \"1000000000\"]' {folder}.tar {BUSYBOX}; "
         f"podman save --quiet --output {archive} {BUSYBOX}; podman rmi {BUSYBOX}; rm -r {folder} {folder}.tar"],
        timeout=120)


class Cluster:
    def __init__(self, lab, binaries, root, images):
        self.lab, self.binaries, self._root, self._images = lab, binaries, root, images
        self.machines = {}
        self.control = lab.node("control")
        self._make_keys()
        self._start_control_plane()

    def _file(self, name, text=None):
        path = self.lab.file(name)
        if text is not None:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        return path

    def _make_keys(self):
        """One certificate that is its own authority, one token with all rights, and the key for service accounts."""
        self._key, self._cert, self._signer = (self.lab.file(f"pki/{name}") for name in ("key", "cert", "signer"))
        os.makedirs(self.lab.file("pki"))
        names = f"IP:{self.control.ip4},IP:{SERVICES.split('/', maxsplit=1)[0][:-1]}1,DNS:kubernetes.default.svc"
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=kubernetes",
             "-addext", f"subjectAltName={names}", "-keyout", self._key, "-out", self._cert])
        run(["openssl", "genrsa", "-out", self._signer, "2048"])
        token = secrets.token_hex(16)
        self._tokens = self._file("tokens.csv", f'{token},admin,1,"system:masters"\n')
        self.config = self._file("kubeconfig", json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": f"https://{self.control.ip4}:6443",
                                                     "certificate-authority": self._cert}}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}]}))

    def _program(self, name):
        return os.path.join(self.binaries, name)

    def _start_control_plane(self):
        etcd = "http://127.0.0.1:2379"
        self.control.start(
            "etcd", os.path.join(self._root, "usr/bin/etcd"), "--data-dir", self.lab.file("etcd"),
            "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
            "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync")
        self.control.ip("route", "add", "default", "via", "192.0.2.62", "onlink", "dev", "eth0")
        self.control.start(
            "apiserver", *RESTARTED, self._program("kube-apiserver"), f"--etcd-servers={etcd}",
            f"--tls-cert-file={self._cert}", f"--tls-private-key-file={self._key}",
            f"--advertise-address={self.control.ip4}", "--secure-port=6443",
            f"--token-auth-file={self._tokens}", "--authorization-mode=RBAC", f"--service-cluster-ip-range={SERVICES}",
            f"--service-account-key-file={self._signer}", f"--service-account-signing-key-file={self._signer}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--kubelet-preferred-address-types=InternalIP")
        wait_for(lambda: self.kubectl("get", "--raw", "/healthz", check=False, patient=False).stdout == "ok", 90,
                 "the API server is up")
        self.control.start("controller-manager", *RESTARTED, self._program("kube-controller-manager"),
                           f"--kubeconfig={self.config}", f"--service-account-private-key-file={self._signer}",
                           f"--root-ca-file={self._cert}", "--use-service-account-credentials", "--leader-elect=false",
                           "--node-monitor-grace-period=16s")
        self.control.start("scheduler", *RESTARTED, self._program("kube-scheduler"), f"--kubeconfig={self.config}",
                           "--leader-elect=false")

    def add_node(self, name):
        node = self.lab.node(name)
        machine = Machine(node, self._root, shown={self.binaries, *map(os.path.dirname, self._images)} - {self.lab.dir})
        machine.run("sh", "-ec", "mkdir -p /opt/cni/bin /etc/cni/net.d; ln -s /usr/lib/cni/* /opt/cni/bin/; "
                    "rm -f /etc/cni/net.d/*")
        machine.write("/etc/containerd/config.toml", CONTAINERD)
        machine.write("/etc/kubelet.yaml", json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"}, "cgroupDriver": "cgroupfs", "cgroupRoot": machine.cgroup,
            "failSwapOn": False, "oomScoreAdj": 0, "nodeStatusUpdateFrequency": "4s", "syncFrequency": "10s",
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%"}}))
        self.machines[name] = machine
        self.start_services(machine)
        for image in self._images:
            machine.run("ctr", "--namespace", "k8s.io", "images", "import", image, timeout=120)
        wait_for(lambda: self.kubectl("get", "node", name, check=False).returncode == 0, 60, f"{name} is known")
        return machine

    def start_services(self, machine):
        """The services that an init system starts at boot."""
        # No host answers there, but without a default route packets to a Service never reach kube-proxy's rules.
        machine.node.ip("route", "add", "default", "via", "192.0.2.62", "onlink", "dev", "eth0")
        machine.node.sysctl("net/ipv4/ip_forward", 1)
        machine.start("containerd", "containerd")
        wait_for(lambda: machine.run("ctr", "version", check=False).returncode == 0, 30,
                 f"containerd on {machine.name}")
        machine.start("kubelet", *RESTARTED, self._program("kubelet"), "--config=/etc/kubelet.yaml",
                      f"--kubeconfig={self.config}", "--container-runtime=remote",
                      "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
                      f"--node-ip={machine.node.ip4}", f"--hostname-override={machine.name}")
        machine.start("kube-proxy", *RESTARTED, self._program("kube-proxy"), f"--kubeconfig={self.config}",
                      f"--hostname-override={machine.name}", "--proxy-mode=iptables", "--oom-score-adj=0",
                      "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0",
                      "--conntrack-tcp-timeout-close-wait=0", f"--cluster-cidr={PODS}")

    # What one asks of it.

    def kubectl(self, *args, check=True, timeout=60, patient=True, **kwargs):
        """`patient`: waits up to 30 s for an API server that does not answer."""
        def once():
            done = self.control.run(self._program("kubectl"), f"--kubeconfig={self.config}", *args, check=False,
                                    timeout=timeout, **kwargs)
            away = patient and done.returncode != 0 and any(word in done.stderr for word in UNREACHABLE)
            return None if away else done
        done = wait_for(once, 30, f"the API server answers kubectl {' '.join(args)}")
        assert done.returncode == 0 or not check, f"kubectl {' '.join(args)}: {done.stdout}{done.stderr}"
        return done

    def apply(self, *objects):
        """Objects as dicts."""
        self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def ready(self, name):
        """Whether the node is ready."""
        done = self.kubectl("get", "node", name, "-o", "json", check=False)
        conditions = json.loads(done.stdout)["status"].get("conditions", []) if done.returncode == 0 else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def wait_ready(self, pod, timeout=90):
        """Waits until the pod is ready; returns it."""
        done = self.kubectl("wait", "--for=condition=Ready", f"--timeout={timeout}s", f"pod/{pod}", check=False,
                            timeout=timeout + 10)
        assert done.returncode == 0, f"{done.stderr}\n{self.kubectl('describe', 'pod', pod, check=False).stdout}"
        return self.get("pod", pod)

    def sh(self, pod, command, check=True):
        """Runs `sh -c` in the pod; returns its output, or None if it failed."""
        done = self.kubectl("exec", pod, "--", "sh", "-c", command, check=False)
        assert done.returncode == 0 or not check, f"in pod {pod}: {command}: {done.stdout}{done.stderr}"
        return done.stdout if done.returncode == 0 else None

    def pings(self, pod, address):
        return self.sh(pod, f"ping -c 1 -W 1 {address}", check=False) is not None

    def reaches(self, pod, address, timeout=15):
        wait_for(lambda: self.pings(pod, address), timeout, f"pod {pod} reaches {address}")

    def events(self, pod):
        """Messages of the pod's events."""
        items = self.get("events", "--field-selector", f"involvedObject.name={pod}")["items"]
        return [item["message"] for item in items]
