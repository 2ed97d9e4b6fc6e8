"""How this tree spells tests, fuzz targets and benchmarks.

A room's cc_library names no system library: whether Abseil and friends are
linked shared or static is the business of the program at the end.
"""

SYSTEM = ["@system//:absl"]

def unit_test(name, srcs = None, deps = [], **kwargs):
    """A GoogleTest from NAME.cc."""
    native.cc_test(
        name = name,
        srcs = srcs or [name + ".cc"],
        size = kwargs.pop("size", "small"),
        deps = deps + ["@system//:gmock", "@system//:gtest_main"] + SYSTEM,
        **kwargs
    )

def root_test(name, srcs = None, deps = [], tags = [], **kwargs):
    """A GoogleTest that makes network namespaces: root, outside the sandbox, one at a time."""
    unit_test(name, srcs, deps, tags = tags + ["local", "exclusive", "requires-root"], **kwargs)

def fuzz_target(name, corpus, srcs = None, deps = []):
    """NAME.cc defines LLVMFuzzerTestOneInput.

    NAME_replay_test runs it over every file of `corpus`, in any configuration;
    `bazel build --config=fuzz //...:NAME` makes the libFuzzer program.
    """
    srcs = srcs or [name + ".cc"]
    native.cc_test(
        name = name + "_replay_test",
        size = "small",
        srcs = srcs,
        args = ["$(location %s)" % f for f in corpus],
        data = corpus,
        deps = deps + ["//tests/fuzz:replay_main"] + SYSTEM,
    )
    native.cc_binary(
        name = name,
        testonly = True,
        srcs = srcs,
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["fuzz", "manual"],
        deps = deps + SYSTEM,
    )
