// ADD, and netavark's setup.
//
// Theory of operation: Prepare (plan with the agent), Assign (addresses), Link (make the
// interface), CommitTo (tell the agent that the link is ready). Each step is run for all
// attachments before the next one begins, so that a refusal of any plan is known before any link
// exists. The commit is last because it is the only step that other members can observe. Rollback
// undoes the steps backwards.
//
// An IPAM plugin that sends its requests on the cloud (dhcp) needs an interface that carries
// frames. For it, MakeLink and a first CommitTo without addresses precede Assign, and a second
// CommitTo tells the agent the addresses.

#include <linux/rtnetlink.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/api/attachment_id.h"
#include "cni/attachment_name.h"
#include "cni/commands.h"
#include "cni/error.h"
#include "cni/netavark.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// One attachment in progress.
struct Work {
  const Attachment* attachment;
  AttachmentName name;
  LinkNames links;
  LinkSpec spec;
  attach::v1::Planned planned;
  CniResult result;
  std::optional<PodLink> link;  // once it is made
  bool committed = false;
  std::vector<int> replaced;  // families whose default routes in the pod it replaces
};

// Runs the added undo steps in reverse order, unless it is cancelled.
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

// Adds the annotation's entry to an error of an attachment that an annotation requests.
absl::Status Blame(const Attachment& attachment, const absl::Status& status) {
  if (status.ok() || attachment.asked_by.empty()) return status;
  const CniError error = ToCniError(status);
  return CniStatus(error.code, absl::StrCat(attachment.asked_by, ": ", error.msg), error.details);
}

// Validates the agent's plan: both sides must derive the same id, because DEL finds the links by
// it.
absl::StatusOr<LinkSpec> SpecOf(const AddRequest& request, const Work& work,
                                const attach::v1::Planned& planned) {
  const bool sound = planned.mac().size() == MacAddress::kSize && planned.mtu() >= 68 &&
                     planned.mtu() <= 65535 && planned.id() == IdOf(work.name);
  if (!sound) {
    return CniStatus(
        static_cast<uint32_t>(AttachError::kVersionMismatch),
        absl::StrCat("the agent planned attachment \"", planned.id(), "\" (MTU ", planned.mtu(),
                     ", MAC of ", planned.mac().size(), " bytes) for ", IdOf(work.name)),
        "install vxvde and vxvde-agent of the same version");
  }
  return LinkSpec{
      .mode = request.mode,
      .mac = MacAddress::FromWire(reinterpret_cast<const uint8_t*>(planned.mac().data())),
      .mtu = planned.mtu(),
      .gso_max_size = planned.gso_max_size(),
      .bandwidth = work.attachment->bandwidth};
}

// ---- Prepare ----

// On return, nothing of an earlier try remains and the agent holds a plan. False: the network
// belongs to another plugin.
absl::StatusOr<bool> Prepare(const AddRequest& request, Work& work, const Outside& outside) {
  const Attachment& attachment = *work.attachment;
  const attach::v1::Plan plan = PlanOf(request, attachment);
  absl::StatusOr<attach::v1::Planned> planned = absl::UnknownError("");
  if (attachment.maybe_foreign) {
    // Plans first, because an interface of another plugin must not even be inspected.
    planned = outside.agent.Plan(plan);
    if (!planned.ok() &&
        ToCniError(planned.status()).code == static_cast<uint32_t>(AttachError::kUnknownCloud)) {
      outside.output.Log(
          absl::StrCat(attachment.asked_by, ": not a cloud of the agent; left to other plugins"));
      return false;
    }
    RETURN_IF_ERROR(planned.status());
    if (!attachment.problem.ok()) {
      return CniStatus(kCniInvalidConfig, attachment.problem.message());
    }
  }
  ASSIGN_OR_RETURN(const bool leftovers, outside.links.HasLeftovers(work.links));
  // A try that reached its commit left an attachment in the agent. N7: so does a setup before a
  // reboot, because no teardown precedes the next setup.
  const bool again = leftovers || request.caller == Caller::kNetavark;
  // The agent comes first: without it nothing can be attached, and the old links are left alone.
  if (again) RETURN_IF_ERROR(outside.agent.Detach(plan.key()));
  if (leftovers) {
    RETURN_IF_ERROR(outside.links.Delete(work.links));
    RETURN_IF_ERROR(outside.links.HasLeftovers(work.links).status());
  }
  if (again || !attachment.maybe_foreign) planned = outside.agent.Plan(plan);
  RETURN_IF_ERROR(planned.status());
  ASSIGN_OR_RETURN(work.spec, SpecOf(request, work, *planned));
  work.planned = *std::move(planned);
  return true;
}

