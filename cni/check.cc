// CHECK: does the state still match the result of ADD, and do frames flow?

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/api/attachment_id.h"
#include "cni/attachment_name.h"
#include "cni/commands.h"
#include "cni/error.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// The index of the pod's interface `ifname` in `previous`.
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

// The differences, each as a phrase for the message.
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
  // A later plugin may have lowered it: tuning does, and leaves the result as it was.
  if (state.mtu > checked.mtu()) {
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

absl::Status CheckOne(const CheckRequest& request, const std::string& ifname,
                      const Outside& outside) {
  const AttachmentName name = NameOf(request.network, request.container, ifname);
  const std::string& netns = request.container.netns;
  const std::optional<size_t> index = FindInterface(request.previous, ifname);
  if (!index) {
    return CniStatus(
        kCniInvalidConfig,
        absl::StrCat("CHECK: \"prevResult\" has no interface ", ifname, " with a sandbox"),
        "the runtime must pass the result of ADD unchanged");
  }
  ASSIGN_OR_RETURN(const attach::v1::Checked checked, outside.agent.Check(KeyOf(name)));
  const LinkMode mode = checked.mode() == attach::v1::TAP ? LinkMode::kTap : LinkMode::kVeth;
  const absl::StatusOr<LinkState> state = outside.links.Inspect(LinksOf(name, netns), mode);
  std::vector<std::string> differences;
  if (absl::IsNotFound(state.status())) {
    differences.push_back(absl::StrCat("interface ", ifname, " is not in ", netns));
  } else {
    RETURN_IF_ERROR(state.status());
    differences = Compare(request.previous, *index, *state, checked);
  }
  // A result does not assign routes to interfaces: they are checked once for the pod. The kernel
  // drops those of an interface that becomes part of a VRF.
  if (state.ok() && !state->enslaved && ifname == request.container.ifname) {
    for (const ResultRoute& route : request.previous.routes) {
      if (HasRoute(*state, route)) continue;
      differences.push_back(absl::StrCat(
          "there is no route to ", route.destination.ToString(),
          route.gateway ? absl::StrCat(" via ", route.gateway->ToString()) : std::string()));
    }
  }
  if (differences.empty()) return absl::OkStatus();
  return CniStatus(static_cast<uint32_t>(AttachError::kChanged), absl::StrJoin(differences, "; "),
                   "restore it, or run DEL and ADD for the container");
}

bool HasHostEnd(const CheckRequest& request, const std::string& ifname) {
  const AttachmentName name = NameOf(request.network, request.container, ifname);
  const std::string host_ifname = LinksOf(name, request.container.netns).host_ifname;
  const std::vector<ResultInterface>& all = request.previous.interfaces;
  return std::any_of(all.begin(), all.end(),
                     [&](const ResultInterface& one) { return one.name == host_ifname; });
}

// Returns whether the result may contain an attachment of this network: a pair has a host end
// there, a tap the attachment's alias in the pod.
absl::StatusOr<bool> MayHaveAttachments(const CheckRequest& request, PodLinks& links) {
  for (const ResultInterface& one : request.previous.interfaces) {
    if (one.sandbox.empty()) continue;
    if (HasHostEnd(request, one.name)) return true;
    if (request.mode != LinkMode::kTap) continue;
    if (&one == &request.previous.interfaces[0]) return true;  // a tap's result begins with it
    const AttachmentName name = NameOf(request.network, request.container, one.name);
    ASSIGN_OR_RETURN(const bool ours, links.IsInPod(LinksOf(name, request.container.netns)));
    if (ours) return true;
  }
  return false;
}

}  // namespace

absl::Status Check(const CheckRequest& request, const Outside& outside) {
  const Container& container = request.container;
  RETURN_IF_ERROR(outside.links.CheckNetNs(container.netns, request.own_netns_allowed));
  // A result without the interface is an error, which CheckOne reports.
  if (!FindInterface(request.previous, container.ifname)) {
    return CheckOne(request, container.ifname, outside);
  }
  ASSIGN_OR_RETURN(const bool needs_agent, MayHaveAttachments(request, outside.links));
  if (!needs_agent) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<attach::v1::Listed::Attachment> listed,
                   outside.agent.List(request.network.name, container.id));
  // Chained, another plugin made `ifname`. A result of this plugin contains the host end, or in tap
  // mode begins with the pod's interface.
  bool main = request.mode == LinkMode::kTap
                  ? request.previous.interfaces[0].name == container.ifname
                  : HasHostEnd(request, container.ifname);
  std::vector<std::string> others;
  for (const attach::v1::Listed::Attachment& one : listed) {
    if (one.main_ifname() != container.ifname || one.planned() || one.ended()) continue;
    if (one.key().ifname() == container.ifname) {
      main = true;
    } else {
      others.push_back(one.key().ifname());
    }
  }
  if (main) RETURN_IF_ERROR(CheckOne(request, container.ifname, outside));
  for (const std::string& ifname : others) RETURN_IF_ERROR(CheckOne(request, ifname, outside));
  if (!main || !request.network.ipam) return absl::OkStatus();
  return outside.ipam.Check(*request.network.ipam, container);
}

}  // namespace vxvde
