#include "agent/node_port/underlay_wall.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr char kTable[] = "vxvde-underlay";
constexpr char kFromPods[] = "from_pods";
// A fast port is its cloud's unicast port plus this step (plugin/fastpath/cloud_devices.cc), or
// plus a multiple of it if that port is taken.
constexpr int kFastPortStep = 1024;
// Kinds of interfaces that lead to pods, as the kernel calls them.
constexpr const char* kPodKinds[] = {"veth", "tun", "netkit"};

bool IsPodKind(const std::string& kind) {
  return std::find(std::begin(kPodKinds), std::end(kPodKinds), kind) != std::end(kPodKinds);
}

template <typename T>
std::vector<T> Sorted(std::vector<T> list) {
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

std::vector<std::string> LanBridges(const std::vector<LinkInfo>& links) {
  std::set<IfIndex> masters;
  for (const LinkInfo& link : links) {
    if (link.master != IfIndex::kNone && !IsPodKind(link.kind)) masters.insert(link.master);
  }
  std::vector<std::string> bridges;
  for (const LinkInfo& link : links) {
    if (link.kind == "bridge" && masters.contains(link.index)) bridges.push_back(link.name);
  }
  return Sorted(std::move(bridges));
}

// The networks of the members; empty: members may be anywhere.
std::vector<IpPrefix> Networks(const std::vector<UnderlayCloud>& clouds,
                               const std::vector<LinkInfo>& links,
                               const std::vector<AddressInfo>& addresses) {
  std::vector<IpPrefix> networks;
  for (const UnderlayCloud& cloud : clouds) {
    if (cloud.ttl != 1) return {};
    const auto link = std::find_if(links.begin(), links.end(),
                                   [&](const LinkInfo& one) { return one.name == cloud.uplink; });
    bool any = false;
    for (const AddressInfo& address : addresses) {
      const IpPrefix& prefix = address.prefix;
      if (link == links.end() || address.interface != link->index || prefix.address.IsLinkLocal() ||
          prefix.length == prefix.address.bits()) {
        continue;
      }
      networks.push_back(prefix.Network());
      any = true;
    }
    if (!any) return {};  // only routes lead to neighbours, as on many rented machines
  }
  networks = Sorted(std::move(networks));
  // The prefixes of a set must not contain one another.
  std::vector<IpPrefix> outer;
  for (const IpPrefix& network : networks) {
    const bool inner = std::any_of(networks.begin(), networks.end(), [&](const IpPrefix& other) {
      return other.length < network.length && other.Contains(network.address);
    });
    if (!inner) outer.push_back(network);
  }
  return outer;
}

std::vector<NftValue> Names(const std::vector<std::string>& names) {
  std::vector<NftValue> values;
  for (const std::string& name : names) values.push_back(NftName(name));
  return values;
}

std::vector<NftValue> Ports(const std::vector<uint16_t>& ports) {
  std::vector<NftValue> values;
  for (const uint16_t port : ports) values.push_back(NftPort(port));
  return values;
}

// Drops datagrams that come in by an interface of pods.
NftChain FromPods(const UnderlayState& state) {
  std::vector<std::string> not_pods = state.uplinks;
  not_pods.push_back("lo");
  const std::vector<std::string> kinds(std::begin(kPodKinds), std::end(kPodKinds));
  NftRule bridges;
  bridges.Is(NftField::kInputKind, NftName("bridge"));
  if (!state.lan_bridges.empty()) bridges.NotIn(NftField::kInputName, Names(state.lan_bridges));
  return {.name = kFromPods,
          .rules = {NftRule().In(NftField::kInputName, Names(Sorted(not_pods))).Return(),
                    NftRule().In(NftField::kInputKind, Names(kinds)).Count().Drop(),
                    bridges.Count().Drop()}};
}

NftRule ToPort(NftRule rule, const std::vector<uint16_t>& ports) {
  return rule.Is(NftField::kProtocol, NftByte(IPPROTO_UDP))
      .In(NftField::kDestinationPort, Ports(ports))
      .Jump(kFromPods);
}

NftChain ToOtherMembers(const UnderlayState& state) {
  const NftRule by_uplink = NftRule().In(NftField::kOutputName, Names(state.uplinks));
  NftChain chain{.name = "to_other_members",
                 .hook = NftHook{.type = "filter", .point = NftHookPoint::kForward},
                 .rules = {ToPort(by_uplink, state.group_ports)}};
  const auto drop = [&](const NftRule& to) {
    for (const PortRange& range : state.member_ports) {
      NftRule rule = to;
      rule.Is(NftField::kProtocol, NftByte(IPPROTO_UDP))
          .Between(NftField::kDestinationPort, NftPort(range.first), NftPort(range.last))
          .Jump(kFromPods);
      chain.rules.push_back(std::move(rule));
    }
  };
  if (state.networks.empty()) drop(by_uplink);
  for (const int family : {AF_INET, AF_INET6}) {
    std::vector<IpPrefix> networks;
    for (const IpPrefix& network : state.networks) {
      if (network.address.family() == family) networks.push_back(network);
    }
    if (networks.empty()) continue;
    NftRule to = by_uplink;
    drop(to.Is(NftField::kFamily, NftByte(static_cast<uint8_t>(family)))
             .Within(DestinationField(family), networks));
  }
  return chain;
}

}  // namespace

