// ChainKeeper: sees to it that the programs stay where they are and are reached, and says where
// another program is in the way. It looks each second, on a thread of its own: a look takes the
// kernel's lock on all links, and to be first in a tcx chain takes a grace period of RCU.
//
// Nothing says of another program whether it ends the chain. So where one stands before ours, ours
// goes to the front of the tcx chain, which is before all. Where that cannot be (no tcx), or where
// the other one comes back to the front, it is left there and named, and the agent forwards.
//
// At a host end it looks at the other end of the pair too: a pod's own XDP program.

#ifndef VXVDE_PLUGIN_FASTPATH_CHAIN_KEEPER_H_
#define VXVDE_PLUGIN_FASTPATH_CHAIN_KEEPER_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/base/time.h"
#include "plugin/fastpath/tc.h"
#include "plugin/os/fd.h"
#include "plugin/os/netlink.h"
#include "plugin/os/netlink_monitor.h"

namespace vxvde {

enum class Where { kUplink, kHostEnd, kOwnDevice };

// What was seen at an interface.
struct Seen {
  std::string obstacle = {};    // why frames may not reach the program; empty: they do
  bool filters_egress = false;  // other programs look at what the interface sends
  bool pod_native_xdp = false;
  bool pod_generic_xdp = false;

  friend bool operator==(const Seen&, const Seen&) = default;
};

class ChainKeeper {
 public:
  static constexpr Duration kPeriod = std::chrono::seconds(1);
  // Host ends are looked at in turn: each once in so many periods, and its pod's XDP program, whose
  // coming the kernel tells of in most cases, once in so many times that.
  static constexpr int kHostEndTurns = 3;
  static constexpr int kXdpTurns = 5;
  // A program that comes before ours a second time within this is left there.
  static constexpr Duration kTruce = std::chrono::minutes(10);

  // For the calling thread's namespace.
  static absl::StatusOr<std::unique_ptr<ChainKeeper>> Start(bool tcx);
  // Programs stay where they are.
  ~ChainKeeper();
  ChainKeeper(const ChainKeeper&) = delete;
  ChainKeeper& operator=(const ChainKeeper&) = delete;

  bool tcx() const { return tcx_; }
  // As its end; what it has seen last can still be asked.
  void Stop();

  // `program` has been attached there, and stays open until the end. What is not released is kept
  // until its interface is gone.
  // `seen`: what LookNow() has said.
  void Keep(IfIndex index, Where where, int program, const Seen& seen = {});
  // Takes it out of the tcx chain, later. The filter is the caller's to take away, after this.
  void Release(IfIndex index);

  Seen At(IfIndex index) const;
  // As At(), of this moment, for an interface that need not be kept yet.
  static absl::StatusOr<Seen> LookNow(Netlink& netlink, IfIndex index, Where where, int program);

 private:
  struct Kept {
    Where where = Where::kHostEnd;
    int program = -1;
    Seen seen = {};
    bool fresh = true;  // not looked at since Keep()
  };
  // What the thread remembers of an interface.
  struct Memory {
    std::vector<uint32_t> ingress = {}, egress = {};  // tcx chains as of the last look
    bool was_first = false;
    std::optional<Instant> moved = {};  // when the program was put before one that had come
    bool truce = false;                 // and is not moved again
  };
  struct Released {
    IfIndex index;
    int program;
  };
  ChainKeeper(bool tcx, Netlink netlink, LinkWatch changes, UniqueFd wake);

  void Run();
  void Wake() const;
  // `whole`: also what a change of the tcx chain does not show.
  void Look(IfIndex index, bool whole);
  void PutBack(IfIndex index, const Kept& kept, Chain& chain, std::string& problem);
  void GoFirst(IfIndex index, const Kept& kept, Memory& memory, Chain& chain, std::string& problem);
  std::optional<Kept> Find(IfIndex index) const;

  const bool tcx_;
  Netlink netlink_;  // the thread's, as the next two
  LinkWatch changes_;
  std::map<IfIndex, Memory> memory_;
  UniqueFd wake_;
  mutable std::mutex mutex_;  // of what follows
  bool ends_ = false;
  std::map<IfIndex, Kept> kept_;
  std::vector<Released> released_;
  std::thread thread_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_CHAIN_KEEPER_H_
