// PeerTable: the members that a cloud has heard, with their counters. Pure.

#ifndef VXVDE_PLUGIN_CLOUD_PEER_TABLE_H_
#define VXVDE_PLUGIN_CLOUD_PEER_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "plugin/base/drop.h"
#include "plugin/base/ids.h"
#include "plugin/base/time.h"
#include "plugin/cloud/flood_control.h"
#include "plugin/cloud/peer_probe.h"

namespace vxvde {

struct CloudPeer {
  FlowCounters from_peer;
  FlowCounters to_peer;
  Instant last;            // frame
  bool offloaded = false;  // the kernel datapath forwards to and from it
  FloodControl::PeerState flood;
  PeerProbe::State probe;
};

class PeerTable {
 public:
  // Frames of further peers still flow, by the user datapath.
  static constexpr size_t kMaxPeers = 4096;

  CloudPeer* Find(const Peer& peer) const {
    const auto found = peers_.find(peer);
    return found != peers_.end() ? found->second.get() : nullptr;
  }

  struct Touched {
    CloudPeer* peer = nullptr;  // absent: the table is full
    bool is_new = false;
  };
  // A frame came from `peer`.
  Touched Touch(const Peer& peer, Instant now) {
    if (CloudPeer* known = Find(peer)) {
      known->last = now;
      return {.peer = known};
    }
    if (peers_.size() >= kMaxPeers) {
      ++not_kept_;
      return {};
    }
    auto state = std::make_unique<CloudPeer>();
    state->flood.first = state->last = now;
    CloudPeer* raw = state.get();
    peers_.emplace(peer, std::move(state));
    return {.peer = raw, .is_new = true};
  }

  bool Erase(const Peer& peer) { return peers_.erase(peer) != 0; }

  // Removes at most `limit` peers whose last frame is `silence` old, and calls `removed` before
  // each removal. Returns how many.
  size_t EraseSilent(Instant now, Duration silence, size_t limit,
                     absl::FunctionRef<void(const Peer&)> removed) {
    size_t count = 0;
    for (auto at = peers_.begin(); at != peers_.end() && count < limit;) {
      const auto here = at++;
      if (now - here->second->last < silence) continue;
      removed(here->first);
      peers_.erase(here);
      ++count;
    }
    return count;
  }

  // (Peer, std::unique_ptr<CloudPeer>) in no order. A CloudPeer keeps its address.
  auto begin() const { return peers_.begin(); }
  auto end() const { return peers_.end(); }
  size_t size() const { return peers_.size(); }
  uint64_t not_kept() const { return not_kept_; }  // frames of peers beyond kMaxPeers

 private:
  absl::flat_hash_map<Peer, std::unique_ptr<CloudPeer>> peers_;
  uint64_t not_kept_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_PEER_TABLE_H_
