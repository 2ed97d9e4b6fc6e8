#include "agent/model/allowed.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

struct RoleName {
  Allowed::Role role;
  absl::string_view name;
};

constexpr std::array<RoleName, 3> kRoles = {{
    {Allowed::Role::kDhcpServer, "dhcp-server"},
    {Allowed::Role::kRouter, "router"},
    {Allowed::Role::kAll, "all"},
}};

// Six pairs cannot be an IPv6 address, which has eight groups or two successive colons.
bool LooksLikeMac(absl::string_view text) {
  return text.size() >= 17 && (text.size() == 17 || text[17] == '/') &&
         (text[2] == ':' || text[2] == '-') && text[5] == text[2] && text[8] == text[2] &&
         text[11] == text[2] && text[14] == text[2];
}

}  // namespace

absl::StatusOr<Allowed> Allowed::Parse(absl::string_view text) {
  for (const RoleName& one : kRoles) {
    if (text == one.name) return Allowed(one.role);
  }
  if (LooksLikeMac(text)) {
    ASSIGN_OR_RETURN(const MacPrefix mac, MacPrefix::Parse(text));
    if (mac.address.IsGroup() || (mac.length == 48 && !mac.address.IsStation())) {
      return absl::InvalidArgumentError(absl::StrCat(text, " cannot be a station's address"));
    }
    return Allowed(mac);
  }
  IpPrefix prefix;
  if (absl::StrContains(text, '/')) {
    ASSIGN_OR_RETURN(prefix, IpPrefix::Parse(text));
    if (!(prefix.Network() == prefix)) {
      return absl::InvalidArgumentError(
          absl::StrCat(text, " has host bits; write ", prefix.Network().ToString()));
    }
  } else {
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
    if (!address.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", absl::CHexEscape(text),
                       "\" is neither a MAC (02:00:5e:10:00:01, 00:00:5e:00:01:00/40), an address "
                       "(10.42.0.200, 10.43.0.0/24), dhcp-server, router nor all"));
    }
    prefix = {.address = *address, .length = static_cast<uint8_t>(address->bits())};
  }
  if (prefix.address.IsMulticast() ||
      (prefix.length == prefix.address.bits() && prefix.address.IsUnspecified())) {
    return absl::InvalidArgumentError(absl::StrCat(text, " cannot be a station's address"));
  }
  return Allowed(prefix);
}

std::string Allowed::ToString() const {
  if (const auto* mac = std::get_if<MacPrefix>(&what_)) return mac->ToString();
  if (const auto* prefix = std::get_if<IpPrefix>(&what_)) {
    return prefix->length == prefix->address.bits() ? prefix->address.ToString()
                                                    : prefix->ToString();
  }
  const auto* one = std::find_if(kRoles.begin(), kRoles.end(), [&](const RoleName& role) {
    return role.role == std::get<Role>(what_);
  });
  return std::string(one->name);
}

bool Allowed::Covers(const Allowed& other) const {
  if (what_ == What(Role::kAll) || *this == other) return true;
  if (what_.index() != other.what_.index()) return false;
  if (const auto* mac = std::get_if<MacPrefix>(&what_)) {
    return mac->Contains(std::get<MacPrefix>(other.what_));
  }
  if (const auto* prefix = std::get_if<IpPrefix>(&what_)) {
    const IpPrefix& theirs = std::get<IpPrefix>(other.what_);
    return prefix->length <= theirs.length && prefix->Contains(theirs.address);
  }
  return false;
}

void Allowed::AddTo(PortGuard& guard) const {
  if (const auto* mac = std::get_if<MacPrefix>(&what_)) {
    guard.macs.push_back(*mac);
    return;
  }
  if (const auto* prefix = std::get_if<IpPrefix>(&what_)) {
    guard.addresses.push_back(*prefix);
    return;
  }
  switch (std::get<Role>(what_)) {
    case Role::kDhcpServer:
      guard.dhcp_server = true;
      return;
    case Role::kRouter:
      guard.router = true;
      return;
    case Role::kAll:
      guard.on = false;
      return;
  }
}

absl::StatusOr<std::vector<Allowed>> ParseAllowed(const std::vector<std::string>& texts) {
  if (texts.size() > kMaxAllowed) {
    return absl::InvalidArgumentError(
        absl::StrCat(texts.size(), " entries are too many; give at most ", kMaxAllowed));
  }
  std::vector<Allowed> list;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(Allowed one, Allowed::Parse(text));
    list.push_back(std::move(one));
  }
  return list;
}

std::vector<std::string> FormatAllowed(const std::vector<Allowed>& list) {
  std::vector<std::string> texts;
  for (const Allowed& one : list) texts.push_back(one.ToString());
  return texts;
}

PortGuard MakeGuard(const std::vector<IpPrefix>& addresses, const std::vector<IpPrefix>& subnets,
                    const std::vector<Allowed>& allow) {
  PortGuard guard{.on = true};
  for (const IpPrefix& one : addresses) {
    const IpAddress& address = one.address;
    guard.addresses.push_back({address, static_cast<uint8_t>(address.bits())});
    const IpPrefix all{address.is_v4() ? IpAddress() : IpAddress::AnyV6(), 0};
    if (std::find(guard.reserved.begin(), guard.reserved.end(), all) == guard.reserved.end()) {
      guard.reserved.push_back(all);
    }
  }
  guard.reserved.insert(guard.reserved.end(), subnets.begin(), subnets.end());
  for (const Allowed& one : allow) one.AddTo(guard);
  return guard;
}

}  // namespace vxvde
