// The order of the decision: source, group, known, port or peer.

#include "plugin/cloud/forward.h"

#include <variant>

namespace vxvde {

Verdict Forward(const MacAddress& destination, const MacAddress& source, const Location& from,
                const Fdb& fdb, Instant now) {
  const bool from_port = std::holds_alternative<PortId>(from);

  if (source.IsGroup()) return {.action = Verdict::Action::kDrop, .drop = Drop::kBadSource};
  if (destination.IsGroup()) return {.action = Verdict::Action::kFlood};

  const FdbEntry* entry = fdb.Find(destination, now);
  if (entry == nullptr) return {.action = Verdict::Action::kFlood};

  if (const PortId* port = std::get_if<PortId>(&entry->where)) {
    if (entry->where == from) return {.action = Verdict::Action::kDrop, .drop = Drop::kSamePort};
    return {.action = Verdict::Action::kToPort, .port = *port};
  }
  // Members reach each other directly. A frame from one peer to another (or to itself) arrives here
  // because it was flooded, or because the sender has a stale entry, and is never relayed.
  if (!from_port) return {.action = Verdict::Action::kDrop, .drop = Drop::kHairpin};
  return {.action = Verdict::Action::kToPeer, .peer = std::get<Peer>(entry->where)};
}

}  // namespace vxvde
