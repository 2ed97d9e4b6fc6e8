#include "plugin/fastpath/kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_sched.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "plugin/base/status.h"
#include "plugin/fastpath/fastpath_programs.skel.h"
#include "plugin/fastpath/maps.h"
#include "plugin/fastpath/tc.h"
#include "plugin/os/port.h"

namespace vxvde {
namespace {

std::string Interface(IfIndex index) {
  return absl::StrCat("interface ", static_cast<uint32_t>(index));
}

uint32_t Seconds(Instant instant) {
  return static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(instant.time_since_epoch()).count());
}

// The last thing that the verifier or libbpf said.
std::string LastLine(const std::string& log) {
  const std::vector<std::string> lines = absl::StrSplit(log.c_str(), '\n', absl::SkipWhitespace());
  return lines.empty() ? "" : absl::StrCat(": ", lines.back());
}

constexpr int kAttempts = 2;

// Nobody comes back for it later.
void DeleteDevice(IfIndex device) {
  absl::Status deleted = absl::UnknownError("");
  for (int attempt = 0; attempt < kAttempts && !deleted.ok(); ++attempt) {
    absl::StatusOr<Netlink> netlink = Netlink::Open();
    deleted = netlink.ok() ? netlink->DeleteLink(device) : netlink.status();
    if (absl::IsNotFound(deleted)) return;
  }
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

// An interface that is, or is to be, the host end of a port.
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
  ASSIGN_OR_RETURN(const std::vector<QdiscInfo> qdiscs, netlink.ListQdiscs(index));
  end.where = end.link.peer_elsewhere ? FP_AT_PORT : FP_AT_EGRESS;
  for (const QdiscInfo& qdisc : qdiscs) {
    if (qdisc.kind == "ingress") {
      return absl::FailedPreconditionError(
          absl::StrCat("interface ", end.link.name,
                       " has an ingress qdisc of another program, a bandwidth plugin perhaps"));
    }
    // It shapes what goes to the pod.
    if (qdisc.parent == TC_H_ROOT && qdisc.kind != "noqueue") end.where = FP_AT_EGRESS;
  }
  return end;
}

// bpf_redirect_peer() passes by a native XDP program of the pod, and filters of what the host end
// sends; bpf_redirect() passes by a generic one (skb_is_redirected() in net/core/dev.c).
std::string ObstacleAt(const Seen& seen, fp_where where) {
  if (!seen.obstacle.empty()) return seen.obstacle;
  if (!seen.pod_generic_xdp) return "";
  if (where != FP_AT_EGRESS && RulesOf(seen) == 0) return "";
  return "the pod's generic XDP program would not see what passes the host end's queue or filters";
}

}  // namespace

std::optional<uint32_t> Slots::Take() {
  if (used_ < size_) return used_++;
  if (free_.empty()) return std::nullopt;
  const uint32_t slot = free_.front();
  free_.pop_front();
  return slot;
}

// ---------------------------------------------------------------- the node

KernelFastPath::KernelFastPath(fastpath_programs* programs, Netlink netlink, FdStore* store)
    : programs_(programs), netlink_(std::move(netlink)), store_(store) {}

