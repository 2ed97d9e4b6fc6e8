// Programs that stand for other software, for tests: each only returns a constant.

#ifndef VXVDE_PLUGIN_FASTPATH_TESTING_PROGRAMS_H_
#define VXVDE_PLUGIN_FASTPATH_TESTING_PROGRAMS_H_

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "plugin/base/ids.h"
#include "plugin/os/fd.h"

namespace vxvde {

inline UniqueFd AnsweringProgram(bpf_prog_type type, int answer) {
  const std::array<bpf_insn, 2> code = {
      bpf_insn{
          .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = answer},
      bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  UniqueFd program(bpf_prog_load(type, "somebodys", "GPL", code.data(), code.size(), nullptr));
  EXPECT_TRUE(program) << std::strerror(errno);
  return program;
}

// Adds a filter of clsact, which is created.
inline void AddFilter(IfIndex index, int program, uint32_t priority,
                      bpf_tc_attach_point where = BPF_TC_INGRESS) {
  bpf_tc_hook hook = {};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(index);
  hook.attach_point = where;
  const int made = bpf_tc_hook_create(&hook);
  EXPECT_TRUE(made == 0 || made == -EEXIST) << std::strerror(-made);
  bpf_tc_opts filter = {};
  filter.sz = sizeof(filter);
  filter.prog_fd = program;
  filter.handle = 1;
  filter.priority = priority;
  EXPECT_EQ(bpf_tc_attach(&hook, &filter), 0);
}
inline void RemoveFilter(IfIndex index, uint32_t priority) {
  bpf_tc_hook hook = {};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(index);
  hook.attach_point = BPF_TC_INGRESS;
  bpf_tc_opts filter = {};
  filter.sz = sizeof(filter);
  filter.handle = 1;
  filter.priority = priority;
  EXPECT_EQ(bpf_tc_detach(&hook, &filter), 0);
}

// Adds the program to the ingress tcx chain: at its end, or before all others. The numbers are
// those of linux/bpf.h of 6.6.
inline int ChangeTcx(int command, IfIndex index, int program, uint32_t flags) {
  std::array<uint32_t, 8> attr = {static_cast<uint32_t>(index), static_cast<uint32_t>(program), 46,
                                  flags};
  return syscall(SYS_bpf, command, attr.data(), sizeof(attr)) < 0 ? errno : 0;
}
inline int AppendTcx(IfIndex index, int program) {
  return ChangeTcx(BPF_PROG_ATTACH, index, program, 0);
}
inline int PrependTcx(IfIndex index, int program) {
  return ChangeTcx(BPF_PROG_ATTACH, index, program, 1U << 3);
}
inline int RemoveTcx(IfIndex index, int program) {
  return ChangeTcx(BPF_PROG_DETACH, index, program, 0);
}

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_TESTING_PROGRAMS_H_
