#include "agent/node_port/firewall.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "plugin/base/status.h"
#include "plugin/os/netlink.h"
#include "plugin/os/nftables.h"

namespace vxvde {
namespace {

constexpr char kTable[] = "vxvde";
constexpr char kPublished[] = "published";

std::vector<NftValue> Names(const std::vector<FirewallPort>& ports) {
  std::vector<NftValue> names;
  for (const FirewallPort& port : ports) names.push_back(NftName(port.ifname));
  return names;
}

uint8_t ProtocolNumber(absl::string_view protocol) {
  return protocol == "udp" ? IPPROTO_UDP : protocol == "sctp" ? IPPROTO_SCTP : IPPROTO_TCP;
}

// Published ports are also reachable at 127.0.0.1, which requires route_localnet on the node's
// port. Packets from the cloud to or from 127.0.0.0/8 must therefore be dropped (CVE-2020-8558).
// This chain runs before connection tracking, which rewrites answers to masqueraded connections to
// that address.
NftChain FromClouds(const std::vector<NftValue>& names) {
  NftChain chain{
      .name = "from_clouds",
      .hook = NftHook{.type = "filter", .point = NftHookPoint::kPrerouting, .priority = kNftRaw}};
  for (const NftField field : {NftField::kDestinationV4, NftField::kSourceV4}) {
    chain.rules.push_back(NftRule()
                              .In(NftField::kInputName, names)
                              .Is(NftField::kFamily, NftByte(AF_INET))
                              .Within(field, {{IpAddress::V4(127, 0, 0, 0), 8}})
                              .Drop());
  }
  return chain;
}

// For a Service, the node forwards packets from a cloud back into it. After a redirect, the pod
// would send directly to the backend, which does not know the Service's address.
NftChain NoRedirects(const std::vector<NftValue>& names) {
  constexpr uint8_t kRedirect4 = 5;
  constexpr uint8_t kRedirect6 = 137;
  const auto rule = [&](int family, uint8_t protocol, uint8_t type) {
    return NftRule()
        .In(NftField::kOutputName, names)
        .Is(NftField::kFamily, NftByte(static_cast<uint8_t>(family)))
        .Is(NftField::kProtocol, NftByte(protocol))
        .Is(NftField::kIcmpType, NftByte(type))
        .Drop();
  };
  return {.name = "no_redirects",
          .hook = NftHook{.type = "filter", .point = NftHookPoint::kOutput},
          .rules = {rule(AF_INET, IPPROTO_ICMP, kRedirect4),
                    rule(AF_INET6, IPPROTO_ICMPV6, kRedirect6)}};
}

// A chain of DNAT rules. Those that name an address of the node come first and win.
NftChain Published(const std::vector<FirewallMapping>& mappings) {
  using Key = std::tuple<bool, int, std::optional<IpAddress>, std::string>;
  std::map<Key, std::map<uint16_t, std::pair<IpAddress, uint16_t>>> targets;  // of each rule
  for (const FirewallMapping& mapping : mappings) {
    const int family = mapping.target.family();
    targets[{!mapping.host_ip.has_value(), family, mapping.host_ip, mapping.protocol}]
           [mapping.host_port] = {mapping.target, mapping.target_port};
  }
  NftChain chain{.name = kPublished};
  for (const auto& [key, map] : targets) {
    const auto& [any, family, host_ip, protocol] = key;
    NftRule rule;
    rule.Is(NftField::kFamily, NftByte(static_cast<uint8_t>(family)));
    if (!any) rule.Is(DestinationField(family), NftIp(*host_ip));
    rule.Is(NftField::kProtocol, NftByte(ProtocolNumber(protocol))).Dnat(family, map);
    chain.rules.push_back(std::move(rule));
  }
  return chain;
}

// Packets that the node routes into a cloud. `accept` ends the evaluation in this table, not in
// others.
NftChain IntoClouds(const FirewallState& state, const std::vector<NftValue>& names) {
  std::vector<std::vector<NftValue>> pairs;
  std::vector<NftValue> routed;
  for (const FirewallPort& port : state.ports) {
    const NftValue name = NftName(port.ifname);
    pairs.push_back({name, name});
    for (const std::string& other : port.reaches) pairs.push_back({name, NftName(other)});
    if (port.routed) routed.push_back(name);
  }
  std::map<int, std::set<std::vector<NftValue>>> targets;  // of published ports, by family
  for (const FirewallMapping& mapping : state.mappings) {
    targets[mapping.target.family()].insert({NftIp(mapping.target),
                                             NftByte(ProtocolNumber(mapping.protocol)),
                                             NftPort(mapping.target_port)});
  }
  NftChain chain{.name = "into_clouds",
                 .hook = NftHook{.type = "filter", .point = NftHookPoint::kForward}};
  chain.rules = {
      NftRule().NotIn(NftField::kOutputName, names).Accept(),
      NftRule().HasAny(NftField::kConntrackState, kNftEstablished | kNftRelated).Accept(),
      NftRule().In({NftField::kInputName, NftField::kOutputName}, pairs).Accept()};
  if (!routed.empty()) {
    chain.rules.push_back(
        NftRule().NotIn(NftField::kInputName, names).In(NftField::kOutputName, routed).Accept());
  }
  // Hosts outside the clouds may use any port of the node that leads into a cloud, whichever
  // program's rule translates it. Other clouds may use only the ports that the agent publishes: a
  // Service would bypass `namespaces`.
  chain.rules.push_back(NftRule()
                            .NotIn(NftField::kInputName, names)
                            .HasAny(NftField::kConntrackStatus, kNftDestinationTranslated)
                            .Accept());
  for (const auto& [family, elements] : targets) {
    chain.rules.push_back(
        NftRule()
            .HasAny(NftField::kConntrackStatus, kNftDestinationTranslated)
            .Is(NftField::kFamily, NftByte(static_cast<uint8_t>(family)))
            .In({DestinationField(family), NftField::kProtocol, NftField::kDestinationPort},
                {elements.begin(), elements.end()})
            .Accept());
  }
  chain.rules.push_back(NftRule().Count().Drop());
  return chain;
}

NftRule JumpToPublished() {
  return NftRule().Is(NftField::kDestinationKind, NftNumber(RTN_LOCAL)).Jump(kPublished);
}

NftChain Leaving(const FirewallState& state, const std::vector<NftValue>& names) {
  NftChain chain{
      .name = "leaving",
      .hook = NftHook{.type = "nat", .point = NftHookPoint::kPostrouting, .priority = kNftSrcnat}};
  // Answers must come back through the node that translates.
  chain.rules.push_back(NftRule()
                            .In(NftField::kOutputName, names)
                            .HasAny(NftField::kConntrackStatus, kNftDestinationTranslated)
                            .Masquerade());
  for (const FirewallPort& port : state.ports) {
    if (!port.masquerade) continue;
    for (const IpPrefix& subnet : port.subnets) {
      const int family = subnet.address.family();
      chain.rules.push_back(NftRule()
                                .NotIn(NftField::kOutputName, {NftName(port.ifname), NftName("lo")})
                                .Is(NftField::kFamily, NftByte(static_cast<uint8_t>(family)))
                                .Within(SourceField(family), {subnet})
                                .Masquerade());
    }
  }
  return chain;
}

const FirewallMapping* FindMapping(const std::vector<FirewallMapping>& mappings,
                                   const UdpFlow& flow) {
  const FirewallMapping* found = nullptr;
  if (flow.destination.is_v6() && flow.destination.IsLoopback()) return found;  // as in the rules
  for (const FirewallMapping& mapping : mappings) {
    if (mapping.protocol != "udp" || mapping.host_port != flow.port ||
        mapping.target.family() != flow.destination.family()) {
      continue;
    }
    if (mapping.host_ip == flow.destination) return &mapping;
    if (!mapping.host_ip.has_value()) found = &mapping;
  }
  return found;
}

absl::Status ForgetUdpFlows(const std::set<uint16_t>& ports,
                            const std::function<bool(const UdpFlow&)>& stale) {
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(const std::vector<AddressInfo> infos, netlink.ListAddresses());
  std::set<IpAddress> local;
  for (const AddressInfo& info : infos) local.insert(info.prefix.address);
  return DeleteUdpFlows(
             ports,
             [&](const UdpFlow& flow) {
               return (flow.destination.IsLoopback() || local.contains(flow.destination)) &&
                      stale(flow);
             })
      .status();
}

}  // namespace

NftTable FirewallRules(const FirewallState& state) {
  NftTable table{.name = kTable};
  if (state.ports.empty()) return table;
  const std::vector<NftValue> names = Names(state.ports);
  table.chains = {FromClouds(names), NoRedirects(names), IntoClouds(state, names)};
  if (!state.mappings.empty()) {
    table.chains.push_back(Published(state.mappings));
    table.chains.push_back(
        {.name = "published_to_others",
         .hook = NftHook{.type = "nat", .point = NftHookPoint::kPrerouting, .priority = kNftDstnat},
         .rules = {JumpToPublished()}});
    // IPv6 has no route_localnet: nothing from ::1 leaves the node.
    const NftValue loopback = NftIp(*IpAddress::Parse("::1"));
    const NftRule not_from_loopback = NftRule()
                                          .Is(NftField::kFamily, NftByte(AF_INET6))
                                          .Is(NftField::kDestinationV6, loopback)
                                          .Return();
    table.chains.push_back(
        {.name = "published_to_node",
         .hook = NftHook{.type = "nat", .point = NftHookPoint::kOutput, .priority = kNftDstnat},
         .rules = {not_from_loopback, JumpToPublished()}});
  }
  table.chains.push_back(Leaving(state, names));
  return table;
}

bool IsStale(const UdpFlow& flow, const std::vector<FirewallMapping>& before,
             const std::vector<FirewallMapping>& now) {
  const auto leads = [&](const FirewallMapping& mapping) {
    return flow.target == mapping.target && flow.target_port == mapping.target_port;
  };
  if (const FirewallMapping* is = FindMapping(now, flow)) return !leads(*is);
  const FirewallMapping* was = FindMapping(before, flow);
  return was != nullptr && leads(*was);
}

FirewallKernel KernelFirewall() { return {.rules = KernelNft(), .forget = ForgetUdpFlows}; }

Firewall::Firewall(EventLoop* loop, const Log* log, FirewallKernel kernel)
    : log_(log),
      kernel_(std::move(kernel)),
      table_(loop, log, FirewallRules({}).ToString(),
             {.replace = [this](const std::vector<NftTable>& tables) { return Replace(tables); },
              .read = kernel_.rules.read}) {}

absl::Status Firewall::Replace(const std::vector<NftTable>& tables) {
  RETURN_IF_ERROR(kernel_.rules.replace(tables));
  if (next_ != nullptr) {
    ForgetFlows(state_.mappings, next_->mappings);
  } else {
    ForgetFlows({}, state_.mappings);  // restored: flows may have begun without the rules
  }
  return absl::OkStatus();
}

void Firewall::ForgetFlows(const std::vector<FirewallMapping>& before,
                           const std::vector<FirewallMapping>& now) {
  std::set<uint16_t> ports;
  const auto add_missing = [&](const std::vector<FirewallMapping>& from,
                               const std::vector<FirewallMapping>& in) {
    for (const FirewallMapping& mapping : from) {
      if (mapping.protocol == "udp" && std::find(in.begin(), in.end(), mapping) == in.end()) {
        ports.insert(mapping.host_port);
      }
    }
  };
  add_missing(before, now);
  add_missing(now, before);
  if (ports.empty()) return;
  const absl::Status status =
      kernel_.forget(ports, [&](const UdpFlow& flow) { return IsStale(flow, before, now); });
  if (status.ok()) return;
  log_->Warn("UDP flows not forgotten",
             {{"error", std::string(status.message())},
              {"effect", "clients that go on sending reach a published port late"}});
}

absl::Status Firewall::Set(FirewallState state) {
  next_ = &state;
  const absl::Status status = table_.Set({FirewallRules(state)});
  next_ = nullptr;
  if (status.ok()) state_ = std::move(state);
  return status;
}

}  // namespace vxvde
