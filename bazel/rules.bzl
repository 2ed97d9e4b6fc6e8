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

def _unpacked_impl(ctx):
    folder = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        inputs = [ctx.file.archive],
        outputs = [folder],
        command = "tar -xzf %s -C %s" % (ctx.file.archive.path, folder.path),
    )
    return [DefaultInfo(files = depset([folder]), runfiles = ctx.runfiles([folder]))]

_unpacked = rule(
    implementation = _unpacked_impl,
    attrs = {"archive": attr.label(allow_single_file = [".tar.gz"])},
)

def fuzz_target(name, srcs = None, deps = []):
    """NAME.cc, which ends in _fuzz.cc, defines LLVMFuzzerTestOneInput.

    Its corpus is the named files of corpus/STEM/ and the inputs in corpus/STEM.tar.gz that tools/fuzz.sh has found;
    STEM is NAME without "_fuzz". NAME_replay_test runs it over all of them, in any configuration;
    `bazel build --config=fuzz //...:NAME` makes the libFuzzer program.
    """
    stem = name[:-len("_fuzz")]
    srcs = srcs or [name + ".cc"]
    corpus = native.glob(["corpus/%s/*" % stem])
    for archive in native.glob(["corpus/%s.tar.gz" % stem]):
        _unpacked(name = name + "_found", archive = archive)
        corpus = corpus + [name + "_found"]
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
