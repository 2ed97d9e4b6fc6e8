#include "plugin/cloud/explain.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "plugin/cloud/forward.h"

namespace vxvde {
namespace {

std::string PlaceText(const Location& where) {
  if (const auto* port = std::get_if<PortId>(&where)) {
    return absl::StrCat("port ", static_cast<uint32_t>(*port));
  }
  return absl::StrCat("peer ", std::get<Peer>(where).ToString());
}

std::string EntryText(const MacAddress& mac, const FdbEntry& entry, Instant now) {
  if (entry.is_static) {
    return absl::StrCat(mac.ToString(), " is the attached station of ", PlaceText(entry.where),
                        ".");
  }
  const auto idle = std::chrono::duration_cast<std::chrono::seconds>(now - entry.seen);
  return absl::StrCat(mac.ToString(), " was last heard from ", PlaceText(entry.where), ", ",
                      idle.count(), " s ago.");
}

// RFC 1112, section 6.4; RFC 2464, section 7.
bool IsIpGroup(const MacAddress& mac) {
  const MacAddress::Bytes& bytes = mac.bytes();
  return (bytes[0] == 0x01 && bytes[1] == 0x00 && bytes[2] == 0x5e && bytes[3] < 0x80) ||
         (bytes[0] == 0x33 && bytes[1] == 0x33);
}

}  // namespace

Explanation ExplainForward(const MacAddress& source, const MacAddress& destination, const Fdb& fdb,
                           Instant now, const Peer& group, const Obstacles& obstacles) {
  Explanation out;
  // No switch assigns so high a number.
  out.from = PortId{std::numeric_limits<uint32_t>::max()};
  const FdbEntry* from = source.IsStation() ? fdb.Find(source, now) : nullptr;
  if (from != nullptr) {
    out.source_known = true;
    out.from = from->where;
    out.reasons.push_back(EntryText(source, *from, now));
  } else if (source.IsStation()) {
    out.reasons.push_back(absl::StrCat("Nothing was heard from ", source.ToString(),
                                       " lately: taken for a station behind a port of this node."));
    if (obstacles.guarded) {
      out.reasons.push_back(
          "A guarded port drops it (spoofed-mac) unless it is the pod's own or allowed.");
    }
  } else {
    out.reasons.push_back(absl::StrCat(source.ToString(), " cannot be a station's address."));
  }
  if (destination.IsGroup()) {
    out.reasons.push_back(absl::StrCat(destination.ToString(), " is a group address: flooded."));
  } else if (const FdbEntry* to = fdb.Find(destination, now)) {
    out.destination_known = true;
    out.reasons.push_back(EntryText(destination, *to, now));
  } else {
    out.reasons.push_back(
        absl::StrCat("Nothing was heard from ", destination.ToString(), " lately: flooded."));
  }

  out.verdict = Forward(destination, source, out.from, fdb, now);
  const bool from_port = std::holds_alternative<PortId>(out.from);
  const auto in_loop = [&](const Location& where) {
    return std::any_of(obstacles.in_loop.begin(), obstacles.in_loop.end(),
                       [&](PortId port) { return where == Location(port); });
  };
  if (out.verdict.action == Verdict::Action::kFlood && in_loop(out.from)) {
    out.verdict = {.action = Verdict::Action::kDrop, .drop = Drop::kLoop};
  }
  switch (out.verdict.action) {
    case Verdict::Action::kDrop:
      out.reasons.push_back(
          absl::StrCat("Dropped (", DropName(out.verdict.drop), "): ", DropText(out.verdict.drop)));
      break;
    case Verdict::Action::kToPort:
      out.reasons.push_back(absl::StrCat("Delivered to ", PlaceText(out.verdict.port), "."));
      break;
    case Verdict::Action::kToPeer:
      out.reasons.push_back(
          absl::StrCat("Sent to ", PlaceText(out.verdict.peer), " as one datagram."));
      break;
    case Verdict::Action::kFlood:
      out.reasons.push_back(from_port ? absl::StrCat("Delivered to all other ports and sent to ",
                                                     group.ToString(), ".")
                                      : std::string("Delivered to all ports."));
      for (const PortId port : obstacles.in_loop) {
        out.reasons.push_back(absl::StrCat("Not to ", PlaceText(port), ": it is in a loop."));
      }
      if (obstacles.snooping && IsIpGroup(destination)) {
        out.reasons.push_back(
            "Of IP groups beyond one link, a port gets those that it wants (vxvdectl groups).");
      }
      break;
  }
  return out;
}

}  // namespace vxvde
