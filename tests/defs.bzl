"""How integration tests are spelt."""

def integration_test(name, data = [], size = "medium", product = True, tags = []):
    """NAME.py, run as root outside the sandbox, one at a time, in network namespaces that it makes.

    "external": what it finds on the machine is not known to Bazel, so it is never taken from the cache."""
    native.sh_test(
        name = name,
        size = size,
        srcs = ["py.sh"],
        args = ["tests/%s.py" % name],
        data = [name + ".py", ":lib"] + data + ([
            "//agent:vxvde-agent",
            "//agent:vxvdectl",
            "//cni:vxvde",
        ] if product else []),
        tags = ["local", "exclusive", "requires-root", "integration", "external"] + tags,
    )
