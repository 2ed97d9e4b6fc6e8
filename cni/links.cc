// Invariants by which the links of a killed process are recognised:
// I1: The message that creates a veth pair gives the host end its final name. The name is a hash of
//     the attachment's key, so a veth of that name without an alias belongs to the attachment too:
//     the message cannot carry the alias (rtnl_create_link() in net/core/rtnetlink.c).
// I2: The kernel deletes the pod end of a veth pair with its host end.
// I3: A tap becomes persistent only after its alias is set; until then it dies with the process.
// I4: The alias of an additional attachment of an ADD has the id of the main one as its second id.
//     A pair without an alias (I1) is found by the name of its pod end; if the namespace does not
//     exist any more, neither does the pair (I2).

#include "cni/links.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "cni/error.h"
#include "plugin/base/status.h"
#include "plugin/os/netlink.h"
#include "plugin/os/netns.h"
#include "plugin/os/port.h"
#include "plugin/os/traffic_control.h"

namespace vxvde {
namespace {

absl::Status IgnoreNotFound(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

// Compares the first ids: the second one names the main attachment only (I4).
bool SameAttachment(absl::string_view alias, absl::string_view other) {
  return !IdOfAlias(alias).empty() && IdOfAlias(alias) == IdOfAlias(other);
}

// FailedPrecondition if a link of that name belongs to something else.
absl::StatusOr<std::optional<IfIndex>> FindHostEnd(Netlink& host, const LinkNames& names) {
  const absl::StatusOr<LinkInfo> link = host.GetLink(names.host_ifname);
  if (absl::IsNotFound(link.status())) return std::nullopt;
  RETURN_IF_ERROR(link.status());
  const bool ours = SameAttachment(link->alias, names.alias) ||
                    (link->alias.empty() && link->kind == "veth");  // I1
  if (!ours) {
    return absl::FailedPreconditionError(absl::StrCat(
        "interface ", names.host_ifname, " has the alias \"", link->alias, "\", not \"",
        names.alias, "\": another program made it; delete or rename it by hand"));
  }
  return link->index;
}

absl::Status DeleteHostEnd(Netlink& host, const LinkNames& names) {
  ASSIGN_OR_RETURN(const std::optional<IfIndex> index, FindHostEnd(host, names));
  return index ? IgnoreNotFound(host.DeleteLink(*index)) : absl::OkStatus();
}

// Deletes the pod end if it belongs to the attachment.
absl::Status DeletePodEnd(Netlink& pod, const LinkNames& names) {
  const absl::StatusOr<LinkInfo> link = pod.GetLink(names.ifname);
  if (!link.ok()) return IgnoreNotFound(link.status());
  if (!SameAttachment(link->alias, names.alias)) return absl::OkStatus();
  return IgnoreNotFound(pod.DeleteLink(link->index));
}

// Deletes the links of a namespace that the ADD of `main` made. Calls `each` for links without an
// alias.
absl::Status DeleteMadeWith(Netlink& netlink, const LinkNames& main,
                            absl::FunctionRef<absl::Status(const LinkInfo&)> each) {
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.ListLinks());
  std::vector<absl::Status> errors;
  for (const LinkInfo& link : links) {
    absl::Status status = absl::OkStatus();
    if (link.alias.empty()) {
      status = each(link);
    } else if (MainIdOfAlias(link.alias) == IdOfAlias(main.alias)) {
      status = IgnoreNotFound(netlink.DeleteLink(link.index));
    }
    if (!status.ok()) errors.push_back(std::move(status));
  }
  return JoinErrors(errors);
}

// I1: a pair that has no alias yet.
absl::Status DeleteNameless(Netlink& host, const std::string& host_ifname) {
  const absl::StatusOr<LinkInfo> link = host.GetLink(host_ifname);
  if (!link.ok()) return IgnoreNotFound(link.status());
  if (!link->alias.empty() || link->kind != "veth") return absl::OkStatus();
  return IgnoreNotFound(host.DeleteLink(link->index));
}

absl::Status WriteIpv6Setting(const std::string& ifname, absl::string_view key,
                              absl::string_view value) {
  const std::string path = absl::StrCat("/proc/sys/net/ipv6/conf/", ifname, "/", key);
  const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || write(file.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    return ErrnoStatus(errno, absl::StrCat("write ", value, " to ", path));
  return absl::OkStatus();
}

// For an interface with an IPv6 address. Some runtimes disable IPv6 in a new namespace. Routers of
// the cloud must not give it a second address, which port security mutes (decision 0031).
absl::Status PrepareIpv6(const UniqueFd& netns, const std::string& ifname, bool enabled) {
  return RunInNetNs(netns, [&] {
    if (!enabled) RETURN_IF_ERROR(WriteIpv6Setting(ifname, "disable_ipv6", "0"));
    return WriteIpv6Setting(ifname, "accept_ra", "0");
  });
}

absl::Status Shaped(Netlink& netlink, IfIndex index, const std::optional<BitRate>& rate) {
  if (!rate) return absl::OkStatus();
  const absl::Status status = ShapeLink(netlink, index, {.rate = rate->rate, .burst = rate->burst});
  if (!absl::IsInvalidArgument(status)) return status;
  return CniStatus(kCniInvalidConfig, status.message(), "correct \"runtimeConfig.bandwidth\"");
}

absl::StatusOr<PodLink> CreateVeth(Netlink& host, Netlink& inside, const UniqueFd& netns,
                                   const LinkNames& names, const LinkSpec& spec) {
  RETURN_IF_ERROR(host.CreateVeth({
      .here = {.name = names.host_ifname,
               .alias = names.alias,
               .mac = std::nullopt,
               .group = kHostEndGroup},
      .there = {.name = names.ifname, .alias = names.alias, .mac = spec.mac},
      .there_netns = netns.get(),
      .mtu = static_cast<int>(spec.mtu),
      .gso_max_size = spec.gso_max_size,
  }));
  ASSIGN_OR_RETURN(const LinkInfo link, host.GetLink(names.host_ifname));
  // A link shapes what it sends: the host end shapes traffic to the pod.
  RETURN_IF_ERROR(Shaped(host, link.index, spec.bandwidth.ingress));
  RETURN_IF_ERROR(Shaped(inside, link.peer, spec.bandwidth.egress));
  PodLink pod;
  pod.mac = spec.mac;
  pod.host_mac = link.mac;
  return pod;
}

absl::StatusOr<PodLink> CreateTap(Netlink& netlink, const UniqueFd& netns, const LinkNames& names,
                                  const LinkSpec& spec) {
  PodLink pod;
  pod.mac = spec.mac;
  RETURN_IF_ERROR(RunInNetNs(netns, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(pod.tap, OpenTap(names.ifname, /*persistent=*/false));
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(const LinkInfo link, netlink.GetLink(names.ifname));
  LinkChange change;
  change.mac = spec.mac;
  change.mtu = static_cast<int>(spec.mtu);
  change.alias = names.alias;
  if (spec.gso_max_size != 0) change.gso_max_size = spec.gso_max_size;
  RETURN_IF_ERROR(netlink.ChangeLink(link.index, change));
  RETURN_IF_ERROR(Shaped(netlink, link.index, spec.bandwidth.egress));
  // I3. A restarted agent opens it by name.
  if (ioctl(pod.tap.get(), TUNSETPERSIST, 1) != 0) {
    return ErrnoStatus(errno, absl::StrCat("make tap ", names.ifname, " persistent"));
  }
  return pod;
}

Route ToRoute(const ResultRoute& route) {
  return {.destination = route.destination,
          .gateway = route.gateway,
          .mtu = route.mtu,
          .advmss = route.advmss,
          .priority = route.priority,
          .table = route.table,
          .scope = route.scope};
}

// Returns whether the pod has the route although the kernel refuses to add it. The kernel itself
// adds the route to an interface's own subnet.
absl::StatusOr<bool> IsThere(Netlink& pod, IfIndex index, const ResultRoute& route) {
  ASSIGN_OR_RETURN(const std::vector<RouteInfo> routes, pod.ListRoutes());
  return std::any_of(routes.begin(), routes.end(), [&](const RouteInfo& one) {
    return one.interface == index && one.destination == route.destination.Network() &&
           one.table == route.table.value_or(RT_TABLE_MAIN) &&
           one.gateways ==
               (route.gateway ? std::vector<IpAddress>{*route.gateway} : std::vector<IpAddress>());
  });
}

// Reports a kernel error about a route as an error of the configuration: a retry does not help.
absl::Status AsConfigError(const absl::Status& status) {
  if (!absl::IsUnavailable(status) && !absl::IsInvalidArgument(status)) return status;
  return CniStatus(kCniInvalidConfig, status.message(),
                   "correct the route in the configuration, or in that of the IPAM plugin");
}

// Routes without a gateway come first: others may lead through them.
absl::StatusOr<std::vector<ResultRoute>> AddRoutes(Netlink& pod, IfIndex index,
                                                   const std::vector<ResultRoute>& routes) {
  std::vector<bool> added(routes.size());
  for (const bool on_link : {true, false}) {
    for (size_t i = 0; i < routes.size(); ++i) {
      if (routes[i].gateway.has_value() == on_link) continue;
      const absl::Status status = pod.AddRoute(index, ToRoute(routes[i]));
      if (absl::IsAlreadyExists(status)) {
        ASSIGN_OR_RETURN(added[i], IsThere(pod, index, routes[i]));
        continue;
      }
      RETURN_IF_ERROR(AsConfigError(status));
      added[i] = true;
    }
  }
  std::vector<ResultRoute> there;
  for (size_t i = 0; i < routes.size(); ++i) {
    if (added[i]) there.push_back(routes[i]);
  }
  return there;
}

}  // namespace

absl::StatusOr<Netlink*> KernelPodLinks::Host() {
  if (!host_) {
    ASSIGN_OR_RETURN(host_, Netlink::Open());
  }
  return &*host_;
}

absl::StatusOr<KernelPodLinks::Pod*> KernelPodLinks::PodAt(const std::string& path) {
  if (!pod_ || pod_->path != path) {
    ASSIGN_OR_RETURN(UniqueFd netns, OpenNetNs(path));
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn(netns));
    pod_ = Pod{.path = path, .netns = std::move(netns), .netlink = std::move(netlink)};
  }
  return &*pod_;
}

absl::StatusOr<KernelPodLinks::Pod*> KernelPodLinks::PodIfAny(const std::string& path) {
  if (path.empty()) return nullptr;
  absl::StatusOr<Pod*> pod = PodAt(path);
  // InvalidArgument: the mount point remains as a plain file.
  if (absl::IsNotFound(pod.status()) || absl::IsInvalidArgument(pod.status())) return nullptr;
  return pod;
}

absl::Status KernelPodLinks::CheckNetNs(const std::string& netns, bool own_allowed) {
  const absl::StatusOr<Pod*> pod = PodAt(netns);
  if (!pod.ok()) {
    // Not 3, "unknown container": after that the runtime may omit DEL (SPEC, "Error"), which
    // releases the lease of an earlier, killed try.
    return CniStatus(kCniInvalidEnvironment, Annotate(pod.status(), "CNI_NETNS").message());
  }
  if (own_allowed) return absl::OkStatus();
  ASSIGN_OR_RETURN(const UniqueFd own, CurrentNetNs());
  ASSIGN_OR_RETURN(const bool same, SameNetNs((*pod)->netns, own));
  if (!same) return absl::OkStatus();
  return CniStatus(kCniInvalidNetNs,
                   absl::StrCat("CNI_NETNS ", netns, " is the plugin's own network namespace"),
                   "pass the container's, or set CNI_NETNS_OVERRIDE=1 if this one is intended");
}

absl::StatusOr<bool> KernelPodLinks::HasLeftovers(const LinkNames& names) {
  ASSIGN_OR_RETURN(Netlink* const host, Host());
  ASSIGN_OR_RETURN(const std::optional<IfIndex> host_end, FindHostEnd(*host, names));
  if (host_end) return true;  // I2: the pod end, which may not have an alias yet, goes with it
  ASSIGN_OR_RETURN(Pod* const pod, PodIfAny(names.netns));
  if (pod == nullptr) return false;
  const absl::StatusOr<LinkInfo> link = pod->netlink.GetLink(names.ifname);
  if (absl::IsNotFound(link.status())) return false;
  RETURN_IF_ERROR(link.status());
  if (SameAttachment(link->alias, names.alias)) return true;
  return absl::AlreadyExistsError(absl::StrCat("interface ", names.ifname, " exists in ",
                                               names.netns,
                                               " and was not made by vxvde: it is left alone"));
}

absl::StatusOr<PodLink> KernelPodLinks::Create(const LinkNames& names, const LinkSpec& spec) {
  ASSIGN_OR_RETURN(Pod* const pod, PodAt(names.netns));
  if (spec.mode == LinkMode::kTap) return CreateTap(pod->netlink, pod->netns, names, spec);
  ASSIGN_OR_RETURN(Netlink* const host, Host());
  return CreateVeth(*host, pod->netlink, pod->netns, names, spec);
}

absl::Status KernelPodLinks::BringUp(const LinkNames& names, LinkMode mode) {
  ASSIGN_OR_RETURN(Pod* const in, PodAt(names.netns));
  LinkChange no_ipv6;
  no_ipv6.no_ipv6 = true;
  LinkChange up;
  up.up = true;
  if (mode == LinkMode::kVeth) {
    ASSIGN_OR_RETURN(Netlink* const host, Host());
    ASSIGN_OR_RETURN(const LinkInfo host_end, host->GetLink(names.host_ifname));
    // The host end is a wire, not a station: the host must not send on the cloud.
    RETURN_IF_ERROR(host->ChangeLink(host_end.index, no_ipv6));
    RETURN_IF_ERROR(host->ChangeLink(host_end.index, up));
  }
  ASSIGN_OR_RETURN(const LinkInfo link, in->netlink.GetLink(names.ifname));
  if (link.ipv6) RETURN_IF_ERROR(in->netlink.ChangeLink(link.index, no_ipv6));
  return in->netlink.ChangeLink(link.index, up);
}

absl::StatusOr<std::vector<ResultRoute>> KernelPodLinks::Configure(
    const LinkNames& names, LinkMode mode, const std::vector<IpPrefix>& addresses,
    const std::vector<ResultRoute>& routes) {
  ASSIGN_OR_RETURN(Pod* const in, PodAt(names.netns));
  Netlink& pod = in->netlink;
  ASSIGN_OR_RETURN(const LinkInfo link, pod.GetLink(names.ifname));

  // A link-local address that the kernel adds is tentative for a second (A6). This adds the same
  // address without duplicate detection: the agent ensures that the MAC is unique.
  const bool wanted = std::any_of(addresses.begin(), addresses.end(),
                                  [](const IpPrefix& prefix) { return prefix.address.is_v6(); });
  if (wanted) RETURN_IF_ERROR(PrepareIpv6(in->netns, names.ifname, link.ipv6));
  if (wanted || link.ipv6) {
    LinkChange no_ipv6;
    no_ipv6.no_ipv6 = true;
    RETURN_IF_ERROR(pod.ChangeLink(link.index, no_ipv6));
    RETURN_IF_ERROR(pod.AddAddress(link.index, LinkLocalOf(link.mac)));
  }
  for (const IpPrefix& prefix : addresses) {
    RETURN_IF_ERROR(pod.AddAddress(link.index, prefix));
  }

  RETURN_IF_ERROR(BringUp(names, mode));
  return AddRoutes(pod, link.index, routes);
}

absl::StatusOr<std::vector<RouteInfo>> KernelPodLinks::ListRoutes(const std::string& netns) {
  ASSIGN_OR_RETURN(Pod* const pod, PodAt(netns));
  return pod->netlink.ListRoutes();
}

absl::Status KernelPodLinks::DeleteDefaultRoutes(const std::string& netns, int family) {
  ASSIGN_OR_RETURN(Pod* const pod, PodAt(netns));
  return pod->netlink.DeleteDefaultRoutes(family);
}

absl::Status KernelPodLinks::Delete(const LinkNames& names) {
  ASSIGN_OR_RETURN(Netlink* const host, Host());
  std::vector<absl::Status> errors;
  if (absl::Status status = DeleteHostEnd(*host, names); !status.ok()) errors.push_back(status);
  const absl::StatusOr<Pod*> pod = PodIfAny(names.netns);
  absl::Status status = pod.status();
  if (pod.ok() && *pod != nullptr) status = DeletePodEnd((*pod)->netlink, names);
  if (!status.ok()) errors.push_back(status);
  return JoinErrors(errors);
}

absl::StatusOr<LinkState> KernelPodLinks::Inspect(const LinkNames& names, LinkMode mode) {
  ASSIGN_OR_RETURN(Pod* const in, PodAt(names.netns));
  Netlink& pod = in->netlink;
  ASSIGN_OR_RETURN(const LinkInfo link, pod.GetLink(names.ifname));
  LinkState state;
  state.ours = SameAttachment(link.alias, names.alias);
  state.mac = link.mac;
  state.mtu = static_cast<uint32_t>(link.mtu);
  state.up = link.up;
  state.enslaved = link.master != IfIndex::kNone;
  state.host_up = true;
  if (mode == LinkMode::kVeth) {
    ASSIGN_OR_RETURN(Netlink* const host, Host());
    const absl::StatusOr<LinkInfo> host_end = host->GetLink(names.host_ifname);
    if (!absl::IsNotFound(host_end.status())) RETURN_IF_ERROR(host_end.status());
    state.host_up = host_end.ok() && host_end->up;
  }
  ASSIGN_OR_RETURN(const std::vector<AddressInfo> addresses, pod.ListAddresses());
  for (const AddressInfo& address : addresses) {
    if (address.interface == link.index) state.addresses.push_back(address.prefix);
  }
  ASSIGN_OR_RETURN(state.routes, pod.ListRoutes());
  return state;
}

absl::StatusOr<bool> KernelPodLinks::IsInPod(const LinkNames& names) {
  ASSIGN_OR_RETURN(Pod* const pod, PodIfAny(names.netns));
  if (pod == nullptr) return false;
  const absl::StatusOr<LinkInfo> link = pod->netlink.GetLink(names.ifname);
  if (absl::IsNotFound(link.status())) return false;
  RETURN_IF_ERROR(link.status());
  return SameAttachment(link->alias, names.alias);
}

absl::Status KernelPodLinks::DeleteOthers(const LinkNames& main, NamesOfInterface names_of) {
  ASSIGN_OR_RETURN(Netlink* const host, Host());
  RETURN_IF_ERROR(DeleteMadeWith(*host, main, [](const LinkInfo&) { return absl::OkStatus(); }));
  ASSIGN_OR_RETURN(Pod* const pod, PodIfAny(main.netns));
  if (pod == nullptr) return absl::OkStatus();
  return DeleteMadeWith(pod->netlink, main, [&](const LinkInfo& link) {
    return DeleteNameless(*host, names_of(link.name).host_ifname);
  });
}

absl::Status KernelPodLinks::DeleteAll(const LinkNames& main, NamesOfInterface names_of) {
  std::vector<absl::Status> errors;
  if (absl::Status status = Delete(main); !status.ok()) errors.push_back(std::move(status));
  if (absl::Status status = DeleteOthers(main, names_of); !status.ok()) {
    errors.push_back(std::move(status));
  }
  return JoinErrors(errors);
}

}  // namespace vxvde
