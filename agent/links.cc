#include "agent/links.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "agent/reaper.h"
#include "plugin/base/status.h"
#include "plugin/os/netns.h"
#include "plugin/os/port.h"

namespace vxvde {
namespace {

absl::StatusOr<UniqueFd> ReopenTap(const std::string& netns, const std::string& ifname,
                                   const std::string& alias) {
  absl::StatusOr<UniqueFd> there = OpenNetNs(netns);
  if (absl::IsInvalidArgument(there.status())) {
    // A path that is no namespace (any more): an unmounted file under /run/netns.
    return absl::NotFoundError(there.status().message());
  }
  RETURN_IF_ERROR(there.status());
  UniqueFd tap;
  RETURN_IF_ERROR(RunInNetNs(*there, [&]() -> absl::Status {
    // Asked first, because OpenTap would make a tap that is missing.
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
    ASSIGN_OR_RETURN(const LinkInfo link, netlink.GetLink(ifname));
    if (link.kind != "tun" || (!link.alias.empty() && IdOfAlias(link.alias) != IdOfAlias(alias))) {
      return absl::NotFoundError(absl::StrCat("interface ", ifname, " in ", netns, " is \"",
                                              link.kind, "\" with alias \"", link.alias,
                                              "\", not our tap"));
    }
    ASSIGN_OR_RETURN(tap, OpenTap(ifname, /*persistent=*/true));
    return absl::OkStatus();
  }));
  return tap;
}

}  // namespace

absl::StatusOr<Links> KernelLinks() {
  ASSIGN_OR_RETURN(Netlink opened, Netlink::Open());
  const auto netlink = std::make_shared<Netlink>(std::move(opened));
  ASSIGN_OR_RETURN(std::unique_ptr<Reaper> started, Reaper::Start());
  const std::shared_ptr<Reaper> reaper = std::move(started);
  return Links{
      .by_name = [netlink](const std::string& name) { return netlink->GetLink(name); },
      .by_index = [netlink](IfIndex index) { return netlink->GetLink(index); },
      .route = [netlink](const IpAddress& to) { return netlink->LookUpRoute(to); },
      .packet_port = OpenPacketPort,
      .tap_port = OpenTapPort,
      .reopen_tap = ReopenTap,
      .bury = [reaper](DeadPort port) { reaper->Bury(std::move(port)); },
  };
}

}  // namespace vxvde
