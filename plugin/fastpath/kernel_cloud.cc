#include "plugin/fastpath/kernel_cloud.h"

#include <bpf/libbpf.h>
#include <linux/pkt_sched.h>
#include <net/if_arp.h>
#include <netinet/in.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/retry.h"
#include "plugin/base/status.h"
#include "plugin/fastpath/fastpath_programs.skel.h"
#include "plugin/fastpath/maps.h"
#include "plugin/fastpath/tc.h"
#include "plugin/os/traffic_control.h"
#include "plugin/wire/header.h"

namespace vxvde {
namespace {

uint32_t Seconds(Instant instant) {
  return static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(instant.time_since_epoch()).count());
}

// As TokenBucket of plugin/cloud/token_bucket.h.
constexpr Duration kFloodDepth = std::chrono::milliseconds(500);
constexpr int kMinFloodBurst = 64;

uint32_t RulesOf(const Seen& seen) {
  return seen.pod_native_xdp || seen.filters_egress ? FP_RULE_EGRESS : 0;
}

constexpr bool Is(Slow reason, fp_slow_reason number) {
  return static_cast<int>(reason) == static_cast<int>(number);
}
static_assert(Is(Slow::kGroup, FP_SLOW_GROUP) && Is(Slow::kUnknown, FP_SLOW_UNKNOWN) &&
              Is(Slow::kMoved, FP_SLOW_MOVED) && Is(Slow::kKind, FP_SLOW_KIND) &&
              Is(Slow::kTooBig, FP_SLOW_TOO_BIG) && Is(Slow::kSlowPort, FP_SLOW_SLOW_PORT) &&
              Is(Slow::kSamePort, FP_SLOW_SAME_PORT) && Is(Slow::kOdd, FP_SLOW_ODD) &&
              Is(Slow::kGuarded, FP_SLOW_GUARDED) && kSlowReasons == FP_SLOW_REASONS);

// The host end of a port, or of a future one.
struct HostEnd {
  LinkInfo link;
  fp_where where;
};

absl::StatusOr<HostEnd> Examine(Netlink& netlink, IfIndex index) {
  HostEnd end;
  ASSIGN_OR_RETURN(end.link, netlink.GetLink(index));
  if (end.link.kind != "veth") {
    return absl::FailedPreconditionError(absl::StrCat(
        "interface ", end.link.name, " is a ", end.link.kind, ", not one end of a veth pair"));
  }
  ASSIGN_OR_RETURN(const std::vector<QdiscInfo> qdiscs, ListQdiscs(netlink, index));
  end.where = end.link.peer_elsewhere ? FP_AT_PORT : FP_AT_EGRESS;
  for (const QdiscInfo& qdisc : qdiscs) {
    if (qdisc.kind == "ingress") {
      return absl::FailedPreconditionError(
          absl::StrCat("interface ", end.link.name,
                       " has an ingress qdisc of another program, a bandwidth plugin perhaps"));
    }
    // The host end shapes what goes to the pod.
    if (qdisc.parent == TC_H_ROOT && qdisc.kind != "noqueue") end.where = FP_AT_EGRESS;
  }
  return end;
}

// bpf_redirect_peer() bypasses a native XDP program of the pod, and the egress filters of the host
// end; bpf_redirect() bypasses a generic XDP program (skb_is_redirected() in net/core/dev.c).
std::string ObstacleAt(const Seen& seen, fp_where where) {
  if (!seen.obstacle.empty()) return seen.obstacle;
  if (!seen.pod_generic_xdp) return "";
  if (where != FP_AT_EGRESS && RulesOf(seen) == 0) return "";
  return "the pod's generic XDP program would not see what passes the host end's queue or filters";
}

// The values that the programs need to send to `peer`, from the routes.
absl::StatusOr<fp_peer> FindWay(Netlink& netlink, const FastCloudOptions& options,
                                const Peer& peer) {
  if (peer.address.is_v6() != options.group.is_v6()) {
    return absl::InvalidArgumentError("of the other IP family");
  }
  if (peer.address.IsLinkLocal()) {
    return absl::FailedPreconditionError("a link-local address has no route");
  }
  ASSIGN_OR_RETURN(const RouteAnswer route, netlink.LookUpRoute(peer.address));
  ASSIGN_OR_RETURN(const LinkInfo link, netlink.GetLink(route.interface));
  if (link.type != ARPHRD_ETHER) {
    return absl::FailedPreconditionError(
        absl::StrCat("the way goes through ", link.name, ", which is not an Ethernet interface"));
  }
  const std::optional<IpAddress> source = options.bind.has_value() ? options.bind : route.source;
  if (!source.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("no source address on ", link.name));
  }
  fp_peer value = {};
  std::memcpy(value.addr, Mapped(peer.address).data(), FP_ADDR_SIZE);
  std::memcpy(value.source, Mapped(*source).data(), FP_ADDR_SIZE);
  value.uplink = static_cast<uint32_t>(link.index);
  value.mtu = static_cast<uint32_t>(link.mtu);
  value.port = htons(peer.port);
  return value;
}

}  // namespace

