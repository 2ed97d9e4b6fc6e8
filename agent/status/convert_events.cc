// Events of the switch -> agent/api/status.proto.

#include <chrono>
#include <string>

#include "agent/status/convert.h"
#include "google/protobuf/util/time_util.h"

namespace vxvde {
namespace {

v1::Event::Type ToType(SwitchEvent::Kind kind) {
  switch (kind) {
    case SwitchEvent::Kind::kCloudJoined:
      return v1::Event::CLOUD_JOINED;
    case SwitchEvent::Kind::kCloudLeft:
      return v1::Event::CLOUD_LEFT;
    case SwitchEvent::Kind::kPortAdded:
      return v1::Event::PORT_ADDED;
    case SwitchEvent::Kind::kPortRemoved:
      return v1::Event::PORT_REMOVED;
    case SwitchEvent::Kind::kPeerSeen:
      return v1::Event::PEER_SEEN;
    case SwitchEvent::Kind::kPeerGone:
      return v1::Event::PEER_GONE;
    case SwitchEvent::Kind::kStationAdded:
      return v1::Event::STATION_ADDED;
    case SwitchEvent::Kind::kStationMoved:
      return v1::Event::STATION_MOVED;
    case SwitchEvent::Kind::kStationGone:
      return v1::Event::STATION_GONE;
    case SwitchEvent::Kind::kStationHeld:
      return v1::Event::STATION_HELD;
    case SwitchEvent::Kind::kPortBlocked:
      return v1::Event::PORT_BLOCKED;
    case SwitchEvent::Kind::kStorm:
      return v1::Event::STORM;
    case SwitchEvent::Kind::kPortFailed:
      return v1::Event::PORT_FAILED;
    case SwitchEvent::Kind::kGroupUnheard:
      return v1::Event::GROUP_UNHEARD;
    case SwitchEvent::Kind::kGroupHeard:
      return v1::Event::GROUP_HEARD;
  }
  return v1::Event::TYPE_UNSPECIFIED;
}

}  // namespace

v1::Event ToEvent(const SwitchEvent& event, const std::string& cloud_name, Duration unix_time) {
  v1::Event out;
  *out.mutable_time() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
      std::chrono::duration_cast<std::chrono::nanoseconds>(unix_time).count());
  out.set_type(ToType(event.kind));
  out.set_cloud(cloud_name);
  out.set_port(static_cast<uint32_t>(event.port));
  if (event.peer.has_value()) out.set_peer(event.peer->ToString());
  if (event.mac.has_value()) out.set_mac(event.mac->ToString());
  out.set_text(event.text);
  return out;
}

}  // namespace vxvde
