#include "agent/node_port/firewall.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "plugin/base/status.h"
#include "plugin/os/netlink.h"
#include "plugin/os/nftables.h"

namespace vxvde {
namespace {

constexpr char kTable[] = "inet vxvde";

const char* FamilyWord(int family) { return family == AF_INET6 ? "ip6" : "ip"; }

std::string Quoted(absl::string_view ifname) { return absl::StrCat("\"", ifname, "\""); }

std::string SetOf(const std::vector<std::string>& elements) {
  return absl::StrCat("{ ", absl::StrJoin(elements, ", "), " }");
}

std::string NameSet(const std::vector<FirewallPort>& ports) {
  std::vector<std::string> names;
  for (const FirewallPort& port : ports) names.push_back(Quoted(port.ifname));
  return SetOf(names);
}

// A chain of DNAT rules. Those that name an address of the node come first and win.
void AppendPublished(std::vector<FirewallMapping> mappings, std::string& out) {
  using Rule = std::tuple<bool, int, std::optional<IpAddress>, std::string>;
  std::map<Rule, std::vector<std::string>> rules;  // elements of each rule's map
  std::sort(mappings.begin(), mappings.end());
  for (const FirewallMapping& mapping : mappings) {
    const int family = mapping.target.family();
    rules[{!mapping.host_ip.has_value(), family, mapping.host_ip, mapping.protocol}].push_back(
        absl::StrCat(mapping.host_port, " : ", mapping.target.ToString(), " . ",
                     mapping.target_port));
  }
  absl::StrAppend(&out, "  chain published {\n");
  for (const auto& [rule, elements] : rules) {
    const auto& [any, family, host_ip, protocol] = rule;
    const char* ip = FamilyWord(family);
    absl::StrAppend(&out, "    ",
                    any ? absl::StrCat("meta nfproto ", family == AF_INET6 ? "ipv6" : "ipv4")
                        : absl::StrCat(ip, " daddr ", host_ip->ToString()),
                    " dnat ", ip, " to ", protocol, " dport map { ", absl::StrJoin(elements, ", "),
                    " }\n");
  }
  absl::StrAppend(&out, "  }\n");
}

// Packets that the node routes into a cloud. `accept` ends this table's look at a packet, and no
// other table's.
void AppendIntoClouds(const FirewallState& state, const std::string& names, std::string& out) {
  std::vector<std::string> pairs;
  std::vector<std::string> routed;
  for (const FirewallPort& port : state.ports) {
    pairs.push_back(absl::StrCat(Quoted(port.ifname), " . ", Quoted(port.ifname)));
    for (const std::string& other : port.reaches) {
      pairs.push_back(absl::StrCat(Quoted(port.ifname), " . ", Quoted(other)));
    }
    if (port.routed) routed.push_back(Quoted(port.ifname));
  }
  std::map<int, std::vector<std::string>> targets;  // of published ports, by family
  for (const FirewallMapping& mapping : state.mappings) {
    std::string target = absl::StrCat(mapping.target.ToString(), " . ", mapping.protocol, " . ",
                                      mapping.target_port);
    std::vector<std::string>& known = targets[mapping.target.family()];
    if (std::find(known.begin(), known.end(), target) == known.end()) {
      known.push_back(std::move(target));
    }
  }
  absl::StrAppend(&out, "  chain into_clouds {\n",
                  "    type filter hook forward priority filter; policy accept;\n",
                  "    oifname != ", names, " accept\n",
                  "    ct state established,related accept\n", "    iifname . oifname ",
                  SetOf(pairs), " accept\n");
  if (!routed.empty()) {
    absl::StrAppend(&out, "    iifname != ", names, " oifname ", SetOf(routed), " accept\n");
  }
  // Ports of the node that lead into a cloud are open to hosts outside the clouds, by whatever
  // program's rules. To another cloud only those that the agent was asked to publish are: a Service
  // would be a way round `namespaces`.
  absl::StrAppend(&out, "    iifname != ", names, " ct status dnat accept\n");
  for (const auto& [family, elements] : targets) {
    absl::StrAppend(&out, "    ct status dnat ", FamilyWord(family),
                    " daddr . meta l4proto . th dport ", SetOf(elements), " accept\n");
  }
  absl::StrAppend(&out, "    counter drop\n", "  }\n");
}

const FirewallMapping* FindMapping(const std::vector<FirewallMapping>& mappings,
                                   const UdpFlow& flow) {
  const FirewallMapping* found = nullptr;
  if (flow.destination.is_v6() && flow.destination.IsLoopback()) return found;  // as the rules say
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

std::string FirewallRules(const FirewallState& state) {
  // The first line gives the second something to delete.
  std::string out = absl::StrCat("add table ", kTable, "\ndelete table ", kTable, "\n");
  if (state.ports.empty()) return out;
  const std::string names = NameSet(state.ports);
  absl::StrAppend(&out, "table ", kTable, " {\n");

  // 127.0.0.1 reaches published ports, too, which takes route_localnet on the node's port. Packets
  // from the cloud to or from 127.0.0.0/8 must go nowhere (CVE-2020-8558). Connection tracking,
  // which gives answers to masqueraded connections of 127.0.0.1 that address, comes after this.
  absl::StrAppend(&out, "  chain from_clouds {\n",
                  "    type filter hook prerouting priority raw; policy accept;\n", "    iifname ",
                  names, " ip daddr 127.0.0.0/8 drop\n", "    iifname ", names,
                  " ip saddr 127.0.0.0/8 drop\n", "  }\n");
  // For a Service the node forwards from a cloud back into it. A redirect would make the pod send
  // to the backend directly, which does not know the Service's address.
  absl::StrAppend(&out, "  chain no_redirects {\n",
                  "    type filter hook output priority filter; policy accept;\n", "    oifname ",
                  names, " icmp type redirect drop\n", "    oifname ", names,
                  " icmpv6 type nd-redirect drop\n", "  }\n");
  AppendIntoClouds(state, names, out);

  if (!state.mappings.empty()) {
    AppendPublished(state.mappings, out);
    absl::StrAppend(&out, "  chain published_to_others {\n",
                    "    type nat hook prerouting priority dstnat; policy accept;\n",
                    "    fib daddr type local jump published\n", "  }\n");
    // IPv6 has no route_localnet: nothing from ::1 leaves the node.
    absl::StrAppend(&out, "  chain published_to_node {\n",
                    "    type nat hook output priority -100; policy accept;\n",
                    "    ip6 daddr ::1 return\n", "    fib daddr type local jump published\n",
                    "  }\n");
  }

  absl::StrAppend(&out, "  chain leaving {\n",
                  "    type nat hook postrouting priority srcnat; policy accept;\n");
  // Answers must come back through the node that translates.
  absl::StrAppend(&out, "    oifname ", names, " ct status dnat masquerade\n");
  for (const FirewallPort& port : state.ports) {
    if (!port.masquerade) continue;
    for (const IpPrefix& subnet : port.subnets) {
      const char* ip = FamilyWord(subnet.address.family());
      absl::StrAppend(&out, "    oifname != { \"", port.ifname, "\", \"lo\" } ", ip, " saddr ",
                      subnet.Network().ToString(), " masquerade\n");
    }
  }
  absl::StrAppend(&out, "  }\n}\n");
  return out;
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

FirewallKernel KernelFirewall() {
  return {.rules = {.run = RunNft, .list = [] { return ListNftTable(kTable); }},
          .forget = ForgetUdpFlows};
}

NftKernel NoFirewall(const absl::Status& why) {
  return {.run = [why](const std::string&) { return why; },
          .list = [why]() -> absl::StatusOr<std::string> { return why; }};
}

Firewall::Firewall(EventLoop* loop, const Log* log, FirewallKernel kernel)
    : log_(log),
      kernel_(std::move(kernel)),
      table_(loop, log, kTable,
             {.run = [this](const std::string& commands) { return Run(commands); },
              .list = [this] { return kernel_.rules.list(); }}) {}

absl::Status Firewall::Run(const std::string& commands) {
  RETURN_IF_ERROR(kernel_.rules.run(commands));
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
  const absl::Status status = table_.Set(FirewallRules(state), /*none=*/state.ports.empty());
  next_ = nullptr;
  if (status.ok()) state_ = std::move(state);
  return status;
}

}  // namespace vxvde
