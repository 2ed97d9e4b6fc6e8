"""A node of a lab with a root file system, processes, host name and mounts of its own, as a real machine has beside its
network. It can be rebooted: the content of /run and the state of its kernel are lost, disks stay.

The root is an overlay on a Debian root that is shared and not changed."""

import glob
import json
import os
import shutil

from tests.lib.lab import MARK
from tests.lib.process import Process, run, wait_for

# kubelet writes to these, and they are global to the machine: it sees files with the required values in their place.
SYSCTLS = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
           "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000}

# Pid 1. $1 the machine's name, $2 the root to build on, $3 the lab's folder, $4 the machine's folder in it, $5...
# folders to show.
BOX = """
hostname "$1"; below=$2 lab=$3 disk=$4 r=$4/root; shift 4
mount -t overlay overlay -o "lowerdir=$below,upperdir=$disk/upper,workdir=$disk/work" "$r"
mount -t proc proc "$r/proc"; mount -t sysfs sysfs "$r/sys"; mount --rbind /dev "$r/dev"
mount --rbind /sys/fs/cgroup "$r/sys/fs/cgroup"
for d in run tmp dev/shm; do mount -t tmpfs tmpfs "$r/$d"; done
mkdir -p "$r/run/lock" "$r/run/netns" "$r/oldroot"
mkdir -p "$r$lab"; mount --bind "$lab" "$r$lab"
for shown in "$@"; do mkdir -p "$r$shown"; mount --bind "$shown" "$r$shown"; done
# An overlay cannot be the upper folder of another one.
for d in containerd kubelet; do mkdir -p "$r/var/lib/$d"; mount --bind "$disk/$d" "$r/var/lib/$d"; done
for key in $(cd "$disk/sysctl" && find . -type f); do mount --bind "$disk/sysctl/$key" "$r/proc/sys/$key"; done
cd "$r"; pivot_root . oldroot; cd /; umount -l /oldroot; mount --make-rshared /
echo boxed
while :; do sleep 3600 & wait; done  # reaps what is left to it
"""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    def __init__(self, node, root, shown=()):
        """`shown`: folders of this computer that are visible to it under the same path."""
        self.node, self.lab, self.name = node, node.lab, node.name
        self.root, self._shown = root, shown
        self.disk = self.lab.file(f"{self.name}-disk")
        for folder in ("upper", "work", "root", "containerd", "kubelet"):
            os.makedirs(os.path.join(self.disk, folder))
        for key, value in SYSCTLS.items():
            path = os.path.join(self.disk, "sysctl", key)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as f:
                f.write(f"{value}\n")
        self.cgroup = f"/{self.lab.name}/{self.name}"
        self._make_cgroups()
        self._box = None
        self.boot()

    def boot(self):
        self._box = self.node.start("box", "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
                                    "--propagation", "private", "sh", "-ec", BOX, "box", self.name, self.root,
                                    self.lab.dir, self.disk, *self._shown)
        self._box.says("boxed")
        with open(f"/proc/{self._box.pid}/task/{self._box.pid}/children", encoding="ascii") as f:
            self._init = f.read().split()[0]

    def power_off(self):
        """Ends it as a power cut does; its network namespace is lost too, with everything in it."""
        self._box.kill()
        wait_for(lambda: not os.path.exists(f"/proc/{self._init}"), 10, f"processes of {self.name} are gone")
        run(["ip", "netns", "del", os.path.basename(self.node.path)])

    def power_on(self):
        self.lab.netns(self.name)
        self.node.plug(self.lab.lan(), "eth0")
        self.node.route_multicast("eth0")
        self.boot()

    def _enter(self, argv):
        return ["nsenter", "-t", self._init, "-m", "-n", "-u", "-i", "-p", "-r", "-w", "--", "env", "-i",
                f"PATH={PATH}", "HOME=/root", "TERM=dumb", f"{MARK}={self.lab.name}", *map(str, argv)]

    def run(self, *argv, **kwargs):
        return run(self._enter(argv), **kwargs)

    def start(self, label, *argv):
        """A background program, which ends with the machine; `label` names its log."""
        return Process(self._enter(argv), self.lab.log(f"{self.name}-{label}"))

    def write(self, path, text):
        self.run("sh", "-c", f"mkdir -p {os.path.dirname(path)} && cat > {path}", input=text)

    def files(self, folder):
        return self.run("ls", "-A", folder).stdout.split()

    def json(self, *argv):
        return json.loads(self.run(*argv).stdout)

    def _make_cgroups(self):
        for controller in glob.glob("/sys/fs/cgroup/*/"):
            if os.path.exists(os.path.join(controller, "cgroup.controllers")):
                continue  # the unified one of a hybrid
            path = controller.rstrip("/")
            for part in self.cgroup.strip("/").split("/"):
                above, path = path, os.path.join(path, part)
                os.makedirs(path, exist_ok=True)
                for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new one: it could contain no process
                    if os.path.exists(os.path.join(path, setting)):
                        shutil.copyfile(os.path.join(above, setting), os.path.join(path, setting))


def remove_cgroups(lab):
    """Removes the cgroups of all machines of a lab, whose processes have ended."""
    for top in glob.glob(f"/sys/fs/cgroup/*/{lab.name}"):
        for folder, _, _ in os.walk(top, topdown=False):
            os.rmdir(folder)
