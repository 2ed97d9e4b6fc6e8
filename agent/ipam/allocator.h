// Allocator: addresses of one cloud, without a server. It asks the cloud before it gives an address
// out, answers for what it has given, and notices when another has the same one. Pure: frames and
// time come in, frames and outcomes go out. Not here: sockets, timers and files (ipam.h).
// What it says on the wire: docs/PROTOCOL.md, "Claims". Why so: docs/decisions/0006, 0007.
//
// An address here is tried (probed, nobody's yet) or held, and held in one of four ways: leased (by
// our choice), occupied (a pod here brought it), kept (for an owner that may come back), spare
// (claimed ahead of need).
//
// Invariants, between any two calls:
//   I1  An address is tried at most once, held at most once, and never both.
//   I2  Before it is held, an address was asked for kProbes times, all that had come in by the
//       end of that time was looked at, and every agent that was heard lately, by us or by those
//       that we hear, has said that it is free, or kPatience is over; or it was held here before.
//   I3  A held address is answered for; no probe for it by anyone but its own station goes
//       unanswered, but for kNeed of one that is spare or kept, which is given up instead.
//   I4  Of two allocators that probe one address and hear each other, exactly one goes on: both
//       compare the same two MACs.
//   I5  A lease has all of its addresses or does not exist.

#ifndef VXVDE_AGENT_IPAM_ALLOCATOR_H_
#define VXVDE_AGENT_IPAM_ALLOCATOR_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/ipam/address_claims.h"
#include "agent/ipam/candidates.h"
#include "agent/model/allocator_snapshot.h"
#include "agent/store/store.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/wire/neighbour.h"

namespace vxvde {

// RFC 5227, section 1.1, has seconds where an overlay needs a tenth (docs/decisions/0006).
inline constexpr int kProbes = 3;
inline constexpr std::chrono::milliseconds kProbeInterval{80};
// For an agent that is known and has not said yet that the address is free.
inline constexpr std::chrono::milliseconds kPatience{1500};
inline constexpr std::chrono::milliseconds kAskAgain{60};
inline constexpr std::chrono::seconds kClaimDeadline{5};
inline constexpr std::chrono::milliseconds kBeatInterval{1500};
inline constexpr std::chrono::minutes kKeepFor{5};

class Allocator {
 public:
  struct Options {
    CloudKey cloud;
    std::string name;  // of the cloud, for people
    MacAddress mac;    // of the agent's own port
    uint32_t seed = 0;
    // Where a station is, for people.
    std::function<std::string(const MacAddress&)> where;
  };
  struct Outcome {
    std::string lease;
    absl::StatusOr<std::vector<IpPrefix>> addresses;
  };

  explicit Allocator(Options options);

  // Of the cloud's configuration; what is spare or kept elsewhere is given up.
  void SetPools(Instant now, const std::vector<IpPrefix>& subnets, bool defend);

  // Ends in one Outcome, unless Release comes before.
  void Claim(Instant now, const AddressWish& wish);
  void Release(Instant now, const std::string& lease);
  // Without asking: the pod has it already.
  void Occupy(Instant now, const std::string& lease, const MacAddress& mac,
              const std::vector<IpPrefix>& addresses);
  // A lease from before a restart, likewise.
  void Restore(Instant now, const LeaseRecord& lease);

  void OnFrame(Instant now, const Neighbour& message);
  // A station is known to have gone.
  void OnGone(const MacAddress& station);
  void OnTime(Instant now);
  // Will OnTime(now) take silence for an answer? Then all that has come in must be given to OnFrame
  // before (I2).
  bool WouldDecide(Instant now) const;
  Instant NextTime() const;

  // To be asked after each of the calls above.
  std::vector<std::vector<uint8_t>> TakeFrames() { return std::exchange(frames_, {}); }
  std::vector<Outcome> TakeOutcomes() { return std::exchange(outcomes_, {}); }
  std::vector<AddressConflict> TakeNewConflicts() { return std::exchange(new_conflicts_, {}); }

  // Nobody has or wants an address by name.
  bool idle() const { return leases_.empty() && pending_.empty(); }
  bool HasLease(const std::string& lease) const { return leases_.contains(lease); }
  // A claim for one address of each of `subnets` would be refused.
  absl::Status Ready(Instant now, const std::vector<IpPrefix>& subnets) const;
  AllocatorSnapshot Snapshot(Instant now) const;