UnderlayState MakeUnderlayState(const std::vector<UnderlayCloud>& clouds,
                                const PortRange& unicast_ports, const std::vector<LinkInfo>& links,
                                const std::vector<AddressInfo>& addresses) {
  UnderlayState state;
  if (clouds.empty()) return state;
  for (const UnderlayCloud& cloud : clouds) {
    state.uplinks.push_back(cloud.uplink);
    state.group_ports.push_back(cloud.group_port);
    state.source_ports.push_back(cloud.unicast_port);
    if (cloud.fast_port != 0) state.source_ports.push_back(cloud.fast_port);
  }
  state.uplinks = Sorted(std::move(state.uplinks));
  state.group_ports = Sorted(std::move(state.group_ports));
  state.source_ports = Sorted(std::move(state.source_ports));
  state.local_ports = state.source_ports;
  state.local_ports.insert(state.local_ports.end(), state.group_ports.begin(),
                           state.group_ports.end());
  state.local_ports = Sorted(std::move(state.local_ports));

  const int fast_first = unicast_ports.first + kFastPortStep;
  const int fast_last = std::min(unicast_ports.last + kFastPortStep, 65535);
  state.member_ports = {unicast_ports};
  if (fast_first <= fast_last) {
    state.member_ports.push_back(
        {static_cast<uint16_t>(fast_first), static_cast<uint16_t>(fast_last)});
  }
  state.lan_bridges = LanBridges(links);
  state.networks = Networks(clouds, links, addresses);
  return state;
}

NftTable UnderlayRules(const UnderlayState& state) {
  NftTable table{.name = kTable};
  if (state.uplinks.empty()) return table;
  const NftChain to_this_member{.name = "to_this_member",
                                .hook = NftHook{.type = "filter", .point = NftHookPoint::kInput},
                                .rules = {ToPort(NftRule(), state.local_ports)}};
  // After masquerading.
  const NftChain as_this_member{.name = "as_this_member",
                                .hook = NftHook{.type = "filter",
                                                .point = NftHookPoint::kPostrouting,
                                                .priority = kNftSrcnat + 10},
                                .rules = {NftRule()
                                              .In(NftField::kOutputName, Names(state.uplinks))
                                              .Is(NftField::kProtocol, NftByte(IPPROTO_UDP))
                                              .In(NftField::kSourcePort, Ports(state.source_ports))
                                              .Is(NftField::kSourceKind, NftNumber(RTN_LOCAL))
                                              .Jump(kFromPods)}};
  table.chains = {FromPods(state), to_this_member, ToOtherMembers(state), as_this_member};
  return table;
}

absl::StatusOr<UnderlayView> KernelUnderlayView() {
  ASSIGN_OR_RETURN(Netlink opened, Netlink::Open());
  const auto netlink = std::make_shared<Netlink>(std::move(opened));
  return UnderlayView{.links = [netlink] { return netlink->ListLinks(); },
                      .addresses = [netlink] { return netlink->ListAddresses(); }};
}

UnderlayWall::UnderlayWall(EventLoop* loop, const Log* log, NftKernel rules, UnderlayView view)
    : log_(log),
      table_(loop, log, UnderlayRules({}).ToString(), std::move(rules)),
      view_(std::move(view)),
      update_(loop) {}

void UnderlayWall::Follow(std::vector<UnderlayCloud> clouds, const PortRange& unicast_ports) {
  if (known_ && clouds == clouds_ && unicast_ports == unicast_ports_) return;
  known_ = true;
  clouds_ = std::move(clouds);
  unicast_ports_ = unicast_ports;
  Update();
}

void UnderlayWall::OnLinkChange() {
  if (!clouds_.empty() && !update_.pending()) UpdateIn(kSettle);
}

void UnderlayWall::UpdateIn(Duration delay) {
  update_.After(delay, [this] { Update(); });
}

void UnderlayWall::Update() {
  std::vector<LinkInfo> links;
  std::vector<AddressInfo> addresses;
  absl::Status status;
  if (!clouds_.empty()) {
    absl::StatusOr<std::vector<LinkInfo>> links_now = view_.links();
    absl::StatusOr<std::vector<AddressInfo>> addresses_now = view_.addresses();
    status.Update(links_now.status());
    status.Update(addresses_now.status());
    // If links cannot be listed, the strictest rules apply: no bridge belongs to a LAN, and members
    // may be anywhere.
    if (links_now.ok()) links = *std::move(links_now);
    if (addresses_now.ok()) addresses = *std::move(addresses_now);
  }
  const UnderlayState state = MakeUnderlayState(clouds_, unicast_ports_, links, addresses);
  status.Update(table_.Set({UnderlayRules(state)}));
  if (!status.ok() && problem_ != status) {
    log_->Error("no wall before the clouds' UDP ports",
                {{"error", std::string(status.message())},
                 {"effect", "pods can pose as members of clouds"}});
  }
  problem_ = status;
  // A running agent cannot gain the permission.
  if (!status.ok() && !absl::IsPermissionDenied(status)) UpdateIn(NftKeeper::kRetry);
}

absl::Status UnderlayWall::problem() const {
  if (clouds_.empty()) return absl::OkStatus();
  const absl::Status& why = problem_.ok() ? table_.problem() : problem_;
  return Annotate(why, "pods can send datagrams to the UDP ports of clouds");
}

}  // namespace vxvde
