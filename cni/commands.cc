#include "cni/commands.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

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
  const std::string main_id =
      AttachmentId(request.network, request.container_id,
                   request.main_ifname.empty() ? request.ifname : request.main_ifname);
  return {.netns = request.netns,
          .ifname = request.ifname,
          .host_ifname = HostIfName(id),
          .alias = LinkAlias(id, main_id)};
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
  if (request.ipam.kind == Ipam::Kind::kAgent) {
    for (const RequestedIp& ip : request.ips) plan.add_addresses(ip.address.ToString());
  } else if (request.ipam.kind == Ipam::Kind::kCaller) {
    for (const RequestedIp& ip : request.ips) {
      plan.add_addresses(IpPrefix{ip.address, ip.length.value_or(0)}.ToString());
    }
  }
  for (const PublishedPort& port : request.ports) {
    attach::v1::PortMapping& mapping = *plan.add_port_mappings();
    mapping.set_host_port(port.host_port);
    mapping.set_container_port(port.container_port);
    mapping.set_protocol(port.protocol);
    if (port.host_ip) mapping.set_host_ip(port.host_ip->ToString());
  }
  for (const std::string& one : request.allow) plan.add_allow(one);
  for (const std::string& one : request.allow_by_annotation) plan.add_allow_by_annotation(one);
  plan.set_main_ifname(request.main_ifname);
  plan.set_by_annotation(!request.asked_by.empty());
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
      .gso_max_size = planned.gso_max_size(),
      .bandwidth = request.bandwidth};
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

// One attachment on its way.
struct Work {
  Request request;
  LinkNames names;
  LinkSpec spec;
  attach::v1::Planned planned;
  CniResult result;
  UniqueFd tap;
};

// Undoes, backwards, what was added to it, unless it is cancelled.
class Rollback {
 public:
  Rollback() = default;
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() {
    for (auto undo = undo_.rbegin(); undo != undo_.rend(); ++undo) (*undo)();
  }
  void Add(std::function<void()> undo) { undo_.push_back(std::move(undo)); }
  void Cancel() { undo_.clear(); }

 private:
  std::vector<std::function<void()>> undo_;
};

// An error in what an annotation asked for names its entry.
absl::Status Blame(const Work& work, const absl::Status& status) {
  if (status.ok() || work.request.asked_by.empty()) return status;
  const CniError error = ToCniError(status);
  return CniStatus(error.code, absl::StrCat(work.request.asked_by, ": ", error.msg), error.details);
}

// Nothing of a killed try is left, and the agent holds a plan. False: the network is not ours.
absl::StatusOr<bool> Prepare(Work& work, const Outside& outside) {
  const Request& request = work.request;
  absl::StatusOr<attach::v1::Planned> planned = absl::UnknownError("");
  if (request.maybe_foreign) {
    // Before anything else: its interface is not ours to look at, either.
    planned = outside.agent.Plan(PlanOf(request));
    if (!planned.ok() &&
        ToCniError(planned.status()).code == static_cast<uint32_t>(AttachError::kUnknownCloud)) {
      outside.log(absl::StrCat(request.asked_by, ": not a cloud, left to other plugins"));
      return false;
    }
    RETURN_IF_ERROR(planned.status());
    if (!request.problem.ok()) return CniStatus(kCniInvalidConfig, request.problem.message());
  }
  ASSIGN_OR_RETURN(const bool leftovers, outside.links.HasLeftovers(work.names));
  // Of a try that had come as far as Commit, the agent has its share. N7: so it has when a setup
  // comes after a reboot, without the teardown that would have been before it.
  const bool again = leftovers || request.caller == Caller::kNetavark;
  // The agent first: without it nothing new could be made, and what is there stays.
  if (again) RETURN_IF_ERROR(outside.agent.Detach(KeyOf(request)));
  if (leftovers) {
    RETURN_IF_ERROR(outside.links.Delete(work.names));
    RETURN_IF_ERROR(outside.links.HasLeftovers(work.names).status());
  }
  if (again || !request.maybe_foreign) planned = outside.agent.Plan(PlanOf(request));
  RETURN_IF_ERROR(planned.status());
  ASSIGN_OR_RETURN(work.spec, SpecOf(request, *planned));
  work.planned = *std::move(planned);
  return true;
}

// What the agent gave. A gateway of its own is the way out of the pod, but only by the interface
// that the runtime knows (M1).
absl::StatusOr<CniResult> AgentsResult(const Request& request, const attach::v1::Planned& planned) {
  CniResult result;
  const auto unusable = [](absl::string_view text) {
    return CniStatus(static_cast<uint32_t>(AttachError::kVersionMismatch),
                     absl::StrCat("the agent gave the address \"", text, "\""),
                     "install vxvde and vxvde-agent of one version");
  };
  std::vector<IpAddress> gateways;
  for (const std::string& text : planned.gateways()) {
    const absl::StatusOr<IpAddress> gateway = IpAddress::Parse(text);
    if (!gateway.ok()) return unusable(text);
    gateways.push_back(*gateway);
  }
  const bool main = request.main_ifname.empty() || request.main_ifname == request.ifname;
  for (const std::string& text : planned.addresses()) {
    const absl::StatusOr<IpPrefix> address = IpPrefix::Parse(text);
    if (!address.ok()) return unusable(text);
    ResultAddress one{.address = *address, .gateway = std::nullopt, .interface = std::nullopt};
    for (const IpAddress& gateway : gateways) {
      if (gateway.family() != address->address.family()) continue;
      one.gateway = gateway;
      if (!main || !request.gateway_wanted) continue;
      const IpPrefix everywhere =
          IpPrefix{.address = gateway.is_v6() ? IpAddress::AnyV6() : IpAddress(), .length = 0};
      const auto same = [&](const ResultRoute& route) { return route.destination == everywhere; };
      if (std::any_of(request.routes.begin(), request.routes.end(), same)) continue;
      ResultRoute route;
      route.destination = everywhere;
      route.gateway = gateway;
      route.priority = request.gateway_metric;
      if (std::any_of(result.routes.begin(), result.routes.end(), same)) continue;
      result.routes.push_back(std::move(route));
    }
    result.addresses.push_back(std::move(one));
  }
  return result;
}

