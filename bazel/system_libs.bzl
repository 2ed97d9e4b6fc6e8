"""@system: C++ libraries and tools that Debian packages installed.

@system//:NAME          links the shared library
@system//:NAME_static   for binaries linked with -static
@system//:NAME_archive  .a files inside an otherwise dynamic binary
@system//:bin/TOOL      protoc, grpc_cpp_plugin, clang, bpftool

No pkg-config: with Debian's 137 absl_*.pc files one call takes 3 s.
"""

_WHOLE = ["-Wl,--push-state,--no-as-needed,--whole-archive", "-lgrpc++_reflection", "-Wl,--pop-state"]
_GRPC = ["grpc++", "grpc", "gpr", "address_sorting", "upb", "re2", "cares", "ssl", "crypto", "z", "zstd", "protobuf"]

# name: (libraries; more of them for static links; uses Abseil; a header; Debian package)
_LIBS = {
    "absl": ([], [], True, "absl/base/config.h", "libabsl-dev"),
    "protobuf": (["protobuf"], ["z"], False, "google/protobuf/message.h", "libprotobuf-dev"),
    "protobuf_lite": (["protobuf-lite"], [], False, "google/protobuf/message_lite.h", "libprotobuf-dev"),
    "grpc++": (["grpc++", "grpc", "gpr", "protobuf"], _GRPC, True, "grpcpp/grpcpp.h", "libgrpc++-dev"),
    "grpc++_reflection": (["grpc++_reflection", "grpc++", "grpc", "gpr", "protobuf"], _GRPC, True, "grpcpp/ext/proto_server_reflection_plugin.h", "libgrpc++-dev"),
    "yaml-cpp": (["yaml-cpp"], [], False, "yaml-cpp/yaml.h", "libyaml-cpp-dev"),
    "bpf": (["bpf"], ["elf", "z", "zstd"], False, "bpf/libbpf.h", "libbpf-dev"),
    "nl": (["nl-route-3", "nl-3"], [], False, "libnl3/netlink/netlink.h", "libnl-route-3-dev"),
    "cap": (["cap"], [], False, "sys/capability.h", "libcap-dev"),
    "seccomp": (["seccomp"], [], False, "seccomp.h", "libseccomp-dev"),
    "systemd": (["systemd"], [], False, "systemd/sd-daemon.h", "libsystemd-dev"),
    "mnl": (["mnl"], [], False, "libmnl/libmnl.h", "libmnl-dev"),
    "nftnl": (["nftnl"], [], False, "libnftnl/common.h", "libnftnl-dev"),
    "prometheus": (["prometheus-cpp-pull", "prometheus-cpp-core"], ["civetweb", "z"], False, "prometheus/registry.h", "prometheus-cpp-dev"),
    "gtest": (["gtest"], [], False, "gtest/gtest.h", "libgtest-dev"),
    "gtest_main": (["gtest_main", "gtest"], [], False, "gtest/gtest.h", "libgtest-dev"),
    "gmock": (["gmock", "gtest"], [], False, "gmock/gmock.h", "libgmock-dev"),
    "benchmark_main": (["benchmark_main", "benchmark"], [], False, "benchmark/benchmark.h", "libbenchmark-dev"),
    "spdlog": (["spdlog", "fmt"], [], False, "spdlog/spdlog.h", "libspdlog-dev"),
    "json": ([], [], False, "nlohmann/json.hpp", "nlohmann-json3-dev"),
    "cli11": ([], [], False, "CLI/CLI.hpp", "libcli11-dev"),
}

# headers that are not directly under /usr/include
_INCLUDES = {"nl": "libnl3"}

# Preprocessor definitions that the shared library was built with.
_DEFINES = {"spdlog": ["SPDLOG_COMPILED_LIB", "SPDLOG_SHARED_LIB", "SPDLOG_FMT_EXTERNAL"]}

# name: (programs to look for, Debian package)
_TOOLS = {
    "protoc": (["protoc"], "protobuf-compiler"),
    "grpc_cpp_plugin": (["grpc_cpp_plugin"], "protobuf-compiler-grpc"),
    "clang": (["clang-19", "clang-14", "clang"], "clang-14"),
    "bpftool": (["/usr/sbin/bpftool"], "bpftool"),
}

def _impl(ctx):
    missing = {}
    out = ['package(default_visibility = ["//visibility:public"])\n']
    multiarch = ctx.execute(["gcc", "-print-multiarch"]).stdout.strip()
    archives = [f.basename[3:-2] for f in ctx.path("/usr/lib/" + multiarch).readdir() if f.basename.startswith("lib") and f.basename.endswith(".a")]
    absl = [a for a in archives if a.startswith("absl_")]
    for name, (libs, more, with_absl, hdr, deb) in _LIBS.items():
        if not ctx.path("/usr/include/" + hdr).exists:
            missing[deb] = 1
            continue
        hdrs, includes = [], []
        if name in _INCLUDES:
            inc = _INCLUDES[name]
            ctx.symlink("/usr/include/" + inc, "include/" + inc)
            hdrs, includes = ["include/" + inc + "/**"], ["include/" + inc]
        shared = ["-l" + l for l in libs + (sorted(absl) if with_absl else [])]
        static = ["-l" + l for l in libs + [m for m in more if m not in libs and m in archives] + (sorted(absl) if with_absl else [])]
        if shared:
            shared = ["-Wl,--push-state,--as-needed"] + shared + ["-Wl,--pop-state"]
            archive = ["-Wl,-Bstatic", "-Wl,--start-group"] + static + ["-Wl,--end-group", "-Wl,-Bdynamic"]
            static = ["-Wl,--start-group"] + static + ["-lstdc++", "-lm", "-Wl,--end-group"]
        else:
            archive = []
        if name == "grpc++_reflection":  # a static initializer does its work
            shared = ["-Wl,--push-state,--no-as-needed", "-lgrpc++_reflection", "-Wl,--pop-state"] + shared
            static = _WHOLE + static
            archive = ["-Wl,-Bstatic"] + _WHOLE + ["-Wl,-Bdynamic"] + archive
        for suffix, linkopts in [
            ("", shared),
            ("_static", static),
            ("_archive", archive),
        ]:
            out.append("cc_library(name = %r, hdrs = glob(%r, allow_empty = True), includes = %r, defines = %r, linkopts = %r)\n" %
                       (name + suffix, hdrs, includes, _DEFINES.get(name, []), linkopts))
    for tool, (names, deb) in _TOOLS.items():
        found = [p for p in [ctx.path(n) if n[0] == "/" else ctx.which(n) for n in names] if p and p.exists]
        if found:
            ctx.symlink(found[0], "bin/" + tool)
            out.append("exports_files([%r])\n" % ("bin/" + tool))
        else:
            missing[deb] = 1
    if missing:
        fail("apt-get install " + " ".join(missing.keys()))
    ctx.file("BUILD", "\n".join(out))

system_libs = repository_rule(implementation = _impl, local = True, configure = True)
