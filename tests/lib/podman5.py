"""podman 5 with netavark and the vxvde driver, in a node of a lab: programs of a Debian trixie root in a box of their own.

The box is a pair of mount and pid namespaces on the root, with the node's network. Files that podman writes go to a tmpfs,
which a reboot of the box clears, and to the lab's folder, which survives it; the root does not change."""

import json
import os
import shutil

from tests.lib.lab import MARK, program
from tests.lib.process import run, wait_for

PACKAGES = ["podman", "netavark", "aardvark-dns", "crun", "catatonit", "conmon", "nftables", "iproute2"]
IMAGE = "localhost/busybox"

CONTAINERS_CONF = """
[network]
network_backend = "netavark"
network_config_dir = "{dir}/networks"
netavark_plugin_dirs = ["{plugins}"]
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
"""

BOX = """
r=$1 lab=$2
mount --bind "$r" "$r"; mkdir -p "$r/oldroot"
mount -t proc proc "$r/proc"; mount -t sysfs sysfs "$r/sys"; mount --rbind /dev "$r/dev"
mount --rbind /sys/fs/cgroup "$r/sys/fs/cgroup"
! mountpoint -q "$r/sys/fs/cgroup/unified" || umount "$r/sys/fs/cgroup/unified"  # crun refuses a hybrid
for d in run tmp etc/containers var/tmp; do mkdir -p "$r/$d"; mount -t tmpfs tmpfs "$r/$d"; done
mkdir -p "$r$lab"; mount --bind "$lab" "$r$lab"
mkdir -p "$r/run/lock" "$r/run/netns"
cd "$r"; pivot_root . oldroot; cd /
"$lab/box/busybox" umount -l /oldroot; "$lab/box/busybox" mount --make-rshared /
cp "$lab"/box/containers/* /etc/containers/
echo boxed
exec sleep 100000
"""


def make_root(folder, packages=PACKAGES):
    """A Debian trixie with podman 5, or other packages, in `folder`, from this machine's own apt mirror; about 100 s."""
    os.makedirs(os.path.dirname(os.path.abspath(folder)), exist_ok=True)
    mirror = run(["sh", "-c", "cat /etc/apt/sources.list.d/*.sources | awk '/^URIs:/ {print $2; exit}'"]).stdout.strip()
    run(["mmdebstrap", "--variant=apt", "--mode=root", f"--include={','.join(packages)}",
         "--aptopt=Acquire::Languages \"none\"", "--aptopt=APT::Install-Recommends \"false\"",
         "--aptopt=Acquire::Check-Valid-Until \"false\"", "trixie", folder, mirror], timeout=900)


class Podman5:
    def __init__(self, node, root):
        self.node = node
        self.dir = node.lab.file("box")
        plugins = os.path.join(self.dir, "plugins")
        conf = os.path.join(self.dir, "containers")
        for folder in (plugins, conf):
            os.makedirs(folder)
        shutil.copy(program("cni/vxvde"), os.path.join(plugins, "vxvde"))
        shutil.copy("/bin/busybox", self.dir)  # static: the root may lack mount and umount
        for name, text in (("containers.conf", CONTAINERS_CONF.format(plugins=plugins, dir=self.dir)),
                           ("storage.conf", f'[storage]\ndriver = "vfs"\ngraphroot = "{self.dir}/storage"\n'
                                            'runroot = "/run/containers/storage"\n'),
                           ("policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}')):
            with open(os.path.join(conf, name), "w", encoding="utf-8") as f:
                f.write(text)
        self._root = root
        self._boot()

    def _boot(self):
        self.box = self.node.start("box", "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
                                   "--propagation", "private", "sh", "-ec", BOX, "box", self._root, self.node.lab.dir)
        self.box.says("boxed")
        with open(f"/proc/{self.box.pid}/task/{self.box.pid}/children", encoding="ascii") as f:
            self.init = f.read().split()[0]

    def reboot(self):
        """Ends it as a power cut does: no teardown, and namespaces and /run are gone."""
        self.box.kill()
        self._boot()

    def run(self, *args, check=True, timeout=60):
        return run(["nsenter", "-t", self.init, "-m", "-u", "-i", "-p", "-n", "-r", "-w", "--", "env", "-i",
                    "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb",
                    "PODMAN_IGNORE_CGROUPSV1_WARNING=1", f"{MARK}={self.node.lab.name}", "podman", *args],
                   check=check, timeout=timeout)

    def json(self, *args):
        return json.loads(self.run(*args).stdout)

    def version(self):
        return self.run("version", "--format", "{{.Client.Version}}").stdout.strip()

    def make_image(self):
        """IMAGE, which contains a static busybox only; nothing is pulled."""
        script = (f"set -e; d={self.dir}/image; mkdir -p $d/bin $d/etc $d/tmp $d/proc $d/sys $d/dev; "
                  "cp /bin/busybox $d/bin/; for a in sh ping ping6 ip sleep cat wget httpd; do "
                  "ln -s busybox $d/bin/$a; done; tar -C $d -cf $d.tar .")
        run(["sh", "-c", script])
        self.run("import", f"{self.dir}/image.tar", IMAGE)
        return IMAGE

    def create(self, name, *args, **options):
        """`podman network create -d vxvde`; the agent is the node's."""
        pairs = {"agent": self.node.agent.socket, **options}
        given = [word for key, value in pairs.items() for word in ("-o", f"{key}={value}")]
        self.run("network", "create", "-d", "vxvde", *given, *args, name)
        return self.json("network", "inspect", name)[0]

    def start(self, name, *args):
        """A sleeping container."""
        self.run("run", "--detach", "--name", name, "--cap-add", "NET_RAW", *args, IMAGE, "sleep", "100000")

    def shown(self, name, network):
        """`podman inspect`: the answer of the driver."""
        return self.json("inspect", name)[0]["NetworkSettings"]["Networks"][network]

    def pings(self, name, address):
        return self.run("exec", name, "ping", "-c", "1", "-W", "1", address, check=False).returncode == 0

    def reaches(self, name, address, timeout=10):
        wait_for(lambda: self.pings(name, address), timeout, f"container {name} reaches {address}")

    def remove_all(self):
        self.run("rm", "--all", "--force", "--time", "0")
