"""Pings in the background that record every loss: the answered echoes, while agents start and stop."""

import os
import re
import signal
import subprocess

from tests.lib.process import wait_for


class Ping:
    """`ping -i 0.01` in the background; records the answered echoes."""

    def __init__(self, source, address):
        self.what = f"{source} -> {address}"
        self._process = source.start(f"ping-{address.replace(':', '_')}", "ping", "-n", "-i", "0.01", address,
                                     stdin=subprocess.DEVNULL)

    def answered(self):
        return [int(n) for n in re.findall(r"icmp_seq=(\d+) ", self._process.output())]

    def newest(self):
        return max(self.answered(), default=0)

    def end(self):
        os.kill(self._process.pid, signal.SIGINT)
        self._process.wait()
        said = self._process.output()
        sent = int(re.search(r"(\d+) packets transmitted", said)[1])
        seen = self.answered()
        # The last one may still be in flight.
        return sent, sorted(set(range(1, sent)) - set(seen)), len(seen) - len(set(seen))


def go_on(pings, count):
    """Waits until each of `pings` has had `count` more answers."""
    for ping, before in [(ping, ping.newest()) for ping in pings]:
        wait_for(lambda ping=ping, before=before: ping.newest() > before + count, 30, f"{ping.what} goes on")
