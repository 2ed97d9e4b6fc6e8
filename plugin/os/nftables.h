// nftables tables of the calling thread's network namespace, written and compared by netlink: a
// table is a value, and is replaced as a whole and atomically. No other table is read or touched,
// because tables of newer programs may contain objects that this code, or a library below it, does
// not know (docs/decisions/0027).
//
// Sets are anonymous, and carry the types and byte orders by which `nft list table` prints them.
//
// Not here: the rules themselves, and when to write them (agent/node_port).
// Source: linux/netfilter/nf_tables.h, libnftnl and libmnl.

#ifndef VXVDE_PLUGIN_OS_NFTABLES_H_
#define VXVDE_PLUGIN_OS_NFTABLES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/ip_address.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Numbers of linux/netfilter.h and related headers, which cannot be included beside netinet/in.h.
enum class NftFamily : uint8_t { kInet = 1, kArp = 3 };  // NFPROTO_...
enum class NftHookPoint : uint32_t {                     // NF_INET_..., NF_ARP_...
  kPrerouting = 0,
  kInput = 1,
  kForward = 2,
  kOutput = 3,
  kPostrouting = 4,
  kArpInput = 0,
  kArpOutput = 1
};
constexpr int kNftRaw = -300;  // priorities, as nft names them
constexpr int kNftDstnat = -100;
constexpr int kNftFilter = 0;
constexpr int kNftSrcnat = 100;
constexpr uint32_t kNftEstablished = 1 << 1;  // NF_CT_STATE_BIT(IP_CT_...)
constexpr uint32_t kNftRelated = 1 << 2;
constexpr uint32_t kNftDestinationTranslated = 1 << 5;  // IPS_DST_NAT

// A property of a packet that a rule compares, and the form of its values.
enum class NftField {
  kInputName,        // an interface's name: NftName
  kOutputName,       //
  kInputKind,        // "veth", as `ip -d link` prints it: NftName
  kInputGroup,       // of the interface: NftNumber
  kOutputGroup,      //
  kFamily,           // AF_INET or AF_INET6: NftByte
  kProtocol,         // IPPROTO_TCP ...: NftByte
  kSourceV4,         // NftIp. Only after Is(kFamily) of that family.
  kDestinationV4,    //
  kSourceV6,         //
  kDestinationV6,    //
  kSourcePort,       // NftPort. Of any protocol that has ports: TCP, UDP, SCTP.
  kDestinationPort,  //
  kIcmpType,         // NftByte. Only after Is(kProtocol).
  kConntrackState,   // bits, kNftEstablished ...: NftNumber
  kConntrackStatus,  // bits, kNftDestinationTranslated ...: NftNumber
  kSourceKind,       // RTN_LOCAL ...: NftNumber
  kDestinationKind,  //
};

// A value as the kernel compares it.
using NftValue = std::vector<uint8_t>;
NftValue NftName(absl::string_view name);
NftValue NftByte(uint8_t value);
NftValue NftNumber(uint32_t value);
NftValue NftPort(uint16_t port);
NftValue NftIp(const IpAddress& address);

// The source address field of the family.
NftField SourceField(int family);
NftField DestinationField(int family);

