#include "plugin/fastpath/cloud_devices.h"

#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "plugin/base/status.h"
#include "plugin/os/port.h"
#include "plugin/os/vxlan.h"

namespace vxvde {
namespace {

constexpr absl::string_view kTunnelPrefix = "vxf";
constexpr absl::string_view kFramesPrefix = "vxt";
constexpr absl::string_view kDatagramsPrefix = "vxd";
constexpr char kTunnelAlias[] = "vxvde: fast port";
constexpr char kTapAlias[] = "vxvde: punted";
constexpr uint32_t kTapQueue = 2048;  // room for the punts of several ports (FP_PUNT_ROOM)
constexpr int kTapMtu = 65521;        // the largest that tun.c allows for a tap

// A fast port is the cloud's unicast port plus or minus this step, or a multiple of it.
constexpr int kFastPortStep = 1024;

// Returns whether an agent was killed between creating the device and setting its alias: such a
// device has this name, and is down.
bool IsHalfMade(const LinkInfo& link, absl::string_view prefix) {
  uint32_t number = 0;
  absl::string_view name = link.name;
  return link.alias.empty() && !link.up && absl::ConsumePrefix(&name, prefix) &&
         absl::SimpleAtoi(name, &number) && number <= 65535;
}

bool IsTunnel(const LinkInfo& link) {
  return link.kind == "vxlan" && (link.alias == kTunnelAlias || IsHalfMade(link, kTunnelPrefix));
}
bool IsPuntTap(const LinkInfo& link) {
  return link.kind == "tun" && (link.alias == kTapAlias || IsHalfMade(link, kFramesPrefix) ||
                                IsHalfMade(link, kDatagramsPrefix));
}

}  // namespace

absl::Status RemoveCloudDevices(Netlink& netlink, const std::set<IfIndex>& kept) {
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.ListLinks());
  for (const LinkInfo& link : links) {
    if ((IsTunnel(link) || IsPuntTap(link)) && !kept.contains(link.index)) {
      (void)netlink.DeleteLink(link.index);
    }
  }
  return absl::OkStatus();
}

absl::Status CloudDevices::OpenTunnel() {
  const std::string name = absl::StrCat(kTunnelPrefix, unicast_port_);
  absl::StatusOr<LinkInfo> found = netlink_->GetLink(name);
  if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
  if (found.ok() && IsHalfMade(*found, kTunnelPrefix)) {
    RETURN_IF_ERROR(netlink_->DeleteLink(found->index));
    found = absl::NotFoundError(name);
  }
  if (found.ok() && !IsTunnel(*found)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "interface ", name, " is not ours; rename it, or move `unicastPorts:` away from its name"));
  }
  if (found.ok()) {
    ASSIGN_OR_RETURN(fast_port_, GetVxlanPort(*netlink_, found->index));
    RETURN_IF_ERROR(Annotate(
        netlink_->ChangeLink(
            found->index,
            {.up = true, .mtu = {}, .mac = {}, .alias = {}, .gso_max_size = {}, .no_ipv6 = true}),
        "fast port"));
    tunnel_ = found->index;
    return absl::OkStatus();
  }
  // Also undoes a failed step: the kernel may have done it, and only its answer was lost.
  const absl::Cleanup undo = [&] {
    if (tunnel_ != IfIndex::kNone) return;
    const absl::StatusOr<LinkInfo> link = netlink_->GetLink(name);
    if (link.ok()) (void)netlink_->DeleteLink(link->index);
  };
  reserved_ = UniqueFd();
  absl::Status status = absl::FailedPreconditionError("no UDP port is left for it");
  for (const int step : {1, 2, 3, 4, -1, -2, -3, -4}) {
    const int port = unicast_port_ + step * kFastPortStep;
    if (port < 1024 || port > 65535) continue;
    status = TryPort(name, static_cast<uint16_t>(port));
    if (status.ok()) return status;
    if (!absl::IsAlreadyExists(status)) break;
  }
  return Annotate(status, "fast port");
}