// ---- Assign: addresses and routes, from one of three sources ----

std::string ToText(const ResultRoute& route) {
  return absl::StrCat(route.destination.ToString(),
                      route.gateway ? absl::StrCat(" via ", route.gateway->ToString()) : "");
}

// A5: after a failure the IPAM plugin releases what it may have allocated. Some plugins
// (host-local) refuse a second lease while they hold that of an ADD that was killed: DEL, then one
// retry (E9).
absl::StatusOr<CniResult> Lease(const IpamDelegate& delegate, const Container& container,
                                IpamPlugin& ipam) {
  absl::StatusOr<CniResult> lease = ipam.Add(delegate, container);
  // Waiting for a silent server has already cost seconds, and a server replaces a lease by itself.
  if (lease.ok() || AsksOnLink(delegate)) return lease;
  if (!ipam.Delete(delegate, container).ok()) return lease;
  return ipam.Add(delegate, container);
}

// A7: an address other than the requested one is an error.
absl::Status CheckLease(const IpamDelegate& delegate, const Attachment& attachment,
                        const CniResult& lease) {
  if (lease.addresses.empty()) {
    return CniStatus(kCniInternal,
                     absl::StrCat("IPAM plugin ", delegate.type, ": its result has no address"));
  }
  for (const RequestedIp& ip : attachment.ips) {
    const auto given = [&](const ResultAddress& one) { return one.address.address == ip.address; };
    if (std::any_of(lease.addresses.begin(), lease.addresses.end(), given)) continue;
    return CniStatus(
        kCniInvalidConfig,
        absl::StrCat("address ", ip.address.ToString(), " is requested, but IPAM plugin ",
                     delegate.type, " gave ", lease.addresses[0].address.ToString()),
        "declare the capability \"ips\" if the plugin supports it, or request no address");
  }
  return absl::OkStatus();
}

CniResult CallersResult(const Attachment& attachment) {
  CniResult result;
  for (const RequestedIp& ip : attachment.ips) {
    result.addresses.push_back({.address = {ip.address, ip.length.value_or(0)},
                                .gateway = std::nullopt,
                                .interface = std::nullopt});
  }
  return result;
}

absl::Status UnusableAddress(absl::string_view text) {
  return CniStatus(static_cast<uint32_t>(AttachError::kVersionMismatch),
                   absl::StrCat("the agent gave the address \"", text, "\""),
                   "install vxvde and vxvde-agent of the same version");
}

// A default route through `gateway`, unless the configuration or another address already has one.
void AddDefaultRoute(const Attachment& attachment, const IpAddress& gateway, CniResult& result) {
  ResultRoute route;
  route.destination = {.address = gateway.is_v6() ? IpAddress::AnyV6() : IpAddress(), .length = 0};
  route.gateway = gateway;
  route.priority = attachment.gateway_metric;
  const auto same = [&](const ResultRoute& other) {
    return other.destination == route.destination;
  };
  if (std::any_of(attachment.routes.begin(), attachment.routes.end(), same)) return;
  if (std::any_of(result.routes.begin(), result.routes.end(), same)) return;
  result.routes.push_back(std::move(route));
}

// M1: only the interface that the runtime knows gets a default route through the agent's gateway.
absl::StatusOr<CniResult> AgentsResult(const Work& work) {
  std::vector<IpAddress> gateways;
  for (const std::string& text : work.planned.gateways()) {
    const absl::StatusOr<IpAddress> gateway = IpAddress::Parse(text);
    if (!gateway.ok()) return UnusableAddress(text);
    gateways.push_back(*gateway);
  }
  const bool routed =
      work.name.ifname == work.name.main_ifname && work.attachment->default_route_wanted;
  CniResult result;
  for (const std::string& text : work.planned.addresses()) {
    const absl::StatusOr<IpPrefix> address = IpPrefix::Parse(text);
    if (!address.ok()) return UnusableAddress(text);
    ResultAddress one{.address = *address, .gateway = std::nullopt, .interface = std::nullopt};
    for (const IpAddress& gateway : gateways) {
      if (gateway.family() != address->address.family()) continue;
      one.gateway = gateway;
      if (routed) AddDefaultRoute(*work.attachment, gateway, result);
    }
    result.addresses.push_back(std::move(one));
  }
  return result;
}

