// HostPorts: the node's own ports in clouds. One is there while the configuration (`gateway: true`)
// or an attachment wants it, with an address in each subnet that they name; what attachments
// publish leads through it. Steps of opening one: join the cloud, claim the addresses, make the
// link, add the port, write the firewall's rules; every step may be repeated.
//
// Invariants, between any two calls:
//   I1  A port that nobody wants is gone, with its link, its claims, and the hold of its cloud.
//   I2  The firewall's state is that of the ports that are open and of what is published through
//       them, or a retry is on its way.
//   I3  An Opened that was given to Open is called once, or its user has closed.
// A restarted agent finds its links by their alias and its addresses among the leases; what has a
// lease of this run-dir's and is wanted by nobody any more goes with Start.
//
// Not here: rules (firewall), the kernel (node_link), who publishes what (attachments).

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
  // All of them outlive it; everything happens on the loop's thread.
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
  // Its end closes nothing: a restarted agent takes everything over.
  explicit HostPorts(const Parts& parts);

  // Opens what the configuration wants and removes links that nobody wants. Once, after the
  // attachments have opened and published theirs. What fails is tried again every kRetry.
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
  // Why gateways and published ports are not as they should be; OK when they are.
  absl::Status FirewallProblem() const;

  // Of the switch's events it needs kPortFailed: somebody removed the link.
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
    bool claiming = false;  // Advance is at it: its callbacks only take notes
    bool joined = false;
    NodeLink link;                 // as it was made last
    IfIndex end = IfIndex::kNone;  // of it, the switch's
    PortId port = PortId::kNone;
    std::optional<bool> localnet;  // is 127.0.0.1 let through to the link?
    std::string warning;           // it works, but
    std::string problem;           // why it is not open
    Timer announcement;            // the second one
  };

  // Made if there is none yet.
  Entry& EntryOf(const CloudKey& cloud);
  void OnConfig();

  // Goes on with what is missing for `cloud`, up to the first step that has to be waited for.
  void Advance(const CloudKey& cloud);
  // The steps. Claim: true when all addresses are there; else it goes on in OnClaimed.
  absl::Status Join(const CloudKey& cloud, Entry& entry);
  bool Claim(const CloudKey& cloud);
  void ReleaseAllBut(const std::vector<IpPrefix>& wanted, const CloudKey& cloud, Entry& entry);
  void OnClaimed(const CloudKey& cloud, const IpPrefix& subnet,
                 const absl::StatusOr<std::vector<IpPrefix>>& claimed);
  absl::Status MakePort(const CloudKey& cloud, Entry& entry);
  void TurnForwardingOn(Entry& entry);

  void Succeed(const CloudKey& cloud);
  void Fail(const CloudKey& cloud, const absl::Status& why);
  // Closes the port if nobody wants it; true when there is none any more.
  bool DropUnwanted(const CloudKey& cloud);
  void RemovePort(const CloudKey& cloud, Entry& entry);
  void RetrySoon();
  void RetryNow();

  // Calls and forgets those that wait.
  void Answer(const CloudKey& cloud, const absl::StatusOr<std::vector<IpPrefix>>& answer);

  std::string IfNameOf(const CloudKey& cloud, const Entry& entry) const;
  MacAddress MacOf(const CloudKey& cloud) const;
  std::vector<IpPrefix> WantedSubnets(const CloudKey& cloud, const Entry& entry) const;
  static std::vector<IpPrefix> AddressesOf(const Entry& entry);

  // The rules by which `mapping` leads to `addresses`: at most one a family.
  static std::vector<FirewallMapping> RulesOf(const PortMapping& mapping,
                                              const std::vector<IpPrefix>& addresses);
  // The caller's trouble, if it is one that trying again does not end.
  static absl::Status AsRefusal(const absl::Status& status);
  FirewallPort RulesOfPort(const CloudKey& cloud, const Entry& entry) const;
  FirewallState WantedRules() const;
  // Before Start it does nothing: what the agent's last life left is better than a half of it.
  absl::Status SyncFirewall();
  // The same, tried again when it fails.
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