// AlreadyExists: the port is taken.
absl::Status CloudDevices::TryPort(const std::string& name, uint16_t port) {
  const absl::Status created = CreateVxlan(*netlink_, name, port);
  // The datapath works without VXLAN, a little slower.
  if (absl::IsUnimplemented(created)) return ReservePort(port);
  RETURN_IF_ERROR(created);
  ASSIGN_OR_RETURN(const LinkInfo made, netlink_->GetLink(name));
  // The device binds its port now, and fails if a socket has it.
  const absl::Status up = netlink_->ChangeLink(made.index, {.up = true,
                                                            .mtu = {},
                                                            .mac = {},
                                                            .alias = kTunnelAlias,
                                                            .gso_max_size = {},
                                                            .no_ipv6 = true});
  if (!up.ok()) {
    (void)netlink_->DeleteLink(made.index);
    return absl::AlreadyExistsError(up.message());
  }
  tunnel_ = made.index;
  fast_port_ = port;
  return absl::OkStatus();
}

absl::Status CloudDevices::ReservePort(uint16_t port) {
  UniqueFd socket_fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 any = {};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(port);
  if (!socket_fd || bind(socket_fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)) != 0) {
    const absl::Status status = ErrnoStatus(errno, absl::StrCat("bind UDP port ", port));
    return absl::AlreadyExistsError(status.message());
  }
  reserved_ = std::move(socket_fd);
  fast_port_ = port;
  return absl::OkStatus();
}

absl::Status CloudDevices::OpenTaps() {
  RETURN_IF_ERROR(OpenTap(absl::StrCat(kFramesPrefix, unicast_port_), frames_));
  RETURN_IF_ERROR(OpenTap(absl::StrCat(kDatagramsPrefix, unicast_port_), datagrams_));
  // Without offloads the kernel segments and finishes checksums.
  if (ioctl(datagrams_.fd.get(), TUNSETOFFLOAD, 0) != 0) {
    return ErrnoStatus(errno, "turn a tap's offloads off");
  }
  return absl::OkStatus();
}

absl::Status CloudDevices::OpenTap(const std::string& name, Tap& tap) {
  if (!tap.fd) {
    UniqueFd fd;
    if (store_ != nullptr) fd = store_->Take(name);
    tap.queue_kept = fd && TapNameOf(fd) == name;
    if (!tap.queue_kept) {
      ASSIGN_OR_RETURN(fd, OpenFreshTap(name));
    }
    tap.fd = std::move(fd);
    if (store_ != nullptr) tap.kept = KeptFd(store_, name, tap.fd.get());
  }
  ASSIGN_OR_RETURN(const LinkInfo link, netlink_->GetLink(name));
  RETURN_IF_ERROR(netlink_->ChangeLink(link.index, {.up = true,
                                                    .mtu = kTapMtu,
                                                    .mac = {},
                                                    .alias = kTapAlias,
                                                    .gso_max_size = {},
                                                    .tx_queue_len = kTapQueue,
                                                    .no_ipv6 = true}));
  tap.index = link.index;
  return absl::OkStatus();
}

// Persistent, because the maps name its index.
absl::StatusOr<UniqueFd> CloudDevices::OpenFreshTap(const std::string& name) {
  absl::StatusOr<UniqueFd> opened = vxvde::OpenTap(name, /*persistent=*/true);
  if (!absl::IsAlreadyExists(opened.status())) return opened;
  // A process other than an agent has it open.
  const absl::StatusOr<LinkInfo> found = netlink_->GetLink(name);
  if (!found.ok() || !IsPuntTap(*found)) return opened;
  RETURN_IF_ERROR(netlink_->DeleteLink(found->index));
  return vxvde::OpenTap(name, /*persistent=*/true);
}

std::vector<UniqueFd> CloudDevices::Abandon() {
  std::vector<UniqueFd> fds;
  for (Tap* const tap : {&frames_, &datagrams_}) {
    if (!tap->fd) continue;
    (void)ioctl(tap->fd.get(), TUNSETPERSIST, 0);  // its index may not be known
    fds.push_back(std::move(tap->fd));
  }
  return fds;
}

}  // namespace vxvde