// Returns whether the route needs no gateway: it leads to the subnet of an address or to the
// gateway itself, or its scope says so.
bool IsOnLink(const ResultRoute& route, const std::vector<ResultAddress>& addresses) {
  if (route.scope == RT_SCOPE_LINK) return true;
  return std::any_of(addresses.begin(), addresses.end(), [&](const ResultAddress& one) {
    const bool to_gateway = one.gateway && route.destination.address == *one.gateway &&
                            route.destination.length == one.gateway->bits();
    return to_gateway || route.destination.Network() == one.address.Network();
  });
}

// Names the interfaces, and gives each route without a gateway that of its family. A route that
// still has none is on-link.
void Complete(const AddRequest& request, const Work& work, CniResult& result) {
  const Attachment& attachment = *work.attachment;
  result.interfaces.clear();
  if (request.mode == LinkMode::kVeth) {
    result.interfaces.push_back(
        {.name = work.links.host_ifname, .mac = "", .mtu = work.spec.mtu, .sandbox = ""});
  }
  result.interfaces.push_back({.name = attachment.ifname,
                               .mac = work.spec.mac.ToString(),
                               .mtu = work.spec.mtu,
                               .sandbox = request.container.netns});
  for (ResultAddress& address : result.addresses) address.interface = result.interfaces.size() - 1;

  result.routes.insert(result.routes.end(), attachment.routes.begin(), attachment.routes.end());
  for (ResultRoute& route : result.routes) {
    if (route.gateway || IsOnLink(route, result.addresses)) continue;
    for (const ResultAddress& address : result.addresses) {
      if (!address.gateway || address.gateway->family() != route.destination.address.family())
        continue;
      route.gateway = address.gateway;
      break;
    }
  }
  if (!attachment.dns.empty()) result.dns = attachment.dns;
}

// The kernel accepts only gateways on the link. If the addresses have no subnet (/32, /128), a
// route to the gateway itself puts it there, as with the reference plugin ptp; otherwise a gateway
// outside the subnet is an error.
absl::Status ConnectGateways(const Work& work, CniResult& result) {
  std::vector<ResultRoute> to_gateways;
  for (const ResultRoute& route : result.routes) {
    if (!route.gateway) continue;
    const IpAddress& gateway = *route.gateway;
    if (gateway.is_v6() && gateway.IsLinkLocal()) continue;
    const auto leads_there = [&](const ResultRoute& other) {
      return !other.gateway && other.destination.Contains(gateway);
    };
    if (std::any_of(result.routes.begin(), result.routes.end(), leads_there)) continue;
    if (std::any_of(to_gateways.begin(), to_gateways.end(), leads_there)) continue;
    std::vector<std::string> subnets;
    bool alone = false;
    bool connected = false;
    for (const ResultAddress& one : result.addresses) {
      if (one.address.address.family() != gateway.family()) continue;
      alone = alone || one.address.length == gateway.bits();
      connected =
          connected || (one.address.length != gateway.bits() && one.address.Contains(gateway));
      subnets.push_back(one.address.ToString());
    }
    if (connected) continue;
    if (!alone) {
      return CniStatus(
          kCniInvalidConfig,
          absl::StrCat("route ", ToText(route), ": the gateway is not on the link of ",
                       work.name.ifname, ", which has ",
                       subnets.empty()
                           ? absl::StrCat("no ", gateway.is_v6() ? "IPv6" : "IPv4", " address")
                           : absl::StrJoin(subnets, ", ")),
          absl::StrCat("correct the gateway or the address, or add a route to ", gateway.ToString(),
                       gateway.is_v6() ? "/128" : "/32", " with \"scope\": 253 (link)"));
    }
    ResultRoute& to_gateway = to_gateways.emplace_back();
    to_gateway.destination = {gateway, static_cast<uint8_t>(gateway.bits())};
  }
  result.routes.insert(result.routes.begin(), to_gateways.begin(), to_gateways.end());
  return absl::OkStatus();
}

bool UsesIpamPlugin(const Work& work) {
  return work.attachment->address_source == AddressSource::kIpamPlugin;
}

absl::Status Assign(const AddRequest& request, Work& work, const Outside& outside) {
  if (UsesIpamPlugin(work)) {
    const IpamDelegate& delegate = *request.network.ipam;
    ASSIGN_OR_RETURN(work.result, Lease(delegate, request.container, outside.ipam));
    RETURN_IF_ERROR(CheckLease(delegate, *work.attachment, work.result));
    if (!work.attachment->default_route_wanted) {
      std::erase_if(work.result.routes, [](const ResultRoute& route) { return route.IsDefault(); });
    }
  } else if (work.attachment->address_source == AddressSource::kAgent) {
    ASSIGN_OR_RETURN(work.result, AgentsResult(work));
  } else {
    work.result = CallersResult(*work.attachment);
  }
  Complete(request, work, work.result);
  return ConnectGateways(work, work.result);
}

