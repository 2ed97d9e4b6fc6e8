// DetachQueue: DELs that came while no agent answered, as files that the agent reads at its start
// (D1). The CNI side writes them, the agent reads them; either may remove one.
//
//   RUN-DIR/queue/ID.json   ID is that of the attachment, so a repeated DEL has one file
//
// A file is complete before it is renamed into its place. A file that cannot be parsed is set aside
// as
// *.bad and reported, and is never fatal.

#ifndef VXVDE_AGENT_API_DETACH_QUEUE_H_
#define VXVDE_AGENT_API_DETACH_QUEUE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vxvde {

// attach.proto, Detach.
struct QueuedDetach {
  std::string network;
  std::string container_id;
  std::string ifname;
  bool with_others = false;

  std::string id() const;  // AttachmentId of the first three
  friend bool operator==(const QueuedDetach&, const QueuedDetach&) = default;
};

// Total functions on text. The message of InvalidArgument describes the error.
std::string FormatQueuedDetach(const QueuedDetach& detach);
absl::StatusOr<QueuedDetach> ParseQueuedDetach(absl::string_view json);

class DetachQueue {
 public:
  explicit DetachQueue(const std::string& run_dir) : run_dir_(run_dir) {}

  // NotFound: there is no run-dir, so no agent has ever run and nothing is attached.
  absl::Status Put(const QueuedDetach& detach);
  // Also OK if there is none.
  absl::Status Remove(const std::string& id);

  struct Contents {
    std::vector<QueuedDetach> detaches;  // by id
    std::vector<std::string> problems;   // one sentence for each file that was set aside
  };
  absl::StatusOr<Contents> Load();

 private:
  std::string Path(const std::string& id) const;

  std::string run_dir_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_API_DETACH_QUEUE_H_
