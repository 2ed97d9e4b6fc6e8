"""podman 4 with its CNI backend as an unprivileged user, and that user's own agent.

The user exists only in the box: /etc is an overlay there. Podman's user namespace, its own network namespace behind
slirp4netns and the container's namespace are those that it creates on any machine; the agent runs outside of all of them."""

import os

from tests.lib.lab import Agent
from tests.lib.podman import Podman
from tests.lib.process import run

UID = 65000

# As udev sets it on an ordinary machine: all users may open /dev/net/tun.
MOUNTS = f"""
mkdir "$1/etc"; mount -t tmpfs tmpfs "$1/etc"; mkdir "$1/etc/upper" "$1/etc/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc/upper,workdir=$1/etc/work" /etc
echo "lab:x:{UID}:{UID}::$1/home:/bin/sh" >> /etc/passwd
echo "lab:x:{UID}:" >> /etc/group
echo "lab:1000000:65536" > /etc/subuid
echo "lab:1000000:65536" > /etc/subgid
mknod "$1/etc/tun" c 10 200; chmod 0666 "$1/etc/tun"; mount --bind "$1/etc/tun" /dev/net/tun
"""


class RootlessPodman(Podman):
    mounts = Podman.mounts + MOUNTS
    user = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--")

    def __init__(self, node):
        super().__init__(node)
        self.runtime_dir = os.path.join(self.dir, "xdg")
        for folder in (self.runtime_dir, f"{self.dir}/home"):
            os.mkdir(folder, mode=0o700)
        os.mkdir(node.lease_dir)
        os.chown(node.lease_dir, UID, UID)
        run(["sh", "-ec", f"find {self.dir} -path {self.dir}/etc -prune -o -exec chown {UID}:{UID} {{}} +"])
        self._env |= {"HOME": f"{self.dir}/home", "XDG_RUNTIME_DIR": self.runtime_dir}

    def start_agent(self):
        """The user's own agent, in the node's namespaces, without any capability."""
        self.node.agent = Agent(self.node, {"node": self.node.name}, run_dir=os.path.join(self.runtime_dir, "vxvde"),
                                prefix=self.user).start()
        return self.node.agent
