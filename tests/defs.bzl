"""The rule for integration tests."""

def integration_test(name, data = [], size = "medium", product = True, tags = [], each_datapath = False):
    """NAME.py, run as root outside the sandbox, one at a time, in network namespaces that it creates.

    With `each_datapath` there is a second target, NAME_user, whose agents forward all frames themselves
    (`datapath: user`; tests/lib/lab.py). "external": Bazel does not know what a test uses of the machine, so results never
    come from the cache."""
    for target, env in [(name, {})] + ([(name + "_user", {"VXVDE_TEST_DATAPATH": "user"})] if each_datapath else []):
        native.sh_test(
            name = target,
            size = size,
            srcs = ["//tests:py.sh"],
            args = ["%s/%s.py" % (native.package_name(), name)],
            data = [name + ".py", "//tests:lib"] + data + ([
                "//agent:vxvde-agent",
                "//agent:vxvdectl",
                "//cni:vxvde",
            ] if product else []),
            env = env,
            tags = ["local", "exclusive", "requires-root", "integration", "external"] + tags,
        )
