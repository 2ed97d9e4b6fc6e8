#include "cni/commands.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "cni/error.h"
#include "cni/netavark.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// Longer than an agent takes to start again.
constexpr std::chrono::seconds kStatusGrace(5);

attach::v1::AttachmentKey KeyOf(const Request& request) {
  attach::v1::AttachmentKey key;
  key.set_network(request.network);
  key.set_container_id(request.container_id);
  key.set_ifname(request.ifname);
  return key;
}

std::string IdOf(const Request& request) {
  return AttachmentId(request.network, request.container_id, request.ifname);
}

LinkNames NamesOf(const Request& request) {
  const std::string id = IdOf(request);
  return {.netns = request.netns,
          .ifname = request.ifname,
          .host_ifname = HostIfName(id),
          .alias = LinkAlias(id)};
}

attach::v1::Plan PlanOf(const Request& request) {
  attach::v1::Plan plan;
  *plan.mutable_key() = KeyOf(request);
  plan.set_cloud(request.cloud);
  plan.set_vnl(request.vnl);
  plan.set_mode(request.mode == LinkMode::kTap ? attach::v1::TAP : attach::v1::VETH);
  plan.set_netns(request.netns);
  plan.mutable_pod()->set_namespace_(request.pod_namespace);
  plan.mutable_pod()->set_name(request.pod_name);
  plan.mutable_pod()->set_uid(request.pod_uid);
  if (request.mac) plan.set_mac(request.mac->bytes().data(), MacAddress::kSize);
  plan.set_mtu(request.mtu);
  plan.set_caller(request.caller == Caller::kNetavark ? "netavark" : "cni");
  plan.set_addresses_by_caller(request.ipam.kind != Ipam::Kind::kAgent);
  return plan;
}

// What the agent planned, if it makes sense: the names on both sides must agree, or DEL would
// look for the wrong ones.
absl::StatusOr<LinkSpec> SpecOf(const Request& request, const attach::v1::Planned& planned) {
  const bool sound = planned.mac().size() == MacAddress::kSize && planned.mtu() >= 68 &&
                     planned.mtu() <= 65535 && planned.id() == IdOf(request);
  if (!sound) {
    return CniStatus(
        static_cast<uint32_t>(AttachError::kVersionMismatch),
        absl::StrCat("the agent planned attachment \"", planned.id(), "\" (MTU ", planned.mtu(),
                     ", MAC of ", planned.mac().size(), " bytes) for ", IdOf(request)),
        "install vxvde and vxvde-agent of one version");
  }
  return LinkSpec{
      .mode = request.mode,
      .mac = MacAddress::FromWire(reinterpret_cast<const uint8_t*>(planned.mac().data())),
      .mtu = planned.mtu(),
      .gso_max_size = planned.gso_max_size()};
}

// A5: an IPAM plugin that failed is told to forget. A lease that a killed ADD left makes some
// (host-local) refuse another one: after that DEL, one more try (E9).
absl::StatusOr<CniResult> Lease(const Request& request, IpamPlugin& ipam) {
  absl::StatusOr<CniResult> lease = ipam.Add(request);
  if (lease.ok()) return lease;
  if (!ipam.Delete(request).ok()) return lease;
  return ipam.Add(request);
}

// A7: never silently another address.
absl::Status CheckWishes(const Request& request, const CniResult& result) {
  if (result.addresses.empty()) {
    return CniStatus(kCniInternal, absl::StrCat("IPAM plugin ", request.ipam.type,
                                                ": its result has no address"));
  }
  for (const RequestedIp& ip : request.ips) {
    const auto given = [&](const ResultAddress& one) { return one.address.address == ip.address; };
    if (std::any_of(result.addresses.begin(), result.addresses.end(), given)) continue;
    return CniStatus(
        kCniInvalidConfig,
        absl::StrCat("address ", ip.address.ToString(), " is requested, but IPAM plugin ",
                     request.ipam.type, " gave ", result.addresses[0].address.ToString()),
        "declare the capability \"ips\" if that plugin honours it, or do not ask for an address");
  }
  return absl::OkStatus();
}

CniResult StaticResult(const Request& request) {
  CniResult result;
  for (const RequestedIp& ip : request.ips) {
    result.addresses.push_back({.address = {ip.address, ip.length.value_or(0)},
                                .gateway = std::nullopt,
                                .interface = std::nullopt});
  }
  return result;
}

// Names the interfaces, and gives every route without a gateway the one of its family: what
// remains without is on link.
void Complete(const Request& request, const LinkNames& names, const LinkSpec& spec,
              CniResult& result) {
  result.interfaces.clear();
  if (request.mode == LinkMode::kVeth) {
    result.interfaces.push_back(
        {.name = names.host_ifname, .mac = "", .mtu = spec.mtu, .sandbox = ""});
  }
  result.interfaces.push_back({.name = request.ifname,
                               .mac = spec.mac.ToString(),
                               .mtu = spec.mtu,
                               .sandbox = request.netns});
  for (ResultAddress& address : result.addresses) address.interface = result.interfaces.size() - 1;

  result.routes.insert(result.routes.end(), request.routes.begin(), request.routes.end());
  for (ResultRoute& route : result.routes) {
    if (route.gateway) continue;
    for (const ResultAddress& address : result.addresses) {
      if (!address.gateway || address.gateway->family() != route.destination.address.family())
        continue;
      route.gateway = address.gateway;
      break;
    }
  }
  if (!request.dns.empty()) result.dns = request.dns;
}