// ---- Default routes: the first one wins (M1) ----

uint32_t PriorityOf(const ResultRoute& route) {
  constexpr uint32_t kIpv6Priority = 1024;  // IP6_RT_PRIO_USER of the kernel's net/ip6_route.h
  return route.priority.value_or(route.destination.address.is_v6() ? kIpv6Priority : 0);
}

bool HasDefaultRoute(const Work& work, int family) {
  return std::any_of(work.result.routes.begin(), work.result.routes.end(),
                     [&](const ResultRoute& route) {
                       return route.IsDefault() && route.destination.address.family() == family;
                     });
}

// If one attachment asks to replace all default routes of `family`, keeps only its routes, and
// notes that those of other plugins must be deleted.
absl::Status ReplaceDefaultRoutes(std::vector<Work>& all, int family) {
  Work* chosen = nullptr;
  for (Work& work : all) {
    if (!work.attachment->replaces_default_route || !HasDefaultRoute(work, family)) continue;
    if (chosen != nullptr) {
      return CniStatus(
          kCniInvalidConfig,
          absl::StrCat(chosen->attachment->asked_by, " and ", work.attachment->asked_by,
                       ": both ask for the pod's default route"),
          "set \"default-route\" in one of them");
    }
    chosen = &work;
  }
  if (chosen == nullptr) return absl::OkStatus();
  chosen->replaced.push_back(family);
  for (Work& work : all) {
    if (&work == chosen) continue;
    std::erase_if(work.result.routes, [&](const ResultRoute& route) {
      return route.IsDefault() && route.destination.address.family() == family;
    });
  }
  return absl::OkStatus();
}

// Drops each default route if the pod already has one from another plugin or network. Routes of
// different metrics coexist.
absl::Status ChooseDefaultRoutes(const AddRequest& request, std::vector<Work>& all,
                                 const Outside& outside) {
  const auto has_any = [](const Work& work) {
    return HasDefaultRoute(work, AF_INET) || HasDefaultRoute(work, AF_INET6);
  };
  if (std::none_of(all.begin(), all.end(), has_any)) return absl::OkStatus();
  std::vector<ResultRoute> taken;
  ASSIGN_OR_RETURN(const std::vector<RouteInfo> there,
                   outside.links.ListRoutes(request.container.netns));
  for (const RouteInfo& one : there) {
    ResultRoute route;
    route.destination = one.destination;
    route.priority = one.priority;
    route.table = one.table;
    if (route.IsDefault()) taken.push_back(std::move(route));
  }
  for (const int family : {AF_INET, AF_INET6}) RETURN_IF_ERROR(ReplaceDefaultRoutes(all, family));
  for (Work& work : all) {
    for (const int family : work.replaced) {
      std::erase_if(taken, [&](const ResultRoute& other) {
        return other.destination.address.family() == family;
      });
    }
    std::erase_if(work.result.routes, [&](const ResultRoute& route) {
      if (!route.IsDefault()) return false;
      const bool second = std::any_of(taken.begin(), taken.end(), [&](const ResultRoute& other) {
        return other.destination == route.destination &&
               (!route.priority || PriorityOf(other) == PriorityOf(route));
      });
      if (second) {
        outside.output.Log(absl::StrCat(
            "no default route ", ToText(route), " by ", work.name.ifname,
            ": the pod has one already, and the first one wins; \"noDefaultRoute\": true in the "
            "configuration of the other network leaves it to this one"));
      } else {
        taken.push_back(route);
      }
      return second;
    });
  }
  return absl::OkStatus();
}

// ---- Link and commit ----

std::vector<IpPrefix> AddressesOf(const Work& work) {
  std::vector<IpPrefix> addresses;
  for (const ResultAddress& address : work.result.addresses) addresses.push_back(address.address);
  return addresses;
}

absl::Status MakeLink(Work& work, const Outside& outside) {
  ASSIGN_OR_RETURN(work.link, outside.links.Create(work.links, work.spec));
  return absl::OkStatus();
}

absl::Status ConfigureLink(Work& work, const Outside& outside) {
  if (work.spec.mode == LinkMode::kVeth) {
    work.result.interfaces[0].mac = work.link->host_mac.ToString();
  }
  // Not undone: a failed ADD ends the pod.
  for (const int family : work.replaced) {
    RETURN_IF_ERROR(outside.links.DeleteDefaultRoutes(work.links.netns, family));
  }
  ASSIGN_OR_RETURN(
      std::vector<ResultRoute> there,
      outside.links.Configure(work.links, work.spec.mode, AddressesOf(work), work.result.routes));
  for (const ResultRoute& route : work.result.routes) {
    if (std::count(there.begin(), there.end(), route) != 0) continue;
    outside.output.Log(absl::StrCat("no route ", ToText(route), " by ", work.name.ifname,
                                    ": the pod has another one to that network already"));
  }
  work.result.routes = std::move(there);
  return absl::OkStatus();
}