KernelFastCloud::KernelFastCloud(KernelFastPath* node, FastCloudOptions options, uint32_t slot,
                                 InheritedCloud inherited)
    : node_(node),
      options_(std::move(options)),
      slot_(slot),
      devices_(options_.unicast_port, &node->netlink_, node->store_),
      stations_(node->programs_->maps.fp_stations, slot),
      inherited_(std::move(inherited)) {
  for (const auto& [at, value] : inherited_.peers) peers_[PeerOf(value)] = at;
}

absl::Status KernelFastCloud::Open() {
  if (!attached_) RETURN_IF_ERROR(node_->Attach(options_.uplink));
  attached_ = true;
  RETURN_IF_ERROR(devices_.OpenTunnel());
  if (devices_.tunnel() != IfIndex::kNone) {
    RETURN_IF_ERROR(node_->Keep(devices_.tunnel(), Where::kOwnDevice, node_->from_tunnel()));
  }
  RETURN_IF_ERROR(devices_.OpenTaps());
  const auto& maps = node_->programs_->maps;
  if (inherited_.value.frames_tap == 0) Clear<struct fp_slow>(maps.fp_slow, slot_);
  RETURN_IF_ERROR(WriteCloud());
  const fp_port device = {.cloud = slot_, .port = FP_NO_PORT};
  for (const IfIndex index : {devices_.tunnel(), devices_.frames_tap()}) {
    if (index == IfIndex::kNone) continue;
    RETURN_IF_ERROR(Write(maps.fp_ports, static_cast<uint32_t>(index), device));
  }
  RETURN_IF_ERROR(node_->Keep(devices_.frames_tap(), Where::kOwnDevice, node_->from_cloud()));
  frames_ = std::make_unique<FramesTap>(
      devices_.TakeFrames(),
      [this](uint16_t slot) {
        const auto found = port_at_.find(slot);
        return found != port_at_.end() ? found->second : PortId::kNone;
      },
      [punts = node_->punts_.get()](uint16_t slot, bool group) { punts->Read(slot, group); });
  datagrams_ = std::make_unique<DatagramsTap>(devices_.TakeDatagrams(), devices_.fast_port());
  node_->joined_.emplace(slot_, this);
  node_->WriteLocals();
  return absl::OkStatus();
}

absl::Status KernelFastCloud::WriteCloud() {
  const VxvdeHeader header = EncodeHeader(options_.vni);
  fp_cloud value = {};
  std::memcpy(value.header, header.data(), header.size());
  value.frames_tap = static_cast<uint32_t>(devices_.frames_tap());
  value.datagrams_tap = static_cast<uint32_t>(devices_.datagrams_tap());
  value.unicast_port = htons(options_.unicast_port);
  value.v6 = options_.group.is_v6() ? 1 : 0;
  value.ttl = static_cast<uint8_t>(options_.ttl);
  value.uplink = static_cast<uint32_t>(options_.uplink);
  return Write(node_->programs_->maps.fp_clouds, slot_, value);
}

