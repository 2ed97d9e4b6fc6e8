// OrphanCollector: finds and ends the leftovers of runtimes that died between the steps of an ADD
// or without a DEL: links of abandoned plans, attachments whose interface or namespace is gone,
// leases without an attachment, and DELs that were queued while no agent answered. Reconcile
// compares the table with the kernel, of which reconciler.h takes snapshots.
//
// An object belongs to this agent if the run-dir knows it: a link by its name, which is a hash of
// the attachment's key, and by the id in its alias, which is that of a record or of a noted plan.
// The alias alone proves nothing, since an agent with another run-dir writes the same ones. Nothing
// ends because an object could not be inspected. docs/decisions/0019 has the reasons.

#ifndef VXVDE_AGENT_ATTACH_ORPHAN_COLLECTOR_H_
#define VXVDE_AGENT_ATTACH_ORPHAN_COLLECTOR_H_

#include <set>
#include <string>
#include <vector>

#include "agent/attach/attach_service.h"
#include "agent/attach/attachment_resources.h"
#include "agent/attach/attachment_table.h"
#include "agent/base/log.h"
#include "agent/ipam/address_claims.h"
#include "agent/kernel/kernel_snapshot.h"
#include "agent/kernel/links.h"
#include "agent/model/node_snapshot.h"
#include "agent/store/store.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/task_scope.h"

namespace vxvde {

class OrphanCollector {
 public:
  // All of them outlive it.
  struct Parts {
    EventLoop* loop;
    const Log* log;
    const Links* links;
    DetachQueue* queue;
    AddressClaims* claims;
    AttachmentTable* table;
    AttachmentResources* resources;
    AttachService* service;  // for the queued DELs
    Reconciled* reconciled;
  };
  explicit OrphanCollector(const Parts& parts) : parts_(parts), abandoned_timer_(parts.loop) {}

  // ---- Abandoned plans: the link goes first, then the note of the plan ----

  // Deletes the link of a plan that ended without a commit and whose attachment is erased: now, and
  // each second until the link is gone.
  void AbandonPlan(const std::string& id);
  // The same, but first in a second: the plugin learns of the end, and deletes the link itself if
  // it can.
  void AbandonPlanLater(const std::string& id);
  // Collects the plans of an earlier run of the agent.
  void CollectAbandonedPlans();

  // ---- DELs ----

  // Carries out the queued DELs (D1). Called before attachments are restored, and again once the
  // handoff socket listens: from then on plugins find an agent that answers.
  void DetachQueued();

  // ---- The kernel ----

  // Ends attachments whose interface or namespace is gone, carries out queued DELs, releases leases
  // without an attachment, and reports unknown links. True: take another snapshot soon, which must
  // confirm that a namespace is dead.
  bool Reconcile(const KernelSnapshot& snapshot);
  // Namespaces that the next snapshot is to inspect.
  std::vector<WatchedNetNs> Watched() const;

 private:
  void CollectGone(const KernelSnapshot& snapshot);
  bool CollectDead(const KernelSnapshot& snapshot);
  void ReportUnknownLinks(const KernelSnapshot& snapshot);

  Parts parts_;
  std::set<std::string> suspects_;       // ids whose namespace was dead in the last snapshot
  std::set<std::string> unknown_links_;  // aliases, as of the last snapshot; each was reported
  Timer abandoned_timer_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_ORPHAN_COLLECTOR_H_
