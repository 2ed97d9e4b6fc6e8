#!/usr/bin/python3
"""Writes compile_commands.json of the whole tree, from Bazel's own actions; for clangd and clang-tidy."""

import json
import os
import subprocess

root = subprocess.run(["bazel", "info", "workspace"], capture_output=True, text=True, check=True).stdout.strip()
execution_root = subprocess.run(["bazel", "info", "execution_root"], capture_output=True, text=True, check=True,
                                cwd=root).stdout.strip()
actions = subprocess.run(["bazel", "aquery", "--output=jsonproto", 'mnemonic("CppCompile", //...)'],
                         capture_output=True, text=True, check=True, cwd=root).stdout
commands = {}
for action in json.loads(actions).get("actions", []):
    arguments = action["arguments"]
    source = next((a for a in arguments if a.endswith((".cc", ".cpp", ".c"))), None)
    if source:
        commands[source] = {"directory": execution_root, "file": source, "arguments": arguments}
with open(os.path.join(root, "compile_commands.json"), "w", encoding="utf-8") as f:
    json.dump(list(commands.values()), f, indent=1)
print(f"{len(commands)} files")
