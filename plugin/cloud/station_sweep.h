// StationSweep: removes stations and peers that left or fell silent, a bounded part of them in each
// turn of the event loop. Pure: time is passed in.
//
// Peers follow their stations: only the sweep over the stations tells which peers the kernel
// datapath still hears.

#ifndef VXVDE_PLUGIN_CLOUD_STATION_SWEEP_H_
#define VXVDE_PLUGIN_CLOUD_STATION_SWEEP_H_

#include <algorithm>
#include <cstddef>

#include "absl/functional/function_ref.h"
#include "plugin/base/ids.h"
#include "plugin/base/time.h"
#include "plugin/cloud/peer_table.h"
#include "plugin/fdb/fdb.h"

namespace vxvde {

class StationSweep {
 public:
  // In units of Fdb::Sweep: about 1000 removed stations, or 16,000 inspected ones.
  static constexpr size_t kWorkPerTurn = 16'384;
  static constexpr size_t kMaxPeersPerTurn = 256;

  StationSweep(Fdb* fdb, PeerTable* peers, Duration expiry)
      : fdb_(fdb), peers_(peers), expiry_(expiry) {}

  // Starts to look for stations and peers that are silent for `expiry`. To be called every second.
  void StartExpiry() {
    fdb_->StartSweep();
    expiring_ = true;
  }

  struct Result {
    bool any = false;   // something was done
    bool more = false;  // call again in the next turn
  };
  // Does a part of the work. Another `now` begins another turn. The FDB's listener is told of each
  // removed station.
  Result Run(Instant now, Fdb::Ask ask, absl::FunctionRef<void(const Peer&)> peer_removed) {
    if (turn_ != now) {
      turn_ = now;
      left_ = kWorkPerTurn;
    }
    const Fdb::Swept swept = fdb_->Sweep(now, left_, ask);
    Spend(swept.work);
    if (swept.more || !expiring_) return {.any = swept.work != 0, .more = swept.more};
    constexpr size_t kWorkOfPeer = kWorkPerTurn / kMaxPeersPerTurn;
    const size_t limit = left_ / kWorkOfPeer;
    const size_t gone = peers_->EraseSilent(now, expiry_, limit, peer_removed);
    Spend(gone * kWorkOfPeer);
    expiring_ = gone == limit;
    return {.any = swept.work + gone != 0, .more = expiring_};
  }

 private:
  void Spend(size_t work) { left_ -= std::min(left_, work); }

  Fdb* fdb_;
  PeerTable* peers_;
  const Duration expiry_;
  Instant turn_{};
  size_t left_ = 0;  // the work left for this turn
  bool expiring_ = false;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_STATION_SWEEP_H_