KernelFastCloud::~KernelFastCloud() {
  node_->joined_.erase(slot_);
  if (node_->kept_for_next_) return;
  while (!ports_.empty()) RemovePort(ports_.begin()->first);
  while (!peers_.empty()) ForgetPeer(Peer(peers_.begin()->first));
  node_->Forget(slot_, inherited_);
  node_->WriteLocals();
  const auto& maps = node_->programs_->maps;
  Zero<fp_cloud>(maps.fp_clouds, slot_);
  stations_.RemoveAll();  // the cloud need not remove them at its end
  if (attached_) node_->Detach(options_.uplink);
  std::vector<UniqueFd> taps = devices_.Abandon();
  if (frames_ != nullptr) taps.push_back(std::move(*frames_).Release());
  if (datagrams_ != nullptr) taps.push_back(std::move(*datagrams_).Release());
  std::vector<IfIndex> devices;
  for (const IfIndex device : devices_.All()) {
    if (device == IfIndex::kNone) continue;
    Erase(maps.fp_ports, static_cast<uint32_t>(device));
    node_->keeper_->Release(device);
    devices.push_back(device);
  }
  node_->CloseLater(std::move(taps), std::move(devices));
  node_->clouds_.GiveBack(slot_);
}

void KernelFastCloud::DropInherited(std::set<IfIndex>& own) {
  InheritedCloud inherited = std::exchange(inherited_, {});
  for (const IfIndex device : devices_.All()) own.insert(device);
  std::erase_if(inherited.devices, [&](IfIndex device) { return own.contains(device); });
  for (const auto& [slot, value] : inherited.peers) peers_.erase(PeerOf(value));
  node_->Forget(slot_, inherited);
  for (const auto& [id, port] : ports_) own.insert(port.host_end);
}

// ---------------------------------------------------------------- ports

absl::Status KernelFastCloud::CheckPort(IfIndex host_end) {
  ASSIGN_OR_RETURN(const HostEnd end, Examine(node_->netlink_, host_end));
  ASSIGN_OR_RETURN(const Seen seen, node_->KeepHostEnd(host_end));
  const std::string obstacle = ObstacleAt(seen, end.where);
  return obstacle.empty() ? absl::OkStatus() : absl::UnavailableError(obstacle);
}

absl::Status KernelFastCloud::AddPort(PortId port, IfIndex host_end) {
  std::optional<uint32_t> slot = inherited_.TakePort(host_end);
  const bool is_inherited = slot.has_value();
  if (is_inherited && !devices_.queue_kept()) node_->punts_->Reset(*slot);
  absl::Status added = Insert(port, host_end, slot);
  // The programs forward the frames of an inherited port, which an error would interrupt.
  if (!added.ok() && is_inherited) added = Insert(port, host_end, slot);
  if (added.ok()) return added;
  Erase(node_->programs_->maps.fp_ports, static_cast<uint32_t>(host_end));
  if (slot.has_value()) node_->ports_.GiveBack(*slot);
  return added;
}

void KernelFastCloud::WriteRules(const Port& port) {
  fp_rules rules = {};
  rules.flags = port.rules;
  if (flood_limit_ != 0) {
    const std::chrono::nanoseconds gap = Duration(std::chrono::seconds(1)) / flood_limit_;
    const std::chrono::nanoseconds depth = std::max<Duration>(kFloodDepth, gap * kMinFloodBurst);
    rules.flood_gap = static_cast<uint32_t>(std::min<int64_t>(gap.count(), UINT32_MAX));
    rules.flood_depth = static_cast<uint64_t>(depth.count());
  }
  Write(node_->programs_->maps.fp_rules, port.slot, rules).IgnoreError();
}

