// The agent, as the CNI side sees it: agent/api/attach.proto over a SOCK_SEQPACKET socket.

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

// Every call: kCniTryAgainLater when the agent is not there or does not answer in time; its own
// refusals keep their code, message and remedy.
class AgentClient {
 public:
  virtual ~AgentClient() = default;

  // Opens a transaction, which Commit makes last and everything else rolls back. One for each
  // attachment may be open.
  virtual absl::StatusOr<attach::v1::Planned> Plan(const attach::v1::Plan& plan) = 0;
  // `id` is the AttachmentId of the plan's key. `tap` is a tap's descriptor, or none.
  virtual absl::Status Commit(const std::string& id, const attach::v1::Commit& commit,
                              const UniqueFd& tap) = 0;
  // Of any attachment, on a connection of its own; its open transaction is given up first.
  virtual absl::Status Detach(const attach::v1::AttachmentKey& key) = 0;
  // Of all that were made by one ADD, whose interface name is `key`'s.
  virtual absl::Status DetachAll(const attach::v1::AttachmentKey& key) = 0;
  // When nobody answers: leaves a DetachAll for the agent's next start (D1). OK also when no
  // agent has ever run here, so that nothing is attached.
  virtual absl::Status QueueDetachAll(const attach::v1::AttachmentKey& key) = 0;
  virtual absl::Status UnqueueDetachAll(const attach::v1::AttachmentKey& key) = 0;

  virtual absl::StatusOr<attach::v1::Checked> Check(const attach::v1::AttachmentKey& key) = 0;
  // Of one container, or all when `container_id` is empty.
  virtual absl::StatusOr<std::vector<attach::v1::Listed::Attachment>> List(
      const std::string& network, const std::string& container_id) = 0;
  // Could an ADD to that cloud be served? Tries for `grace` to get an answer: a planned restart
  // is not an outage. The agent's own no has code 50 or 51.
  virtual absl::Status Ping(const attach::v1::Ping& ping, std::chrono::milliseconds grace) = 0;
  // When nobody answers: does the agent's run-dir have attachments? They are cut off, then.
  virtual bool HasAttachments() = 0;
};

class SocketAgentClient : public AgentClient {
 public:
  // `timeout` is for each of connect, request and answer.
  SocketAgentClient(std::string path, std::chrono::milliseconds timeout)
      : path_(std::move(path)), timeout_(timeout) {}

  absl::StatusOr<attach::v1::Planned> Plan(const attach::v1::Plan& plan) override;
  absl::Status Commit(const std::string& id, const attach::v1::Commit& commit,
                      const UniqueFd& tap) override;
  absl::Status Detach(const attach::v1::AttachmentKey& key) override;
  absl::Status DetachAll(const attach::v1::AttachmentKey& key) override;
  absl::Status QueueDetachAll(const attach::v1::AttachmentKey& key) override;
  absl::Status UnqueueDetachAll(const attach::v1::AttachmentKey& key) override;
  absl::StatusOr<attach::v1::Checked> Check(const attach::v1::AttachmentKey& key) override;
  absl::StatusOr<std::vector<attach::v1::Listed::Attachment>> List(
      const std::string& network, const std::string& container_id) override;
  absl::Status Ping(const attach::v1::Ping& ping, std::chrono::milliseconds grace) override;
  bool HasAttachments() override;

 private:
  absl::Status Connect(std::chrono::milliseconds timeout);
  absl::Status Detach(const attach::v1::Detach& detach);
  // The folder of the socket.
  std::string RunDir() const;
  absl::StatusOr<attach::v1::Reply> Ask(attach::v1::Request request, const UniqueFd& tap);

  std::string path_;
  std::chrono::milliseconds timeout_;
  AttachSocket socket_;                        // of the last call
  std::map<std::string, AttachSocket> plans_;  // open transactions, by id
};

}  // namespace vxvde

#endif  // VXVDE_CNI_AGENT_CLIENT_H_
