#include "cni/values.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/interface_name.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr size_t kMaxSocketPath = 107;  // sockaddr_un.sun_path without its NUL

bool IsCniName(absl::string_view text) {
  if (text.empty() || !absl::ascii_isalnum(text[0])) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(c) && c != '_' && c != '.' && c != '-') return false;
  }
  return true;
}

}  // namespace

absl::Status CheckCniName(absl::string_view what, absl::string_view text) {
  if (IsCniName(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " \"", text,
                   "\" is not well-formed: use a letter or digit, then letters, digits, '_', '.' "
                   "or '-'"));
}

absl::Status CheckInterfaceName(absl::string_view what, absl::string_view text) {
  if (IsInterfaceName(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " \"", text,
                   "\" is not an interface name: use 1 to 15 bytes without '/', ':', spaces and "
                   "control characters, other than \".\" and \"..\""));
}

absl::Status CheckNewInterfaceName(absl::string_view what, absl::string_view text) {
  RETURN_IF_ERROR(CheckInterfaceName(what, text));
  if (!absl::StrContains(text, '%')) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " \"", text,
                   "\" has a '%', which the kernel takes for a pattern: use a name without it"));
}

bool IsSocketPath(absl::string_view text) {
  return absl::StartsWith(text, "/") && text.size() <= kMaxSocketPath &&
         !absl::StrContains(text, '\0');
}

absl::StatusOr<RequestedIp> ParseRequestedIp(const std::string& text) {
  RequestedIp ip;
  if (absl::StrContains(text, '/')) {
    ASSIGN_OR_RETURN(const IpPrefix prefix, IpPrefix::Parse(text));
    ip.address = prefix.address;
    ip.length = prefix.length;
    return ip;
  }
  ASSIGN_OR_RETURN(ip.address, IpAddress::Parse(text));
  return ip;
}

absl::StatusOr<MacAddress> ParseStationMac(const std::string& text) {
  ASSIGN_OR_RETURN(const MacAddress mac, MacAddress::Parse(text));
  if (!mac.IsStation()) {
    return absl::InvalidArgumentError(absl::StrCat(text, " cannot be a station's address: it is ",
                                                   mac.IsGroup() ? "a group address" : "zero"));
  }
  return mac;
}

}  // namespace vxvde
