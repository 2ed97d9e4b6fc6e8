"""containerd in a node of a lab, called as kubelet calls it: by the CRI on its socket.

    with Containerd(node) as runtime:
        runtime.configure(conflist)
        pod = runtime.pod("web", annotations={"vxvde.io/networks": "blue"})
        pod.reaches(address)
        pod.stop()
        pod.remove()

It runs in a box: mount, pid, uts and ipc namespaces of its own on the machine's files, with the node's network and
tmpfs wherever it writes. Ending the box ends all processes in it, and removes all their files."""

import functools
import glob
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import uuid

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from tests.lib.apt import unpack
from tests.lib.lab import CNI_PLUGINS, MARK, program
from tests.lib.netns import Netns
from tests.lib.process import run, wait_for

IMAGE = "localhost/busybox:latest"
BIN_DIR, CONF_DIR = "/opt/cni/bin", "/etc/cni/net.d"  # in the box; containerd's and ctr's own defaults

# $1: the box's folder. The machine's /run may belong to another containerd: its sockets are hidden, too.
BOX = """
mount -t proc proc /proc
for d in /run /opt /etc/cni /var/lib/cni /var/lib/containerd; do mkdir -p "$d"; mount -t tmpfs tmpfs "$d"; done
mkdir -p /run/netns /run/lock /opt/cni /etc/cni/net.d
cp -r "$1/bin" /opt/cni/
echo boxed
exec sleep 100000
"""

# Without CAP_SYS_RESOURCE no process may lower its OOM score.
CONFIG = """
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/opt/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{bin_dir}"
    conf_dir = "{conf_dir}"
"""

# Replaces the plugin: records the call, then executes the plugin.
RECORDER = """#!/bin/sh
call=$(mktemp {dir}/calls/XXXXXX)
cat > "$call.stdin"
env > "$call.env"
mv "$call" "$call.done"
exec {plugin} < "$call.stdin"
"""


def make_image(path):
    """An image with only a static busybox, in the format of `docker save`; it sleeps, as a pause program does."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in ("bin", "proc", "sys", "dev", "tmp", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "ping", "ip", "sleep", "cat", "echo", "httpd"):
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    architecture = run(["dpkg", "--print-architecture"]).stdout.strip()
    config = json.dumps({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [
        f"sha256:{digest}"]}, "config": {"Cmd": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"]}}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in (("config.json", config), ("layer.tar", layer.getvalue()), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def fetch_programs(suite):
    """The folder of the containerd of another Debian suite, for Containerd(); fetched if it is missing."""
    folder = f"/var/tmp/vxvde-containerd/{suite}"
    if not os.path.exists(f"{folder}/root/usr/bin/containerd"):
        unpack(folder, suite, "containerd")
    return f"{folder}/root/usr/bin"


class Cri:
    """The calls of cri.proto. `cri.RunPodSandbox(config={...})` -> dict, in JSON mapping with the proto's names."""

    def __init__(self, socket):
        folder = os.path.dirname(os.path.abspath(__file__))
        compiled = subprocess.run(["protoc", f"-I{folder}", "-o", "/dev/stdout", "cri.proto"], check=True,
                                  capture_output=True).stdout
        self._pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
            self._pool.Add(file)
        self._service = self._pool.FindServiceByName("runtime.v1.RuntimeService")
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=[("grpc.enable_http_proxy", 0)])

    def _message(self, descriptor):
        return message_factory.MessageFactory(self._pool).GetPrototype(descriptor)

    def __getattr__(self, name):
        method = self._service.methods_by_name[name]
        request, response = self._message(method.input_type), self._message(method.output_type)
        call = self._channel.unary_unary(f"/{self._service.full_name}/{name}", request.SerializeToString,
                                         response.FromString)

        def ask(timeout=60, **fields):
            answer = call(json_format.ParseDict(fields, request()), timeout=timeout)
            return json_format.MessageToDict(answer, preserving_proto_field_name=True)
        return ask

    def exec(self, container, *argv, timeout=20):
        """(exit code, output)."""
        request = self._message(self._service.methods_by_name["ExecSync"].input_type)
        response = self._message(self._service.methods_by_name["ExecSync"].output_type)
        call = self._channel.unary_unary(f"/{self._service.full_name}/ExecSync", request.SerializeToString,
                                         response.FromString)
        done = call(request(container_id=container, cmd=argv, timeout=timeout), timeout=timeout + 10)
        return done.exit_code, (done.stdout + done.stderr).decode(errors="replace")


