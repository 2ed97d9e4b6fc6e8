// foreign IFNAME HOOK ANSWER [PRIORITY]: attaches a program of other software to an interface until
// SIGTERM. It drops ICMP over IPv4 and answers ANSWER (a number) to everything else; an XDP program
// answers ANSWER to all.
//
// HOOK: clsact (with PRIORITY), tcx-first, tcx-last, xdp-native, xdp-generic.

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int16_t kEthertypeAt = 12;
constexpr int16_t kProtocolAt = ETH_HLEN + 9;
constexpr uint32_t kTcxIngress = 46;   // BPF_TCX_INGRESS, since Linux 6.6
constexpr uint32_t kBefore = 1U << 3;  // BPF_F_BEFORE

[[noreturn]] void Fail(const std::string& what, int error) {
  std::fprintf(stderr, "%s: %s\n", what.c_str(), std::strerror(error < 0 ? -error : error));
  std::exit(1);
}

bpf_insn Instruction(uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t value) {
  return {.code = code, .dst_reg = to, .src_reg = from, .off = offset, .imm = value};
}

std::vector<bpf_insn> Code(bool xdp, int answer) {
  const bpf_insn exit = Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  const auto say = [](int value) {
    return Instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, value);
  };
  if (xdp) return {say(answer), exit};
  return {
      Instruction(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),  // where BPF_ABS expects the packet
      Instruction(BPF_LD | BPF_ABS | BPF_H, 0, 0, 0, kEthertypeAt),
      Instruction(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 4, ETH_P_IP),
      Instruction(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, kProtocolAt),
      Instruction(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, IPPROTO_ICMP),
      say(TC_ACT_SHOT),
      exit,
      say(answer),
      exit,
  };
}

int ChangeTcx(int command, int index, int program, uint32_t flags) {
  std::array<uint32_t, 8> attr = {static_cast<uint32_t>(index), static_cast<uint32_t>(program),
                                  kTcxIngress, flags};
  return syscall(SYS_bpf, command, attr.data(), sizeof(attr)) < 0 ? errno : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) Fail("usage: foreign IFNAME HOOK ANSWER [PRIORITY]", EINVAL);
  const int index = static_cast<int>(if_nametoindex(argv[1]));
  const std::string hook = argv[2];
  const bool xdp = hook.starts_with("xdp");
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  sigprocmask(SIG_BLOCK, &end, nullptr);

  const std::vector<bpf_insn> code = Code(xdp, std::atoi(argv[3]));
  const int program = bpf_prog_load(xdp ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SCHED_CLS, "foreign",
                                    "GPL", code.data(), code.size(), nullptr);
  if (program < 0) Fail("load", program);
  bpf_tc_hook clsact = {};
  clsact.sz = sizeof(clsact);
  clsact.ifindex = index;
  clsact.attach_point = BPF_TC_INGRESS;
  bpf_tc_opts filter = {};
  filter.sz = sizeof(filter);
  filter.handle = 1;
  filter.priority = argc > 4 ? static_cast<uint32_t>(std::atoi(argv[4])) : 0;
  const uint32_t mode = hook == "xdp-native" ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  int error = 0;
  if (hook == "clsact") {
    (void)bpf_tc_hook_create(&clsact);  // it may exist already
    filter.prog_fd = program;
    error = bpf_tc_attach(&clsact, &filter);
  } else if (xdp) {
    error = bpf_xdp_attach(index, program, mode, nullptr);
  } else {
    error = ChangeTcx(BPF_PROG_ATTACH, index, program, hook == "tcx-first" ? kBefore : 0);
  }
  if (error != 0) Fail("attach", error);
  std::puts("attached");
  std::fflush(stdout);
  int got = 0;
  sigwait(&end, &got);
  if (hook == "clsact") {
    filter.prog_fd = 0;
    filter.prog_id = 0;
    filter.flags = 0;
    error = bpf_tc_detach(&clsact, &filter);
  } else if (xdp) {
    error = bpf_xdp_detach(index, mode, nullptr);
  } else {
    error = ChangeTcx(BPF_PROG_DETACH, index, program, 0);
  }
  if (error != 0) Fail("detach", error);
  return 0;
}