namespace {

// With the maps of `inherited`, if there are any.
absl::StatusOr<fastpath_programs*> Load(const InheritedPrograms* inherited) {
  std::string log(size_t{1} << 16, '\0');
  bpf_object_open_opts options = {};
  options.sz = sizeof(options);
  options.kernel_log_buf = log.data();
  options.kernel_log_size = log.size();
  fastpath_programs* programs = fastpath_programs__open_opts(&options);
  if (programs == nullptr) return ErrnoStatus(errno, "read the fast path's programs");
  absl::Cleanup destroy = [&] { fastpath_programs__destroy(programs); };
  if (inherited != nullptr) RETURN_IF_ERROR(ReuseMaps(*inherited, programs->obj));
  if (const int error = fastpath_programs__load(programs); error != 0) {
    if (error == -EPERM || error == -EACCES) {
      return absl::PermissionDeniedError(
          "loading tc programs is not permitted; it takes CAP_BPF and CAP_NET_ADMIN in the first "
          "user namespace (before Linux 5.8: CAP_SYS_ADMIN)");
    }
    utsname kernel = {};
    uname(&kernel);
    return absl::FailedPreconditionError(
        absl::StrCat("Linux ", kernel.release, " does not load the tc programs (",
                     std::strerror(-error), LastLine(log), "); it takes Linux 6.1 or later"));
  }
  RETURN_IF_ERROR(LeaveMapsTo(programs->obj));
  std::move(destroy).Cancel();
  return programs;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KernelFastPath>> KernelFastPath::Open(FdStore* store, bool tcx) {
  libbpf_set_print(nullptr);  // what it says is in what it returns
  ASSIGN_OR_RETURN(std::unique_ptr<ChainKeeper> keeper, ChainKeeper::Start(tcx));
  absl::StatusOr<std::unique_ptr<KernelFastPath>> fast = absl::UnknownError("");
  // What fails for a moment must not cost the frames that the programs forward meanwhile.
  for (int attempt = 0; attempt < kAttempts && !fast.ok(); ++attempt) fast = GoOn(store);
  if (fast.ok()) {
    (*fast)->keeper_ = std::move(keeper);
    return fast;
  }
  const std::string why_anew(fast.status().message());
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(const InheritedPrograms inherited, FindInheritedPrograms(netlink));
  ASSIGN_OR_RETURN(fastpath_programs * programs, Load(nullptr));
  fast = std::unique_ptr<KernelFastPath>(new KernelFastPath(programs, std::move(netlink), store));
  RETURN_IF_ERROR((*fast)->MapPunts());
  (*fast)->keeper_ = std::move(keeper);
  if (!inherited.interfaces.empty()) (*fast)->why_anew_ = why_anew;
  for (const IfIndex index : inherited.interfaces) DetachProgram(index);
  RETURN_IF_ERROR(RemoveLeftDevices((*fast)->netlink_, {}));
  return fast;
}

// With what an agent before this one has left.
absl::StatusOr<std::unique_ptr<KernelFastPath>> KernelFastPath::GoOn(FdStore* store) {
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(InheritedPrograms inherited, FindInheritedPrograms(netlink));
  ASSIGN_OR_RETURN(fastpath_programs * programs, Load(&inherited));
  std::unique_ptr<KernelFastPath> fast(new KernelFastPath(programs, std::move(netlink), store));
  RETURN_IF_ERROR(fast->MapPunts());
  RETURN_IF_ERROR(fast->ReadInherited(std::move(inherited.interfaces)));
  return fast;
}

absl::Status KernelFastPath::MapPunts() {
  ASSIGN_OR_RETURN(punts_, PuntRoom::Map(bpf_map__fd(programs_->maps.fp_punts)));
  return absl::OkStatus();
}

KernelFastPath::~KernelFastPath() {
  WaitForBurials();
  keeper_.reset();  // before the programs that it attaches
  fastpath_programs__destroy(programs_);
}

std::string KernelFastPath::Hooks() const { return keeper_->tcx() ? "tcx" : "clsact"; }

absl::Status KernelFastPath::Keep(IfIndex index, Where where, int program) {
  RETURN_IF_ERROR(AttachProgram(index, program));
  keeper_->Keep(index, where, program);
  return absl::OkStatus();
}

absl::StatusOr<Seen> KernelFastPath::KeepHostEnd(IfIndex index) {
  RETURN_IF_ERROR(AttachProgram(index, from_pod()));
  ASSIGN_OR_RETURN(const Seen seen,
                   ChainKeeper::LookNow(netlink_, index, Where::kHostEnd, from_pod()));
  keeper_->Keep(index, Where::kHostEnd, from_pod(), seen);
  return seen;
}

int KernelFastPath::from_pod() const { return bpf_program__fd(programs_->progs.from_pod); }
int KernelFastPath::from_uplink() const { return bpf_program__fd(programs_->progs.from_uplink); }
int KernelFastPath::from_cloud() const { return bpf_program__fd(programs_->progs.from_cloud); }
int KernelFastPath::from_tunnel() const { return bpf_program__fd(programs_->progs.from_tunnel); }

absl::StatusOr<std::unique_ptr<FastCloud>> KernelFastPath::Join(const FastCloudOptions& options) {
  WaitForBurials();  // of a cloud with the same port, perhaps
  const std::optional<uint32_t> inherited = InheritedSlot(options);
  const std::optional<uint32_t> slot = inherited.has_value() ? inherited : clouds_.Take();
  if (!slot.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is room for ", FP_CLOUDS, " clouds in the fast path"));
  }
  std::unique_ptr<KernelFastCloud> cloud(new KernelFastCloud(this, options, *slot));
  if (inherited.has_value()) cloud->TakeOver(std::move(inherited_.extract(*inherited).mapped()));
  absl::Status opened = cloud->Open();
  // Its end would take away what passes frames now.
  if (!opened.ok() && inherited.has_value()) opened = cloud->Open();
  if (!opened.ok()) return absl::FailedPreconditionError(opened.message());
  return cloud;
}

void KernelFastPath::SetLocalAddresses(const std::vector<IpAddress>& addresses) {
  addresses_ = addresses;
  WriteLocals();
}

void KernelFastPath::WriteLocals() {
  const int map = bpf_map__fd(programs_->maps.fp_locals);
  std::vector<fp_local> now;
  for (const auto& [slot, cloud] : joined_) {
    for (const IpAddress& address : addresses_) {
      if (address.is_v6() != cloud->v6()) continue;
      if (cloud->options_.bind.has_value() && *cloud->options_.bind != address) continue;
      fp_local key = {};
      std::memcpy(key.addr, Mapped(address).data(), FP_ADDR_SIZE);
      key.port = htons(cloud->fast_port());
      (void)bpf_map_update_elem(map, &key, &slot, BPF_ANY);
      now.push_back(key);
    }
  }
  const auto same = [](const fp_local& a, const fp_local& b) {
    return std::memcmp(&a, &b, sizeof(a)) == 0;
  };
  for (const fp_local& before : locals_) {
    const bool stays =
        std::any_of(now.begin(), now.end(), [&](const fp_local& key) { return same(key, before); });
    if (!stays) (void)bpf_map_delete_elem(map, &before);
  }
  locals_ = std::move(now);
}

absl::Status KernelFastPath::Attach(IfIndex uplink) {
  if (uplinks_[uplink]++ > 0) return absl::OkStatus();
  const absl::Status attached = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const LinkInfo link, netlink_.GetLink(uplink));
    if (link.type != ARPHRD_ETHER) {
      return absl::FailedPreconditionError(
          absl::StrCat("uplink ", link.name, " is not an Ethernet interface"));
    }
    return Keep(uplink, Where::kUplink, from_uplink());
  }();
  if (!attached.ok()) uplinks_.erase(uplink);
  return attached;
}

