// Netlink's VXLAN devices, statistics and queueing disciplines, for the fast path. Sources:
// linux/if_link.h, vxlan_nl2conf() in drivers/net/vxlan/vxlan_core.c, rtnl_stats_get() in
// net/core/rtnetlink.c, tc_get_qdisc() in net/sched/sch_api.c.

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/netlink.h"
#include "plugin/os/netlink_message.h"

namespace vxvde {

absl::Status Netlink::CreateVxlan(const std::string& name, uint16_t port) {
  ifinfomsg header = {};
  header.ifi_family = AF_UNSPEC;
  NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, header);
  request.PutName(IFLA_IFNAME, name);
  request.Nest(IFLA_LINKINFO, [&] {
    request.PutText(IFLA_INFO_KIND, "vxlan");
    request.Nest(IFLA_INFO_DATA, [&] {
      const uint16_t wire = htons(port);
      request.Put(IFLA_VXLAN_PORT, &wire, sizeof(wire));
      request.PutU8(IFLA_VXLAN_COLLECT_METADATA, 1);
      request.PutU8(IFLA_VXLAN_LEARNING, 0);
      request.PutU8(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
    });
  });
  const std::string what = absl::StrCat("create VXLAN device ", name, " on UDP port ", port);
  int error = 0;
  const absl::Status status = Do(request, what, &error);
  if (error == EOPNOTSUPP) return absl::UnimplementedError(status.message());
  return status;
}

absl::StatusOr<uint16_t> Netlink::GetVxlanPort(IfIndex index) {
  const std::string what = absl::StrCat("get VXLAN device ", static_cast<uint32_t>(index));
  ifinfomsg header = {};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = static_cast<int>(index);
  NetlinkRequest request(RTM_GETLINK, 0, header);
  absl::StatusOr<uint16_t> port =
      absl::InvalidArgumentError(absl::StrCat(what, ": it is no such device"));
  RETURN_IF_ERROR(Exchange(request, what, [&](const nlmsghdr* reply) {
    if (reply->nlmsg_type != RTM_NEWLINK) return absl::OkStatus();
    const nlattr* info = Attributes(reply, sizeof(ifinfomsg)).Find(IFLA_LINKINFO);
    if (info == nullptr || Attributes(info).Text(IFLA_INFO_KIND) != "vxlan") {
      return absl::OkStatus();
    }
    const nlattr* data = Attributes(info).Find(IFLA_INFO_DATA);
    const nlattr* wire = data != nullptr ? Attributes(data).Find(IFLA_VXLAN_PORT) : nullptr;
    if (wire != nullptr && nla_len(wire) >= 2) port = ntohs(nla_get_u16(wire));
    return absl::OkStatus();
  }));
  return port;
}

absl::StatusOr<uint64_t> Netlink::GetTxDropped(IfIndex index) {
  const std::string what = absl::StrCat("get statistics of link ", static_cast<uint32_t>(index));
  if_stats_msg header = {};
  header.family = AF_UNSPEC;
  header.ifindex = static_cast<uint32_t>(index);
  header.filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
  NetlinkRequest request(RTM_GETSTATS, 0, header);
  absl::StatusOr<uint64_t> dropped = absl::InternalError(absl::StrCat(what, ": no answer"));
  RETURN_IF_ERROR(Exchange(request, what, [&](const nlmsghdr* reply) {
    if (reply->nlmsg_type != RTM_NEWSTATS) return absl::OkStatus();
    const nlattr* stats = Attributes(reply, sizeof(if_stats_msg)).Find(IFLA_STATS_LINK_64);
    constexpr size_t kAt = offsetof(rtnl_link_stats64, tx_dropped);
    uint64_t value;
    if (stats == nullptr || static_cast<size_t>(nla_len(stats)) < kAt + sizeof(value)) {
      return absl::OkStatus();
    }
    std::memcpy(&value, static_cast<const uint8_t*>(nla_data(stats)) + kAt, sizeof(value));
    dropped = value;
    return absl::OkStatus();
  }));
  return dropped;
}

// Asked for one by one: the kernel's list is that of all links, which with hundreds of them takes
// longer than all else that a port needs.
absl::StatusOr<std::vector<QdiscInfo>> Netlink::ListQdiscs(IfIndex index) {
  std::vector<QdiscInfo> qdiscs;
  for (const uint32_t parent : {TC_H_ROOT, TC_H_INGRESS}) {
    tcmsg header = {};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = static_cast<int>(index);
    header.tcm_parent = parent;
    // Only who wants an echo is answered: tc_get_qdisc() in net/sched/sch_api.c.
    NetlinkRequest request(RTM_GETQDISC, NLM_F_ECHO, header);
    int error = 0;
    const absl::Status asked = Exchange(
        request, absl::StrCat("get queueing discipline of link ", static_cast<uint32_t>(index)),
        [&](const nlmsghdr* reply) {
          if (reply->nlmsg_type != RTM_NEWQDISC || !nlmsg_valid_hdr(reply, sizeof(tcmsg))) {
            return absl::OkStatus();
          }
          const auto* qdisc = static_cast<const tcmsg*>(nlmsg_data(reply));
          qdiscs.push_back({.kind = Attributes(reply, sizeof(tcmsg)).Text(TCA_KIND),
                            .parent = qdisc->tcm_parent});
          return absl::OkStatus();
        },
        &error);
    // None there, or one that it makes by itself and does not tell of.
    if (error == ENOENT || error == EINVAL) continue;
    RETURN_IF_ERROR(asked);
  }
  return qdiscs;
}

}  // namespace vxvde
