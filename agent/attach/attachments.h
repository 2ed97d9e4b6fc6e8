// Attachments: who is attached to which cloud of this node. It joins a cloud with its first
// plan and leaves it with its last attachment, chooses unicast ports and MACs, and remembers
// all that over a restart of the agent.
//
// An attachment is planned (a CNI call is under way), attached (it has a port and a record) or
// waiting (it has a record but, after a restart, no port yet).
//
// Invariants, between any two calls:
//   I1  A record is on disk exactly for attached and waiting ones.
//   I2  A port of the switch exists exactly for attached ones.
//   I3  A cloud is joined only if there is an attachment on it, of any state; its unicast port is
//       on disk as long as that is so.
//   I4  An ended one (its interface went without a DEL) has a record of its own kind until DEL, GC
//       or a new ADD, so that GC can give back what it had elsewhere.
//   I5  Any operation that fails leaves everything as it was before, except that a failed
//       Commit ends its plan.
//   I6  A link that a plan may have had made is an attachment's, or gone, or noted on disk with its
//       plan.
// Not here: messages (handoff_session), the kernel (links), what people are shown (live_node).

#ifndef VXVDE_AGENT_ATTACH_ATTACHMENTS_H_
#define VXVDE_AGENT_ATTACH_ATTACHMENTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/attach/attach_service.h"
#include "agent/base/log.h"
#include "agent/clouds/joined_clouds.h"
#include "agent/config/config.h"
#include "agent/ipam/address_claims.h"
#include "agent/kernel/kernel_snapshot.h"
#include "agent/kernel/links.h"
#include "agent/model/node_snapshot.h"
#include "agent/node_port/node_ports.h"
#include "agent/store/store.h"
#include "plugin/os/event_loop.h"
#include "plugin/switch.h"

namespace vxvde {

class Attachments final : public AttachService {
 public:
  // What it is built on, all of which outlives it; everything happens on the loop's thread.
  struct Parts {
    EventLoop* loop;
    Switch* the_switch;
    Store* store;
    const Log* log;
    const Links* links;
    JoinedClouds* clouds;
    AddressClaims* claims;
    NodePorts* node_ports;
  };
  // `config.node` is not empty.
  Attachments(const Parts& parts, GroupLookup group_id, Config config);
  // Leaves no cloud and removes no port: a restarted agent takes them up again.
  ~Attachments() override;

  // Takes up what was recorded. What has gone meanwhile (a DEL while the agent was down, a dead
  // namespace) is forgotten; what fails for now is tried again every kRetry.
  absl::Status Restore();
  static constexpr std::chrono::seconds kRetry{2};

  // Does the DELs that came while no agent answered (D1). Part of Restore, and called once more
  // when the handoff socket listens: one that was queued in between is done as well, and
  // whoever comes later finds us there.
  void DetachQueued();

  // Puts in order what does not agree with the kernel: ends attachments whose interface or
  // namespace has gone, deletes links that ADDs of ours left when they died, gives leases of nobody
  // back, does queued DELs. Nothing that is not known to be ours is touched, nothing ended because
  // it cannot be told. True: look again soon, there is something to make sure of.
  bool Reconcile(const KernelSnapshot& sight);
  // What a look for it has to be told.
  std::vector<WatchedNetNs> Watched() const;
  const Reconciled& reconciled() const { return reconciled_; }

  // For plans from now on; portSecurity for the ports that there are, too. A cloud in use goes on
  // as it was joined, with a line in the log if the new configuration says something else.
  void SetConfig(Config config);
  const Config& config() const { return config_; }

  absl::StatusOr<PlannedAttachment> Plan(const PlanRequest& request) override;
  void Settle(PlanTicket ticket, Settled done) override;
  absl::StatusOr<PortId> Commit(PlanTicket ticket, const std::vector<IpPrefix>& addresses,
                                UniqueFd tap) override;
  void Rollback(PlanTicket ticket) override;
  absl::StatusOr<bool> Detach(const AttachmentKey& key) override;
  absl::StatusOr<bool> DetachAll(const AttachmentKey& key) override;
  absl::StatusOr<bool> ForgetEnded(const AttachmentKey& key) override;
  absl::StatusOr<CheckedAttachment> Check(const AttachmentKey& key) override;
  std::vector<ListedAttachment> ListNetwork(const std::string& network) const override;
  absl::Status Ready(const std::string& cloud, const std::string& vnl) override;

  // Of the switch's events it needs kPortFailed: the pod died without DEL.
  void OnEvent(const SwitchEvent& event);

  // By id. Plans are not shown.
  std::vector<AttachmentInfo> List() const;
  // The configured name, else the locator.
  std::string CloudName(const CloudKey& key) const;
  std::string CloudVnl(const CloudKey& key) const;

 private:
  // Holds the clouds of all attachments.
  static constexpr char kHolder[] = "attachments";

  // For people.
  static std::string Holder(const AttachmentRecord& record);
  // The id of the attachment that its ADD was for, which names all that came with it.
  static std::string MainId(const AttachmentRecord& record);

