#include "plugin/os/netlink_monitor.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>

#include "plugin/base/status.h"
#include "plugin/os/netlink_message.h"

namespace vxvde {
namespace {

constexpr size_t kMessageSize = 64 * 1024;

// The link that a message of one of the two groups concerns; kNone: no link.
IfIndex LinkOf(const nlmsghdr* message) {
  switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      if (!nlmsg_valid_hdr(message, sizeof(ifinfomsg))) return IfIndex::kNone;
      return static_cast<IfIndex>(static_cast<const ifinfomsg*>(nlmsg_data(message))->ifi_index);
    case RTM_NEWQDISC:
    case RTM_DELQDISC:
    case RTM_NEWTFILTER:
    case RTM_DELTFILTER:
      if (!nlmsg_valid_hdr(message, sizeof(tcmsg))) return IfIndex::kNone;
      return static_cast<IfIndex>(static_cast<const tcmsg*>(nlmsg_data(message))->tcm_ifindex);
    default:
      return IfIndex::kNone;
  }
}

}  // namespace

absl::StatusOr<NetlinkMonitor> NetlinkMonitor::Open() {
  ASSIGN_OR_RETURN(
      UniqueFd fd,
      OpenNetlinkSocket(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR, SOCK_NONBLOCK));
  return NetlinkMonitor(std::move(fd));
}

bool NetlinkMonitor::Drain() {
  bool anything = false;
  while (true) {
    char byte;  // the rest of a message is discarded with it
    if (recv(fd_.get(), &byte, sizeof(byte), 0) >= 0 || errno == ENOBUFS) {
      anything = true;  // ENOBUFS: messages were lost
    } else if (errno != EINTR) {
      return anything;
    }
  }
}

absl::StatusOr<LinkWatch> LinkWatch::Open() {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenNetlinkSocket(RTMGRP_LINK | RTMGRP_TC, SOCK_NONBLOCK));
  return LinkWatch(std::move(fd));
}

LinkWatch::LinkWatch(UniqueFd fd)
    : fd_(std::move(fd)), message_(std::make_unique_for_overwrite<uint8_t[]>(kMessageSize)) {}

LinkWatch::Changes LinkWatch::Read() {
  Changes changes;
  while (true) {
    sockaddr_nl from = {};
    socklen_t from_size = sizeof(from);
    const ssize_t size = recvfrom(fd_.get(), message_.get(), kMessageSize, 0,
                                  reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == ENOBUFS) {
      changes.lost = true;
      continue;
    }
    if (size < 0) return changes;
    if (from.nl_pid != 0) continue;  // not from the kernel
    int left = static_cast<int>(size);
    for (auto* message = reinterpret_cast<nlmsghdr*>(message_.get()); nlmsg_ok(message, left) != 0;
         message = nlmsg_next(message, &left)) {
      const IfIndex link = LinkOf(message);
      if (link != IfIndex::kNone) changes.links.insert(link);
    }
  }
}

}  // namespace vxvde
