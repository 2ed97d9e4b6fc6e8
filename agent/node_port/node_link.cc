#include "agent/node_port/node_link.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "plugin/base/status.h"
#include "plugin/os/files.h"
#include "plugin/os/netlink.h"

namespace vxvde {
namespace {

constexpr size_t kMaxIfName = 15;  // IFNAMSIZ without the NUL
constexpr size_t kHashDigits = 6;
constexpr size_t kMaxSysctl = 64;

absl::Status IgnoreNotFound(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

// The current state of the pair.
struct Ends {
  std::optional<LinkInfo> node;
  std::optional<LinkInfo> of_switch;
};

absl::StatusOr<std::optional<LinkInfo>> Find(Netlink& netlink, const std::string& name) {
  absl::StatusOr<LinkInfo> link = netlink.GetLink(name);
  if (absl::IsNotFound(link.status())) return std::nullopt;
  RETURN_IF_ERROR(link.status());
  return *std::move(link);
}

absl::Status RemoveByAlias(Netlink& netlink, const std::string& alias) {
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.ListLinks());
  for (const LinkInfo& link : links) {
    if (link.alias == alias) RETURN_IF_ERROR(IgnoreNotFound(netlink.DeleteLink(link.index)));
  }
  return absl::OkStatus();
}

// Returns a complete pair of this agent that fits `spec`, or deletes what exists of one.
absl::StatusOr<Ends> FindOrClear(Netlink& netlink, const NodeLink& spec) {
  Ends ends;
  ASSIGN_OR_RETURN(ends.node, Find(netlink, spec.ifname));
  ASSIGN_OR_RETURN(ends.of_switch, Find(netlink, spec.switch_ifname));
  const auto ours = [&](const std::optional<LinkInfo>& link) {
    return link.has_value() && link->kind == "veth" && link->alias == spec.alias;
  };
  if (ours(ends.node) && ours(ends.of_switch) && ends.node->peer == ends.of_switch->index &&
      ends.node->mac == spec.mac) {
    return ends;
  }
  RETURN_IF_ERROR(RemoveByAlias(netlink, spec.alias));
  if (ends.of_switch.has_value() && ends.of_switch->kind == "veth" &&
      ends.of_switch->alias.empty()) {
    RETURN_IF_ERROR(IgnoreNotFound(netlink.DeleteLink(ends.of_switch->index)));
  }
  return Ends{};
}

absl::StatusOr<std::string> GetSysctl(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string value, ReadFile(path, kMaxSysctl, FileKind::kAny));
  return std::string(absl::StripAsciiWhitespace(value));
}

absl::Status SetSysctl(const std::string& path, const std::string& value) {
  const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return ErrnoStatus(errno, absl::StrCat("open ", path));
  if (write(file.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
    return ErrnoStatus(errno, absl::StrCat("write ", value, " to ", path));
  }
  return absl::OkStatus();
}

absl::Status SetAddresses(Netlink& netlink, const std::string& proc_sys, IfIndex index,
                          const NodeLink& spec) {
  std::set<IpPrefix> wanted(spec.addresses.begin(), spec.addresses.end());
  if (std::any_of(wanted.begin(), wanted.end(),
                  [](const IpPrefix& one) { return one.address.is_v6(); })) {
    wanted.insert(LinkLocalOf(spec.mac));
    const std::string conf = absl::StrCat(proc_sys, "/net/ipv6/conf/", spec.ifname);
    RETURN_IF_ERROR(SetSysctl(absl::StrCat(conf, "/disable_ipv6"), "0"));
    // Keeps routers of the cloud from configuring this node.
    RETURN_IF_ERROR(SetSysctl(absl::StrCat(conf, "/accept_ra"), "0"));
  }
  ASSIGN_OR_RETURN(const std::vector<AddressInfo> all, netlink.ListAddresses());
  for (const AddressInfo& info : all) {
    if (info.interface != index || wanted.erase(info.prefix) != 0) continue;
    RETURN_IF_ERROR(netlink.DeleteAddress(index, info.prefix));
  }
  for (const IpPrefix& one : wanted) RETURN_IF_ERROR(netlink.AddAddress(index, one));
  return absl::OkStatus();
}

absl::StatusOr<IfIndex> Ensure(Netlink& netlink, const std::string& proc_sys,
                               const NodeLink& spec) {
  ASSIGN_OR_RETURN(Ends ends, FindOrClear(netlink, spec));
  if (!ends.node.has_value()) {
    RETURN_IF_ERROR(netlink.CreateVeth({
        .here = {.name = spec.switch_ifname,
                 .alias = spec.alias,
                 .mac = std::nullopt,
                 .group = kHostEndGroup},
        .there = {.name = spec.ifname, .alias = spec.alias, .mac = spec.mac},
        .mtu = spec.mtu,
        .gso_max_size = spec.gso_max_size,
    }));
    ASSIGN_OR_RETURN(ends.node, Find(netlink, spec.ifname));
    ASSIGN_OR_RETURN(ends.of_switch, Find(netlink, spec.switch_ifname));
    if (!ends.node.has_value() || !ends.of_switch.has_value()) {
      return absl::UnavailableError(
          absl::StrCat("interface ", spec.ifname, " was deleted right after it was created"));
    }
  }
  LinkChange node;
  node.mtu = spec.mtu;
  if (spec.gso_max_size != 0) node.gso_max_size = spec.gso_max_size;
  node.no_ipv6 = true;  // a link-local address of the kernel is tentative at first
  RETURN_IF_ERROR(netlink.ChangeLink(ends.node->index, node));
  RETURN_IF_ERROR(SetAddresses(netlink, proc_sys, ends.node->index, spec));
  LinkChange of_switch;
  of_switch.up = true;
  of_switch.mtu = spec.mtu;
  of_switch.group = kHostEndGroup;  // also if an older agent has created it
  of_switch.no_ipv6 = true;         // a wire, not a station
  RETURN_IF_ERROR(netlink.ChangeLink(ends.of_switch->index, of_switch));
  LinkChange up;
  up.up = true;
  RETURN_IF_ERROR(netlink.ChangeLink(ends.node->index, up));
  return ends.of_switch->index;
}

}  // namespace

std::string NodeIfName(absl::string_view cloud_name) {
  const std::string whole = absl::StrCat("vx-", cloud_name);
  const bool name = std::all_of(cloud_name.begin(), cloud_name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
  });
  if (name && whole.size() <= kMaxIfName) return whole;
  const std::string hash = NameHash("node", cloud_name, "");
  if (!name) return absl::StrCat("vx-", hash.substr(0, 12));
  return absl::StrCat(whole.substr(0, kMaxIfName - 1 - kHashDigits), "-",
                      hash.substr(0, kHashDigits));
}

std::string NodeAlias(const CloudKey& cloud) {
  return absl::StrCat(kNodeAliasPrefix, cloud.ToString());
}

std::string NodeSwitchIfName(const CloudKey& cloud) {
  return HostIfName(NameHash("node", cloud.ToString(), "switch"));
}

absl::StatusOr<NodeLinkKernel> KernelNodeLinks(const std::string& proc_sys) {
  ASSIGN_OR_RETURN(Netlink opened, Netlink::Open());
  const auto netlink = std::make_shared<Netlink>(std::move(opened));
  return NodeLinkKernel{
      .ensure = [netlink,
                 proc_sys](const NodeLink& spec) { return Ensure(*netlink, proc_sys, spec); },
      .remove = [netlink](const std::string& alias) { return RemoveByAlias(*netlink, alias); },
      .get = [proc_sys](const std::string& key) { return GetSysctl(proc_sys + "/" + key); },
      .set = [proc_sys](
                 const std::string& key,
                 const std::string& value) { return SetSysctl(proc_sys + "/" + key, value); },
  };
}

}  // namespace vxvde