// D1: an agent that is down does it when it starts.
absl::Status DetachOrQueue(const attach::v1::AttachmentKey& key, const Outside& outside) {
  absl::Status status = outside.agent.DetachAll(key);
  if (status.ok() || ToCniError(status).code != kCniTryAgainLater) return status;
  outside.log(absl::StrCat(status.message(), "; DEL is left for its next start"));
  const absl::Status queued = outside.agent.QueueDetachAll(key);
  // It may have started just before that, and then it does not look there any more.
  status = outside.agent.DetachAll(key);
  if (!status.ok() && ToCniError(status).code == kCniTryAgainLater) return queued;
  if (const absl::Status unqueued = outside.agent.UnqueueDetachAll(key); !unqueued.ok()) {
    outside.log(unqueued.message());
  }
  return status;
}

}  // namespace

absl::Status Add(const Request& request, const Outside& outside) {
  const LinkNames names = NamesOf(request);
  const auto warn = [&](const absl::Status& status) {
    if (!status.ok()) outside.log(absl::StrCat("rollback: ", status.message()));
  };

  RETURN_IF_ERROR(outside.links.CheckNetNs(request.netns, request.own_netns_allowed));
  ASSIGN_OR_RETURN(const bool leftovers, outside.links.Clear(names));
  // Of a try that had come as far as Commit, the agent has its share. N7: so it has when a setup
  // comes after a reboot, without the teardown that would have been before it.
  if (leftovers || request.caller == Caller::kNetavark) {
    RETURN_IF_ERROR(outside.agent.Detach(KeyOf(request)));
  }

  ASSIGN_OR_RETURN(const attach::v1::Planned planned, outside.agent.Plan(PlanOf(request)));
  ASSIGN_OR_RETURN(const LinkSpec spec, SpecOf(request, planned));

  // A guard stands before its step where the step can fail half-way: its undo
  // tolerates that there is nothing to undo.
  const bool delegate = request.ipam.kind == Ipam::Kind::kDelegate;
  CniResult result;
  absl::Cleanup release = [&] {
    if (delegate) warn(outside.ipam.Delete(request));
  };
  if (delegate) {
    ASSIGN_OR_RETURN(result, Lease(request, outside.ipam));
    RETURN_IF_ERROR(CheckWishes(request, result));
  } else {
    result = StaticResult(request);
  }
  Complete(request, names, spec, result);

  absl::Cleanup unlink = [&] { warn(outside.links.Delete(names)); };
  ASSIGN_OR_RETURN(const PodLink link, outside.links.Create(names, spec));
  if (request.mode == LinkMode::kVeth) result.interfaces[0].mac = link.host_mac.ToString();

  attach::v1::Commit commit;
  std::vector<IpPrefix> addresses;
  for (const ResultAddress& address : result.addresses) {
    addresses.push_back(address.address);
    commit.add_addresses(address.address.ToString());
  }
  RETURN_IF_ERROR(outside.links.Configure(names, request.mode, addresses, result.routes));

  // Last, because it is the only step another process can see: once the agent
  // has the port, frames may flow. An answer that was lost may have been a yes.
  absl::Cleanup detach = [&] { warn(outside.agent.Detach(KeyOf(request))); };
  RETURN_IF_ERROR(outside.agent.Commit(commit, link.tap));
  RETURN_IF_ERROR(outside.print(request.caller == Caller::kNetavark
                                    ? FormatStatusBlock(result)
                                    : FormatResult(result, request.version)));

  std::move(detach).Cancel();
  std::move(unlink).Cancel();
  std::move(release).Cancel();
  return absl::OkStatus();
}

absl::Status Delete(const Request& request, const Outside& outside) {
  std::vector<absl::Status> errors;
  if (absl::Status status = DetachOrQueue(KeyOf(request), outside); !status.ok()) {
    errors.push_back(std::move(status));
  }
  if (absl::Status status = outside.links.Delete(NamesOf(request)); !status.ok()) {
    errors.push_back(std::move(status));
  }
  if (request.ipam.kind == Ipam::Kind::kDelegate) {
    if (absl::Status status = outside.ipam.Delete(request); !status.ok()) {
      errors.push_back(std::move(status));
    }
  }
  return JoinErrors(errors);
}

absl::Status CheckStatus(const Request& request, const Outside& outside) {
  attach::v1::Ping ping;
  ping.set_cloud(request.cloud);
  ping.set_vnl(request.vnl);
  absl::Status status = outside.agent.Ping(ping, kStatusGrace);
  if (status.ok() && request.ipam.kind == Ipam::Kind::kDelegate) {
    status = outside.ipam.CheckStatus(request);
  }
  if (status.ok()) return status;
  // Whatever else it is called, ADD would fail of it.
  const CniError error = ToCniError(status);
  if (error.code == kCniTryAgainLater && outside.agent.HasAttachments()) {
    return CniStatus(kCniLimitedConnectivity, error.msg, error.details);
  }
  const bool said = error.code == kCniNotAvailable || error.code == kCniLimitedConnectivity;
  return said ? status : CniStatus(kCniNotAvailable, error.msg, error.details);
}

}  // namespace vxvde