void KernelFastCloud::SetFloodLimit(uint32_t rate) {
  flood_limit_ = rate;
  for (const auto& [id, port] : ports_) WriteRules(port);
}

void KernelFastCloud::Tick() {
  for (auto& [id, port] : ports_) {
    node_->punts_->Recover(port.slot, port.punts);
    if (port.host_end == IfIndex::kNone) continue;
    const uint32_t rules = RulesOf(node_->keeper_->At(port.host_end));
    if (std::exchange(port.rules, rules) != rules) WriteRules(port);
  }
}

// Takes a new slot if `slot` is nullopt.
absl::Status KernelFastCloud::Insert(PortId port, IfIndex host_end, std::optional<uint32_t>& slot) {
  ASSIGN_OR_RETURN(const HostEnd end, Examine(node_->netlink_, host_end));
  if (!slot.has_value()) {
    ASSIGN_OR_RETURN(slot, TakePortSlot());
  }
  const absl::StatusOr<Seen> seen = node_->KeepHostEnd(host_end);
  if (!seen.ok()) return absl::FailedPreconditionError(seen.status().message());
  Port added{.slot = *slot,
             .host_end = host_end,
             .where = end.where,
             .mtu = static_cast<uint32_t>(end.link.mtu)};
  added.rules = RulesOf(*seen);
  WriteRules(added);
  // Without this entry the program passes all frames on.
  const fp_port value = {.cloud = slot_, .port = *slot};
  const absl::Status written =
      Write(node_->programs_->maps.fp_ports, static_cast<uint32_t>(host_end), value);
  if (!written.ok()) {
    node_->keeper_->Release(host_end);
    DetachFilter(host_end);
    return absl::FailedPreconditionError(written.message());
  }
  ports_[port] = added;
  port_at_[*slot] = port;
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> KernelFastCloud::TakePortSlot() {
  const std::optional<uint32_t> slot = node_->ports_.Take();
  if (!slot.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is room for ", FP_PORTS, " ports in the fast path"));
  }
  Clear<fp_counters>(node_->programs_->maps.fp_port_counters, *slot);
  node_->punts_->Clear(*slot);
  return *slot;
}

absl::Status KernelFastCloud::AddRelayed(PortId port, const MacAddress& mac) {
  std::optional<uint32_t> slot = inherited_.TakeRelayed(mac);
  if (!slot.has_value()) {
    ASSIGN_OR_RETURN(slot, TakePortSlot());
  }
  ports_[port] = {.slot = *slot, .host_end = IfIndex::kNone, .where = FP_AT_TAP, .mtu = 0};
  WriteRules(ports_[port]);
  port_at_[*slot] = port;
  return absl::OkStatus();
}

Drop KernelFastCloud::Relay(PortId port, const OutFrame& frame) {
  const auto found = ports_.find(port);
  if (found == ports_.end()) return Drop::kSendFailed;
  return frames_->Send(static_cast<uint16_t>(found->second.slot), frame);
}

void KernelFastCloud::RemovePort(PortId port) {
  const auto found = ports_.find(port);
  if (found == ports_.end()) return;
  if (found->second.host_end != IfIndex::kNone) {
    Erase(node_->programs_->maps.fp_ports, static_cast<uint32_t>(found->second.host_end));
  }
  node_->ports_.GiveBack(found->second.slot);
  port_at_.erase(found->second.slot);
  ports_.erase(found);
}

bool KernelFastCloud::IsInheritedPort(IfIndex host_end) const {
  return inherited_.ports.contains(host_end);
}

bool KernelFastCloud::IsInheritedTap(const MacAddress& mac) const {
  return inherited_.relayed.contains(mac);
}

// ---------------------------------------------------------------- peers

absl::Status KernelFastCloud::SetPeer(const Peer& peer, uint16_t fast_port) {
  const absl::Status set = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(fp_peer value, FindWay(node_->netlink_, options_, peer));
    value.cloud = slot_;
    value.fast_port = htons(fast_port);
    const auto known = peers_.find(peer);
    const bool is_new = known == peers_.end();
    const std::optional<uint32_t> slot = is_new ? node_->peers_.Take() : known->second;
    if (!slot.has_value()) {
      return absl::FailedPreconditionError(
          absl::StrCat("there is room for ", FP_PEERS, " peers in the fast path"));
    }
    if (is_new) Clear<fp_counters>(node_->programs_->maps.fp_peer_counters, *slot);
    peers_[peer] = *slot;
    inherited_.peers.erase(*slot);
    const absl::Status written = Write(node_->programs_->maps.fp_peers, *slot, value);
    if (!written.ok() && is_new) ForgetPeer(peer);
    return written;
  }();
  if (set.ok()) return set;
  StopPeer(peer);
  return absl::FailedPreconditionError(absl::StrCat("peer ", peer.ToString(), ": ", set.message()));
}

