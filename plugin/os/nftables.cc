#include "plugin/os/nftables.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_arp.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace vxvde {
namespace {

static_assert(static_cast<int>(NftFamily::kInet) == NFPROTO_INET);
static_assert(static_cast<int>(NftFamily::kArp) == NFPROTO_ARP);
static_assert(AF_INET == NFPROTO_IPV4 && AF_INET6 == NFPROTO_IPV6);
static_assert(static_cast<int>(NftHookPoint::kPrerouting) == NF_INET_PRE_ROUTING);
static_assert(static_cast<int>(NftHookPoint::kInput) == NF_INET_LOCAL_IN);
static_assert(static_cast<int>(NftHookPoint::kForward) == NF_INET_FORWARD);
static_assert(static_cast<int>(NftHookPoint::kOutput) == NF_INET_LOCAL_OUT);
static_assert(static_cast<int>(NftHookPoint::kPostrouting) == NF_INET_POST_ROUTING);
static_assert(static_cast<int>(NftHookPoint::kArpInput) == NF_ARP_IN);
static_assert(static_cast<int>(NftHookPoint::kArpOutput) == NF_ARP_OUT);
static_assert(kNftRaw == NF_IP_PRI_RAW && kNftDstnat == NF_IP_PRI_NAT_DST);
static_assert(kNftFilter == NF_IP_PRI_FILTER && kNftSrcnat == NF_IP_PRI_NAT_SRC);
static_assert(kNftEstablished == NF_CT_STATE_BIT(IP_CT_ESTABLISHED));
static_assert(kNftRelated == NF_CT_STATE_BIT(IP_CT_RELATED));
static_assert(kNftDestinationTranslated == IPS_DST_NAT);
static_assert(NftVerdict::kDrop == NF_DROP && NftVerdict::kAccept == NF_ACCEPT);
static_assert(static_cast<int>(NftVerdict::kJump) == NFT_JUMP);
static_assert(static_cast<int>(NftVerdict::kReturn) == NFT_RETURN);

NftValue MaskOf(const IpPrefix& prefix) {
  NftValue mask(prefix.address.wire().size());
  for (size_t bit = 0; bit < prefix.length; ++bit) {
    mask[bit / 8] = static_cast<uint8_t>(mask[bit / 8] | 0x80 >> bit % 8);
  }
  return mask;
}

}  // namespace

NftValue NftName(absl::string_view name) {
  NftValue value(name.begin(), name.end());
  value.resize(IFNAMSIZ);
  return value;
}
NftValue NftByte(uint8_t value) { return {value}; }
NftValue NftNumber(uint32_t value) {
  NftValue bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}
NftValue NftPort(uint16_t port) {
  return {static_cast<uint8_t>(port >> 8), static_cast<uint8_t>(port & 0xff)};
}
NftValue NftIp(const IpAddress& address) { return {address.wire().begin(), address.wire().end()}; }

NftField SourceField(int family) {
  return family == AF_INET6 ? NftField::kSourceV6 : NftField::kSourceV4;
}
NftField DestinationField(int family) {
  return family == AF_INET6 ? NftField::kDestinationV6 : NftField::kDestinationV4;
}

NftRule& NftRule::Is(NftField field, NftValue value) {
  statements.emplace_back(NftCompare{.field = field, .value = std::move(value)});
  return *this;
}

NftRule& NftRule::In(NftField field, const std::vector<NftValue>& values) {
  if (values.size() == 1) return Is(field, values[0]);
  NftLookup lookup{.fields = {field}, .elements = {}};
  for (const NftValue& value : values) lookup.elements.push_back({value});
  statements.emplace_back(std::move(lookup));
  return *this;
}

NftRule& NftRule::NotIn(NftField field, const std::vector<NftValue>& values) {
  In(field, values);
  if (auto* one = std::get_if<NftCompare>(&statements.back())) one->equal = false;
  if (auto* several = std::get_if<NftLookup>(&statements.back())) several->inside = false;
  return *this;
}

NftRule& NftRule::In(std::vector<NftField> fields, std::vector<std::vector<NftValue>> elements) {
  statements.emplace_back(NftLookup{.fields = std::move(fields), .elements = std::move(elements)});
  return *this;
}

NftRule& NftRule::Within(NftField field, std::vector<IpPrefix> prefixes) {
  if (prefixes.size() == 1) {
    statements.emplace_back(NftMasked{.field = field,
                                      .mask = MaskOf(prefixes[0]),
                                      .value = NftIp(prefixes[0].Network().address)});
  } else {
    statements.emplace_back(NftWithin{.field = field, .prefixes = std::move(prefixes)});
  }
  return *this;
}

NftRule& NftRule::Between(NftField field, NftValue first, NftValue last) {
  statements.emplace_back(
      NftRange{.field = field, .first = std::move(first), .last = std::move(last)});
  return *this;
}

NftRule& NftRule::HasAny(NftField field, uint32_t bits) {
  statements.emplace_back(
      NftMasked{.field = field, .mask = NftNumber(bits), .equal = false, .value = NftNumber(0)});
  return *this;
}

NftRule& NftRule::Count() {
  statements.emplace_back(NftCounter{});
  return *this;
}
NftRule& NftRule::Accept() {
  statements.emplace_back(NftVerdict{.code = NftVerdict::kAccept});
  return *this;
}
NftRule& NftRule::Drop() {
  statements.emplace_back(NftVerdict{.code = NftVerdict::kDrop});
  return *this;
}
NftRule& NftRule::Return() {
  statements.emplace_back(NftVerdict{.code = NftVerdict::kReturn});
  return *this;
}
NftRule& NftRule::Jump(absl::string_view chain) {
  statements.emplace_back(NftVerdict{.code = NftVerdict::kJump, .chain = std::string(chain)});
  return *this;
}
NftRule& NftRule::Masquerade() {
  statements.emplace_back(NftMasquerade{});
  return *this;
}
NftRule& NftRule::Dnat(int family, std::map<uint16_t, std::pair<IpAddress, uint16_t>> targets) {
  statements.emplace_back(NftDnat{.family = family, .targets = std::move(targets)});
  return *this;
}

std::string NftTable::ToString() const {
  return absl::StrCat(family == NftFamily::kArp ? "arp" : "inet", " ", name);
}

absl::StatusOr<NftMonitor> NftMonitor::Open() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
  if (!fd) return ErrnoStatus(errno, "open a netfilter netlink socket");
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, "bind a netfilter netlink socket");
  }
  const int group = NFNLGRP_NFTABLES;
  if (setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) != 0) {
    return ErrnoStatus(errno, "listen for changes of nftables");
  }
  return NftMonitor(std::move(fd));
}

void NftMonitor::Drain() {
  while (true) {
    char byte;  // recv discards the rest of the message
    // ENOBUFS: messages were lost, which also means a change.
    if (recv(fd_.get(), &byte, sizeof(byte), 0) < 0 && errno != EINTR && errno != ENOBUFS) return;
  }
}

}  // namespace vxvde
