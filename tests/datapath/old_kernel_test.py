"""The programs of the kernel datapath on the oldest supported kernel, Debian 12's Linux 6.1: its verifier accepts them, they
agree with Forward() there, frame by frame (//plugin/fastpath:kernel_root_test), and clsact alone keeps the chain of filters
(//plugin/fastpath:chain_keeper_root_test). Both tests run whole, in a virtual machine.

  tests/py.sh tests/datapath/old_kernel_test.py

Needs qemu-system-x86, kmod and busybox-static; the kernel is fetched from the machine's apt mirror once and kept in
/var/tmp/vxvde-qemu. Software emulation: some two minutes."""

import re

from tests.lib import qemu, runner
from tests.lib.lab import Lab, program
from tests.lib.process import run

MODULES = ("veth", "tun", "vxlan", "bridge", "sch_ingress", "cls_bpf", "act_gact", "ipv6")
# The test's sh is dash: busybox's has a tc of its own.
INIT = """#!/bin/busybox sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/net
for module in {modules}; do insmod /lib/$module; done
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
echo "GUEST-KERNEL $(uname -r)"
for test in {tests}; do
  PATH=/usr/bin:/bin /usr/bin/$test
  echo "GUEST-EXIT $test $?"
done
echo "GUEST-DONE"
poweroff -f
"""


def with_libraries(*programs):
    """{path in the guest: path here} of these programs and of all libraries that they are linked with."""
    files = {}
    for path in programs:
        for line in run(["ldd", path]).stdout.splitlines():
            if found := re.search(r"(/\S+) \(0x", line):
                files[found.group(1).lstrip("/")] = found.group(1)
    return files


TESTS = ("kernel_root_test", "chain_keeper_root_test")


def test_programs_on_linux_6_1():
    """both tests pass on Linux 6.1"""
    image, version = qemu.kernel()
    tests, ip, tc = {name: program(f"plugin/fastpath/{name}") for name in TESTS}, "/bin/ip", "/sbin/tc"
    copies = {**with_libraries(*tests.values(), ip, tc, "/bin/dash"), "bin/sh": "/bin/dash", "usr/bin/ip": ip, "usr/bin/tc": tc,
              **{f"usr/bin/{name}": path for name, path in tests.items()}}
    init = INIT.replace("{tests}", " ".join(TESTS))
    initramfs = qemu.initramfs("old-kernel", init, copies, qemu.module_files(version, MODULES), (
        "mount", "mkdir", "mknod", "insmod", "echo", "uname", "grep", "test", "poweroff"))
    with Lab("oldkernel") as lab:
        guest = lab.netns("vm").start(
            "guest", "qemu-system-x86_64", "-accel", "tcg", "-m", "1024", "-smp", "2", "-nodefaults", "-display", "none",
            "-no-reboot", "-serial", "stdio", "-kernel", image, "-initrd", initramfs,
            "-append", "console=ttyS0 quiet panic=-1")
        guest.says("GUEST-DONE", timeout=900)
        said = guest.output()
        runner.tried("guest Linux", re.search(r"GUEST-KERNEL (\S+)", said).group(1))
        print(*re.findall(r"\[  PASSED  \].*", said), flush=True)
        assert "GUEST-KERNEL 6.1." in said and all(re.search(rf"GUEST-EXIT {name} 0\b", said) for name in TESTS), said


if __name__ == "__main__":
    runner.main(globals())
