// AttachmentTable: the attachments of this node, in memory and in the run-dir. It is the only part
// of this room that writes records and notes of plans. A change is made in the run-dir first, and
// in memory only when that has succeeded.
//
// Invariants, between any two calls:
//   I1  A record is in the run-dir exactly for attached and waiting attachments.
//   I2  An attachment that ended without a DEL has a record of its own kind until DEL, GC or a new
//       ADD of its key, so that GC can release what it has elsewhere (a lease of an IPAM plugin).
//   I3  A plan has a note in the run-dir from before its link may exist until the link belongs to
//       an attachment or is gone. A plan that ended while its link may exist is *abandoned*.
// Not here: the resources of an attachment (attachment_resources.h), and the collection of
// abandoned plans (orphan_collector.h).

#ifndef VXVDE_AGENT_ATTACH_ATTACHMENT_TABLE_H_
#define VXVDE_AGENT_ATTACH_ATTACHMENT_TABLE_H_

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/attach/attachment.h"
#include "agent/base/log.h"
#include "agent/store/store.h"
#include "plugin/base/cloud_key.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

class AttachmentTable {
 public:
  // Beyond this number, an attachment that ends without a DEL is forgotten at once: a runtime that
  // sends neither DEL nor GC must not fill the disk.
  static constexpr size_t kMaxEnded = 4096;

  // Both outlive it.
  AttachmentTable(Store* store, const Log* log) : store_(store), log_(log) {}

  // ---- In memory: an Attachment keeps its address until Erase ----

  std::map<std::string, Attachment>& all() { return attachments_; }  // by id
  const std::map<std::string, Attachment>& all() const { return attachments_; }
  // nullptr: there is none.
  Attachment* Find(const std::string& id);
  const Attachment* Find(const std::string& id) const;
  Attachment* FindPlan(PlanTicket ticket);
  Attachment* FindPort(const CloudKey& cloud, PortId port);
  bool HasOn(const CloudKey& cloud) const;
  // Records of the attachments on `cloud`, in any state, except that of `id`.
  std::vector<const AttachmentRecord*> OthersOn(const CloudKey& cloud, const std::string& id) const;
  // Keys of all attachments, living or ended, of the ADD whose main attachment is `key`.
  std::vector<AttachmentKey> KeysOfAdd(const AttachmentKey& key) const;
  const std::map<std::string, AttachmentRecord>& ended() const { return ended_; }  // by id
  const std::set<std::string>& abandoned_plans() const { return abandoned_plans_; }

  // ---- In the run-dir and in memory: an error changes nothing ----

  // Reads the run-dir after a restart: each record becomes a waiting attachment, each note of a
  // plan an abandoned plan. The counts are of files that were set aside or rewritten.
  struct Loaded {
    UnicastPorts ports;
    size_t unreadable = 0;
    size_t rebuilt = 0;
  };
  absl::StatusOr<Loaded> Load(const GroupLookup& group_id);

  // Adds a planned attachment whose id is not in the table.
  absl::StatusOr<Attachment*> AddPlan(Attachment planned);
  // Turns a planned attachment that has a port into an attached one.
  absl::Status Commit(Attachment& planned);
  // Replaces the record of an attached or waiting attachment.
  absl::Status Renew(Attachment& attachment, AttachmentRecord record);
  // Removes the files of `id` from the run-dir: a record, an ended record, the note of a plan. The
  // caller erases the attachment next.
  absl::Status RemoveRecord(const std::string& id);
  // Moves the record to the ended ones (I2), or removes it if no GC will ask for it. The caller
  // erases the attachment next.
  absl::Status End(const Attachment& attachment);
  // False: no attachment of this id ended without a DEL.
  absl::StatusOr<bool> ForgetEnded(const std::string& id);
  // Requires that the attachment is planned, or that its record is removed or ended.
  void Erase(const Attachment& attachment);

  // Called when the planned attachment `id` was erased. Its note stays until ForgetPlan.
  void AbandonPlan(const std::string& id) { abandoned_plans_.insert(id); }
  // Requires that no link of the abandoned plan exists.
  absl::Status ForgetPlan(const std::string& id);

 private:
  Store* store_;
  const Log* log_;
  std::map<std::string, Attachment> attachments_;
  std::map<std::string, AttachmentRecord> ended_;
  std::set<std::string> abandoned_plans_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_ATTACHMENT_TABLE_H_
