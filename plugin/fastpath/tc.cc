#include "plugin/fastpath/tc.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/fd.h"

namespace vxvde {
namespace {

// Identify the filter: "vx" and "vxvd" in ASCII.
constexpr uint32_t kFilterPriority = 0x7678;
constexpr uint32_t kFilterHandle = 0x76787664;

constexpr IfIndex kLoopback{1};  // in each namespace

// Parts of union bpf_attr of Linux 6.6, which older headers lack.
constexpr uint32_t kTcxIngress = 46;  // BPF_TCX_INGRESS
constexpr uint32_t kTcxEgress = 47;
constexpr uint32_t kReplace = 1U << 2;  // BPF_F_REPLACE
constexpr uint32_t kBefore = 1U << 3;   // BPF_F_BEFORE
struct AttachAttr {
  uint32_t target_ifindex = 0;
  uint32_t attach_bpf_fd = 0;
  uint32_t attach_type = kTcxIngress;
  uint32_t attach_flags = 0;
  uint32_t replace_bpf_fd = 0;
  uint32_t relative_fd = 0;
  uint64_t expected_revision = 0;
};
static_assert(sizeof(AttachAttr) == 32);
struct QueryAttr {
  uint32_t target_ifindex = 0;
  uint32_t attach_type = kTcxIngress;
  uint32_t query_flags = 0;
  uint32_t attach_flags = 0;
  uint64_t prog_ids = 0;
  uint32_t count = 0;
  uint32_t zero = 0;
  uint64_t prog_attach_flags = 0;
  uint64_t link_ids = 0;
  uint64_t link_attach_flags = 0;
  uint64_t revision = 0;
};
static_assert(sizeof(QueryAttr) == 64);

template <typename Attr>
int Bpf(int command, Attr& attr) {
  return syscall(SYS_bpf, command, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

constexpr size_t kMaxTcx = 64;  // BPF_MPROG_MAX
struct TcxChain {
  std::array<uint32_t, kMaxTcx> programs = {};
  uint32_t count = 0;
  uint64_t revision = 0;

  // Its position; `count`: it is not there.
  uint32_t Find(uint32_t id) const {
    return static_cast<uint32_t>(std::find(programs.begin(), programs.begin() + count, id) -
                                 programs.begin());
  }
};

int QueryTcx(IfIndex index, Direction direction, TcxChain& chain) {
  QueryAttr attr{.target_ifindex = static_cast<uint32_t>(index),
                 .attach_type = direction == Direction::kIngress ? kTcxIngress : kTcxEgress,
                 .prog_ids = reinterpret_cast<uint64_t>(chain.programs.data()),
                 .count = kMaxTcx};
  const int error = Bpf(BPF_PROG_QUERY, attr);
  chain.count = error == 0 ? std::min<uint32_t>(attr.count, kMaxTcx) : 0;
  chain.revision = attr.revision;
  return error;
}

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

// Without CAP_SYS_ADMIN, which BPF_PROG_GET_FD_BY_ID requires, only the first program of the chain
// can be removed; the revision ensures that it still is the first.
void TakeOut(IfIndex index, uint32_t id) {
  TcxChain chain;
  if (QueryTcx(index, Direction::kIngress, chain) != 0) return;
  const uint32_t at = chain.Find(id);
  if (at == chain.count) return;
  const UniqueFd program(bpf_prog_get_fd_by_id(id));
  AttachAttr attr{.target_ifindex = static_cast<uint32_t>(index)};
  if (program) {
    attr.attach_bpf_fd = static_cast<uint32_t>(program.get());
  } else {
    if (at != 0) return;
    attr.attach_flags = kBefore;
    attr.expected_revision = chain.revision;
  }
  (void)Bpf(BPF_PROG_DETACH, attr);
}

}  // namespace

uint32_t ProgramId(int program) {
  bpf_prog_info info = {};
  uint32_t size = sizeof(info);
  return bpf_obj_get_info_by_fd(program, &info, &size) == 0 ? info.id : 0;
}

bool HasTcx() {
  TcxChain chain;
  return QueryTcx(kLoopback, Direction::kIngress, chain) == 0;
}

std::vector<uint32_t> ListTcx(IfIndex index, Direction direction) {
  TcxChain chain;
  (void)QueryTcx(index, direction, chain);
  return {chain.programs.begin(), chain.programs.begin() + chain.count};
}

absl::Status PutFirst(IfIndex index, int program) {
  TcxChain chain;
  const std::string what = absl::StrCat("put a program first at ", Interface(index));
  if (const int error = QueryTcx(index, Direction::kIngress, chain); error != 0) {
    return BpfStatus(error, what);
  }
  const uint32_t at = chain.Find(ProgramId(program));
  if (at == 0 && chain.count != 0) return absl::OkStatus();
  if (at != chain.count) TakeOutOfTcx(index, program);
  AttachAttr attr{.target_ifindex = static_cast<uint32_t>(index),
                  .attach_bpf_fd = static_cast<uint32_t>(program),
                  .attach_flags = kBefore};
  if (const int error = Bpf(BPF_PROG_ATTACH, attr); error != 0) return BpfStatus(error, what);
  return absl::OkStatus();
}

void TakeOutOfTcx(IfIndex index, int program) {
  AttachAttr attr{.target_ifindex = static_cast<uint32_t>(index),
                  .attach_bpf_fd = static_cast<uint32_t>(program)};
  (void)Bpf(BPF_PROG_DETACH, attr);
}

absl::Status AttachProgram(IfIndex index, int program) {
  const uint32_t before = AttachedProgram(index);
  bpf_tc_hook hook = HookOf(index);
  if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST) {
    return BpfStatus(error, absl::StrCat("add clsact to ", Interface(index)));
  }
  bpf_tc_opts filter = FilterOf(program);
  filter.flags = BPF_TC_F_REPLACE;
  if (const int error = bpf_tc_attach(&hook, &filter); error != 0) {
    return BpfStatus(error, absl::StrCat("attach a program to ", Interface(index)));
  }
  if (before == 0 || before == ProgramId(program)) return absl::OkStatus();
  TcxChain chain;
  if (QueryTcx(index, Direction::kIngress, chain) != 0 || chain.Find(before) == chain.count) {
    return absl::OkStatus();
  }
  if (const UniqueFd old{bpf_prog_get_fd_by_id(before)}) {
    AttachAttr attr{.target_ifindex = static_cast<uint32_t>(index),
                    .attach_bpf_fd = static_cast<uint32_t>(program),
                    .attach_flags = kReplace,
                    .replace_bpf_fd = static_cast<uint32_t>(old.get())};
    if (Bpf(BPF_PROG_ATTACH, attr) == 0) return absl::OkStatus();
  }
  TakeOut(index, before);
  return PutFirst(index, program);
}

void DetachFilter(IfIndex index) {
  bpf_tc_hook hook = HookOf(index);
  bpf_tc_opts filter = FilterOf(0);
  (void)bpf_tc_detach(&hook, &filter);
}

void DetachProgram(IfIndex index) {
  const uint32_t program = AttachedProgram(index);
  if (program == 0) return;
  DetachFilter(index);
  TakeOut(index, program);
}

uint32_t AttachedProgram(IfIndex index) {
  bpf_tc_hook hook = HookOf(index);
  bpf_tc_opts filter = FilterOf(0);
  return bpf_tc_query(&hook, &filter) == 0 ? filter.prog_id : 0;
}

absl::Status DetachAllPrograms(Netlink& netlink) {
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.ListLinks());
  for (const LinkInfo& link : links) DetachProgram(link.index);
  return absl::OkStatus();
}

std::string Chain::Before() const {
  if (first) return "";
  if (!tcx.empty()) return absl::StrCat("tcx program ", tcx.front());
  return filter_before;
}

absl::StatusOr<Chain> LookAtChain(Netlink& netlink, IfIndex index, int program) {
  const uint32_t id = ProgramId(program);
  Chain chain;
  const std::vector<uint32_t> tcx = ListTcx(index, Direction::kIngress);
  chain.first = !tcx.empty() && tcx.front() == id;
  chain.tcx.assign(tcx.begin(), std::find(tcx.begin(), tcx.end(), id));
  ASSIGN_OR_RETURN(const std::vector<FilterInfo> ingress,
                   ListFilters(netlink, index, Direction::kIngress));
  for (const FilterInfo& filter : ingress) {
    if (filter.handle == 0) continue;
    if (filter.priority == kFilterPriority && filter.handle == kFilterHandle) {
      chain.filter = filter.program_id == id;
      continue;
    }
    if (filter.priority >= kFilterPriority || !chain.filter_before.empty()) continue;
    chain.filter_before =
        absl::StrCat("the ", filter.kind, " filter of priority ", filter.priority);
    if (filter.program_id != 0) {
      // cls_bpf names it NAME:[ID] unless user space gives it a name.
      const std::string name = filter.program.substr(0, filter.program.find(':'));
      absl::StrAppend(&chain.filter_before, " (program ", filter.program_id,
                      name.empty() ? "" : ", ", name, ")");
    }
  }
  ASSIGN_OR_RETURN(const std::vector<FilterInfo> egress,
                   ListFilters(netlink, index, Direction::kEgress));
  chain.filters_egress = !ListTcx(index, Direction::kEgress).empty() ||
                         std::any_of(egress.begin(), egress.end(),
                                     [](const FilterInfo& filter) { return filter.handle != 0; });
  return chain;
}

}  // namespace vxvde