// A starting agent deletes links without an attachment. If the agent that made the plan has died
// meanwhile, its successor deletes this ADD's links as well.
absl::Status IfGoneTryAgain(const absl::Status& status) {
  return absl::IsNotFound(status) ? WithCode(status, kCniTryAgainLater) : status;
}

absl::Status CommitTo(AgentClient& agent, Work& work) {
  attach::v1::Commit commit;
  for (const IpPrefix& address : AddressesOf(work)) commit.add_addresses(address.ToString());
  RETURN_IF_ERROR(agent.Commit(IdOf(work.name), commit, work.link->tap));
  work.link->tap.Reset();  // the agent has it
  work.committed = true;
  return absl::OkStatus();
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

std::string Format(const AddRequest& request, const std::vector<Work>& all,
                   const CniResult& result) {
  const SpecVersion version = request.network.version;
  if (request.caller == Caller::kNetavark) return FormatStatusBlock(result);
  if (!request.previous_result) return FormatResult(result, version);
  std::string previous = *request.previous_result;
  for (const Work& work : all) {
    for (const int family : work.replaced) previous = WithoutDefaultRoutes(previous, family);
  }
  return ExtendResult(previous, result, version);
}

}  // namespace

absl::Status Add(const AddRequest& request, const Outside& outside) {
  const auto warn = [&](const absl::Status& status) {
    if (!status.ok()) outside.output.Log(absl::StrCat("rollback: ", status.message()));
  };
  for (const std::string& note : request.notes) outside.output.Log(note);

  RETURN_IF_ERROR(outside.links.CheckNetNs(request.container.netns, request.own_netns_allowed));
  std::vector<Work> all;
  for (const Attachment& attachment : request.attachments) {
    Work work;
    work.attachment = &attachment;
    work.name = NameOf(request.network, request.container, attachment.ifname);
    work.links = LinksOf(work.name, request.container.netns);
    const absl::StatusOr<bool> ours = Prepare(request, work, outside);
    if (!ours.ok()) return Blame(attachment, ours.status());
    if (!*ours) continue;
    for (const std::string& note : attachment.notes) {
      outside.output.Log(absl::StrCat(attachment.asked_by, ": ", note));
    }
    all.push_back(std::move(work));
  }

  // Where a step can fail half-way, its undo is registered before it: the undo tolerates that there
  // is nothing to undo.
  Rollback rollback;
  const auto make_link = [&](Work& work) {
    rollback.Add([&] { warn(outside.links.Delete(work.links)); });
    return MakeLink(work, outside);
  };
  const auto commit = [&](Work& work) {
    // Added before the commit: a commit whose answer is lost may have succeeded.
    if (!work.committed) rollback.Add([&] { warn(outside.agent.Detach(KeyOf(work.name))); });
    return CommitTo(outside.agent, work);
  };
  for (Work& work : all) {
    if (UsesIpamPlugin(work) && AsksOnLink(*request.network.ipam)) {
      RETURN_IF_ERROR(Blame(*work.attachment, IfGoneTryAgain(make_link(work))));
      RETURN_IF_ERROR(outside.links.BringUp(work.links, request.mode));
      RETURN_IF_ERROR(Blame(*work.attachment, commit(work)));
    }
    if (UsesIpamPlugin(work)) {
      rollback.Add([&] { warn(outside.ipam.Delete(*request.network.ipam, request.container)); });
    }
    RETURN_IF_ERROR(Blame(*work.attachment, Assign(request, work, outside)));
  }
  RETURN_IF_ERROR(ChooseDefaultRoutes(request, all, outside));
  for (Work& work : all) {
    if (!work.link) RETURN_IF_ERROR(Blame(*work.attachment, IfGoneTryAgain(make_link(work))));
    RETURN_IF_ERROR(Blame(*work.attachment, IfGoneTryAgain(ConfigureLink(work, outside))));
  }
  CniResult result;
  for (Work& work : all) {
    RETURN_IF_ERROR(Blame(*work.attachment, commit(work)));
    Append(work.result, result);
  }
  RETURN_IF_ERROR(outside.output.Print(Format(request, all, result)));
  rollback.Cancel();
  return absl::OkStatus();
}

}  // namespace vxvde