 private:
  using Use = HeldAddress::Use;
  struct Holding {
    Use use = Use::kSpare;
    std::string lease;
    std::string owner;
    MacAddress mac;
    Instant since;
    Instant until;   // kKept
    Instant warned;  // when another was last told that it is ours
  };
  struct Try {
    std::string lease;  // empty: to be spare
    size_t slot = 0;
    int sent = 0;
    bool need = false;
    Instant due;
    Instant patient_until;
    std::set<MacAddress> free;  // agents that do not have it
  };
  // One address that a claim is for.
  struct Slot {
    IpPrefix subnet;
    std::optional<IpAddress> wanted;  // this one or none
    std::optional<Candidates> order;
    std::optional<IpAddress> got;
    int trying = 0;
    int lost = 0;
    bool need = false;
    bool skipped = false;  // a candidate that is just tried for another claim here
  };
  struct Pending {
    AddressWish wish;
    std::vector<Slot> slots;
    Instant deadline;
  };
  struct Lease {
    std::string owner;
    MacAddress mac;
    std::vector<IpPrefix> addresses;
    bool ours = false;  // leased, not occupied
  };
  struct Pool {
    IpPrefix subnet;
    size_t target = 0;  // spare ones
    Candidates order;
    int lost = 0;    // in a row
    Instant resume;  // no refill before
    Instant exhausted_until;
  };
  struct Seen {
    MacAddress mac;
    Instant until;
    Instant agreed;  // when its agent was last told that it is free
  };
  struct Agent {
    uint32_t beat = 0;
    uint16_t agents = 0;  // that it has heard
    Instant last;
  };
  struct Conflict {
    std::string where;
    uint64_t count = 0;
    Instant first;
    Instant last;
  };
  using PendingMap = std::map<std::string, Pending>;

  // Around, but never twice the same: between three and five quarters of it.
  Duration Jitter(Duration around);
  Pool* PoolOf(const IpAddress& address);
  size_t CountUse(const IpPrefix& subnet, Use use) const;
  size_t CountSpareTries(const IpPrefix& subnet) const;
  bool IsSeen(Instant now, const IpAddress& address) const;

  // The subnet of `wish` that it is in.
  absl::StatusOr<IpPrefix> CheckWanted(const AddressWish& wish, const IpAddress& address) const;
  absl::Status InUse(const IpAddress& address, const std::string& holder) const;
  absl::Status Exhausted(const IpPrefix& subnet, int lost) const;
  // `source`: whose frame said so, which may be its agent's.
  std::string Describe(const MacAddress& mac, const MacAddress& source) const;

  // Takes what is spare here, or kept for this owner (`any`: or for another).
  bool TakeHeld(Instant now, const AddressWish& wish, Slot& slot, bool any);
  // Starts as many tries as fit. False: nothing is left to try, and nothing is under way.
  bool Search(Instant now, Pending& pending, size_t slot);
  void Advance(Instant now, const std::string& lease);
  // A try has ended: those that wait for one of another's may go on.
  void AdvanceWaiting(Instant now);
  void Finish(Instant now, PendingMap::iterator pending);
  void Fail(Instant now, PendingMap::iterator pending, absl::Status why);
  void Abandon(Instant now, const Pending& pending);

  void StartTry(Instant now, const IpAddress& address, Try probing);
  void Probe(Instant now, const IpAddress& address, Try& probing);
  // Asks agents that have not answered once more, each alone. True: there is none.
  bool AllAgree(Instant now, const IpAddress& address, const Try& probing);
  void Win(Instant now, const IpAddress& address);
  // To the station `to`, which `source` speaks for; for `busy` it is not asked for again.
  void Lose(Instant now, const IpAddress& address, const MacAddress& to, const MacAddress& source,
            Duration busy);
  // A leased address that is no longer: kept, spare, or given up.
  void Free(Instant now, const IpAddress& address, const std::string& owner);
  void Refill(Instant now);

  AgentMark Mark(AgentMark::Kind kind) const;
  void CountAgents(Instant now);
  void Meet(Instant now, const Neighbour& message);
  // `message` says that its `mac` has `address`.
  void OnHas(Instant now, const IpAddress& address, const Neighbour& message);
  void OnProbe(Instant now, const Neighbour& message);
  // Tells another agent that it may have it.
  void Agree(Instant now, const Neighbour& message);
  void Notice(Instant now, const IpAddress& address, Holding& holding, const Neighbour& message);
  void See(Instant now, const IpAddress& address, const MacAddress& mac, Duration busy);

  void Tell(const IpAddress& address, AgentMark::Kind kind);
  void TellAllSoon(Instant now);
  void TellSome(Instant now);
  void Beat(Instant now);

  Options options_;
  std::string cloud_text_;
  std::minstd_rand random_;
  bool defend_ = false;
  std::vector<Pool> pools_;

  std::map<IpAddress, Holding> held_;
  std::map<IpAddress, Try> tries_;
  std::map<std::string, Lease> leases_;
  PendingMap pending_;
  std::map<IpAddress, Seen> seen_;
  std::map<MacAddress, Agent> agents_;
  std::map<std::pair<IpAddress, MacAddress>, Conflict> conflicts_;

  uint32_t beat_ = 0;
  Instant counted_{};
  uint16_t agents_lately_ = 1;    // this one included
  uint16_t agents_expected_ = 1;  // by what others say that they have heard
  Instant next_beat_{};
  IpAddress told_last_;  // of the rotation
  std::optional<Instant> tell_all_at_;
  Instant told_all_{};
  std::deque<IpAddress> to_tell_;
  Instant next_tell_{};

  uint64_t conflicts_total_ = 0;
  uint64_t claims_total_ = 0;
  uint64_t taken_total_ = 0;
  uint64_t exhausted_total_ = 0;

  std::vector<std::vector<uint8_t>> frames_;
  std::vector<Outcome> outcomes_;
  std::vector<AddressConflict> new_conflicts_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_ALLOCATOR_H_
