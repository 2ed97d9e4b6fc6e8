// Ipam: address allocation for all clouds of this node. It gives the allocator of each cloud a port
// in the cloud, timers and the run-dir. Not here: which address, and the frames (allocator.h).
//
// Invariants, between any two calls:
//   I1  A claim that was answered with addresses is on disk until it is released.
//   I2  An allocator exists only for a joined cloud, and for each joined cloud that has subnets.
//   I3  A callback is called once or, after Release, never.

#ifndef VXVDE_AGENT_IPAM_IPAM_H_
#define VXVDE_AGENT_IPAM_IPAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/base/log.h"
#include "agent/config/config.h"
#include "agent/config/current_config.h"
#include "agent/ipam/address_claims.h"
#include "agent/ipam/agent_port.h"
#include "agent/ipam/allocator.h"
#include "agent/store/store.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/task_scope.h"
#include "plugin/switch.h"

namespace vxvde {

// The name of the agent's own port in a cloud.
inline constexpr char kAgentPortName[] = "(agent)";

class Ipam final : public AddressClaims {
 public:
  // All of which outlive it. Everything happens on the loop's thread.
  struct Parts {
    EventLoop* loop;
    Switch* the_switch;
    Store* store;
    const Log* log;
    CurrentConfig* config;
  };
  // The agent's own MACs are derived from `random`: no two agents may share one.
  Ipam(const Parts& parts, std::function<uint64_t()> random);
  // Leases stay on disk for the next agent.
  ~Ipam() override;

  // Reads the leases. To be called before any cloud is joined.
  absl::Status Restore();

  // JoinedClouds::Watcher.
  void OnJoined(const CloudKey& cloud);
  void OnLeaving(const CloudKey& cloud);
  // Handles the switch's event kStationGone, and ignores all others.
  void OnEvent(const SwitchEvent& event);

  void Claim(AddressWish wish, Claimed done) override;
  void Release(const std::string& lease) override;
  std::map<std::string, CloudKey> Leases() const override;
  size_t Collect(const std::set<std::string>& attachments) override;
  void RegisterExternal(const std::string& lease, const CloudKey& cloud, const MacAddress& mac,
                        const std::vector<IpPrefix>& addresses) override;
  absl::Status Ready(const CloudKey& cloud, const std::vector<IpPrefix>& subnets) const override;

  std::vector<AllocatorSnapshot> Snapshot() const override;

 private:
  // A cloud with its allocator.
  struct Live {
    explicit Live(EventLoop* loop) : timer(loop) {}

    MacAddress mac;
    std::unique_ptr<Allocator> allocator;
    std::shared_ptr<AgentPort::Listener> listener;
    PortId port = PortId::kNone;
    std::vector<Neighbour> inbox;
    bool reading = false;  // a task that reads the inbox is posted
    Timer timer;
  };
  struct PendingClaim {
    AddressWish wish;
    Claimed done;
  };

  void OnConfig();
  std::string WhereIs(const CloudKey& cloud, const MacAddress& mac) const;
  // Opens the cloud if it is not live.
  absl::StatusOr<Live*> Find(const CloudKey& cloud);
  absl::StatusOr<std::unique_ptr<Live>> Open(const CloudKey& cloud);
  void ApplyConfig(const CloudKey& cloud, Live& live);

  void OnMessage(const CloudKey& cloud, const Neighbour& message);
  void ReadInbox(Live& live);
  void OnTimer(const CloudKey& cloud);
  // Carries out what the allocator of `cloud` wants done, after each call of it. The cloud may have
  // been left when this returns.
  void Drain(const CloudKey& cloud);
  absl::Status Save(const CloudKey& cloud, const Allocator::Outcome& outcome);

  Parts parts_;
  const Config& config_;  // the current one
  std::function<uint64_t()> random_;
  std::map<CloudKey, std::unique_ptr<Live>> live_;
  std::map<std::string, LeaseRecord> saved_;  // all leases on disk, by name
  std::map<std::string, PendingClaim> pending_;
  TaskScope tasks_;
  CurrentConfig::Subscription subscription_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_IPAM_H_
