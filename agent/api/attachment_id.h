// Names that both sides of the handoff derive from an attachment's key, so that each finds the
// objects of the other even if that side has died. Pure.

#ifndef VXVDE_AGENT_API_ATTACHMENT_ID_H_
#define VXVDE_AGENT_API_ATTACHMENT_ID_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace vxvde {

// Version of attach.proto that this tree speaks.
inline constexpr uint32_t kAttachProtocol = 1;

// CNI error codes of this project (docs/OPERATIONS.md lists them with remedies).
enum class AttachError : uint32_t {
  kVersionMismatch = 100,  // CNI binary and agent speak different protocols
  kUnknownCloud = 101,     // no cloud of that name in the agent's configuration
  kAddressInUse = 102,
  kMacInUse = 103,
  kPoolExhausted = 104,
  kMtuImpossible =
      105,  // larger than the uplink and its fragments can carry, or below 68 (1280 with IPv6)
  kCannotJoin = 106,       // no uplink, no route to the group, no free unicast port
  kForbidden = 107,        // policy: this namespace may not use that cloud
  kAlreadyAttached = 109,  // ADD twice without a DEL between
  kNotAttached = 110,      // CHECK: the agent does not know the attachment
  kNotForwarding = 111,    // CHECK: the agent knows it, but no frame flows now
  kChanged = 112,          // CHECK: the pod's interface differs from the result of ADD
  kPortInUse = 113,        // another attachment has published a port of the node
};

// 13 characters of [0-9a-v]: a 64-bit FNV-1a hash of the three texts, each preceded by its length.
std::string NameHash(absl::string_view a, absl::string_view b, absl::string_view c);
// The hash of an attachment's key.
std::string AttachmentId(absl::string_view network, absl::string_view container_id,
                         absl::string_view ifname);
// Whether the text has the form of an id.
bool IsAttachmentId(absl::string_view text);
// "vx" + id: 15 characters, the maximum for an interface.
std::string HostIfName(absl::string_view id);

// The interface group of all host ends: the ends of pods' links in the node's namespace, and the
// switch's ends of the node's own links. The node's packet filter recognizes them by it
// (agent/node_port/host_end_wall.h).
inline constexpr uint32_t kHostEndGroup = 0x7678;  // "vx"; 30328
// Prefix of the alias of both ends of a node's own link.
inline constexpr absl::string_view kNodeAliasPrefix = "vxvde-node:";
// Whether an interface with this name and alias is a host end.
bool IsHostEnd(absl::string_view ifname, absl::string_view alias);

// The alias of both ends of a link, which proves that this project made it: "vxvde:" + id, and for
// an interface by annotation "vxvde:" + id + ":" + main id. The main id belongs to the key that the
// runtime knows, with the CNI_IFNAME of its ADD: with it one DEL finds all links of one ADD.
std::string LinkAlias(absl::string_view id, absl::string_view main_id = "");
// The two ids of an alias. Without a second one the main id is the id. Empty: not an alias of this
// project.
absl::string_view IdOfAlias(absl::string_view alias);
absl::string_view MainIdOfAlias(absl::string_view alias);

}  // namespace vxvde

#endif  // VXVDE_AGENT_API_ATTACHMENT_ID_H_
