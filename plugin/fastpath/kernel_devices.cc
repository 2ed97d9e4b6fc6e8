// The devices of the clouds (kernel.h says which), and how a cloud comes and goes in the maps.

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "plugin/base/status.h"
#include "plugin/fastpath/fastpath_programs.skel.h"
#include "plugin/fastpath/inherited.h"
#include "plugin/fastpath/kernel.h"
#include "plugin/fastpath/maps.h"
#include "plugin/fastpath/tc.h"
#include "plugin/os/port.h"
#include "plugin/wire/header.h"

namespace vxvde {
namespace {

constexpr absl::string_view kTunnelPrefix = "vxf";
constexpr absl::string_view kFramesPrefix = "vxt";
constexpr absl::string_view kDatagramsPrefix = "vxd";
constexpr char kTunnelAlias[] = "vxvde: fast port";
constexpr char kTapAlias[] = "vxvde: punted";
constexpr uint32_t kTapQueue = 2048;  // room for the punts of several ports (FP_PUNT_ROOM)
constexpr int kTapMtu = 65521;        // the largest that tun.c allows for a tap

// A fast port is this much above the cloud's unicast port, or a multiple of it, or below.
constexpr int kFastPortStep = 1024;

// Of an agent that was killed between making a device and giving it its alias: nobody else calls
// his so, and it is down.
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

absl::Status RemoveLeftDevices(Netlink& netlink, const std::set<IfIndex>& ours) {
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.ListLinks());
  for (const LinkInfo& link : links) {
    if ((IsTunnel(link) || IsPuntTap(link)) && !ours.contains(link.index)) {
      (void)netlink.DeleteLink(link.index);
    }
  }
  return absl::OkStatus();
}

absl::Status KernelFastCloud::Open() {
  if (!attached_) RETURN_IF_ERROR(node_->Attach(options_.uplink));
  attached_ = true;
  RETURN_IF_ERROR(OpenTunnel());
  RETURN_IF_ERROR(OpenTaps());
  return absl::OkStatus();
}

// The fast port, and the device that has it.
absl::Status KernelFastCloud::OpenTunnel() {
  Netlink& netlink = node_->netlink_;
  const std::string name = absl::StrCat(kTunnelPrefix, options_.unicast_port);
  absl::StatusOr<LinkInfo> there = netlink.GetLink(name);
  if (!there.ok() && !absl::IsNotFound(there.status())) return there.status();
  if (there.ok() && IsHalfMade(*there, kTunnelPrefix)) {
    RETURN_IF_ERROR(netlink.DeleteLink(there->index));
    there = absl::NotFoundError(name);
  }
  if (there.ok() && !IsTunnel(*there)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "interface ", name, " is not ours; rename it, or move `unicastPorts:` away from its name"));
  }
  if (there.ok()) {
    ASSIGN_OR_RETURN(fast_port_, netlink.GetVxlanPort(there->index));
    RETURN_IF_ERROR(Annotate(
        netlink.ChangeLink(
            there->index,
            {.up = true, .mtu = {}, .mac = {}, .alias = {}, .gso_max_size = {}, .no_ipv6 = true}),
        "fast port"));
    tunnel_ = there->index;
  }
  // Before the step, which may be done although its answer was lost.
  const absl::Cleanup undo = [&] {
    if (tunnel_ != IfIndex::kNone) return;
    const absl::StatusOr<LinkInfo> link = netlink.GetLink(name);
    if (link.ok()) (void)netlink.DeleteLink(link->index);
  };
  absl::Status status = absl::FailedPreconditionError("no UDP port is left for it");
  std::vector<int> candidates;
  for (const int step : {1, 2, 3, 4, -1, -2, -3, -4}) {
    candidates.push_back(options_.unicast_port + step * kFastPortStep);
  }
  for (const int port : candidates) {
    if (tunnel_ != IfIndex::kNone) break;
    if (port < 1024 || port > 65535) continue;
    status = netlink.CreateVxlan(name, static_cast<uint16_t>(port));
    if (absl::IsUnimplemented(status)) {
      // Works without, a little slower.
      reserved_ = UniqueFd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_in6 any = {};
      any.sin6_family = AF_INET6;
      any.sin6_port = htons(static_cast<uint16_t>(port));
      if (!reserved_ ||
          bind(reserved_.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)) != 0) {
        status = ErrnoStatus(errno, absl::StrCat("bind UDP port ", port));
        continue;
      }
      fast_port_ = static_cast<uint16_t>(port);
      return absl::OkStatus();
    }
    if (absl::IsAlreadyExists(status)) continue;  // another device of this kind has the port
    RETURN_IF_ERROR(status);
    ASSIGN_OR_RETURN(const LinkInfo made, netlink.GetLink(name));
    // The port is taken now, and here it shows whether it was free.
    status = netlink.ChangeLink(made.index, {.up = true,
                                             .mtu = {},
                                             .mac = {},
                                             .alias = kTunnelAlias,
                                             .gso_max_size = {},
                                             .no_ipv6 = true});
    if (status.ok()) {
      tunnel_ = made.index;
      fast_port_ = static_cast<uint16_t>(port);
    } else {
      (void)netlink.DeleteLink(made.index);
    }
  }
  if (tunnel_ == IfIndex::kNone) return Annotate(status, "fast port");
  return node_->Keep(tunnel_, Where::kOwnDevice, node_->from_tunnel());
}

