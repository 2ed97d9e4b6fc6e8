"""A CNI plugin, called repeatedly and timed: by posix_spawn, whose cost does not depend on the size of the caller."""

import ctypes
import json
import os
import time

from tests.lib.lab import CNI_PLUGINS


def enter(path):
    """Moves this process, and so all plugins that it starts, into that network namespace."""
    netns = os.open(path, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(netns, 0) == 0, os.strerror(ctypes.get_errno())
    os.close(netns)


class Caller:
    """Runs one plugin: the configuration is read from a file, and the output written to one. `name` names the files."""

    def __init__(self, lab, plugin, config, name=None):
        self.plugin = plugin
        name = name or os.path.basename(plugin)
        self._out = lab.file(f"{name}.out")
        self._in = lab.file(f"{name}.json")
        with open(self._in, "w", encoding="utf-8") as f:
            json.dump(config, f)

    def time(self, command, container, netns):
        """Milliseconds."""
        env = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_NETNS": netns, "CNI_IFNAME": "eth0",
               "CNI_PATH": CNI_PLUGINS, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        files = [(os.POSIX_SPAWN_OPEN, 0, self._in, os.O_RDONLY, 0),
                 (os.POSIX_SPAWN_OPEN, 1, self._out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
        start = time.perf_counter_ns()
        _, status = os.waitpid(os.posix_spawn(self.plugin, [self.plugin], env, file_actions=files), 0)
        took = time.perf_counter_ns() - start
        if status != 0:
            with open(self._out, encoding="utf-8") as f:
                raise AssertionError(f"{self.plugin} {command}: {f.read()}")
        return took / 1e6
