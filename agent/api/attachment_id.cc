// The hash behind the names. It must never change, because it finds the links that an older release
// made.

#include "agent/api/attachment_id.h"

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace vxvde {
namespace {

// FNV-1a, 64 bits: draft-eastlake-fnv, section 2 (offset basis and prime of section 5).
constexpr uint64_t kFnvOffset = 0xcbf29ce484222325;
constexpr uint64_t kFnvPrime = 0x100000001b3;

void HashByte(uint64_t& hash, uint8_t byte) {
  hash ^= byte;
  hash *= kFnvPrime;
}

// The length (four bytes, big endian) before the text keeps ("ab", "c") and ("a", "bc") apart.
void HashText(uint64_t& hash, absl::string_view text) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    HashByte(hash, static_cast<uint8_t>(text.size() >> shift));
  }
  for (const char c : text) HashByte(hash, static_cast<uint8_t>(c));
}

constexpr size_t kIdSize = 13;
constexpr absl::string_view kAliasPrefix = "vxvde:";
constexpr absl::string_view kHostIfPrefix = "vx";

bool IsAlias(absl::string_view alias) {
  if (!absl::ConsumePrefix(&alias, kAliasPrefix)) return false;
  if (!IsAttachmentId(alias.substr(0, kIdSize))) return false;
  alias.remove_prefix(kIdSize);
  return alias.empty() || (alias[0] == ':' && IsAttachmentId(alias.substr(1)));
}

}  // namespace

bool IsAttachmentId(absl::string_view text) {
  return text.size() == kIdSize && absl::c_all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'v');
         });
}

std::string NameHash(absl::string_view a, absl::string_view b, absl::string_view c) {
  uint64_t hash = kFnvOffset;
  HashText(hash, a);
  HashText(hash, b);
  HashText(hash, c);

  // Base 32, most significant digit first: 13 digits of 5 bits contain the 64 bits.
  std::string id(kIdSize, '0');
  for (size_t i = id.size(); i-- > 0; hash >>= 5)
    id[i] = "0123456789abcdefghijklmnopqrstuv"[hash & 31];
  return id;
}

std::string AttachmentId(absl::string_view network, absl::string_view container_id,
                         absl::string_view ifname) {
  return NameHash(network, container_id, ifname);
}

std::string HostIfName(absl::string_view id) { return absl::StrCat(kHostIfPrefix, id); }

bool IsHostEnd(absl::string_view ifname, absl::string_view alias) {
  if (!absl::ConsumePrefix(&ifname, kHostIfPrefix) || !IsAttachmentId(ifname)) return false;
  return IdOfAlias(alias) == ifname || absl::StartsWith(alias, kNodeAliasPrefix);
}

std::string LinkAlias(absl::string_view id, absl::string_view main_id) {
  return main_id.empty() || main_id == id ? absl::StrCat(kAliasPrefix, id)
                                          : absl::StrCat(kAliasPrefix, id, ":", main_id);
}

absl::string_view IdOfAlias(absl::string_view alias) {
  return IsAlias(alias) ? alias.substr(kAliasPrefix.size(), kIdSize) : absl::string_view();
}

absl::string_view MainIdOfAlias(absl::string_view alias) {
  return IsAlias(alias) ? alias.substr(alias.size() - kIdSize) : absl::string_view();
}

}  // namespace vxvde
