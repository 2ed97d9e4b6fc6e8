"""podman 4 with its CNI backend, in a node of a lab: its own storage, configuration, caches and locks.

Podman gets a mount namespace in which /var/lib/cni and /etc/cni are its own; namespaces under /run/netns stay visible
outside, as an agent on a real host needs them for taps."""

import json
import os
import shutil

from tests.lib.lab import CNI_PLUGINS, program
from tests.lib.process import run

IMAGE = "localhost/busybox"


class Podman:
    # In a mount namespace where / is private; $1 is the folder for all files that podman writes.
    mounts = """
mkdir -p /var/lib/cni /etc/cni; mount -t tmpfs tmpfs /var/lib/cni; mount -t tmpfs tmpfs /etc/cni
"""
    user = ()  # runs a command as another user: "setpriv ... --"

    def __init__(self, node):
        self.node = node
        self.dir = node.lab.file(f"{node.name}-podman")
        self.net_dir = os.path.join(self.dir, "net.d")
        os.makedirs(self.net_dir)
        os.chmod(self.dir, 0o755)
        plugins = os.path.join(self.dir, "plugins")  # the build's own folder may be inaccessible to a user
        os.makedirs(plugins)
        shutil.copy(program("cni/vxvde"), plugins)
        conf = os.path.join(self.dir, "containers.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"""
[network]
network_backend = "cni"
network_config_dir = "{self.net_dir}"
cni_plugin_dirs = ["{plugins}", "{CNI_PLUGINS}"]
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
""")
        storage = os.path.join(self.dir, "storage.conf")
        with open(storage, "w", encoding="utf-8") as f:
            f.write(f'[storage]\ndriver = "vfs"\ngraphroot = "{self.dir}/root"\nrunroot = "{self.dir}/runroot"\n')
        self._env = {**node.lab.environment, "HOME": self.dir, "CONTAINERS_CONF": conf,
                     "CONTAINERS_STORAGE_CONF": storage}
        # Only / and /sys become private, so that mounts on /run/netns are visible outside. crun refuses to start beside
        # the second hierarchy of a hybrid cgroup, even with cgroups disabled.
        self._holder = node.start(
            "podman-mounts", "unshare", "--mount", "--propagation", "unchanged", "sh", "-ec",
            "mount --make-private /; mount --make-rprivate /sys; ! mountpoint -q /sys/fs/cgroup/unified || "
            f"umount /sys/fs/cgroup/unified; {self.mounts} echo mounted; exec sleep 100000", "box", self.dir)
        self._holder.says("mounted")

    def install(self, conflist_file, **changes):
        """Copies a conflist, with `changes` to the section of type vxvde and host-local's leases in the lab."""
        with open(conflist_file, encoding="utf-8") as f:
            conflist = json.load(f)
        for plugin in conflist["plugins"]:
            if plugin["type"] == "vxvde":
                plugin.update(changes)
                if plugin.get("ipam", {}).get("type") == "host-local":
                    plugin["ipam"]["dataDir"] = self.node.lease_dir
        with open(os.path.join(self.net_dir, os.path.basename(conflist_file)), "w", encoding="utf-8") as f:
            json.dump(conflist, f)

    def run(self, *args, check=True, timeout=60):
        return run(["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--net={self.node.path}", "--",
                    *self.user, "podman", "--root", f"{self.dir}/root", "--runroot", f"{self.dir}/runroot",
                    "--tmpdir", f"{self.dir}/tmp", *args], check=check, timeout=timeout, env=self._env)

    def make_image(self):
        """IMAGE, which contains a static busybox only; nothing is pulled."""
        script = (f"set -e; d={self.dir}/image; mkdir -p $d/bin $d/etc $d/tmp $d/proc $d/sys $d/dev; "
                  "cp /bin/busybox $d/bin/; for a in sh ping ping6 ip sleep cat wget httpd; do "
                  "ln -s busybox $d/bin/$a; done; tar -C $d -cf $d.tar .")
        run(["sh", "-c", script])
        self.run("import", f"{self.dir}/image.tar", IMAGE)
        return IMAGE

    def remove_all(self):
        self.run("rm", "--all", "--force", "--time", "0")
