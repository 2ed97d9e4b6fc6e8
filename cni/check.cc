#include "cni/check.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/api/attachment_id.h"
#include "cni/error.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// The index in `previous` of the pod's interface `ifname`.
std::optional<size_t> FindInterface(const CniResult& previous, const std::string& ifname) {
  for (size_t i = 0; i < previous.interfaces.size(); ++i) {
    const ResultInterface& one = previous.interfaces[i];
    if (one.name == ifname && !one.sandbox.empty()) return i;
  }
  return std::nullopt;
}

bool HasRoute(const LinkState& state, const ResultRoute& route) {
  return std::any_of(state.routes.begin(), state.routes.end(), [&](const RouteInfo& one) {
    if (one.destination != route.destination.Network()) return false;
    if (route.table && one.table != *route.table) return false;
    return !route.gateway || std::find(one.gateways.begin(), one.gateways.end(), *route.gateway) !=
                                 one.gateways.end();
  });
}

// What differs, in words.
std::vector<std::string> Compare(const CniResult& previous, size_t index, const LinkState& state,
                                 const attach::v1::Checked& checked) {
  std::vector<std::string> differences;
  const auto differs = [&](auto... words) { differences.push_back(absl::StrCat(words...)); };
  const ResultInterface& expected = previous.interfaces[index];
  const std::string& ifname = expected.name;
  if (!state.ours) {
    differs("interface ", ifname, " is not the one that ADD made");
    return differences;
  }
  const std::string mac = state.mac.ToString();
  if (!expected.mac.empty() && absl::AsciiStrToLower(expected.mac) != mac) {
    differs("the MAC of ", ifname, " is ", mac, ", not ", expected.mac);
  }
  // Before 1.1.0 a result does not say it, and a later plugin may have made it smaller.
  if (expected.mtu != 0 && state.mtu != expected.mtu) {
    differs("the MTU of ", ifname, " is ", state.mtu, ", not ", expected.mtu);
  } else if (state.mtu > checked.mtu()) {
    differs("the MTU of ", ifname, " is ", state.mtu, ", more than the cloud's ", checked.mtu());
  }
  if (!state.up) differs("interface ", ifname, " is down");
  if (!state.host_up) differs("the host end of ", ifname, " is down");
  for (const ResultAddress& address : previous.addresses) {
    if (address.interface != index) continue;
    if (std::find(state.addresses.begin(), state.addresses.end(), address.address) ==
        state.addresses.end()) {
      differs(ifname, " has no address ", address.address.ToString());
    }
  }
  return differences;
}

absl::Status CheckOne(const Request& request, const std::string& ifname, const Outside& outside) {
  attach::v1::AttachmentKey key;
  key.set_network(request.network);
  key.set_container_id(request.container_id);
  key.set_ifname(ifname);
  const std::optional<size_t> index = FindInterface(request.previous, ifname);
  if (!index) {
    return CniStatus(
        kCniInvalidConfig,
        absl::StrCat("CHECK: \"prevResult\" has no interface ", ifname, " with a sandbox"),
        "the runtime must pass the result of ADD as it was");
  }
  ASSIGN_OR_RETURN(const attach::v1::Checked checked, outside.agent.Check(key));

  const std::string id = AttachmentId(key.network(), key.container_id(), ifname);
  const std::string main_id = AttachmentId(key.network(), key.container_id(), request.ifname);
  const LinkNames names = {.netns = request.netns,
                           .ifname = ifname,
                           .host_ifname = HostIfName(id),
                           .alias = LinkAlias(id, main_id)};
  const LinkMode mode = checked.mode() == attach::v1::TAP ? LinkMode::kTap : LinkMode::kVeth;
  const absl::StatusOr<LinkState> state = outside.links.Inspect(names, mode);
  std::vector<std::string> differences;
  if (absl::IsNotFound(state.status())) {
    differences.push_back(absl::StrCat("interface ", ifname, " is not in ", request.netns));
  } else {
    RETURN_IF_ERROR(state.status());
    differences = Compare(request.previous, *index, *state, checked);
  }
  // Routes are not said to be of an interface: they count once, for the pod.
  if (state.ok() && ifname == request.ifname) {
    for (const ResultRoute& route : request.previous.routes) {
      if (HasRoute(*state, route)) continue;
      differences.push_back(absl::StrCat(
          "there is no route to ", route.destination.ToString(),
          route.gateway ? absl::StrCat(" via ", route.gateway->ToString()) : std::string()));
    }
  }
  if (differences.empty()) return absl::OkStatus();
  return CniStatus(static_cast<uint32_t>(AttachError::kChanged), absl::StrJoin(differences, "; "),
                   "put it back, or run DEL and ADD for the container");
}

}  // namespace

absl::Status Check(const Request& request, const Outside& outside) {
  RETURN_IF_ERROR(outside.links.CheckNetNs(request.netns, request.own_netns_allowed));
  ASSIGN_OR_RETURN(const std::vector<attach::v1::Listed::Attachment> listed,
                   outside.agent.List(request.network, request.container_id));
  // Chained, `ifname` is another plugin's. A result that we made has the host end, or in tap mode
  // begins with the pod's.
  const std::string host_ifname =
      HostIfName(AttachmentId(request.network, request.container_id, request.ifname));
  const std::vector<ResultInterface>& interfaces = request.previous.interfaces;
  const auto is_ours = [&](const ResultInterface& one) { return one.name == host_ifname; };
  bool main = request.mode == LinkMode::kTap
                  ? !interfaces.empty() && interfaces[0].name == request.ifname
                  : std::any_of(interfaces.begin(), interfaces.end(), is_ours);
  std::vector<std::string> others;
  for (const attach::v1::Listed::Attachment& one : listed) {
    if (one.main_ifname() != request.ifname || one.planned() || one.ended()) continue;
    if (one.key().ifname() == request.ifname) {
      main = true;
    } else {
      others.push_back(one.key().ifname());
    }
  }
  if (!main && !FindInterface(request.previous, request.ifname)) main = true;  // which says so
  if (main) RETURN_IF_ERROR(CheckOne(request, request.ifname, outside));
  for (const std::string& ifname : others) RETURN_IF_ERROR(CheckOne(request, ifname, outside));
  if (!main || request.ipam.kind != Ipam::Kind::kDelegate) return absl::OkStatus();
  return outside.ipam.Check(request);
}

}  // namespace vxvde
