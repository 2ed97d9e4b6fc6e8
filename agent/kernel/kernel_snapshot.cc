#include "agent/kernel/kernel_snapshot.h"

#include <sys/stat.h>

#include "plugin/os/netns.h"
#include "plugin/os/netns_number.h"

namespace vxvde {
namespace {

// The path does not lead to that namespace any more, and has not merely become invisible to the
// agent.
bool NameIsGone(const WatchedNetNs& watched) {
  const absl::StatusOr<UniqueFd> there = OpenNetNs(watched.path);
  if (there.ok()) {
    const absl::StatusOr<std::string> id = IdOfNetNs(*there);
    return id.ok() && *id != watched.id;
  }
  if (absl::IsInvalidArgument(there.status())) return true;  // unmounted; the file remains
  if (!absl::IsNotFound(there.status())) return false;
  struct stat folder = {};
  const std::string path = watched.path.substr(0, watched.path.rfind('/') + 1);
  return stat(path.c_str(), &folder) == 0 && S_ISDIR(folder.st_mode);
}

}  // namespace

KernelSnapshot TakeSnapshot(const std::vector<WatchedNetNs>& watched) {
  absl::StatusOr<Netlink> netlink = Netlink::Open();
  if (!netlink.ok()) return {.links = netlink.status()};
  KernelSnapshot sight{.links = netlink->ListLinks()};
  std::vector<const WatchedNetNs*> nameless;
  for (const WatchedNetNs& one : watched) {
    if (NameIsGone(one)) nameless.push_back(&one);
  }
  if (nameless.empty()) return sight;
  const absl::StatusOr<std::set<int>> used = NetNsInUse(*netlink);
  if (!used.ok()) return sight;  // a container that does not see all processes cannot tell
  for (const WatchedNetNs* one : nameless) {
    if (!used->contains(one->number)) sight.dead.insert(one->attachment);
  }
  return sight;
}

}  // namespace vxvde