void KernelFastCloud::StopPeer(const Peer& peer) {
  const auto found = peers_.find(peer);
  if (found == peers_.end()) return;
  Zero<fp_peer>(node_->programs_->maps.fp_peers, found->second);
  inherited_.peers.erase(found->second);
}

void KernelFastCloud::ForgetPeer(const Peer& peer) {
  StopPeer(peer);
  const auto found = peers_.find(peer);
  if (found == peers_.end()) return;
  node_->peers_.GiveBack(found->second);
  peers_.erase(found);
}

// ---------------------------------------------------------------- stations

void KernelFastCloud::SetStation(const MacAddress& mac, const Location& where, Instant seen) {
  inherited_.stations.erase(mac);
  fp_station value = {};
  value.seen_sec = Seconds(seen);
  if (const auto* port = std::get_if<PortId>(&where)) {
    const auto found = ports_.find(*port);
    if (found == ports_.end()) {
      value.where = FP_AT_SLOW_PORT;
    } else {
      value.where = found->second.where;
      value.slot = found->second.slot;
      value.ifindex = static_cast<uint32_t>(found->second.host_end);
      value.mtu = found->second.mtu;
    }
  } else {
    const auto found = peers_.find(std::get<Peer>(where));
    if (found == peers_.end()) return ForgetStation(mac);
    value.where = FP_AT_PEER;
    value.slot = found->second;
  }
  stations_.Set(mac, value);
}

void KernelFastCloud::ForgetStation(const MacAddress& mac) {
  inherited_.stations.erase(mac);
  stations_.Remove(mac);
}

std::optional<Instant> KernelFastCloud::LastSeen(const MacAddress& mac) const {
  const std::optional<fp_station> station = stations_.Find(mac);
  if (!station.has_value()) return std::nullopt;
  return Instant(std::chrono::seconds(station->seen_sec));
}

std::vector<InheritedStation> KernelFastCloud::InheritedStations(const Location& where) const {
  if (const auto* port = std::get_if<PortId>(&where)) {
    const auto found = ports_.find(*port);
    if (found == ports_.end()) return {};
    return inherited_.StationsAt(/*is_peer=*/false, found->second.slot);
  }
  const auto found = peers_.find(std::get<Peer>(where));
  if (found == peers_.end()) return {};
  return inherited_.StationsAt(/*is_peer=*/true, found->second);
}

// ---------------------------------------------------------------- the cloud

void KernelFastCloud::Discard(UniqueFd fd) {
  node_->closer_->CloseLater([fd = std::move(fd)] {});
}

absl::Status KernelFastCloud::MoveTo(IfIndex uplink) {
  RETURN_IF_ERROR(node_->Attach(uplink));
  const IfIndex before = std::exchange(options_.uplink, uplink);
  const absl::Status written = WriteCloud();
  if (!written.ok()) options_.uplink = before;
  node_->Detach(written.ok() ? before : uplink);
  return written;
}

