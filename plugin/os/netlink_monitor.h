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

// Reports changes of addresses or links of a namespace (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR,
// RTNLGRP_IPV6_IFADDR).
class NetlinkMonitor {
 public:
  static absl::StatusOr<NetlinkMonitor> Open();
  int fd() const { return fd_.get(); }
  // Discards all waiting messages. True if there were any, or some were lost.
  bool Drain();

 private:
  explicit NetlinkMonitor(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Reports the links of a namespace whose qdiscs, classifiers or properties change (RTNLGRP_TC,
// RTNLGRP_LINK).
class LinkWatch {
 public:
  struct Changes {
    std::set<IfIndex> links;
    bool lost = false;  // more than these may have changed
  };
  static absl::StatusOr<LinkWatch> Open();
  int fd() const { return fd_.get(); }
  // The waiting changes, without blocking.
  Changes Read();

 private:
  explicit LinkWatch(UniqueFd fd);
  UniqueFd fd_;
  std::unique_ptr<uint8_t[]> message_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NETLINK_MONITOR_H_
