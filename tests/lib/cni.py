"""The runtime's side of CNI: what libcni does with a conflist, and nothing more."""

import json
import os

from tests.lib.process import run


class CniError(AssertionError):
    """A plugin failed. `code`, `msg`, `details` as in its JSON; `stderr` for readers."""

    def __init__(self, command, plugin, done):
        self.stderr = done.stderr
        try:
            error = json.loads(done.stdout)
            self.code, self.msg, self.details = error["code"], error["msg"], error.get("details", "")
        except (ValueError, KeyError, TypeError):
            self.code, self.msg, self.details = None, done.stdout, ""
        super().__init__(f"{plugin} {command}: exit {done.returncode}, code {self.code}: {self.msg}; {self.details}; "
                         f"stderr: {done.stderr}")


def execute(node, program, command, config, *, environment=None, prefix=(), timeout=30):
    """Runs a CNI plugin in `node` with exactly `environment` (CNI_COMMAND is added when `command` is not None).

    `config` is a dict, or text for what is not JSON. Returns the CompletedProcess."""
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(environment or {})}
    if command is not None:
        env["CNI_COMMAND"] = command
    text = config if isinstance(config, str) else json.dumps(config)
    return run(["nsenter", f"--net={node.path}", "--", *prefix, program], check=False, input=text, env=env,
               timeout=timeout)


class Network:
    """A conflist, used in a node. Remembers results as libcni's cache does."""

    def __init__(self, node, conflist, plugin_dirs):
        self.node, self.conflist, self.plugin_dirs = node, conflist, plugin_dirs
        self.results = {}

    def program(self, plugin_type):
        for folder in self.plugin_dirs:
            path = os.path.join(folder, plugin_type)
            if os.access(path, os.X_OK):
                return path
        raise AssertionError(f"no plugin {plugin_type} in {self.plugin_dirs}")

    def configs(self, capability_args=None, previous=None):
        """The configuration of each plugin, with name, cniVersion and runtimeConfig inserted."""
        for section in self.conflist["plugins"]:
            config = {**section, "name": self.conflist["name"], "cniVersion": self.conflist["cniVersion"]}
            wanted = {key: value for key, value in (capability_args or {}).items()
                      if section.get("capabilities", {}).get(key)}
            if wanted:
                config["runtimeConfig"] = wanted
            if previous:
                config["prevResult"] = previous
            yield config

    def environment(self, container, netns, ifname, args=""):
        env = {"CNI_CONTAINERID": container, "CNI_NETNS": netns, "CNI_IFNAME": ifname,
               "CNI_PATH": ":".join(self.plugin_dirs)}
        return {**env, "CNI_ARGS": args} if args else env

    def add(self, pod, ifname="eth0", args="", capability_args=None, prefix=()):
        previous = None
        env = self.environment(pod.container, pod.path, ifname, args)
        for config in self.configs(capability_args):
            if previous:
                config["prevResult"] = previous
            done = execute(self.node, self.program(config["type"]), "ADD", config, environment=env, prefix=prefix)
            if done.returncode != 0:
                raise CniError("ADD", config["type"], done)
            previous = json.loads(done.stdout)
        self.results[pod.container, ifname] = previous
        return previous

    def delete(self, pod, ifname="eth0", netns=None, args="", capability_args=None):
        """`netns`: another namespace path than the pod's; "" if the runtime has forgotten it."""
        previous = self.results.pop((pod.container, ifname), None)
        env = self.environment(pod.container, pod.path if netns is None else netns, ifname, args)
        if not env["CNI_NETNS"]:
            del env["CNI_NETNS"]
        for config in reversed(list(self.configs(capability_args, previous=previous))):
            done = execute(self.node, self.program(config["type"]), "DEL", config, environment=env)
            if done.returncode != 0:
                raise CniError("DEL", config["type"], done)
            assert done.stdout == "", f"DEL said something on stdout: {done.stdout}"