void KernelFastPath::Detach(IfIndex uplink) {
  const auto found = uplinks_.find(uplink);
  if (found == uplinks_.end() || --found->second > 0) return;
  uplinks_.erase(found);
  keeper_->Release(uplink);
  DetachFilter(uplink);
}

void KernelFastPath::CloseLater(std::vector<UniqueFd> fds, std::vector<IfIndex> devices) {
  std::erase_if(closing_, [](Closing& closing) {
    if (!closing.done->load()) return false;
    closing.thread.join();
    return true;
  });
  const auto done = std::make_shared<std::atomic<bool>>(false);
  const auto end = [fds = std::make_shared<std::vector<UniqueFd>>(std::move(fds)),
                    devices = std::move(devices), done] {
    fds->clear();
    for (const IfIndex device : devices) {
      if (device != IfIndex::kNone) DeleteDevice(device);
    }
    done->store(true);
  };
  try {
    closing_.push_back({std::thread(end), done});
  } catch (const std::system_error&) {
    end();  // better late than never
  }
}

void KernelFastPath::WaitForBurials() {
  for (Closing& closing : closing_) closing.thread.join();
  closing_.clear();
}

// ---------------------------------------------------------------- one cloud

absl::Status KernelFastCloud::CheckPort(IfIndex host_end) {
  ASSIGN_OR_RETURN(const HostEnd end, Examine(node_->netlink_, host_end));
  ASSIGN_OR_RETURN(const Seen seen, node_->KeepHostEnd(host_end));
  const std::string obstacle = ObstacleAt(seen, end.where);
  return obstacle.empty() ? absl::OkStatus() : absl::UnavailableError(obstacle);
}

