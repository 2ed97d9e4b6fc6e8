#include "agent/node_port/firewall.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "plugin/base/status.h"
#include "plugin/os/nftables.h"

namespace vxvde {
namespace {

constexpr char kTable[] = "inet vxvde";

const char* FamilyWord(int family) { return family == AF_INET6 ? "ip6" : "ip"; }

std::string NameSet(const std::vector<FirewallPort>& ports) {
  return absl::StrCat("{ ",
                      absl::StrJoin(ports, ", ",
                                    [](std::string* out, const FirewallPort& port) {
                                      absl::StrAppend(out, "\"", port.ifname, "\"");
                                    }),
                      " }");
}

// A chain of DNAT rules: those that name an address of the node first, so that they win.
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

}  // namespace

std::string FirewallRules(const FirewallState& state) {
  // The first line, so that the second has something to delete.
  std::string out = absl::StrCat("add table ", kTable, "\ndelete table ", kTable, "\n");
  if (state.ports.empty()) return out;
  const std::string names = NameSet(state.ports);
  absl::StrAppend(&out, "table ", kTable, " {\n");

  // A published port is also one of 127.0.0.1, which takes route_localnet on the node's port
  // (CVE-2020-8558): what comes from the cloud has no business there. Before connection tracking,
  // since answers to masqueraded connections of 127.0.0.1 get that address by it.
  absl::StrAppend(&out, "  chain from_clouds {\n",
                  "    type filter hook prerouting priority raw; policy accept;\n", "    iifname ",
                  names, " ip daddr 127.0.0.0/8 drop\n", "    iifname ", names,
                  " ip saddr 127.0.0.0/8 drop\n", "  }\n");
  // The node forwards from a cloud back into it (a Service); a redirect would tell the pod to send
  // to the backend what only this node translates.
  absl::StrAppend(&out, "  chain no_redirects {\n",
                  "    type filter hook output priority filter; policy accept;\n", "    oifname ",
                  names, " icmp type redirect drop\n", "    oifname ", names,
                  " icmpv6 type nd-redirect drop\n", "  }\n");

  if (!state.mappings.empty()) {
    AppendPublished(state.mappings, out);
    absl::StrAppend(&out, "  chain published_to_others {\n",
                    "    type nat hook prerouting priority dstnat; policy accept;\n",
                    "    fib daddr type local jump published\n", "  }\n");
    // Nothing routes from ::1 out of the node, as route_localnet does from 127.0.0.1.
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

FirewallKernel KernelFirewall() {
  return {.run = RunNft, .list = [] { return ListNftTable(kTable); }};
}

FirewallKernel NoFirewall(const absl::Status& why) {
  return {.run = [why](const std::string&) { return why; },
          .list = [why]() -> absl::StatusOr<std::string> { return why; }};
}

Firewall::Firewall(EventLoop* loop, const Log* log, FirewallKernel kernel)
    : loop_(loop), log_(log), kernel_(std::move(kernel)) {}

Firewall::~Firewall() {
  if (check_.has_value()) loop_->Cancel(*check_);
}

absl::Status Firewall::Apply(const FirewallState& state) {
  RETURN_IF_ERROR(kernel_.run(FirewallRules(state)));
  // Read back as the kernel and libnftables put it, for comparison.
  absl::StatusOr<std::string> listed = kernel_.list();
  if (listed.ok()) {
    listed_ = *std::move(listed);
    problem_.clear();
  } else {
    problem_ = std::string(listed.status().message());
    CheckIn(kRetry);
  }
  return absl::OkStatus();
}

absl::Status Firewall::Set(FirewallState state) {
  if (state == state_ && problem_.empty()) {
    if (known_) return absl::OkStatus();
    // Nothing is wanted, but an earlier life may have left a table. A kernel that cannot tell has
    // none.
    known_ = kernel_.list().value_or("").empty();
    if (known_) return absl::OkStatus();
  }
  RETURN_IF_ERROR(Apply(state));
  state_ = std::move(state);
  known_ = true;
  return absl::OkStatus();
}

void Firewall::OnChange() {
  if (!check_.has_value()) CheckIn(kSettle);
}

void Firewall::CheckIn(Duration delay) {
  if (check_.has_value()) loop_->Cancel(*check_);
  check_ = loop_->After(delay, [this] {
    check_.reset();
    Check();
  });
}

void Firewall::Check() {
  if (state_.ports.empty()) return;
  const absl::StatusOr<std::string> now = kernel_.list();
  absl::Status status = now.status();
  if (now.ok()) {
    if (*now == listed_ && problem_.empty()) return;
    log_->Warn("nftables restored",
               {{"table", kTable}, {"why", now->empty() ? "it was gone" : "it was changed"}});
    status = Apply(state_);
  }
  if (status.ok()) return;
  if (problem_ != status.message()) {
    problem_ = std::string(status.message());
    log_->Error("nftables not restored", {{"table", kTable}, {"error", problem_}});
  }
  CheckIn(kRetry);
}

}  // namespace vxvde