absl::Status Address(Work& work, const Outside& outside) {
  if (work.request.ipam.kind == Ipam::Kind::kDelegate) {
    ASSIGN_OR_RETURN(work.result, Lease(work.request, outside.ipam));
    RETURN_IF_ERROR(CheckWishes(work.request, work.result));
  } else if (work.request.ipam.kind == Ipam::Kind::kAgent) {
    ASSIGN_OR_RETURN(work.result, AgentsResult(work.request, work.planned));
  } else {
    work.result = StaticResult(work.request);
  }
  Complete(work.request, work.names, work.spec, work.result);
  return absl::OkStatus();
}

std::vector<IpPrefix> AddressesOf(const Work& work) {
  std::vector<IpPrefix> addresses;
  for (const ResultAddress& address : work.result.addresses) addresses.push_back(address.address);
  return addresses;
}

absl::Status Link(Work& work, const Outside& outside) {
  ASSIGN_OR_RETURN(PodLink link, outside.links.Create(work.names, work.spec));
  if (work.request.mode == LinkMode::kVeth) {
    work.result.interfaces[0].mac = link.host_mac.ToString();
  }
  work.tap = std::move(link.tap);
  return outside.links.Configure(work.names, work.request.mode, AddressesOf(work),
                                 work.result.routes);
}

// An agent that starts takes links without an attachment away: this ADD's too, when the agent that
// it had its plan from has died meanwhile.
absl::Status IfGoneTryAgain(const absl::Status& status) {
  return absl::IsNotFound(status) ? WithCode(status, kCniTryAgainLater) : status;
}

absl::Status CommitTo(AgentClient& agent, const Work& work) {
  attach::v1::Commit commit;
  for (const IpPrefix& address : AddressesOf(work)) commit.add_addresses(address.ToString());
  return agent.Commit(IdOf(work.request), commit, work.tap);
}

void Append(const CniResult& more, CniResult& result) {
  const size_t first = result.interfaces.size();
  result.interfaces.insert(result.interfaces.end(), more.interfaces.begin(), more.interfaces.end());
  for (ResultAddress address : more.addresses) {
    if (address.interface) *address.interface += first;
    result.addresses.push_back(std::move(address));
  }
  result.routes.insert(result.routes.end(), more.routes.begin(), more.routes.end());
  if (result.dns.empty()) result.dns = more.dns;
}

}  // namespace

absl::Status Add(const Request& request, const Outside& outside) {
  const auto warn = [&](const absl::Status& status) {
    if (!status.ok()) outside.log(absl::StrCat("rollback: ", status.message()));
  };
  if (request.previous_result && !(request.cloud.empty() && request.vnl.empty())) {
    outside.log(absl::StrCat("chained: ", request.ifname, " is another plugin's; ",
                             "\"cloud\" and \"vnl\" of the configuration are not used"));
  }

  RETURN_IF_ERROR(outside.links.CheckNetNs(request.netns, request.own_netns_allowed));
  std::vector<Work> all;
  for (Request& one : AttachmentsOf(request)) {
    Work work;
    work.names = NamesOf(one);
    work.request = std::move(one);
    const absl::StatusOr<bool> ours = Prepare(work, outside);
    if (!ours.ok()) return Blame(work, ours.status());
    if (*ours) all.push_back(std::move(work));
  }

  // A guard stands before its step where the step can fail half-way: its undo
  // tolerates that there is nothing to undo.
  Rollback rollback;
  for (Work& work : all) {
    if (work.request.ipam.kind == Ipam::Kind::kDelegate) {
      rollback.Add([&] { warn(outside.ipam.Delete(work.request)); });
    }
    RETURN_IF_ERROR(Blame(work, Address(work, outside)));
  }
  for (Work& work : all) {
    rollback.Add([&] { warn(outside.links.Delete(work.names)); });
    RETURN_IF_ERROR(Blame(work, IfGoneTryAgain(Link(work, outside))));
  }

  // Last, because it is the only step another process can see: once the agent
  // has the port, frames may flow. An answer that was lost may have been a yes.
  CniResult result;
  for (Work& work : all) {
    rollback.Add([&] { warn(outside.agent.Detach(KeyOf(work.request))); });
    RETURN_IF_ERROR(Blame(work, CommitTo(outside.agent, work)));
    Append(work.result, result);
  }
  RETURN_IF_ERROR(outside.print(
      request.caller == Caller::kNetavark ? FormatStatusBlock(result)
      : request.previous_result ? ExtendResult(*request.previous_result, result, request.version)
                                : FormatResult(result, request.version)));
  rollback.Cancel();
  return absl::OkStatus();
}

absl::Status Delete(const Request& request, const Outside& outside) {
  std::vector<absl::Status> errors;
  if (absl::Status status = DetachOrQueue(KeyOf(request), outside); !status.ok()) {
    errors.push_back(std::move(status));
  }
  const auto names_of = [&](const std::string& ifname) {
    Request other = request;
    other.main_ifname = request.ifname;
    other.ifname = ifname;
    return NamesOf(other);
  };
  if (absl::Status status = outside.links.DeleteAll(NamesOf(request), names_of); !status.ok()) {
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