class Pod:
    """A running sandbox; with exec(), a container in it."""

    def __init__(self, runtime, name, config):
        self.runtime, self.name, self.config = runtime, name, config
        self.id = runtime.cri.RunPodSandbox(config=config)["pod_sandbox_id"]
        self._container = None

    @functools.cached_property
    def netns(self):
        """The path of its namespace, in the box."""
        info = self.runtime.cri.PodSandboxStatus(pod_sandbox_id=self.id, verbose=True)["info"]["info"]
        spaces = json.loads(info)["runtimeSpec"]["linux"]["namespaces"]
        path = next(space["path"] for space in spaces if space["type"] == "network")
        return os.path.realpath(path)  # /var/run is a link

    def inside(self):
        """Its network namespace, in the form of the lab's other namespaces."""
        return Netns(self.runtime.node.lab, self.name, f"/proc/{self.runtime.init}/root{self.netns}")

    def ips(self):
        network = self.runtime.cri.PodSandboxStatus(pod_sandbox_id=self.id)["status"]["network"]
        return [network["ip"], *(more["ip"] for more in network.get("additional_ips", []))]

    def exec(self, *argv):
        """(exit code, output) of a program in a container of the pod."""
        cri = self.runtime.cri
        if self._container is None:
            self._container = cri.CreateContainer(pod_sandbox_id=self.id, sandbox_config=self.config, config={
                "metadata": {"name": "main"}, "image": {"image": IMAGE}})["container_id"]
            cri.StartContainer(container_id=self._container)
        return cri.exec(self._container, *argv)

    def reaches(self, address, timeout=10):
        wait_for(lambda: self.exec("ping", "-c", "1", "-W", "1", address)[0] == 0, timeout,
                 f"pod {self.name} reaches {address}")

    def stop(self):
        self.runtime.cri.StopPodSandbox(pod_sandbox_id=self.id)

    def remove(self):
        self.runtime.cri.RemovePodSandbox(pod_sandbox_id=self.id)


