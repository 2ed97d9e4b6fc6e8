// Allocator: addresses of one cloud, without a server. It probes for an address before it gives it
// out, answers for each address that it holds, and detects that another station has the same one.
// Pure: frames and time come in, frames and outcomes go out. Not here: sockets, timers and files
// (ipam.h). How it works: the theory of operation in allocator.cc. Its frames: docs/PROTOCOL.md,
// "Claims". Why: docs/decisions/0006, 0007.
//
// Invariants, between any two calls:
//   I1  An address is probed once at most, held once at most, and never both.
//   I2  Before an address is held, Prober::kProbes probes for it were sent, every frame received by
//       the end of that time was considered, and either every living agent known to this one, or
//       to those it knows, has said that the address is free, or Prober::kPatience has passed. The
//       exceptions are addresses that were held here before and those that a pod brought.
//   I3  Each probe for a held address is answered, with two exceptions: one sent by the station
//       that has the address, and kNeed for an unassigned one, which is given up instead.
//   I4  Of two allocators that probe one address and hear each other exactly one goes on: both
//       compare the same two MACs.
//   I5  A lease has all of its addresses or does not exist.

#ifndef VXVDE_AGENT_IPAM_ALLOCATOR_H_
#define VXVDE_AGENT_IPAM_ALLOCATOR_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/ipam/address_claims.h"
#include "agent/ipam/address_pools.h"
#include "agent/ipam/agent_table.h"
#include "agent/ipam/announcer.h"
#include "agent/ipam/candidate_search.h"
#include "agent/ipam/conflict_table.h"
#include "agent/ipam/held_addresses.h"
#include "agent/ipam/in_use_table.h"
#include "agent/ipam/jitter.h"
#include "agent/ipam/outbox.h"
#include "agent/ipam/prober.h"
#include "agent/model/allocator_snapshot.h"
#include "agent/store/store.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/wire/neighbour.h"

namespace vxvde {

class Allocator {
 public:
  static constexpr std::chrono::seconds kClaimDeadline{5};

  struct Options {
    CloudKey cloud;
    std::string name;  // of the cloud, for messages
    MacAddress mac;    // of the agent's own port
    uint32_t seed = 0;
    // The place of a station, for messages.
    std::function<std::string(const MacAddress&)> where;
  };
  struct Outcome {
    std::string lease;
    absl::StatusOr<std::vector<IpPrefix>> addresses;
  };

  explicit Allocator(Options options);
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  // Applies the cloud's configuration. Gives up unassigned addresses outside of `subnets`.
  void SetPools(Instant now, const std::vector<IpPrefix>& subnets, bool defend);

  // Ends in one Outcome, unless Release comes before.
  void Claim(Instant now, const AddressWish& wish);
  void Release(Instant now, const std::string& lease);
  // Holds addresses that a pod has already, without probes.
  void RegisterExternal(Instant now, const std::string& lease, const MacAddress& mac,
                        const std::vector<IpPrefix>& addresses);
  // Holds the addresses of a lease from before a restart, without probes.
  void Restore(Instant now, const LeaseRecord& lease);

  void OnFrame(Instant now, const Neighbour& message);
  // `station` left the cloud.
  void OnStationGone(const MacAddress& station);
  void OnTime(Instant now);
  // Whether OnTime(now) could take silence for an answer. All received frames are to be given to
  // OnFrame before (I2).
  bool WouldDecide(Instant now) const { return prober_.WouldDecide(now); }
  Instant NextTime() const;

  // To be taken after each of the calls above.
  std::vector<std::vector<uint8_t>> TakeFrames() { return outbox_.Take(); }
  std::vector<Outcome> TakeOutcomes() { return std::exchange(outcomes_, {}); }
  std::vector<AddressConflict> TakeNewConflicts() { return conflicts_.TakeNew(); }

  // There is neither a lease nor a claim.
  bool idle() const { return !held_.has_leases() && claims_.empty(); }
  // A refusal if a claim for one address of each of `subnets` would find none.
  absl::Status Ready(Instant now, const std::vector<IpPrefix>& subnets) const;
  AllocatorSnapshot Snapshot(Instant now) const;

 private:
  using Use = HeldAddress::Use;
  // One address of a claim.
  struct Slot {
    IpPrefix subnet;
    std::optional<IpAddress> wanted;        // this address or none
    std::optional<CandidateSearch> search;  // else
    std::optional<IpAddress> address;       // assigned

    // Waits for the end of a probe of another claim.
    bool waiting() const { return !address && search && !search->probing(); }
    int failures() const { return search ? search->failures() : 0; }
  };
  struct PendingClaim {
    AddressWish wish;
    std::vector<Slot> slots;
    Instant deadline;
  };
  using Claims = std::map<std::string, PendingClaim>;

  absl::Status InUse(const IpAddress& address, const std::string& station) const;
  absl::Status Exhausted(const IpPrefix& subnet, int failures) const;
  // `source` sent the frame that names `mac`; it may be that station's agent.
  std::string Describe(const MacAddress& mac, const MacAddress& source) const;
  std::string Where(const MacAddress& station) const;

  // ---- Claims ----
  // Without probes, and ending those that are in progress.
  void Hold(Instant now, const std::string& name, const HeldAddresses::Lease& lease);
  // The subnet of `wish` that `address` is in.
  absl::StatusOr<IpPrefix> CheckWanted(const AddressWish& wish, const IpAddress& address) const;
  absl::StatusOr<std::vector<Slot>> MakeSlots(const AddressWish& wish) const;
  bool TakeUnassigned(Instant now, const AddressWish& wish, Slot& slot, bool any_owner);
  // Starts as many probes as may run. False: no candidate is left, and no probe runs.
  bool Search(Instant now, PendingClaim& claim, size_t slot);
  void Advance(Instant now, const std::string& lease);
  // Advances the claims that wait for the end of another claim's probe.
  void AdvanceWaiting(Instant now);
  void Finish(Claims::iterator claim);
  void Fail(Instant now, Claims::iterator claim, absl::Status why);
  // Ends the probes of `claim` and gives back what it has got.
  void Undo(Instant now, const PendingClaim& claim);

  // ---- Probes ----
  // Probes for spare addresses.
  void Refill(Instant now);
  void CompleteProbe(Instant now, const IpAddress& address);
  // `station` has the address or probes for it, as `source` says; it is left alone for `lifetime`.
  void AbandonProbe(Instant now, const IpAddress& address, const MacAddress& station,
                    const MacAddress& source, Duration lifetime);

  // ---- Frames ----
  // `message` says that the station `message.mac` has `address`.
  void OnHas(Instant now, const IpAddress& address, const Neighbour& message);
  void OnProbe(Instant now, const Neighbour& message);
  void OnConflict(Instant now, const IpAddress& address, const HeldAddresses::Entry& entry,
                  const Neighbour& message);
  // Tells the agent that probes an address that this one does not hold it.
  void SendFree(Instant now, const Neighbour& message);
  // Ignores addresses outside of the pools.
  void NoteInUse(Instant now, const IpAddress& address, const MacAddress& station,
                 Duration lifetime);

  Options options_;
  std::string cloud_;
  bool defend_ = false;

  Jitter jitter_;
  AgentTable agents_;
  Outbox outbox_;
  AddressPools pools_;
  HeldAddresses held_;
  Prober prober_;
  Announcer announcer_;
  InUseTable in_use_;
  ConflictTable conflicts_;
  Claims claims_;
  std::vector<Outcome> outcomes_;

  uint64_t claims_total_ = 0;
  uint64_t taken_total_ = 0;
  uint64_t exhausted_total_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_ALLOCATOR_H_
