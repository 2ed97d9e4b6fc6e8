"""A network namespace and the operations in it."""

import contextlib
import json
import os
import signal

from tests.lib.process import Process, run, wait_for

TRANSFER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transfer.py")


class Netns:
    """`path` is a namespace file: from `ip netns add`, or /proc/PID/ns/net of a vdens member."""

    def __init__(self, lab, name, path):
        self.lab, self.name, self.path = lab, name, path

    def __str__(self):
        return self.name

    def _enter(self, argv):
        return ["nsenter", f"--net={self.path}", "--", *map(str, argv)]

    def run(self, *argv, **kwargs):
        return run(self._enter(argv), **kwargs)

    def start(self, label, *argv, **kwargs):
        """A background program of this namespace, which ends with the lab. `label` names its log."""
        return Process(self._enter(argv), self.lab.log(f"{self.name}-{label}"), env=self.lab.environment, **kwargs)

    # Interfaces and addresses.

    def ip(self, *args):
        return self.run("ip", *args)

    def ip_json(self, *args):
        out = self.run("ip", "-j", "-d", *args).stdout
        return json.loads(out) if out.strip() else []

    def links(self):
        """{name: link} of `ip -j -d link`."""
        return {link["ifname"]: link for link in self.ip_json("link")}

    def mac(self, ifname):
        return self.links()[ifname]["address"]

    def addresses(self, ifname):
        """"ADDRESS/LENGTH" of `ifname`, without link-local ones."""
        return [f"{a['local']}/{a['prefixlen']}" for link in self.ip_json("addr", "show", "dev", ifname)
                for a in link.get("addr_info", []) if a["scope"] != "link"]

    def address(self, ifname, *addresses):
        for address in addresses:
            self.ip("addr", "add", address, "dev", ifname, *(["nodad"] if ":" in address else []))
        self.ip("link", "set", ifname, "up")

    def sysctl(self, key, value):
        """sysctl("net/ipv6/conf/all/forwarding", 1)"""
        self.run("sh", "-c", f"echo {value} > /proc/sys/{key}")

    def csum_errors(self):
        """The segments and datagrams that this namespace's stack refused because of their checksum."""
        lines = self.run("cat", "/proc/net/snmp").stdout.splitlines()
        errors = {}
        for names, values in zip(lines[::2], lines[1::2]):
            protocol, *values = values.split()
            for name, value in zip(names.split()[1:], values):
                if name == "InCsumErrors" and int(value):
                    errors[protocol + name] = int(value)
        for line in self.run("cat", "/proc/net/snmp6").stdout.splitlines():
            name, value = line.split()
            if name.endswith("InCsumErrors") and int(value):
                errors[name] = int(value)
        return errors

    # Traffic.

    def ping(self, address, count=1, wait=2, *, size=None, fragment=True, args=()):
        """True if all of `count` echoes are answered; `wait` applies to the first, the others get two round trips."""
        argv = ["ping", "-n", "-q", "-c", count, "-i", "0.05", "-W", wait, *args]
        if size is not None:
            argv += ["-s", size]
        if not fragment:
            argv += ["-M", "do"]
        done = self.run(*argv, address, check=False)
        return done.returncode == 0 and f" {count} received" in done.stdout

    def reaches(self, address, timeout=10, **kwargs):
        """Waits for an answer from `address`; members need a moment to join."""
        wait_for(lambda: self.ping(address, wait=1, **kwargs), timeout, f"{self} reaches {address} {kwargs or ''}")

    def send_file(self, receiver, address, size, port=5300):
        """Sends `size` pseudo-random bytes over TCP to the namespace `receiver`, and compares the hashes of both ends."""
        server = receiver.start(f"receive-{port}", "/usr/bin/python3", TRANSFER, "receive", address, port)
        server.says("listening")
        sent = self.run("/usr/bin/python3", TRANSFER, "send", address, port, size, timeout=60).stdout.strip()
        assert server.wait(10) == 0, server.output()
        received = server.output().strip().splitlines()[-1]
        assert sent == received, f"{self} -> {receiver}: sent {sent}, received {received}"

    def iperf3(self, server, address, *args, port=5201, seconds=3):
        """Runs iperf3 to `address`, where the namespace `server` listens; returns its JSON result."""
        listener = server.start(f"iperf3-{port}", "iperf3", "-s", "-1", "-p", port, "--forceflush")
        listener.says("Server listening")
        try:
            udp = "-u" in args
            done = self.run("iperf3", *([] if udp else ["-C", "cubic"]), "-J", "-c", address, "-p", port, "-t", seconds,
                            *args, timeout=seconds + 30, check=False)
            result = json.loads(done.stdout)
            assert "error" not in result, f"{self} -> {server} {address}: {result['error']}"
            return result
        finally:
            listener.kill()

    @contextlib.contextmanager
    def capture(self, ifname, filter_=""):
        """Runs tcpdump during the block; afterwards the yielded list contains a line for each packet."""
        lines = []
        dump = self.start(f"tcpdump-{ifname}-{self.lab.next_id()}", "tcpdump", "-n", "-e", "-l", "--immediate-mode",
                          "-B", "4096", "-i", ifname, *([filter_] if filter_ else []))
        dump.says("listening on")
        try:
            yield lines
        finally:
            dump.stop(signal.SIGINT)
            lines += [line for line in dump.output().splitlines() if line[:2].isdigit() and line[2:3] == ":"]
