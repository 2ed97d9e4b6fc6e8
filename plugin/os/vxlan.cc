// Sources: linux/if_link.h, vxlan_nl2conf() in drivers/net/vxlan/vxlan_core.c.

#include "plugin/os/vxlan.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/netlink_message.h"

namespace vxvde {

absl::Status CreateVxlan(Netlink& netlink, const std::string& name, uint16_t port) {
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
  const absl::Status status = netlink.Do(request, what, &error);
  if (error == EOPNOTSUPP) return absl::UnimplementedError(status.message());
  return status;
}

absl::StatusOr<uint16_t> GetVxlanPort(Netlink& netlink, IfIndex index) {
  const std::string what = absl::StrCat("get VXLAN device ", static_cast<uint32_t>(index));
  ifinfomsg header = {};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = static_cast<int>(index);
  NetlinkRequest request(RTM_GETLINK, 0, header);
  absl::StatusOr<uint16_t> port =
      absl::InvalidArgumentError(absl::StrCat(what, ": it is not a VXLAN device"));
  RETURN_IF_ERROR(netlink.Exchange(request, what, [&](const nlmsghdr* reply) {
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

}  // namespace vxvde
