// Greeter: exchanges Hellos with the other agents of a cloud (docs/PROTOCOL.md). PeerProbe decides
// about fast ports and GroupWatch about multicast on the underlay; the Greeter sends.

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

  // `self` is the agent's address in the cloud; without one (no station) it never sends.
  // `fast_port` is 0 without a kernel datapath. `egress` outlives it.
  Greeter(const MacAddress& self, uint16_t fast_port, PeerProbe::Random random, Egress* egress,
          Instant now);

  GroupWatch& group() { return group_; }
  const GroupWatch& group() const { return group_; }
  PeerProbe& probe() { return probe_; }

  // Sends a Hello to the group.
  void Announce(bool answer_wanted);
  // Announces it from now on; 0: none.
  void SetFastPort(uint16_t fast_port);

  enum class Via { kUnicast, kGroup, kFastPort };
  // `frame` is a Hello of `from`. nullptr: a peer beyond those in the PeerTable.
  void OnHello(std::span<const uint8_t> frame, const Peer& from, PeerProbe::State* peer, Via via,
               Instant now);

  // Both are called every second, TickPeer for each peer.
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