struct NftCompare {
  NftField field;
  bool equal = true;
  NftValue value;
  friend bool operator==(const NftCompare&, const NftCompare&) = default;
};
// Compares only the bits of the mask.
struct NftMasked {
  NftField field;
  NftValue mask;
  bool equal = true;
  NftValue value;
  friend bool operator==(const NftMasked&, const NftMasked&) = default;
};
struct NftRange {
  NftField field;
  NftValue first;
  NftValue last;
  friend bool operator==(const NftRange&, const NftRange&) = default;
};
// The concatenated fields are an element of a set.
struct NftLookup {
  std::vector<NftField> fields;
  bool inside = true;
  std::vector<std::vector<NftValue>> elements;
  friend bool operator==(const NftLookup&, const NftLookup&) = default;
};
// The address is in one of several prefixes.
struct NftWithin {
  NftField field;
  std::vector<IpPrefix> prefixes;
  friend bool operator==(const NftWithin&, const NftWithin&) = default;
};
struct NftCounter {
  friend bool operator==(const NftCounter&, const NftCounter&) = default;
};
struct NftMasquerade {
  friend bool operator==(const NftMasquerade&, const NftMasquerade&) = default;
};
// Translates the destination to the map's entry for its port, if there is one.
struct NftDnat {
  int family = AF_INET;
  std::map<uint16_t, std::pair<IpAddress, uint16_t>> targets;
  friend bool operator==(const NftDnat&, const NftDnat&) = default;
};
struct NftVerdict {
  enum Code { kDrop = 0, kAccept = 1, kJump = -3, kReturn = -5 } code = kAccept;
  std::string chain = {};  // to jump to
  friend bool operator==(const NftVerdict&, const NftVerdict&) = default;
};

// A rule: conditions and actions, in the order in which they are appended.
struct NftRule {
  using Statement = std::variant<NftCompare, NftMasked, NftRange, NftLookup, NftWithin, NftCounter,
                                 NftMasquerade, NftDnat, NftVerdict>;
  std::vector<Statement> statements = {};

  NftRule& Is(NftField field, NftValue value);
  // The field has one of the values. No list of values below may be empty.
  NftRule& In(NftField field, const std::vector<NftValue>& values);
  NftRule& NotIn(NftField field, const std::vector<NftValue>& values);
  NftRule& In(std::vector<NftField> fields, std::vector<std::vector<NftValue>> elements);
  // Prefixes of one family, none of which contains another.
  NftRule& Within(NftField field, std::vector<IpPrefix> prefixes);
  NftRule& Between(NftField field, NftValue first, NftValue last);
  // At least one of the bits is set.
  NftRule& HasAny(NftField field, uint32_t bits);

  NftRule& Count();
  NftRule& Accept();
  NftRule& Drop();
  NftRule& Return();
  NftRule& Jump(absl::string_view chain);
  NftRule& Masquerade();
  NftRule& Dnat(int family, std::map<uint16_t, std::pair<IpAddress, uint16_t>> targets);

  friend bool operator==(const NftRule&, const NftRule&) = default;
};

struct NftHook {
  std::string type;  // "filter" or "nat"
  NftHookPoint point = NftHookPoint::kPrerouting;
  int priority = kNftFilter;
  friend bool operator==(const NftHook&, const NftHook&) = default;
};

struct NftChain {
  std::string name;
  std::optional<NftHook> hook = {};  // absent: only for jumps. The policy is accept.
  std::vector<NftRule> rules = {};
  friend bool operator==(const NftChain&, const NftChain&) = default;
};

struct NftTable {
  NftFamily family = NftFamily::kInet;
  std::string name = {};
  std::vector<NftChain> chains = {};  // none: there is no table

  std::string ToString() const;  // "inet vxvde"
  friend bool operator==(const NftTable&, const NftTable&) = default;
};

// Replaces the kernel's tables of these names by `tables`, in one transaction: all of them or none.
// PermissionDenied: CAP_NET_ADMIN is missing in the namespace's user namespace. Unimplemented: the
// kernel has no nf_tables. Other messages name the object that the kernel refused.
absl::Status ReplaceNftTables(const std::vector<NftTable>& tables);

// Returns the kernel's tables with the names of `tables`, as text for comparison, without counters
// and handles: equal texts mean equal tables. Empty: none of them exists.
absl::StatusOr<std::string> ReadNftTables(const std::vector<NftTable>& tables);

// Reports changes of any rules of the namespace (NFNLGRP_NFTABLES).
class NftMonitor {
 public:
  static absl::StatusOr<NftMonitor> Open();
  int fd() const { return fd_.get(); }
  // Discards all queued messages.
  void Drain();

 private:
  explicit NftMonitor(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NFTABLES_H_
