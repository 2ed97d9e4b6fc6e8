// Netlink's classifiers, and changes to links and what is attached to them. Sources:
// tc_dump_tfilter() in net/sched/cls_api.c, cls_bpf_dump() in net/sched/cls_bpf.c.

#include <arpa/inet.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/netlink.h"
#include "plugin/os/netlink_message.h"

namespace vxvde {
namespace {

constexpr size_t kMessageSize = 64 * 1024;

// The link of a message of one of the two groups; kNone: it is about none.
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

absl::StatusOr<std::vector<FilterInfo>> Netlink::ListFilters(IfIndex index, Direction direction) {
  tcmsg header = {};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = static_cast<int>(index);
  header.tcm_parent =
      TC_H_MAKE(TC_H_CLSACT, direction == Direction::kIngress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
  NetlinkRequest request(RTM_GETTFILTER, NLM_F_DUMP, header);
  std::vector<FilterInfo> filters;
  RETURN_IF_ERROR(Dump(
      request, absl::StrCat("list the filters of link ", static_cast<uint32_t>(index)),
      [&] { filters.clear(); },
      [&](const nlmsghdr* reply) {
        if (reply->nlmsg_type != RTM_NEWTFILTER || !nlmsg_valid_hdr(reply, sizeof(tcmsg))) {
          return absl::OkStatus();
        }
        const auto* filter = static_cast<const tcmsg*>(nlmsg_data(reply));
        const Attributes attributes(reply, sizeof(tcmsg));
        if (attributes.U32(TCA_CHAIN).value_or(0) != 0) return absl::OkStatus();
        FilterInfo info{.kind = attributes.Text(TCA_KIND),
                        .priority = static_cast<uint16_t>(TC_H_MAJ(filter->tcm_info) >> 16),
                        .protocol = ntohs(static_cast<uint16_t>(TC_H_MIN(filter->tcm_info))),
                        .handle = filter->tcm_handle,
                        .program = {}};
        const nlattr* options = attributes.Find(TCA_OPTIONS);
        if (info.kind == "bpf" && options != nullptr) {
          info.program = Attributes(options).Text(TCA_BPF_NAME);
          info.program_id = Attributes(options).U32(TCA_BPF_ID).value_or(0);
        }
        filters.push_back(std::move(info));
        return absl::OkStatus();
      }));
  return filters;
}

absl::StatusOr<LinkWatch> LinkWatch::Open() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd) return ErrnoStatus(errno, "open an rtnetlink socket");
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_TC;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, "bind an rtnetlink socket");
  }
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
    if (from.nl_pid != 0) continue;  // not the kernel
    int left = static_cast<int>(size);
    for (auto* message = reinterpret_cast<nlmsghdr*>(message_.get()); nlmsg_ok(message, left) != 0;
         message = nlmsg_next(message, &left)) {
      const IfIndex link = LinkOf(message);
      if (link != IfIndex::kNone) changes.links.insert(link);
    }
  }
}

}  // namespace vxvde
