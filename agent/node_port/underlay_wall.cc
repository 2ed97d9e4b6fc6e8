#include "agent/node_port/underlay_wall.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "plugin/base/status.h"
#include "plugin/os/nftables.h"

namespace vxvde {
namespace {

constexpr char kTable[] = "inet vxvde-underlay";
// A fast port is its cloud's unicast port and this much more (plugin/fastpath/cloud_devices.cc),
// or a multiple of it where that is taken.
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

// Empty: members may be anywhere.
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
    if (!any) return {};  // neighbours are found by routes alone, as on many rented machines
  }
  networks = Sorted(std::move(networks));
  // A set of prefixes must not have one inside another.
  std::vector<IpPrefix> outer;
  for (const IpPrefix& network : networks) {
    const bool inner = std::any_of(networks.begin(), networks.end(), [&](const IpPrefix& other) {
      return other.length < network.length && other.Contains(network.address);
    });
    if (!inner) outer.push_back(network);
  }
  return outer;
}

std::string SetOf(const std::vector<std::string>& elements) {
  return absl::StrCat("{ ", absl::StrJoin(elements, ", "), " }");
}

std::string Names(const std::vector<std::string>& names) {
  std::vector<std::string> quoted;
  for (const std::string& name : names) quoted.push_back(absl::StrCat("\"", name, "\""));
  return SetOf(quoted);
}

std::string Ports(const std::vector<uint16_t>& ports) {
  return absl::StrCat("{ ", absl::StrJoin(ports, ", "), " }");
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

std::string UnderlayRules(const UnderlayState& state) {
  // The first line gives the second something to delete.
  std::string out = absl::StrCat("add table ", kTable, "\ndelete table ", kTable, "\n");
  if (state.uplinks.empty()) return out;
  const std::string uplinks = Names(state.uplinks);
  std::vector<std::string> not_pods = state.uplinks;
  not_pods.push_back("lo");
  std::vector<std::string> kinds(std::begin(kPodKinds), std::end(kPodKinds));
  absl::StrAppend(
      &out, "table ", kTable, " {\n",                        //
      "  chain from_pods {\n",                               //
      "    iifname ", Names(Sorted(not_pods)), " return\n",  //
      "    meta iifkind ", Names(kinds), " counter drop\n",  //
      "    meta iifkind \"bridge\" ",
      state.lan_bridges.empty() ? "" : absl::StrCat("iifname != ", Names(state.lan_bridges), " "),
      "counter drop\n  }\n");
  absl::StrAppend(&out, "  chain to_this_member {\n",
                  "    type filter hook input priority filter; policy accept;\n", "    udp dport ",
                  Ports(state.local_ports), " jump from_pods\n  }\n");

  absl::StrAppend(&out, "  chain to_other_members {\n",
                  "    type filter hook forward priority filter; policy accept;\n", "    oifname ",
                  uplinks, " udp dport ", Ports(state.group_ports), " jump from_pods\n");
  const auto drop = [&](const std::string& where) {
    for (const PortRange& range : state.member_ports) {
      absl::StrAppend(&out, "    oifname ", uplinks, " ", where, "udp dport ", range.first, "-",
                      range.last, " jump from_pods\n");
    }
  };
  if (state.networks.empty()) drop("");
  for (const int family : {AF_INET, AF_INET6}) {
    std::vector<std::string> networks;
    for (const IpPrefix& network : state.networks) {
      if (network.address.family() == family) networks.push_back(network.ToString());
    }
    if (networks.empty()) continue;
    drop(absl::StrCat(family == AF_INET6 ? "ip6" : "ip", " daddr ", SetOf(networks), " "));
  }
  absl::StrAppend(&out, "  }\n", "  chain as_this_member {\n",
                  "    type filter hook postrouting priority srcnat + 10; policy accept;\n",
                  "    oifname ", uplinks, " udp sport ", Ports(state.source_ports),
                  " fib saddr type local jump from_pods\n  }\n}\n");
  return out;
}

NftKernel KernelUnderlayRules() {
  return {.run = RunNft, .list = [] { return ListNftTable(kTable); }};
}

absl::StatusOr<UnderlayView> KernelUnderlayView() {
  ASSIGN_OR_RETURN(Netlink opened, Netlink::Open());
  const auto netlink = std::make_shared<Netlink>(std::move(opened));
  return UnderlayView{.links = [netlink] { return netlink->ListLinks(); },
                      .addresses = [netlink] { return netlink->ListAddresses(); }};
}

UnderlayWall::UnderlayWall(EventLoop* loop, const Log* log, NftKernel rules, UnderlayView view)
    : loop_(loop), log_(log), table_(loop, log, kTable, std::move(rules)), view_(std::move(view)) {}

UnderlayWall::~UnderlayWall() {
  if (update_.has_value()) loop_->Cancel(*update_);
}

void UnderlayWall::Follow(std::vector<UnderlayCloud> clouds, const PortRange& unicast_ports) {
  if (known_ && clouds == clouds_ && unicast_ports == unicast_ports_) return;
  known_ = true;
  clouds_ = std::move(clouds);
  unicast_ports_ = unicast_ports;
  Update();
}

void UnderlayWall::OnLinkChange() {
  if (!clouds_.empty() && !update_.has_value()) UpdateIn(kSettle);
}

void UnderlayWall::UpdateIn(Duration delay) {
  if (update_.has_value()) loop_->Cancel(*update_);
  update_ = loop_->After(delay, [this] {
    update_.reset();
    Update();
  });
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
    // Without them the rules are the strictest: no bridge is a LAN's, members are anywhere.
    if (links_now.ok()) links = *std::move(links_now);
    if (addresses_now.ok()) addresses = *std::move(addresses_now);
  }
  const UnderlayState state = MakeUnderlayState(clouds_, unicast_ports_, links, addresses);
  status.Update(table_.Set(UnderlayRules(state), /*none=*/clouds_.empty()));
  if (status.ok()) {
    problem_.clear();
    return;
  }
  if (problem_ != status.message()) {
    problem_ = std::string(status.message());
    log_->Error("no wall before the clouds' UDP ports",
                {{"error", problem_}, {"effect", "pods can pose as members of clouds"}});
  }
  // Nobody gives the permission to a running agent.
  if (!absl::IsPermissionDenied(status)) UpdateIn(NftTable::kRetry);
}

std::string UnderlayWall::problem() const {
  if (clouds_.empty()) return "";
  for (const std::string* one : {&problem_, &table_.problem()}) {
    if (!one->empty()) {
      return absl::StrCat("pods can send datagrams to the UDP ports of clouds: ", *one);
    }
  }
  return "";
}

}  // namespace vxvde
