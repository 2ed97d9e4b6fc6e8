// Source: rtnl_net_newid() and rtnl_net_getid() in net/core/net_namespace.c.

#include "plugin/os/netns_number.h"

#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/files.h"
#include "plugin/os/netlink_message.h"

namespace vxvde {
namespace {

// PROC_PID_INIT_INO of include/linux/proc_ns.h: the process ids of the machine, not of a container.
constexpr ino_t kMachinesPids = 0xeffffffc;

// The numeric names of folders in `path`; none if it is gone.
std::vector<uint32_t> NumbersIn(const std::string& path) {
  std::vector<uint32_t> numbers;
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(path);
  if (!names.ok()) return numbers;
  for (const std::string& name : *names) {
    uint32_t number = 0;
    if (absl::SimpleAtoi(name, &number)) numbers.push_back(number);
  }
  return numbers;
}

// /proc shows all processes of the machine.
bool SeesAllProcesses() {
  struct stat pids = {};
  char self[32] = {};
  return stat("/proc/self/ns/pid", &pids) == 0 && pids.st_ino == kMachinesPids &&
         readlink("/proc/self", self, sizeof(self) - 1) > 0 && absl::StrCat(getpid()) == self;
}

absl::StatusOr<int> AskNumber(Netlink& netlink, int attribute, uint32_t value,
                              absl::string_view what) {
  NetlinkRequest request(RTM_GETNSID, 0, rtgenmsg{AF_UNSPEC});
  request.PutU32(attribute, value);
  absl::StatusOr<int> number = absl::InternalError(absl::StrCat(what, ": no answer"));
  RETURN_IF_ERROR(netlink.Exchange(request, what, [&](const nlmsghdr* reply) {
    const auto id = Attributes(reply, sizeof(rtgenmsg)).U32(NETNSA_NSID);
    if (reply->nlmsg_type == RTM_NEWNSID && id) number = static_cast<int>(*id);
    return absl::OkStatus();
  }));
  return number;
}

}  // namespace

absl::StatusOr<int> NumberNetNs(Netlink& netlink, const UniqueFd& netns) {
  const auto fd = static_cast<uint32_t>(netns.get());
  ASSIGN_OR_RETURN(int number, AskNumber(netlink, NETNSA_FD, fd, "get the number of a namespace"));
  if (number >= 0) return number;
  NetlinkRequest request(RTM_NEWNSID, 0, rtgenmsg{AF_UNSPEC});
  request.PutU32(NETNSA_FD, fd);
  request.PutU32(NETNSA_NSID, static_cast<uint32_t>(NETNSA_NSID_NOT_ASSIGNED));  // any
  const absl::Status numbered = netlink.Do(request, "number a namespace");
  // AlreadyExists: another process assigned one first; a veth pair into the namespace needs one
  // too.
  if (!numbered.ok() && !absl::IsAlreadyExists(numbered)) return numbered;
  ASSIGN_OR_RETURN(number, AskNumber(netlink, NETNSA_FD, fd, "get the number of a namespace"));
  if (number < 0) return absl::InternalError("number a namespace: it has none");
  return number;
}

absl::StatusOr<std::set<int>> NetNsInUse(Netlink& netlink) {
  if (!SeesAllProcesses()) {
    return absl::FailedPreconditionError("/proc does not show all processes of this machine");
  }
  std::set<int> numbers;
  for (const uint32_t process : NumbersIn("/proc")) {
    for (const uint32_t thread : NumbersIn(absl::StrCat("/proc/", process, "/task"))) {
      const absl::StatusOr<int> number = AskNumber(
          netlink, NETNSA_PID, thread, absl::StrCat("get the namespace of thread ", thread));
      if (absl::IsNotFound(number.status())) continue;  // the thread has ended
      RETURN_IF_ERROR(number.status());
      if (*number >= 0) numbers.insert(*number);
    }
  }
  return numbers;
}

}  // namespace vxvde