// It is persistent, so that its index, which is in the maps, is the next agent's as well.
absl::StatusOr<UniqueFd> KernelFastCloud::OpenPuntTap(const std::string& name, KeptFd& kept) {
  UniqueFd tap;
  if (node_->store_ != nullptr) tap = node_->store_->Take(name);
  queue_kept_ = tap && TapNameOf(tap) == name;
  if (!queue_kept_) {
    absl::StatusOr<UniqueFd> opened = OpenTap(name, /*persistent=*/true);
    if (absl::IsAlreadyExists(opened.status())) {
      // Whoever still has ours open is no agent.
      const absl::StatusOr<LinkInfo> there = node_->netlink_.GetLink(name);
      if (there.ok() && IsPuntTap(*there)) {
        RETURN_IF_ERROR(node_->netlink_.DeleteLink(there->index));
        opened = OpenTap(name, /*persistent=*/true);
      }
    }
    RETURN_IF_ERROR(opened.status());
    tap = *std::move(opened);
  }
  if (node_->store_ != nullptr) kept = KeptFd(node_->store_, name, tap.get());
  return tap;
}

absl::Status KernelFastCloud::OpenTaps() {
  Netlink& netlink = node_->netlink_;
  const auto open = [&](absl::string_view prefix, UniqueFd& tap,
                        KeptFd& kept) -> absl::StatusOr<IfIndex> {
    const std::string name = absl::StrCat(prefix, options_.unicast_port);
    if (!tap) {
      ASSIGN_OR_RETURN(tap, OpenPuntTap(name, kept));
    }
    ASSIGN_OR_RETURN(const LinkInfo link, netlink.GetLink(name));
    RETURN_IF_ERROR(netlink.ChangeLink(link.index, {.up = true,
                                                    .mtu = kTapMtu,
                                                    .mac = {},
                                                    .alias = kTapAlias,
                                                    .gso_max_size = {},
                                                    .tx_queue_len = kTapQueue,
                                                    .no_ipv6 = true}));
    return link.index;
  };
  ASSIGN_OR_RETURN(frames_tap_, open(kFramesPrefix, frames_fd_, kept_frames_));
  const bool frames_queue_kept = queue_kept_;
  ASSIGN_OR_RETURN(datagrams_tap_, open(kDatagramsPrefix, datagrams_fd_, kept_datagrams_));
  // So that the kernel segments and finishes checksums.
  if (ioctl(datagrams_fd_.get(), TUNSETOFFLOAD, 0) != 0) {
    return ErrnoStatus(errno, "turn a tap's offloads off");
  }

  if (inherited_.value.frames_tap == 0)
    Clear<struct fp_slow>(node_->programs_->maps.fp_slow, slot_);
  const VxvdeHeader header = EncodeHeader(options_.vni);
  fp_cloud cloud = {};
  std::memcpy(cloud.header, header.data(), header.size());
  cloud.frames_tap = static_cast<uint32_t>(frames_tap_);
  cloud.datagrams_tap = static_cast<uint32_t>(datagrams_tap_);
  cloud.unicast_port = htons(options_.unicast_port);
  cloud.v6 = v6() ? 1 : 0;
  cloud.ttl = static_cast<uint8_t>(options_.ttl);
  if (bpf_map_update_elem(bpf_map__fd(node_->programs_->maps.fp_clouds), &slot_, &cloud, BPF_ANY) !=
      0) {
    return ErrnoStatus(errno, "write the cloud's map");
  }
  // Each frame says its port by itself.
  const uint32_t index = static_cast<uint32_t>(frames_tap_);
  const fp_port tap = {.cloud = slot_, .port = 0};
  if (bpf_map_update_elem(bpf_map__fd(node_->programs_->maps.fp_ports), &index, &tap, BPF_ANY) !=
      0) {
    return ErrnoStatus(errno, "write the ports' map");
  }
  RETURN_IF_ERROR(node_->Keep(frames_tap_, Where::kOwnDevice, node_->from_cloud()));
  frames_ = std::make_unique<FramesTap>(
      std::move(frames_fd_),
      [this](uint16_t slot) {
        const auto found = port_at_.find(slot);
        return found != port_at_.end() ? found->second : PortId::kNone;
      },
      [punts = node_->punts_.get()](uint16_t slot, bool group) { punts->Read(slot, group); });
  queue_kept_ = frames_queue_kept;
  datagrams_ = std::make_unique<DatagramsTap>(std::move(datagrams_fd_), fast_port_);
  node_->joined_.emplace(slot_, this);
  node_->WriteLocals();
  return absl::OkStatus();
}

