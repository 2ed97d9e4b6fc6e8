#include "plugin/fastpath/tc.h"

#include <bpf/libbpf.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// By which a filter of ours is known: "vx" and "vxvd" in ASCII. Other programs' filters stay.
constexpr uint32_t kFilterPriority = 0x7678;
constexpr uint32_t kFilterHandle = 0x76787664;

absl::Status BpfStatus(int error, absl::string_view what) {
  return ErrnoStatus(error < 0 ? -error : error, what);
}

std::string Interface(IfIndex index) {
  return absl::StrCat("interface ", static_cast<uint32_t>(index));
}

bpf_tc_hook HookOf(IfIndex index) {
  bpf_tc_hook hook = {};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(index);
  hook.attach_point = BPF_TC_INGRESS;
  return hook;
}

bpf_tc_opts FilterOf(int program) {
  bpf_tc_opts filter = {};
  filter.sz = sizeof(filter);
  filter.prog_fd = program;
  filter.handle = kFilterHandle;
  filter.priority = kFilterPriority;
  return filter;
}

}  // namespace

absl::Status AttachProgram(IfIndex index, int program) {
  bpf_tc_hook hook = HookOf(index);
  if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST) {
    return BpfStatus(error, absl::StrCat("add clsact to ", Interface(index)));
  }
  bpf_tc_opts filter = FilterOf(program);
  filter.flags = BPF_TC_F_REPLACE;
  if (const int error = bpf_tc_attach(&hook, &filter); error != 0) {
    return BpfStatus(error, absl::StrCat("attach a program to ", Interface(index)));
  }
  return absl::OkStatus();
}

bool DetachProgram(IfIndex index) {
  bpf_tc_hook hook = HookOf(index);
  bpf_tc_opts filter = FilterOf(0);
  return bpf_tc_detach(&hook, &filter) == 0;
}

uint32_t AttachedProgram(IfIndex index) {
  bpf_tc_hook hook = HookOf(index);
  bpf_tc_opts filter = FilterOf(0);
  return bpf_tc_query(&hook, &filter) == 0 ? filter.prog_id : 0;
}

absl::Status RemoveLeftPrograms(Netlink& netlink) {
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.ListLinks());
  for (const LinkInfo& link : links) DetachProgram(link.index);
  return absl::OkStatus();
}

}  // namespace vxvde