class Containerd:
    def __init__(self, node, programs="/usr/bin"):
        """`programs`: the folder of containerd, ctr and the shim."""
        self.node, self._programs = node, programs
        self.dir = node.lab.file(f"{node.name}-containerd")
        bin_dir = os.path.join(self.dir, "bin")
        for folder in (bin_dir, os.path.join(self.dir, "calls")):
            os.makedirs(folder)
        for plugin in ("loopback", "bridge", "host-local", "portmap"):
            os.symlink(os.path.join(CNI_PLUGINS, plugin), os.path.join(bin_dir, plugin))
        # A copy: the build's own folder may be hidden in the box.
        plugin = os.path.join(self.dir, "vxvde")
        shutil.copy(program("cni/vxvde"), plugin)
        self._install(RECORDER.format(dir=self.dir, plugin=plugin), os.path.join(bin_dir, "vxvde"))
        image = os.path.join(self.dir, "image.tar")
        make_image(image)

        self.box = node.start("box", "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
                              "--propagation", "private", "sh", "-ec", BOX, "box", self.dir)
        self.box.says("boxed")
        with open(f"/proc/{self.box.pid}/task/{self.box.pid}/children", encoding="ascii") as f:
            self.init = f.read().split()[0]
        # In the lab's folder, where programs outside of the box can reach it.
        self.socket = os.path.join(self.dir, "containerd.sock")
        config = os.path.join(self.dir, "config.toml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(socket=self.socket, image=IMAGE, bin_dir=BIN_DIR, conf_dir=CONF_DIR))
        self.daemon = node.start("containerd", *self._enter("containerd", "--config", config))
        self.cri = Cri(self.socket)
        self.daemon.says("containerd successfully booted", timeout=60)
        for namespace in ("k8s.io", "default"):  # the CRI's and ctr's
            self.ctr("--namespace", namespace, "images", "import", image)

    @staticmethod
    def _install(text, path):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o755)

    def _enter(self, *argv):
        # The mark is kept: the lab finds daemonized processes by it.
        return ["nsenter", "-t", self.init, "-m", "-u", "-i", "-p", "-r", "-w", "--", "env", "-i",
                f"PATH={self._programs}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", f"{MARK}={self.node.lab.name}", *argv]

    def run(self, *argv, **kwargs):
        """Runs a program in the box."""
        return self.node.run(*self._enter(*argv), **kwargs)

    def ctr(self, *args, **kwargs):
        return self.run("ctr", "--address", self.socket, *args, **kwargs)

    def version(self):
        return self.run("containerd", "--version").stdout.split()[2]

    def configure(self, conflist):
        """Makes it the only conflist, and waits until containerd has read it. `agent` and the lease folders are those of the node."""
        text = json.dumps(self.node.network(conflist).conflist)
        # As documented for users: a temporary file in that folder, and a rename.
        self.run("sh", "-ec", f"cat > {CONF_DIR}/.new; mv {CONF_DIR}/.new {CONF_DIR}/10-lab.conflist", input=text)

        def ready():
            conditions = self.cri.Status()["status"]["conditions"]
            return all(c.get("status") for c in conditions)
        wait_for(ready, 10, "containerd finds the network ready")

    def pod(self, name, annotations=None, namespace="shop", ports=(), **config):
        """RunPodSandbox. `ports`: (container port, host port) of TCP; `config`: more of PodSandboxConfig."""
        return Pod(self, name, {
            "metadata": {"name": name, "uid": str(uuid.uuid4()), "namespace": namespace},
            "hostname": name, "log_directory": os.path.join(self.dir, "logs"),
            "annotations": annotations or {}, "linux": {"cgroup_parent": f"/{self.node.lab.name}"},
            "port_mappings": [{"container_port": inner, "host_port": outer} for inner, outer in ports], **config})

    def pods(self):
        return self.cri.ListPodSandbox().get("items", [])

    def namespaces(self):
        """Network namespaces of pods, in use or left behind."""
        return self.run("ls", "/run/netns").stdout.split()

    def calls(self, command, **pod):
        """The calls of the plugin so far, in no particular order: [({variable: value}, configuration)].

        `pod`: only calls with these CNI_ARGS, K8S_POD_NAME="web"."""
        calls = []
        for path in glob.glob(os.path.join(self.dir, "calls", "*.done")):
            path = path[:-len(".done")]
            with open(f"{path}.env", encoding="utf-8") as f:
                env = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)
            args = env.get("CNI_ARGS", "").split(";")
            if env["CNI_COMMAND"] == command and all(f"{key}={value}" in args for key, value in pod.items()):
                with open(f"{path}.stdin", encoding="utf-8") as f:
                    calls.append((env, json.load(f)))
        return calls

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Ends the box with all processes in it, and removes the cgroups of the pods."""
        self.box.kill()

        def gone():
            folders = sorted((folder for top in glob.glob(f"/sys/fs/cgroup/*/{self.node.lab.name}") +
                              glob.glob(f"/sys/fs/cgroup/{self.node.lab.name}")
                              for folder, _, _ in os.walk(top)), key=len, reverse=True)
            for folder in folders:
                try:
                    os.rmdir(folder)
                except OSError:  # a program in it is about to end
                    pass
            return not folders
        wait_for(gone, 10, "the pods' cgroups are gone")
