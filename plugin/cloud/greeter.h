// Greeter: what the agents of one cloud say to each other by Hello (docs/PROTOCOL.md). PeerProbe
// decides about fast ports and GroupWatch about multicast on the underlay; this sends.

#ifndef VXVDE_PLUGIN_CLOUD_GREETER_H_
#define VXVDE_PLUGIN_CLOUD_GREETER_H_

#include <chrono>
#include <cstdint>
#include <span>

#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/egress.h"
#include "plugin/cloud/group_watch.h"
#include "plugin/cloud/peer_probe.h"

namespace vxvde {

class Greeter {
 public:
  static constexpr Duration kHelloPeriod = std::chrono::seconds(30);

  // `self`: the agent's address in the cloud; no station: nothing is ever sent. `fast_port`: 0:
  // none. `egress` outlives it.
  Greeter(const MacAddress& self, uint16_t fast_port, PeerProbe::Random random, Egress* egress,
          Instant now);

  GroupWatch& group() { return group_; }
  const GroupWatch& group() const { return group_; }
  PeerProbe& probe() { return probe_; }

  // Hello to the group.
  void Announce(bool answer_wanted);
  // To be announced from now on; 0: none.
  void SetFastPort(uint16_t fast_port);

  enum class Via { kUnicast, kGroup, kFastPort };
  // `frame` is a Hello of `from`. nullptr: a peer beyond those that are counted one by one.
  void OnHello(std::span<const uint8_t> frame, const Peer& from, PeerProbe::State* peer, Via via,
               Instant now);

  // Both are to be called every second. The first one once for each peer.
  void TickPeer(const Peer& peer, PeerProbe::State& state, Instant now);
  GroupWatch::Advice TickGroup(Instant now);

 private:
  void Send(const Peer& to, const Hello& hello);
  void Send(const Peer& peer, const PeerProbe::Trial& trial);

  const MacAddress self_;
  uint16_t fast_port_;
  Egress* egress_;
  PeerProbe probe_;
  GroupWatch group_;
  Instant last_hello_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_GREETER_H_
