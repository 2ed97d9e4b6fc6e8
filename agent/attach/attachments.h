// Attachments: the transactions of the CNI on attachments of this node: plan, commit, rollback,
// detach, check. It owns the other parts of this room, and starts them after a restart. The head of
// attachments.cc describes the course of an ADD.
//
// Invariant, between any two calls: an operation that failed has changed nothing, except that a
// failed Commit ends its plan. The invariants of an attachment in each state are in
// attachment_table.h (the run-dir) and attachment_resources.h (port, cloud, addresses).
// Not here: messages (agent/handoff/session.h), system calls (agent/kernel/links.h), policy
// (admission.h), and the status of the node (agent/status/live_node.h).

#ifndef VXVDE_AGENT_ATTACH_ATTACHMENTS_H_
#define VXVDE_AGENT_ATTACH_ATTACHMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/attach/attach_service.h"
#include "agent/attach/attachment.h"
#include "agent/attach/attachment_resources.h"
#include "agent/attach/attachment_table.h"
#include "agent/attach/orphan_collector.h"
#include "agent/attach/restorer.h"
#include "agent/base/log.h"
#include "agent/clouds/joined_clouds.h"
#include "agent/config/config.h"
#include "agent/config/current_config.h"
#include "agent/ipam/address_claims.h"
#include "agent/kernel/links.h"
#include "agent/model/node_snapshot.h"
#include "agent/node_port/node_ports.h"
#include "agent/store/store.h"
#include "plugin/os/event_loop.h"
#include "plugin/switch.h"

namespace vxvde {

class Attachments final : public AttachService {
 public:
  // All of them outlive it. Loop thread only.
  struct Parts {
    EventLoop* loop;
    Switch* the_switch;
    Store* store;
    const Log* log;
    const Links* links;
    JoinedClouds* clouds;
    AddressClaims* claims;
    NodePorts* node_ports;
    CurrentConfig* config;
  };
  // The destructor leaves no cloud and removes no port: the next agent takes them over.
  Attachments(const Parts& parts, GroupLookup group_id);

  // Restores the attachments that the run-dir records. Called once, before AttachService is used.
  absl::Status Restore();

  PlanTicket Plan(const PlanRequest& request, PlanDone done) override;
  absl::StatusOr<PortId> Commit(PlanTicket ticket, const std::vector<IpPrefix>& addresses,
                                UniqueFd tap) override;
  absl::Status SetAddresses(const AttachmentKey& key,
                            const std::vector<IpPrefix>& addresses) override;
  void Rollback(PlanTicket ticket) override;
  absl::StatusOr<bool> Detach(const AttachmentKey& key) override;
  absl::StatusOr<bool> DetachAll(const AttachmentKey& key) override;
  absl::StatusOr<bool> ForgetEnded(const AttachmentKey& key) override;
  absl::StatusOr<CheckedAttachment> Check(const AttachmentKey& key) override;
  std::vector<ListedAttachment> ListNetwork(const std::string& network) const override;
  absl::Status Ready(const std::string& cloud, const std::string& vnl) override;

  // Handles kPortFailed: a pod ended without a DEL.
  void OnEvent(const SwitchEvent& event);

  OrphanCollector& orphans() { return orphans_; }
  const Reconciled& reconciled() const { return reconciled_; }

  // Attached and waiting attachments, by id.
  std::vector<AttachmentInfo> List() const;

 private:
  // Applies the configuration to the port security of all ports. A joined cloud keeps the options
  // with which it was joined; a log line reports where the configuration now differs.
  void OnConfig(const Config& before);

  // The steps of Plan.
  absl::StatusOr<Attachment*> Admit(const PlanRequest& request, PlanTicket ticket);
  absl::Status RemoveStale(const PlanRequest& request, const std::string& id);
  void ClaimAddresses(Attachment& planned);
  void OpenNodePort(Attachment& planned);
  void FinishPlan(Attachment& planned);
  void FailPlan(Attachment& planned, const absl::Status& error);

  absl::Status CommitPlan(Attachment& planned, const std::vector<IpPrefix>& addresses,
                          UniqueFd tap);

  // Refuses unless the uplink of the cloud exists and is up.
  absl::Status CheckUplink(const CloudConfig& cloud) const;

  Switch* switch_;
  Store* store_;
  const Log* log_;
  const Links& links_;
  JoinedClouds& clouds_;
  AddressClaims* claims_;
  NodePorts* node_ports_;
  GroupLookup group_id_;
  const Config& config_;  // the current one
  Reconciled reconciled_;
  uint64_t last_ticket_ = 0;
  AttachmentTable table_;
  AttachmentResources resources_;
  Restorer restorer_;
  OrphanCollector orphans_;
  CurrentConfig::Subscription subscription_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_ATTACHMENTS_H_
