// AttachmentResources: the resources of an attachment on this node: its cloud, its port of the
// switch, its addresses, the node's own port and published ports. Each is acquired and released
// here, for the transactions of the CNI (attachments.h), after a restart (restorer.h), and when an
// attachment ends without a DEL (orphan_collector.h).
//
// Invariants, between any two calls:
//   I1  A port of the switch exists exactly for attached attachments.
//   I2  A cloud is joined for this room exactly while the table has an attachment on it, of any
//       state. Only between Forget and LeaveIfUnused may it be joined longer.
//   I3  No callback of a claim or of the node's port outlives its attachment: Forget ends them.

#ifndef VXVDE_AGENT_ATTACH_ATTACHMENT_RESOURCES_H_
#define VXVDE_AGENT_ATTACH_ATTACHMENT_RESOURCES_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/attach/attachment.h"
#include "agent/attach/attachment_table.h"
#include "agent/base/log.h"
#include "agent/clouds/joined_clouds.h"
#include "agent/config/config.h"
#include "agent/ipam/address_claims.h"
#include "agent/kernel/links.h"
#include "agent/model/node_snapshot.h"
#include "agent/node_port/node_ports.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/fd.h"
#include "plugin/os/io.h"
#include "plugin/switch.h"

namespace vxvde {

class AttachmentResources {
 public:
  // All of them outlive it.
  struct Parts {
    EventLoop* loop;
    Switch* the_switch;
    const Log* log;
    const Links* links;
    JoinedClouds* clouds;
    AddressClaims* claims;
    NodePorts* node_ports;
    AttachmentTable* table;
    const Config* config;
    Reconciled* reconciled;
  };
  explicit AttachmentResources(const Parts& parts) : parts_(parts) {}

  // ---- The cloud ----

  // As JoinedClouds::Join.
  absl::StatusOr<const CloudOptions*> Join(const CloudConfig& cloud);
  void LeaveIfUnused(const CloudKey& cloud);

  // ---- The port ----

  // Opens the interface of an attachment. NotFound: it does not exist, or has another alias.
  absl::StatusOr<std::unique_ptr<FrameIo>> OpenInterface(Attachment& attachment, UniqueFd tap);
  absl::Status AddPort(Attachment& attachment, std::unique_ptr<FrameIo> io);
  // Does nothing if there is no port. `with_link`: deletes the interface as well, for a DEL.
  void RemovePort(Attachment& attachment, bool with_link);
  // True: the interface of an attached or waiting attachment is known to be gone.
  bool IsStale(const Attachment& attachment) const;
  // Applies the current configuration to what the port may send.
  void UpdateGuard(const Attachment& attachment);
  // Announces the addresses now and once more soon; without `to_ports` only to other nodes.
  void Announce(Attachment& attachment, bool to_ports);

  // ---- Addresses, the node's own port and published ports ----

  // Tells the allocator of addresses that an IPAM plugin or the caller chose.
  void RegisterExternal(const Attachment& attachment);
  void OpenNodePort(const Attachment& attachment, NodePorts::Opened done);
  // Publishes the ports of an attachment that has its addresses.
  absl::Status Publish(const Attachment& attachment);
  // Registers and reopens the resources of a restored attachment. A part that fails logs its error
  // and retries by itself.
  void Restore(const Attachment& attachment);

  // ---- The end: the record is removed or ended first; `attachment` is gone afterwards ----

  // Releases everything but the cloud, and erases the attachment. A plan that waits for its result
  // is told that it has ended.
  void Forget(Attachment& attachment);
  // Logs, forgets, and leaves the cloud if it was the last attachment there.
  void Drop(Attachment& attachment, absl::string_view event, absl::string_view reason);
  // Its interface is gone without a DEL: keeps the record for GC and drops the attachment. After an
  // error the attachment is as before.
  absl::Status End(Attachment& attachment, absl::string_view event, absl::string_view reason);
  // The same for an attachment that cannot continue: after an error its record stays, and the next
  // start of the agent ends it.
  void EndAnyway(Attachment& attachment, absl::string_view event, absl::string_view reason);
  void LogEnd(const Attachment& attachment, absl::string_view event,
              absl::string_view reason) const;

 private:
  void AnnounceOnce(const Attachment& attachment, bool to_ports);
  std::vector<IpPrefix> NodeSubnets(const Attachment& attachment) const;

  Parts parts_;
};

// The refusal of a plan that a DEL ended.
absl::Status PlanEnded();

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_ATTACHMENT_RESOURCES_H_
