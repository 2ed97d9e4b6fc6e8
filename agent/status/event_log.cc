#include "agent/status/event_log.h"

#include "absl/strings/str_cat.h"

namespace vxvde {

void LogEvent(const Log& log, const SwitchEvent& event, const std::string& cloud) {
  using Kind = SwitchEvent::Kind;
  const std::string port = absl::StrCat(static_cast<uint32_t>(event.port));
  const std::string peer = event.peer.has_value() ? event.peer->ToString() : "";
  const std::string mac = event.mac.has_value() ? event.mac->ToString() : "";
  switch (event.kind) {
    case Kind::kCloudJoined:
      return log.Info("cloud joined", {{"cloud", cloud}});
    case Kind::kCloudLeft:
      return log.Info("cloud left", {{"cloud", cloud}});
    case Kind::kPortFailed:
      return log.Warn("port failed", {{"cloud", cloud}, {"port", port}});
    case Kind::kPortBlocked:
      return log.Warn(
          "loop",
          {{"cloud", cloud},
           {"port", port},
           {"seen", "frames of other ports arrive from it"},
           {"effect", "nothing is flooded to or from it for 30 s; remove the bridge behind it"}});
    case Kind::kStorm:
      if (event.port != PortId::kNone) {
        return log.Warn("storm", {{"cloud", cloud}, {"port", port}});
      }
      return log.Warn("storm", {{"cloud", cloud}, {"from", "peers"}, {"one", peer}});
    case Kind::kStationHeld:
      return log.Warn("station held",
                      {{"cloud", cloud},
                       {"mac", mac},
                       {"at", peer.empty() ? absl::StrCat("port ", port) : peer},
                       {"reason", "it moves too often: a loop, or a MAC address in use twice"}});
    case Kind::kPortAdded:
      return log.Debug("port added", {{"cloud", cloud}, {"port", port}});
    case Kind::kPortRemoved:
      return log.Debug("port removed", {{"cloud", cloud}, {"port", port}});
    case Kind::kPeerSeen:
      return log.Debug("peer seen", {{"cloud", cloud}, {"peer", peer}});
    case Kind::kPeerGone:
      return log.Debug("peer gone", {{"cloud", cloud}, {"peer", peer}});
    case Kind::kStationAdded:
      return log.Debug("station added", {{"cloud", cloud}, {"mac", mac}, {"peer", peer}});
    case Kind::kStationMoved:
      return log.Debug("station moved", {{"cloud", cloud}, {"mac", mac}, {"peer", peer}});
    case Kind::kGroupUnheard:
      return log.Warn("group not heard", {{"cloud", cloud}, {"reason", event.text}});
    case Kind::kGroupHeard:
      return log.Info("group heard again", {{"cloud", cloud}});
    case Kind::kStationGone:
      return log.Debug("station gone", {{"cloud", cloud}, {"mac", mac}, {"peer", peer}});
  }
}

}  // namespace vxvde
