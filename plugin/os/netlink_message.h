// netlink messages: the builder of a request, and the attributes of a reply. Private to this
// folder: the rest of the tree uses netlink.h and the headers that it names.

#ifndef VXVDE_PLUGIN_OS_NETLINK_MESSAGE_H_
#define VXVDE_PLUGIN_OS_NETLINK_MESSAGE_H_

#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/os/fd.h"

namespace vxvde {

// An rtnetlink socket in these multicast groups (RTMGRP_...), and of these flags (SOCK_...).
absl::StatusOr<UniqueFd> OpenNetlinkSocket(uint32_t groups, int flags);

// One request. Attributes beyond a page invalidate it, which Exchange reports.
class NetlinkRequest {
 public:
  template <typename Header>
  NetlinkRequest(uint16_t type, uint16_t flags, const Header& header)
      : message_(nlmsg_alloc_simple(type, NLM_F_REQUEST | flags)) {
    Append(header);
  }
  ~NetlinkRequest() { nlmsg_free(message_); }
  NetlinkRequest(const NetlinkRequest&) = delete;
  NetlinkRequest& operator=(const NetlinkRequest&) = delete;

  template <typename Header>
  void Append(const Header& header) {
    Note(message_ != nullptr &&
         nlmsg_append(message_, const_cast<Header*>(&header), sizeof(header), NLMSG_ALIGNTO) == 0);
  }
  void Put(int type, const void* data, size_t size) {
    Note(message_ != nullptr && nla_put(message_, type, static_cast<int>(size), data) == 0);
  }
  void PutU8(int type, uint8_t value) { Put(type, &value, sizeof(value)); }
  void PutU32(int type, uint32_t value) { Put(type, &value, sizeof(value)); }
  void PutName(int type, const std::string& value) { Put(type, value.c_str(), value.size() + 1); }
  void PutText(int type, absl::string_view value) { Put(type, value.data(), value.size()); }
  void PutMac(int type, const MacAddress& mac) {
    Put(type, mac.bytes().data(), mac.bytes().size());
  }
  void PutIp(int type, const IpAddress& ip) { Put(type, ip.wire().data(), ip.wire().size()); }

  template <typename Body>
  void Nest(int type, Body body) {
    nlattr* nest = message_ != nullptr ? nla_nest_start(message_, type) : nullptr;
    Note(nest != nullptr);
    body();
    if (nest != nullptr) nla_nest_end(message_, nest);
  }

  bool complete() const { return complete_; }
  nlmsghdr* header() { return nlmsg_hdr(message_); }

 private:
  void Note(bool done) { complete_ = complete_ && done; }

  nl_msg* message_;
  bool complete_ = true;
};

// Attributes of a reply, by type. The size of a value is checked before it is read.
class Attributes {
 public:
  Attributes(const nlmsghdr* message, size_t header_size)
      : first_(nlmsg_attrdata(message, static_cast<int>(header_size))),
        size_(nlmsg_attrlen(message, static_cast<int>(header_size))) {}
  Attributes(const nlattr* first, int size) : first_(first), size_(size) {}
  explicit Attributes(const nlattr* nest)
      : first_(static_cast<const nlattr*>(nla_data(nest))), size_(nla_len(nest)) {}

  const nlattr* Find(int type) const { return nla_find(first_, size_, type); }
  std::optional<uint32_t> U32(int type) const {
    const nlattr* attribute = Find(type);
    if (attribute == nullptr || nla_len(attribute) < 4) return std::nullopt;
    return nla_get_u32(attribute);
  }
  std::string Text(int type) const {
    const nlattr* attribute = Find(type);
    if (attribute == nullptr) return "";
    const char* text = static_cast<const char*>(nla_data(attribute));
    return std::string(text, strnlen(text, nla_len(attribute)));
  }
  std::optional<IpAddress> Ip(int type, int family) const {
    const nlattr* attribute = Find(type);
    const int size = family == AF_INET6 ? 16 : 4;
    if (attribute == nullptr || nla_len(attribute) != size) return std::nullopt;
    return IpAddress::FromWire(
        {static_cast<const uint8_t*>(nla_data(attribute)), static_cast<size_t>(size)});
  }

 private:
  const nlattr* first_;
  int size_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NETLINK_MESSAGE_H_
