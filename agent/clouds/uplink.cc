#include "agent/clouds/uplink.h"

#include "absl/strings/str_cat.h"
#include "agent/base/refusal.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

absl::StatusOr<LinkInfo> FindLink(const CloudConfig& cloud, const std::string& configured,
                                  const Links& links) {
  const std::string name = cloud.interface.empty() ? configured : cloud.interface;
  if (!name.empty()) {
    absl::StatusOr<LinkInfo> link = links.by_name(name);
    if (absl::IsNotFound(link.status())) {
      return Refuse(AttachError::kCannotJoin,
                    absl::StrCat("cloud ", cloud.key.ToString(), ": there is no interface \"", name,
                                 "\" on this node"),
                    cloud.interface.empty() ? "correct `uplink:` in the agent's configuration"
                                            : "correct /if= in the cloud's locator");
    }
    return link;
  }
  const absl::StatusOr<RouteAnswer> route = links.route(cloud.key.group);
  if (!route.ok() || route->interface == IfIndex::kNone) {
    return Refuse(
        AttachError::kCannotJoin,
        absl::StrCat("cloud ", cloud.key.ToString(), ": no route to the group ",
                     cloud.key.group.ToString(),
                     route.ok() ? "" : absl::StrCat(" (", route.status().message(), ")")),
        absl::StrCat("set `uplink:` in the agent's configuration, or /if= in the cloud's locator, "
                     "or add a route: ip route add ",
                     cloud.key.group.is_v4() ? "224.0.0.0/4" : "ff00::/8 table local",
                     " dev INTERFACE"));
  }
  return links.by_index(route->interface);
}

}  // namespace

absl::StatusOr<Uplink> ChooseUplink(const CloudConfig& cloud, const std::string& configured,
                                    const Links& links) {
  ASSIGN_OR_RETURN(const LinkInfo link, FindLink(cloud, configured, links));
  return Uplink{.index = link.index, .name = link.name, .mtu = link.mtu};
}

}  // namespace vxvde
