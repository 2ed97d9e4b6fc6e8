#include "agent/kernel/links.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "agent/kernel/close_port.h"
#include "agent/kernel/kept_io.h"
#include "plugin/base/status.h"
#include "plugin/os/background_closer.h"
#include "plugin/os/netns.h"
#include "plugin/os/netns_number.h"
#include "plugin/os/port.h"

namespace vxvde {
namespace {

std::string TapName(absl::string_view id) { return absl::StrCat("tap-", id); }

absl::StatusOr<UniqueFd> ReopenTap(FdStore* store, const std::string& netns,
                                   const std::string& ifname, const std::string& alias,
                                   bool watched) {
  absl::StatusOr<UniqueFd> there = OpenNetNs(netns);
  // A kept tap can be used without entering its namespace. A user's agent may not enter it, because
  // podman mounts it where only its containers see it.
  UniqueFd tap = store->Take(TapName(IdOfAlias(alias)));
  if (tap && TapNameOf(tap) == ifname && (watched || !absl::IsNotFound(there.status()))) {
    return tap;
  }
  if (absl::IsInvalidArgument(there.status())) {
    // The path is no longer a namespace: an unmounted file under /run/netns.
    return absl::NotFoundError(there.status().message());
  }
  RETURN_IF_ERROR(there.status());
  const absl::Status opened = RunInNetNs(*there, [&]() -> absl::Status {
    // Checked first, because OpenTap would create a missing tap.
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
    ASSIGN_OR_RETURN(const LinkInfo link, netlink.GetLink(ifname));
    if (link.kind != "tun" || (!link.alias.empty() && IdOfAlias(link.alias) != IdOfAlias(alias))) {
      return absl::NotFoundError(absl::StrCat("interface ", ifname, " in ", netns, " is \"",
                                              link.kind, "\" with alias \"", link.alias,
                                              "\", not the tap of this attachment"));
    }
    ASSIGN_OR_RETURN(tap, OpenTap(ifname, /*persistent=*/true));
    return absl::OkStatus();
  });
  if (absl::IsPermissionDenied(opened)) {
    return Annotate(opened, absl::StrCat("tap ", ifname, ": restart the agent, which may enter ",
                                         netns, " only at its start, with CAP_SYS_ADMIN"));
  }
  RETURN_IF_ERROR(opened);
  return tap;
}

TapNetNs NetNsOf(Netlink& netlink, const UniqueFd& tap, const std::string& path) {
  const absl::StatusOr<UniqueFd> netns = NetNsOfTap(tap);
  if (!netns.ok()) return {};
  const absl::StatusOr<int> number = NumberNetNs(netlink, *netns);
  if (!number.ok()) return {};
  TapNetNs found{.number = *number, .id = ""};
  const absl::StatusOr<UniqueFd> named = OpenNetNs(path);
  const absl::StatusOr<std::string> id = IdOfNetNs(*netns);
  if (named.ok() && id.ok() && SameNetNs(*netns, *named).value_or(false)) found.id = *id;
  return found;
}

absl::StatusOr<std::unique_ptr<FrameIo>> PacketPort(FdStore* store, IfIndex index) {
  const std::string name = absl::StrCat("port-", static_cast<uint32_t>(index));
  if (UniqueFd kept = store->Take(name)) {
    absl::StatusOr<std::unique_ptr<FrameIo>> port = AdoptKept(
        std::move(kept), [&](UniqueFd one) { return AdoptPacketPort(std::move(one), index); });
    if (port.ok()) return KeepPort(store, name, *std::move(port));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<FrameIo> port, OpenPacketPort(index));
  return KeepPort(store, name, std::move(port));
}

absl::StatusOr<std::unique_ptr<FrameIo>> TapPort(FdStore* store, const std::string& id,
                                                 UniqueFd tap) {
  ASSIGN_OR_RETURN(std::unique_ptr<FrameIo> port, OpenTapPort(std::move(tap)));
  return KeepPort(store, TapName(id), std::move(port));
}

}  // namespace

absl::StatusOr<Links> KernelLinks(FdStore* store) {
  ASSIGN_OR_RETURN(Netlink opened, Netlink::Open());
  const auto netlink = std::make_shared<Netlink>(std::move(opened));
  ASSIGN_OR_RETURN(std::unique_ptr<BackgroundCloser> started, BackgroundCloser::Start());
  const std::shared_ptr<BackgroundCloser> closer = std::move(started);
  return Links{
      .by_name = [netlink](const std::string& name) { return netlink->GetLink(name); },
      .by_index = [netlink](IfIndex index) { return netlink->GetLink(index); },
      .route = [netlink](const IpAddress& to) { return netlink->LookUpRoute(to); },
      .packet_port = [store](IfIndex index) { return PacketPort(store, index); },
      .tap_port = [store](const std::string& id,
                          UniqueFd tap) { return TapPort(store, id, std::move(tap)); },
      .reopen_tap =
          [store](const std::string& netns, const std::string& ifname, const std::string& alias,
                  bool watched) { return ReopenTap(store, netns, ifname, alias, watched); },
      .netns_of_tap = [netlink](const UniqueFd& tap,
                                const std::string& path) { return NetNsOf(*netlink, tap, path); },
      .close_later =
          [closer](ClosingPort port) {
            closer->CloseLater([port = std::move(port)]() mutable { ClosePort(std::move(port)); });
          },
  };
}

}  // namespace vxvde
