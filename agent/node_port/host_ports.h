// HostPorts: the node's own ports in clouds. A port exists while the configuration (`gateway:
// true`) or an attachment wants it, with an address in each subnet that they name; published ports
// of attachments lead through it. Opening one takes these steps: join the cloud, claim the
// addresses, make the link, add the port, write the firewall's rules. Every step may be repeated.
//
// Invariants, between any two calls:
//   I1  A port without a user does not exist, nor do its link, its claims and its hold on the
//       cloud.
//   I2  The firewall's state is that of the open ports and the ports published through them, or a
//       retry is scheduled.
//   I3  The callback of Open is called once, unless its user closes first.
// A restarted agent finds its links by their alias and its addresses among the leases. Start
// removes ports that have a lease of this run-dir and no user.
//
// Not here: rules (firewall), the kernel (node_link), the attachments that publish ports.

#ifndef VXVDE_AGENT_NODE_PORT_HOST_PORTS_H_
#define VXVDE_AGENT_NODE_PORT_HOST_PORTS_H_

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "agent/base/log.h"
#include "agent/clouds/joined_clouds.h"
#include "agent/config/config.h"
#include "agent/config/current_config.h"
#include "agent/ipam/address_claims.h"
#include "agent/kernel/links.h"
#include "agent/model/attachment.h"
#include "agent/node_port/firewall.h"
#include "agent/node_port/node_link.h"
#include "agent/node_port/node_ports.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/task_scope.h"
#include "plugin/switch.h"

namespace vxvde {

class HostPorts final : public NodePorts {
 public:
  // All of them outlive it. Loop thread only.
  struct Parts {
    EventLoop* loop;
    Switch* the_switch;
    JoinedClouds* clouds;
    AddressClaims* claims;
    Firewall* firewall;
    std::function<absl::Status()> walls;  // the problem that keeps all pods from the node; OK: none
    const Links* links;
    const NodeLinkKernel* kernel;
    const Log* log;
    CurrentConfig* config;
  };
  // The destructor closes nothing: a restarted agent takes everything over.
  explicit HostPorts(const Parts& parts);

  // Opens the ports that the configuration wants, and removes links without a user. Called once,
  // after the attachments have opened and published their ports. Failed steps are retried every
  // kRetry.
  void Start();
  static constexpr std::chrono::seconds kRetry{2};

  void Open(const std::string& user, const CloudKey& cloud, const std::vector<IpPrefix>& subnets,
            Opened done) override;
  void Close(const std::string& user) override;
  absl::Status CheckFree(const std::string& id,
                         const std::vector<PortMapping>& mappings) const override;
  absl::Status Publish(const Publication& publication) override;
  void Unpublish(const std::string& id) override;
  absl::Status Ready(const CloudKey& cloud) const override;
  std::vector<AttachmentInfo> List() const override;
  // The reason why gateways or published ports do not work; OK: they do.
  absl::Status FirewallProblem() const;

  // Handles kPortFailed: another program has removed the link.
  void OnEvent(const SwitchEvent& event);

 private:
  static constexpr char kHolder[] = "node";

  struct User {
    std::vector<IpPrefix> subnets;
    Opened done;  // while it waits
  };
  struct Entry {
    explicit Entry(EventLoop* loop) : announcement(loop) {}

    bool configured = false;
    std::map<std::string, User> users;
    // By subnet; nullopt while it is being claimed.
    std::map<IpPrefix, std::optional<IpPrefix>> addresses;
    bool claiming = false;  // Advance is running: its callbacks only record results
    bool joined = false;
    NodeLink link;                 // as last made
    IfIndex end = IfIndex::kNone;  // the switch's end of the link
    PortId port = PortId::kNone;
    std::optional<bool> localnet;  // whether 127.0.0.1 may reach the link
    std::string warning;           // a limitation of a port that works
    std::string problem;           // why it is not open
    Timer announcement;            // the second one
  };

  // Adds an entry if there is none yet.
  Entry& EntryOf(const CloudKey& cloud);
  void OnConfig();

  // Carries out the missing steps for `cloud`, up to the first one that has to wait.
  void Advance(const CloudKey& cloud);
  // The steps. Claim returns true when all addresses are claimed; otherwise OnClaimed continues.
  absl::Status Join(const CloudKey& cloud, Entry& entry);
  bool Claim(const CloudKey& cloud);
  void ReleaseAllBut(const std::vector<IpPrefix>& wanted, const CloudKey& cloud, Entry& entry);
  void OnClaimed(const CloudKey& cloud, const IpPrefix& subnet,
                 const absl::StatusOr<std::vector<IpPrefix>>& claimed);
  absl::Status MakePort(const CloudKey& cloud, Entry& entry);
  void TurnForwardingOn(Entry& entry);

  void Succeed(const CloudKey& cloud);
  void Fail(const CloudKey& cloud, const absl::Status& why);
  // Closes the port if it has no user. True: there is no port any more.
  bool DropUnwanted(const CloudKey& cloud);
  void RemovePort(const CloudKey& cloud, Entry& entry);
  void RetrySoon();
  void RetryNow();

  // Calls and removes the waiting callbacks.
  void Answer(const CloudKey& cloud, const absl::StatusOr<std::vector<IpPrefix>>& answer);

  std::string IfNameOf(const CloudKey& cloud, const Entry& entry) const;
  MacAddress MacOf(const CloudKey& cloud) const;
  std::vector<IpPrefix> WantedSubnets(const CloudKey& cloud, const Entry& entry) const;
  static std::vector<IpPrefix> AddressesOf(const Entry& entry);

  // The rules by which `mapping` leads to `addresses`: at most one for each family.
  static std::vector<FirewallMapping> RulesOf(const PortMapping& mapping,
                                              const std::vector<IpPrefix>& addresses);
  // Turns an error that no retry can mend into a refusal.
  static absl::Status AsRefusal(const absl::Status& status);
  FirewallPort RulesOfPort(const CloudKey& cloud, const Entry& entry) const;
  FirewallState WantedRules() const;
  // Does nothing before Start: the complete rules of the agent's previous run are better than
  // incomplete ones.
  absl::Status SyncFirewall();
  // The same, with retries.
  void KeepFirewall();
  void LetLocalhostThrough();

  void Announce(const CloudKey& cloud, const Entry& entry);
  void AnnounceNowAndSoon(const CloudKey& cloud, Entry& entry);

  Parts parts_;
  const Config& config_;  // the current one
  std::map<CloudKey, Entry> entries_;
  std::map<std::string, Publication> publications_;  // by attachment
  bool started_ = false;
  absl::Status firewall_problem_;  // why I2 waits for a retry
  Timer retry_;
  TaskScope tasks_;
  CurrentConfig::Subscription subscription_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_HOST_PORTS_H_
