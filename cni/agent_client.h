// AgentClient: the agent's handoff protocol, as the plugin uses it. Thread-unsafe.
//
// It carries messages and turns failures of the connection into CNI errors; attachment_name.h makes
// the messages. Specification: agent/api/attach.proto, over a SOCK_SEQPACKET socket.

#ifndef VXVDE_CNI_AGENT_CLIENT_H_
#define VXVDE_CNI_AGENT_CLIENT_H_

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/api/attach.pb.h"
#include "agent/api/attach_socket.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Every call returns kCniTryAgainLater if the agent cannot be reached or does not answer in time
// (E7). A refusal by the agent keeps its code, message and remedy.
class AgentClient {
 public:
  virtual ~AgentClient() = default;

  // Opens a transaction. Commit makes it last; anything else, the end of the process included,
  // rolls it back. At most one per attachment is open.
  virtual absl::StatusOr<attach::v1::Planned> Plan(const attach::v1::Plan& plan) = 0;
  // `id` is the AttachmentId of the plan's key. `tap` is the tap's descriptor, or empty. A second
  // Commit, without a descriptor, replaces the addresses: those of an IPAM plugin that sends
  // requests on the link are not known earlier.
  virtual absl::Status Commit(const std::string& id, const attach::v1::Commit& commit,
                              const UniqueFd& tap) = 0;
  // Any attachment, on a separate connection; rolls its open transaction back first.
  virtual absl::Status Detach(const attach::v1::AttachmentKey& key) = 0;
  // All attachments of the ADD whose interface name is that of `key`. Waits for `timeout` at most.
  virtual absl::Status DetachAll(const attach::v1::AttachmentKey& key,
                                 std::chrono::milliseconds timeout) = 0;
  // Leaves a DetachAll for the agent's next start, if the agent cannot be reached (D1). OK too if
  // no agent has ever run here: then nothing is attached.
  virtual absl::Status QueueDetachAll(const attach::v1::AttachmentKey& key) = 0;
  virtual absl::Status UnqueueDetachAll(const attach::v1::AttachmentKey& key) = 0;

  virtual absl::StatusOr<attach::v1::Checked> Check(const attach::v1::AttachmentKey& key) = 0;
  // The attachments of one container, or of all if `container_id` is empty.
  virtual absl::StatusOr<std::vector<attach::v1::Listed::Attachment>> List(
      const std::string& network, const std::string& container_id) = 0;
  // Could an ADD to that cloud be served? Tries to reach the agent for `grace`, because a planned
  // restart is not an outage. A negative answer of the agent has code 50 or 51 (S1).
  virtual absl::Status Ping(const attach::v1::Ping& ping, std::chrono::milliseconds grace) = 0;
  // Does the agent's run-dir record attachments? If the agent cannot be reached, they are cut off.
  virtual bool HasAttachments() = 0;
};

class SocketAgentClient : public AgentClient {
 public:
  // `timeout` limits each of connecting, sending and receiving.
  SocketAgentClient(std::string path, std::chrono::milliseconds timeout)
      : path_(std::move(path)), timeout_(timeout) {}

  absl::StatusOr<attach::v1::Planned> Plan(const attach::v1::Plan& plan) override;
  absl::Status Commit(const std::string& id, const attach::v1::Commit& commit,
                      const UniqueFd& tap) override;
  absl::Status Detach(const attach::v1::AttachmentKey& key) override;
  absl::Status DetachAll(const attach::v1::AttachmentKey& key,
                         std::chrono::milliseconds timeout) override;
  absl::Status QueueDetachAll(const attach::v1::AttachmentKey& key) override;
  absl::Status UnqueueDetachAll(const attach::v1::AttachmentKey& key) override;
  absl::StatusOr<attach::v1::Checked> Check(const attach::v1::AttachmentKey& key) override;
  absl::StatusOr<std::vector<attach::v1::Listed::Attachment>> List(
      const std::string& network, const std::string& container_id) override;
  absl::Status Ping(const attach::v1::Ping& ping, std::chrono::milliseconds grace) override;
  bool HasAttachments() override;

 private:
  absl::Status Connect(std::chrono::milliseconds timeout);
  absl::Status Detach(const attach::v1::Detach& detach, std::chrono::milliseconds timeout);
  // The directory of the socket.
  std::string RunDir() const;
  absl::StatusOr<attach::v1::Reply> Ask(attach::v1::Request request, const UniqueFd& tap);

  std::string path_;
  std::chrono::milliseconds timeout_;
  AttachSocket socket_;                        // of the last call
  std::map<std::string, AttachSocket> plans_;  // open and committed transactions, by id
};

}  // namespace vxvde

#endif  // VXVDE_CNI_AGENT_CLIENT_H_
