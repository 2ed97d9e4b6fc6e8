// Changes of links and addresses, as rtnetlink announces them.

#ifndef VXVDE_PLUGIN_OS_NETLINK_MONITOR_H_
#define VXVDE_PLUGIN_OS_NETLINK_MONITOR_H_

#include <cstdint>
#include <memory>
#include <set>
#include <utility>

#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Tells when addresses or links of a namespace change (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR,
// RTNLGRP_IPV6_IFADDR).
class NetlinkMonitor {
 public:
  static absl::StatusOr<NetlinkMonitor> Open();
  int fd() const { return fd_.get(); }
  // Throws away all that waits; true when there was anything (or something was lost).
  bool Drain();

 private:
  explicit NetlinkMonitor(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Tells of which links of a namespace qdiscs, classifiers or properties change (RTNLGRP_TC,
// RTNLGRP_LINK).
class LinkWatch {
 public:
  struct Changes {
    std::set<IfIndex> links;
    bool lost = false;  // more than these may have changed
  };
  static absl::StatusOr<LinkWatch> Open();
  int fd() const { return fd_.get(); }
  // What waits, without blocking.
  Changes Read();

 private:
  explicit LinkWatch(UniqueFd fd);
  UniqueFd fd_;
  std::unique_ptr<uint8_t[]> message_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NETLINK_MONITOR_H_
