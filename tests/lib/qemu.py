"""Virtual machines with one static busybox: Debian's cloud kernel, an initramfs made here, software emulation.

    guest = Guest(netns, "vm", "198.51.100.40/24", "02:00:5e:10:00:40", "tap,ifname=vm0,script=no,downscript=no")
    guest.pings("198.51.100.9")"""

import glob
import itertools
import os
import re

from tests.lib.process import run, wait_for

FOLDER = "/var/tmp/vxvde-qemu"
MODULES = ("virtio_pci", "virtio_net")

# The addresses to ping arrive on the serial console, one a line.
INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /lib/$module; done
for word in $(cat /proc/cmdline); do case $word in address=*) address=${word#address=};; esac; done
ip link set lo up
ip link set eth0 up
ip addr add "$address" dev eth0
echo GUEST-UP
while read -r target; do
  if ping -c 1 -W 2 "$target" >/dev/null; then echo "GUEST-PINGED $target"; else echo "GUEST-FAILED $target"; fi
done
"""


def cpio(files):
    """An initramfs (Documentation/driver-api/early-userspace/buffer-format.rst, "newc"). `files`: (name, mode, data)."""
    out, numbers = bytearray(), itertools.count(1)
    for name, mode, data in [*files, ("TRAILER!!!", 0, b"")]:
        path = name.encode() + b"\0"
        fields = [next(numbers), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0]
        for part in (b"070701" + b"".join(b"%08x" % field for field in fields) + path, data):
            out += part + bytes(-len(part) % 4)
    return bytes(out)


def kernel():
    """Debian's cloud kernel in FOLDER, fetched from the apt mirror if it is missing: its image, and its version."""
    image = f"{FOLDER}/vmlinuz"
    if not os.path.exists(image):
        os.makedirs(FOLDER, exist_ok=True)
        depends = run(["apt-cache", "depends", "linux-image-cloud-amd64"]).stdout
        package = re.search(r"Depends: (linux-image-\S+)", depends).group(1)
        run(["sh", "-ec", f"cd {FOLDER}; apt-get download {package}; dpkg-deb -x {package}_*.deb root; rm {package}_*.deb"],
            timeout=300)
        run(["depmod", "-b", f"{FOLDER}/root", os.listdir(f"{FOLDER}/root/lib/modules")[0]])
        os.rename(glob.glob(f"{FOLDER}/root/boot/vmlinuz-*")[0], image)
    return image, os.listdir(f"{FOLDER}/root/lib/modules")[0]


def module_files(version, modules):
    """Paths of these modules of the kernel and of their dependencies, in the order of insertion."""
    names = []
    for module in modules:
        shown = run(["modprobe", "-d", f"{FOLDER}/root", "-S", version, "--show-depends", module]).stdout
        names += [line.split()[1] for line in shown.splitlines() if line.startswith("insmod ")]
    return list(dict.fromkeys(names))


def initramfs(name, init, copies, modules, applets):
    """FOLDER/NAME: `init` (a script in which {modules} stands for the modules' file names), /bin/busybox as `applets`,
    `modules` in /lib and `copies` ({path: path here})."""
    folders = {"bin", "dev", "lib", "proc", "sys", "tmp"}
    for path in copies:
        parts = path.split("/")[:-1]
        folders |= {"/".join(parts[:n]) for n in range(1, len(parts) + 1)}
    files = [(folder, 0o040755, b"") for folder in sorted(folders)]
    all_copies = {"bin/busybox": "/bin/busybox", **{f"lib/{os.path.basename(m)}": m for m in modules}, **copies}
    for target, path in all_copies.items():
        with open(path, "rb") as f:
            files.append((target, 0o100755, f.read()))
    files += [(f"bin/{applet}", 0o120777, b"busybox") for applet in applets]
    files.append(("init", 0o100755, init.replace("{modules}", " ".join(map(os.path.basename, modules))).encode()))
    with open(f"{FOLDER}/{name}.new", "wb") as f:
        f.write(cpio(files))
    os.rename(f"{FOLDER}/{name}.new", f"{FOLDER}/{name}")
    return f"{FOLDER}/{name}"


def prepare():
    """Kernel and initramfs of a guest."""
    image, version = kernel()
    made = f"{FOLDER}/initramfs"
    if not os.path.exists(made):
        initramfs("initramfs", INIT, {}, module_files(version, MODULES),
                  ("sh", "mount", "insmod", "ip", "ping", "cat", "echo"))
    return image, made


class Guest:
    """A machine whose only interface is `netdev` of qemu; it runs in the namespace `netns`."""

    def __init__(self, netns, name, address, mac, netdev, mtu=1450):
        kernel, initramfs = prepare()
        self.name = name
        theirs, self._console = os.pipe()
        self.process = netns.start(
            name, "qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot",
            "-serial", "stdio", "-kernel", kernel, "-initrd", initramfs,
            "-append", f"console=ttyS0 quiet panic=-1 address={address}", "-netdev", f"{netdev},id=n0",
            "-device", f"virtio-net-pci,netdev=n0,romfile=,mac={mac},host_mtu={mtu}", stdin=theirs)
        os.close(theirs)

    def up(self):
        self.process.says("GUEST-UP", timeout=120)

    def pings(self, address):
        """Sends one echo; true if it is answered."""
        count = len(self.process.output())
        os.write(self._console, f"{address}\n".encode())
        said = wait_for(lambda: re.search(rf"GUEST-(PINGED|FAILED) {re.escape(address)}", self.process.output()[count:]),
                        30, f"guest {self.name} has tried {address}")
        return said.group(1) == "PINGED"

    def reaches(self, address, timeout=30):
        wait_for(lambda: self.pings(address), timeout, f"guest {self.name} reaches {address}")

    def stop(self):
        os.close(self._console)
        self.process.kill()
