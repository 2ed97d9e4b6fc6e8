// Ipam: addresses of the agent's own for all clouds of this node. It gives each allocator a port
// in its cloud, the time and the run-dir. Not here: which address, and what is said (allocator.h).
//
// Invariants, between any two calls:
//   I1  A claim that was answered with addresses is on disk until it is released.
//   I2  An allocator exists only for a cloud that is joined, and for each such that has subnets.
//   I3  A callback is called once or, after Release, never.

#ifndef VXVDE_AGENT_IPAM_IPAM_H_
#define VXVDE_AGENT_IPAM_IPAM_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/base/log.h"
#include "agent/config/config.h"
#include "agent/ipam/address_claims.h"
#include "agent/ipam/agent_port.h"
#include "agent/ipam/allocator.h"
#include "agent/store/store.h"
#include "plugin/os/event_loop.h"
#include "plugin/switch.h"

namespace vxvde {

// The name of the agent's own port in a cloud.
inline constexpr char kAgentPortName[] = "(agent)";

class Ipam final : public AddressClaims {
 public:
  // All of which outlive it; everything happens on the loop's thread.
  struct Parts {
    EventLoop* loop;
    Switch* the_switch;
    Store* store;
    const Log* log;
  };
  // `random` makes the agent's own MACs: no two agents may have the same.
  Ipam(const Parts& parts, Config config, std::function<uint64_t()> random);
  ~Ipam() override;  // gives nothing up: a restarted agent takes it up again

  // Reads the leases that there are. Before any cloud is joined.
  absl::Status Restore();

  void SetConfig(Config config);
  // JoinedClouds::Watcher.
  void OnJoined(const CloudKey& cloud);
  void OnLeaving(const CloudKey& cloud);
  // Of the switch's events it needs kStationGone.
  void OnEvent(const SwitchEvent& event);

  void Claim(AddressWish wish, Claimed done) override;
  void Release(const std::string& lease) override;
  std::map<std::string, CloudKey> Leases() const override;
  size_t Collect(const std::set<std::string>& attachments) override;
  void Occupy(const std::string& lease, const CloudKey& cloud, const MacAddress& mac,
              const std::vector<IpPrefix>& addresses) override;
  absl::Status Ready(const CloudKey& cloud, const std::vector<IpPrefix>& subnets) const override;

  std::vector<AllocatorSnapshot> Snapshot() const override;

 private:
  struct Live {
    MacAddress mac;
    std::unique_ptr<Allocator> allocator;
    std::shared_ptr<AgentPort::Listener> listener;
    PortId port = PortId::kNone;
    std::vector<Neighbour> inbox;
    bool reading = false;  // a task is posted
    std::optional<EventLoop::TimerId> timer;
  };

  std::string NameOf(const CloudKey& cloud) const;
  std::string WhereIs(const CloudKey& cloud, const MacAddress& mac) const;
  // Makes it if it is missing.
  absl::StatusOr<Live*> Find(const CloudKey& cloud);
  absl::StatusOr<std::unique_ptr<Live>> Open(const CloudKey& cloud);
  void ApplyConfig(const CloudKey& cloud, Live& live);

  void OnMessage(const CloudKey& cloud, const Neighbour& message);
  void ReadInbox(Live& live);
  void OnTimer(const CloudKey& cloud);
  // Carries out what the allocator of `cloud` wants done. It may be gone afterwards.
  void Drain(const CloudKey& cloud);
  absl::Status Save(const CloudKey& cloud, const Allocator::Outcome& outcome);

  Parts parts_;
  Config config_;
  std::function<uint64_t()> random_;
  std::map<CloudKey, std::unique_ptr<Live>> live_;
  std::map<std::string, LeaseRecord> saved_;  // all that is on disk, by lease
  struct Waiting {
    AddressWish wish;
    Claimed done;
  };
  std::map<std::string, Waiting> waiting_;
  // Posted tasks look at it: they may outlive us in the loop's queue.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_IPAM_H_