  enum class State { kPlanned, kAttached, kWaiting };
  struct Entry {
    State state = State::kPlanned;
    AttachmentRecord record;
    CloudConfig cloud;
    PortId port = PortId::kNone;
    IfIndex host_end = IfIndex::kNone;  // of a veth pair that has a port
    TapNetNs netns;                     // of a tap that has a port
    PlanTicket ticket{};                // kPlanned
    std::vector<IpPrefix> brought;  // kPlanned: addresses that the caller brings, if it knows them
    AddressWish wish;               // kPlanned: for addresses of the agent's own; none: no subnets
    SettledPlan settled;            // kPlanned
    Settled done;                   // kPlanned, while it settles
    std::string problem;            // kWaiting
    std::optional<EventLoop::TimerId> announcement;
  };
  using Entries = std::map<std::string, Entry>;  // by record.id

  // Named as in PlanRequest.
  absl::StatusOr<CloudConfig> ChooseCloud(const std::string& name, const std::string& vnl) const;
  // Its interface exists and is up.
  absl::Status CheckUplink(const CloudConfig& cloud) const;
  absl::Status CheckPolicy(const PlanRequest& request, const CloudConfig& cloud) const;
  absl::Status CheckNotAttached(const PlanRequest& request, const std::string& id);
  absl::StatusOr<MacAddress> ChooseMac(const PlanRequest& request, const CloudKey& cloud,
                                       const std::string& id) const;
  absl::Status CheckAddressesFree(const Entry& entry, const std::vector<IpPrefix>& addresses) const;
  // Whether what is attached or waiting here still exists in the kernel.
  bool IsStale(const Entry& entry) const;

  void LeaveIfUnused(const CloudKey& cloud);

  // Settle's steps: addresses, then the node's own port, then the answer.
  void SettleAddresses(Entry& entry);
  void SettleNodePort(Entry& entry);
  std::vector<IpPrefix> NodeSubnets(const Entry& entry) const;
  void EndSettling(Entry& entry, absl::StatusOr<SettledPlan> settled);

  absl::Status Publish(const Entry& entry);
  // Of what was recorded: its use of the node's own port.
  void UseNodePort(const Entry& entry);

  absl::StatusOr<std::unique_ptr<FrameIo>> OpenPort(Entry& entry, UniqueFd tap);
  absl::StatusOr<PortId> AddPort(const Entry& entry, std::unique_ptr<FrameIo> io);
  // What its port may send, by the configuration of now.
  PortGuard GuardOf(const Entry& entry) const;
  // Without `to_ports` to other nodes alone.
  void Announce(const Entry& entry, bool to_ports);
  void AnnounceNowAndSoon(Entry& entry, bool to_ports);

  // If it has one. `with_link`: a DEL, which wants the interface gone as well.
  void RemovePort(Entry& entry, bool with_link = false);
  // The port if there is one, and the entry; the record must be gone already.
  void Forget(Entries::iterator entry);
  void LogEnd(const Entry& entry, absl::string_view event, absl::string_view why) const;
  // LogEnd, Forget and LeaveIfUnused.
  void Drop(Entries::iterator entry, absl::string_view event, absl::string_view why);
  // Its interface is gone without a DEL: Drop, with the record kept until DEL or GC comes.
  absl::Status End(Entries::iterator entry, absl::string_view event, absl::string_view why);
  void OnPortFailed(const CloudKey& cloud, PortId port);

  // The same where it cannot fail.
  void EndAtOnce(Entries::iterator entry, absl::string_view event, absl::string_view why);

  // The plan of `id` has ended without a commit. A link that was made for it is deleted, if the
  // plugin does not do that itself.
  void EndPlan(const std::string& id);
  void EndPlanLater(const std::string& id);
  void EndPlansLeft();
  void EndGone(const KernelSnapshot& sight);
  bool EndDead(const KernelSnapshot& sight);
  void NoteUnknownLinks(const KernelSnapshot& sight);

  // Puts a waiting entry off until the next retry.
  void Wait(Entry& entry, absl::string_view problem);
  // NotFound: its interface is gone.
  absl::Status TakeUp(Entry& entry);
  void TakeUpWaiting();

  Entries::iterator FindPlan(PlanTicket ticket);

  EventLoop* loop_;
  Switch* switch_;
  Store* store_;
  const Log* log_;
  const Links& links_;
  JoinedClouds& clouds_;
  AddressClaims* claims_;
  NodePorts* node_ports_;
  GroupLookup group_id_;
  Config config_;

  Entries entries_;
  std::map<std::string, AttachmentRecord> ended_;  // by id; on disk likewise
  std::set<std::string> left_;                     // I6: ids of plans that have ended
  std::set<std::string> unknown_links_;            // by alias: those that were told of
  std::set<std::string> suspects_;                 // of the last Reconcile: ids
  Reconciled reconciled_;
  uint64_t next_ticket_ = 1;
  std::optional<EventLoop::TimerId> retry_;
  std::optional<EventLoop::TimerId> left_timer_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_ATTACHMENTS_H_