FastCounters KernelFastCloud::CountersOf(PortId port) const {
  const auto found = ports_.find(port);
  if (found == ports_.end()) return {};
  FastCounters out = Counters(node_->programs_->maps.fp_port_counters, found->second.slot);
  out.refused = node_->punts_->Refused(found->second.slot);
  return out;
}

FastCounters KernelFastCloud::CountersOf(const Peer& peer) const {
  const auto found = peers_.find(peer);
  if (found == peers_.end()) return {};
  return Counters(node_->programs_->maps.fp_peer_counters, found->second);
}

SlowCounters KernelFastCloud::slow() const {
  const struct fp_slow sum = Sum<struct fp_slow>(node_->programs_->maps.fp_slow, slot_);
  SlowCounters out;
  std::copy(std::begin(sum.count), std::end(sum.count), out.begin());
  return out;
}

// A tap with a full queue counts frames as dropped (tun_net_xmit()).
FastLost KernelFastCloud::lost() const {
  return {
      .frames = node_->netlink_.GetTxDropped(devices_.frames_tap()).value_or(0),
      .datagrams = node_->netlink_.GetTxDropped(devices_.datagrams_tap()).value_or(0),
      .not_from_here = Sum<struct fp_slow>(node_->programs_->maps.fp_slow, slot_).not_from_here};
}

std::string KernelFastCloud::Obstacle() const {
  return node_->keeper_->At(options_.uplink).obstacle;
}

std::string KernelFastCloud::Obstacle(PortId port) const {
  const auto found = ports_.find(port);
  if (found == ports_.end() || found->second.host_end == IfIndex::kNone) return "";
  return ObstacleAt(node_->keeper_->At(found->second.host_end), found->second.where);
}

std::string KernelFastCloud::Explain(const MacAddress& source,
                                     const MacAddress& destination) const {
  if (destination.IsGroup()) return "slow: a group address.";
  const std::optional<fp_station> from = stations_.Find(source);
  if (!from.has_value()) return absl::StrCat("slow: ", source.ToString(), " is unknown there.");
  if (from->where == FP_AT_SLOW_PORT) {
    return absl::StrCat("slow: ", source.ToString(), " is at a port that is not fast.");
  }
  const std::optional<fp_station> to = stations_.Find(destination);
  if (!to.has_value()) {
    return absl::StrCat("slow: ", destination.ToString(),
                        " is unknown there, or at a peer without a fast path.");
  }
  if (to->where == FP_AT_SLOW_PORT) {
    return absl::StrCat("slow: ", destination.ToString(), " is at a port that is not fast.");
  }
  const bool relayed = from->where == FP_AT_TAP || to->where == FP_AT_TAP;
  if (relayed && from->where != FP_AT_PEER && to->where != FP_AT_PEER) {
    return "slow: the agent carries frames to and from a tap itself.";
  }
  if (to->where != FP_AT_PEER) {
    if (from->where == FP_AT_PEER || from->slot != to->slot) {
      const auto port = port_at_.find(to->slot);
      return absl::StrCat("to port ",
                          port != port_at_.end() ? static_cast<uint32_t>(port->second) : 0, ".");
    }
    return "slow: both are at one port.";
  }
  if (from->where == FP_AT_PEER) return "slow: both are at peers.";
  fp_peer peer = {};
  if (!Read(node_->programs_->maps.fp_peers, to->slot, peer) || peer.uplink == 0) {
    return "slow: the peer is unknown there.";
  }
  for (const auto& [known, slot] : peers_) {
    if (slot != to->slot) continue;
    return absl::StrCat("to peer ", known.ToString(), " at its fast port ", ntohs(peer.fast_port),
                        " through interface ", peer.uplink, ", in packets of up to ", peer.mtu,
                        " bytes.");
  }
  return "slow: the peer is unknown there.";
}

}  // namespace vxvde