KernelFastCloud::~KernelFastCloud() {
  if (node_->stays_) {
    node_->joined_.erase(slot_);
    return;
  }
  while (!ports_.empty()) RemovePort(ports_.begin()->first);
  while (!peers_.empty()) ForgetPeer(Peer(peers_.begin()->first));
  node_->Forget(slot_, inherited_);
  node_->joined_.erase(slot_);
  node_->WriteLocals();
  const fp_cloud none = {};
  (void)bpf_map_update_elem(bpf_map__fd(node_->programs_->maps.fp_clouds), &slot_, &none, BPF_ANY);
  // Stations are the cloud's to take away, but it need not, at its end.
  const int stations = bpf_map__fd(node_->programs_->maps.fp_stations);
  fp_station_key key;
  std::vector<fp_station_key> ours;
  for (int error = bpf_map_get_next_key(stations, nullptr, &key); error == 0;
       error = bpf_map_get_next_key(stations, &key, &key)) {
    if (key.cloud == slot_) ours.push_back(key);
  }
  for (const fp_station_key& station : ours) (void)bpf_map_delete_elem(stations, &station);
  if (attached_) node_->Detach(options_.uplink);
  const uint32_t index = static_cast<uint32_t>(frames_tap_);
  (void)bpf_map_delete_elem(bpf_map__fd(node_->programs_->maps.fp_ports), &index);
  std::vector<UniqueFd> taps;
  for (UniqueFd* const fd : {&frames_fd_, &datagrams_fd_}) {
    if (!*fd) continue;
    (void)ioctl(fd->get(), TUNSETPERSIST, 0);  // its index may not be known
    taps.push_back(std::move(*fd));
  }
  if (frames_ != nullptr) taps.push_back(std::move(*frames_).Release());
  if (datagrams_ != nullptr) taps.push_back(std::move(*datagrams_).Release());
  for (const IfIndex device : {tunnel_, frames_tap_}) node_->keeper_->Release(device);
  node_->CloseLater(std::move(taps), {tunnel_, frames_tap_, datagrams_tap_});
  node_->clouds_.GiveBack(slot_);
}

}  // namespace vxvde
