// ChainKeeper: keeps the programs attached and reachable, and reports another program that is in
// the way (an obstacle). It looks each second, on a thread of its own: a look takes the kernel's
// lock on all links, and a move in a tcx chain waits for an RCU grace period.
//
// Nothing tells whether another program ends the chain. If one runs before the agent's program, the
// keeper moves the agent's to the front of the tcx chain, which runs before everything else.
// Without tcx, or if the other program comes back to the front, the keeper leaves it there and
// names it, and the agent forwards.
//
// At a host end it also looks for an XDP program of the pod, at the other end of the pair.

#ifndef VXVDE_PLUGIN_FASTPATH_CHAIN_KEEPER_H_
#define VXVDE_PLUGIN_FASTPATH_CHAIN_KEEPER_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/base/time.h"
#include "plugin/fastpath/tc.h"
#include "plugin/os/fd.h"
#include "plugin/os/mutex.h"
#include "plugin/os/netlink.h"
#include "plugin/os/netlink_monitor.h"

namespace vxvde {

enum class Where { kUplink, kHostEnd, kOwnDevice };

// Other programs at an interface.
struct Seen {
  std::string obstacle = {};    // names what may keep frames from the program; empty: nothing
  bool filters_egress = false;  // other programs see the frames that the interface sends
  bool pod_native_xdp = false;
  bool pod_generic_xdp = false;

  friend bool operator==(const Seen&, const Seen&) = default;
};

class ChainKeeper {
 public:
  static constexpr Duration kPeriod = std::chrono::seconds(1);
  // Inspects each host end once in kHostEndTurns periods. At every kXdpTurns-th inspection it looks
  // for an XDP program of the pod, which the kernel announces in most cases.
  static constexpr int kHostEndTurns = 3;
  static constexpr int kXdpTurns = 5;
  // A program that comes to the front a second time within this stays there.
  static constexpr Duration kTruce = std::chrono::minutes(10);

  // For the calling thread's namespace.
  static absl::StatusOr<std::unique_ptr<ChainKeeper>> Start(bool tcx);
  // Leaves the programs attached.
  ~ChainKeeper();
  ChainKeeper(const ChainKeeper&) = delete;
  ChainKeeper& operator=(const ChainKeeper&) = delete;

  bool tcx() const { return tcx_; }
  // Ends the thread. At() still answers.
  void Stop();

  // Keeps `program`, which is attached there and outlives this object, until Release() or the end
  // of the interface. `seen`: the answer of LookNow().
  void Keep(IfIndex index, Where where, int program, const Seen& seen = {});
  // Removes the program from the tcx chain, later. The caller removes the filter after this.
  void Release(IfIndex index);

  Seen At(IfIndex index) const;
  // As At(), but looks now. The interface need not be kept yet.
  static absl::StatusOr<Seen> LookNow(Netlink& netlink, IfIndex index, Where where, int program);

 private:
  struct Kept {
    Where where = Where::kHostEnd;
    int program = -1;
    Seen seen = {};
    bool fresh = true;  // not inspected since Keep()
  };
  // State of an interface that only the thread uses.
  struct Memory {
    std::vector<uint32_t> ingress = {}, egress = {};  // tcx chains at the last inspection
    bool was_first = false;
    std::optional<Instant> moved = {};  // the last time that another program had come to the front
    bool truce = false;                 // the program is not moved again
  };
  struct Released {
    IfIndex index;
    int program;
  };
  ChainKeeper(bool tcx, Netlink netlink, LinkWatch changes, UniqueFd wake);

  void Run();
  void Wake() const;
  // `whole`: looks even if the tcx chain is unchanged.
  void Look(IfIndex index, bool whole);
  void PutBack(IfIndex index, const Kept& kept, Chain& chain, std::string& problem);
  void GoFirst(IfIndex index, const Kept& kept, Memory& memory, Chain& chain, std::string& problem);
  std::optional<Kept> Find(IfIndex index) const;

  const bool tcx_;
  Netlink netlink_;  // for the thread alone, as the next two
  LinkWatch changes_;
  std::map<IfIndex, Memory> memory_;
  UniqueFd wake_;
  mutable Mutex mutex_;
  bool ends_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<IfIndex, Kept> kept_ ABSL_GUARDED_BY(mutex_);
  std::vector<Released> released_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_CHAIN_KEEPER_H_
