// Names that both sides of the handoff derive from an attachment's key, so that
// each finds the other's objects even when the other is gone. Pure.

#ifndef VXVDE_AGENT_API_ATTACHMENT_ID_H_
#define VXVDE_AGENT_API_ATTACHMENT_ID_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace vxvde {

// Version of attach.proto that this tree speaks.
inline constexpr uint32_t kAttachProtocol = 1;

// CNI error codes of our own (docs/OPERATIONS.md lists them with remedies).
enum class AttachError : uint32_t {
  kVersionMismatch = 100,  // CNI binary and agent speak different protocols
  kUnknownCloud = 101,     // no cloud of that name in the agent's configuration
  kAddressInUse = 102,
  kMacInUse = 103,
  kPoolExhausted = 104,
  kMtuImpossible =
      105,  // larger than the uplink and its fragments can carry, or below 68 (1280 with IPv6)
  kCannotJoin = 106,  // no uplink, no route to the group, no free unicast port
  kForbidden = 107,   // policy: this namespace may not use that cloud
  kKeyMissing = 108,
  kAlreadyAttached = 109,  // ADD twice without DEL between
  kNotAttached = 110,      // CHECK: the agent knows no such attachment
  kNotForwarding = 111,    // CHECK: it knows it, but no frame flows now
  kChanged = 112,          // CHECK: the pod's interface is not what ADD left
  kPortInUse = 113,        // a port of the node is another attachment's
};

// 13 characters of [0-9a-v]: a 64-bit FNV-1a hash of the three, each preceded by its length.
std::string AttachmentId(absl::string_view network, absl::string_view container_id,
                         absl::string_view ifname);
// Does the text look like one?
bool IsAttachmentId(absl::string_view text);
// "vx" + id: 15 characters, the longest that an interface may have.
std::string HostIfName(absl::string_view id);

// The interface group of all host ends: the ends in the node's namespace of pods' links, and the
// switch's ends of the node's own links. By it the node's packet filter tells them from all other
// interfaces (agent/host_end_wall.h).
inline constexpr uint32_t kHostEndGroup = 0x7678;  // "vx"; 30328
// Beginning of the alias of both ends of a node's own link.
inline constexpr absl::string_view kNodeAliasPrefix = "vxvde-node:";
// Is an interface of this name and alias a host end?
bool IsHostEnd(absl::string_view ifname, absl::string_view alias);

// Of both ends of a link: proof that it is ours. "vxvde:" + id, and for what a pod's annotation
// asked for "vxvde:" + id + ":" + main id. The main id is that of the key that the runtime
// knows, the CNI_IFNAME of its ADD: by it one DEL finds all that one ADD made.
std::string LinkAlias(absl::string_view id, absl::string_view main_id = "");
// The two ids of an alias; the main id is the id where there is no second one. Empty: the alias
// is not ours.
absl::string_view IdOfAlias(absl::string_view alias);
absl::string_view MainIdOfAlias(absl::string_view alias);

}  // namespace vxvde

#endif  // VXVDE_AGENT_API_ATTACHMENT_ID_H_