absl::Status KernelFastCloud::AddPort(PortId port, IfIndex host_end) {
  std::optional<uint32_t> slot = TakeInheritedPort(host_end);
  // Of a port whose frames pass all the time nothing is undone before that.
  const bool is_inherited = slot.has_value();
  if (is_inherited && !queue_kept_) node_->punts_->Reset(*slot);
  absl::Status added = Insert(port, host_end, slot);
  if (!added.ok() && is_inherited) added = Insert(port, host_end, slot);
  if (added.ok()) return added;
  const uint32_t index = static_cast<uint32_t>(host_end);
  (void)bpf_map_delete_elem(bpf_map__fd(node_->programs_->maps.fp_ports), &index);
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
  (void)bpf_map_update_elem(bpf_map__fd(node_->programs_->maps.fp_rules), &port.slot, &rules,
                            BPF_ANY);
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

// `slot` is taken where there is none.
absl::Status KernelFastCloud::Insert(PortId port, IfIndex host_end, std::optional<uint32_t>& slot) {
  const uint32_t index = static_cast<uint32_t>(host_end);
  ASSIGN_OR_RETURN(const HostEnd end, Examine(node_->netlink_, host_end));
  if (!slot.has_value()) {
    ASSIGN_OR_RETURN(slot, TakeSlot());
  }
  const auto& maps = node_->programs_->maps;
  const absl::StatusOr<Seen> seen = node_->KeepHostEnd(host_end);
  if (!seen.ok()) return absl::FailedPreconditionError(seen.status().message());
  Port added{.slot = *slot,
             .host_end = host_end,
             .where = end.where,
             .mtu = static_cast<uint32_t>(end.link.mtu)};
  added.rules = RulesOf(*seen);
  WriteRules(added);
  // Until this is there the program lets all pass.
  const fp_port value = {.cloud = slot_, .port = *slot};
  if (bpf_map_update_elem(bpf_map__fd(maps.fp_ports), &index, &value, BPF_ANY) != 0) {
    const absl::Status status = ErrnoStatus(errno, "write the ports' map");
    node_->keeper_->Release(host_end);
    DetachFilter(host_end);
    return absl::FailedPreconditionError(status.message());
  }
  ports_[port] = added;
  port_at_[*slot] = port;
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> KernelFastCloud::TakeSlot() {
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
  std::optional<uint32_t> slot = TakeInheritedCarried(mac);
  if (!slot.has_value()) {
    ASSIGN_OR_RETURN(slot, TakeSlot());
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
    const uint32_t index = static_cast<uint32_t>(found->second.host_end);
    (void)bpf_map_delete_elem(bpf_map__fd(node_->programs_->maps.fp_ports), &index);
  }
  node_->ports_.GiveBack(found->second.slot);
  port_at_.erase(found->second.slot);
  ports_.erase(found);
}

absl::Status KernelFastCloud::SetPeer(const Peer& peer, uint16_t fast_port) {
  fp_peer value = {};
  const absl::Status found = [&]() -> absl::Status {
    if (peer.address.is_v6() != v6()) return absl::InvalidArgumentError("of the other IP family");
    if (peer.address.IsLinkLocal()) {
      return absl::FailedPreconditionError("a link-local address has no route");
    }
    ASSIGN_OR_RETURN(const RouteAnswer route, node_->netlink_.LookUpRoute(peer.address));
    ASSIGN_OR_RETURN(const LinkInfo link, node_->netlink_.GetLink(route.interface));
    if (link.type != ARPHRD_ETHER) {
      return absl::FailedPreconditionError(
          absl::StrCat("the way goes through ", link.name, ", which is not an Ethernet interface"));
    }
    const std::optional<IpAddress> source =
        options_.bind.has_value() ? options_.bind : route.source;
    if (!source.has_value()) {
      return absl::FailedPreconditionError(absl::StrCat("no source address on ", link.name));
    }
    std::memcpy(value.addr, Mapped(peer.address).data(), FP_ADDR_SIZE);
    std::memcpy(value.source, Mapped(*source).data(), FP_ADDR_SIZE);
    value.cloud = slot_;
    value.uplink = static_cast<uint32_t>(link.index);
    value.mtu = static_cast<uint32_t>(link.mtu);
    value.port = htons(peer.port);
    value.fast_port = htons(fast_port);
    return absl::OkStatus();
  }();
  const auto known = peers_.find(peer);
  const bool is_new = known == peers_.end();
  uint32_t slot;
  absl::Status status = found;
  if (status.ok() && known == peers_.end()) {
    const std::optional<uint32_t> taken = node_->peers_.Take();
    if (taken.has_value()) {
      slot = *taken;
      Clear<fp_counters>(node_->programs_->maps.fp_peer_counters, slot);
    } else {
      status = absl::FailedPreconditionError(
          absl::StrCat("there is room for ", FP_PEERS, " peers in the fast path"));
    }
  } else if (known != peers_.end()) {
    slot = known->second;
  }
  if (!status.ok()) {
    StopPeer(peer);
    return absl::FailedPreconditionError(
        absl::StrCat("peer ", peer.ToString(), ": ", status.message()));
  }
  peers_[peer] = slot;
  inherited_.peers.erase(slot);
  if (bpf_map_update_elem(bpf_map__fd(node_->programs_->maps.fp_peers), &slot, &value, BPF_ANY) !=
      0) {
    const absl::Status failed = ErrnoStatus(errno, "write the peers' map");
    is_new ? ForgetPeer(peer) : StopPeer(peer);
    return absl::FailedPreconditionError(failed.message());
  }
  return absl::OkStatus();
}

void KernelFastCloud::StopPeer(const Peer& peer) {
  const auto found = peers_.find(peer);
  if (found == peers_.end()) return;
  const fp_peer none = {};
  (void)bpf_map_update_elem(bpf_map__fd(node_->programs_->maps.fp_peers), &found->second, &none,
                            BPF_ANY);
  inherited_.peers.erase(found->second);
}

void KernelFastCloud::ForgetPeer(const Peer& peer) {
  StopPeer(peer);
  const auto found = peers_.find(peer);
  if (found == peers_.end()) return;
  node_->peers_.GiveBack(found->second);
  peers_.erase(found);
}

fp_station_key KernelFastCloud::KeyOf(const MacAddress& mac) const {
  fp_station_key key = {};
  std::memcpy(key.mac, mac.bytes().data(), sizeof(key.mac));
  key.cloud = static_cast<uint16_t>(slot_);
  return key;
}

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
  const fp_station_key key = KeyOf(mac);
  const int map = bpf_map__fd(node_->programs_->maps.fp_stations);
  // Full: it stays slow, and what was known of it must not stay.
  if (bpf_map_update_elem(map, &key, &value, BPF_ANY) != 0) ForgetStation(mac);
}

void KernelFastCloud::ForgetStation(const MacAddress& mac) {
  inherited_.stations.erase(mac);
  const fp_station_key key = KeyOf(mac);
  (void)bpf_map_delete_elem(bpf_map__fd(node_->programs_->maps.fp_stations), &key);
}

std::optional<fp_station> KernelFastCloud::Find(const MacAddress& mac) const {
  const fp_station_key key = KeyOf(mac);
  fp_station value;
  if (bpf_map_lookup_elem(bpf_map__fd(node_->programs_->maps.fp_stations), &key, &value) != 0) {
    return std::nullopt;
  }
  return value;
}

std::optional<Instant> KernelFastCloud::LastSeen(const MacAddress& mac) const {
  const std::optional<fp_station> station = Find(mac);
  if (!station.has_value()) return std::nullopt;
  return Instant(std::chrono::seconds(station->seen_sec));
}

void KernelFastCloud::Discard(UniqueFd fd) {
  std::vector<UniqueFd> fds;
  fds.push_back(std::move(fd));
  node_->CloseLater(std::move(fds), {});
}

absl::Status KernelFastCloud::MoveTo(IfIndex uplink) {
  RETURN_IF_ERROR(node_->Attach(uplink));
  node_->Detach(options_.uplink);
  options_.uplink = uplink;
  return absl::OkStatus();
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

// A tap counts as dropped what its full queue did not take (tun_net_xmit()).
FastLost KernelFastCloud::lost() const {
  return {.frames = node_->netlink_.GetTxDropped(frames_tap_).value_or(0),
          .datagrams = node_->netlink_.GetTxDropped(datagrams_tap_).value_or(0)};
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
  const std::optional<fp_station> from = Find(source);
  if (!from.has_value()) return absl::StrCat("slow: ", source.ToString(), " is unknown there.");
  if (from->where == FP_AT_SLOW_PORT) {
    return absl::StrCat("slow: ", source.ToString(), " is at a port that is not fast.");
  }
  const std::optional<fp_station> to = Find(destination);
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
  if (bpf_map_lookup_elem(bpf_map__fd(node_->programs_->maps.fp_peers), &to->slot, &peer) != 0 ||
      peer.uplink == 0) {
    return "slow: the peer is unknown there.";
  }
  for (const auto& [known, slot] : peers_) {
    if (slot != to->slot) continue;
    return absl::StrCat("to peer ", known.ToString(), " at its fast port ", ntohs(peer.fast_port),
                        " through ", Interface(static_cast<IfIndex>(peer.uplink)),
                        ", in packets of up to ", peer.mtu, " bytes.");
  }
  return "slow: the peer is unknown there.";
}

// ---------------------------------------------------------------- the door

absl::StatusOr<std::unique_ptr<FastPath>> OpenKernelFastPath(FdStore* store) {
  return KernelFastPath::Open(store);
}

absl::Status RemoveKernelFastPath() {
  libbpf_set_print(nullptr);
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  RETURN_IF_ERROR(RemoveLeftPrograms(netlink));
  return RemoveLeftDevices(netlink, {});
}

}  // namespace vxvde
