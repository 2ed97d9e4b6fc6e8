#include "cni/agent_client.h"

#include <algorithm>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "agent/api/detach_queue.h"
#include "cni/error.h"
#include "plugin/base/status.h"
#include "plugin/os/files.h"

namespace vxvde {
namespace {

constexpr std::chrono::milliseconds kRetryPause(100);

absl::Status Refusal(const attach::v1::Error& error) {
  return CniStatus(error.code() != 0 ? error.code() : kCniInternal, error.message(),
                   error.details());
}

std::string IdOf(const attach::v1::AttachmentKey& key) {
  return AttachmentId(key.network(), key.container_id(), key.ifname());
}

absl::Status Unexpected(const std::string& path) {
  return CniStatus(static_cast<uint32_t>(AttachError::kVersionMismatch),
                   absl::StrCat("the agent at ", path, " sent an unexpected reply"),
                   "install vxvde and vxvde-agent of the same version");
}

// The CNI error for a failure of the connection.
absl::Status Failed(const std::string& path, const absl::Status& status) {
  if (absl::IsDataLoss(status)) return Unexpected(path);
  if (!absl::IsUnavailable(status)) return status;
  return CniStatus(kCniTryAgainLater,
                   absl::StrCat("the agent at ", path, " cannot be reached: ", status.message()),
                   "check that vxvde-agent runs on this node (systemctl status vxvde-agent) and "
                   "that \"agent\" in "
                   "the CNI configuration is the path of its handoff.sock");
}

}  // namespace

absl::Status SocketAgentClient::Connect(std::chrono::milliseconds timeout) {
  socket_ = AttachSocket();  // closes the previous connection first
  absl::StatusOr<AttachSocket> socket = AttachSocket::Connect(path_, timeout);
  if (!socket.ok()) return Failed(path_, socket.status());
  socket_ = *std::move(socket);
  return absl::OkStatus();
}

absl::StatusOr<attach::v1::Reply> SocketAgentClient::Ask(attach::v1::Request request,
                                                         const UniqueFd& tap) {
  absl::StatusOr<attach::v1::Reply> reply = socket_.Ask(std::move(request), tap);
  if (!reply.ok()) return Failed(path_, reply.status());
  if (reply->has_error()) return Refusal(reply->error());
  return reply;
}

absl::StatusOr<attach::v1::Planned> SocketAgentClient::Plan(const attach::v1::Plan& plan) {
  RETURN_IF_ERROR(Connect(timeout_));
  attach::v1::Request request;
  *request.mutable_plan() = plan;
  ASSIGN_OR_RETURN(const attach::v1::Reply reply, Ask(request, UniqueFd()));
  if (!reply.has_planned()) return Unexpected(path_);
  plans_[IdOf(plan.key())] = std::move(socket_);
  return reply.planned();
}

absl::Status SocketAgentClient::Commit(const std::string& id, const attach::v1::Commit& commit,
                                       const UniqueFd& tap) {
  const auto plan = plans_.find(id);
  if (plan == plans_.end()) {
    return absl::FailedPreconditionError(absl::StrCat("attachment ", id, " is not planned"));
  }
  socket_ = std::move(plan->second);
  plans_.erase(plan);
  attach::v1::Request request;
  *request.mutable_commit() = commit;
  ASSIGN_OR_RETURN(const attach::v1::Reply reply, Ask(request, tap));
  if (!reply.has_committed()) return Unexpected(path_);
  plans_[id] = std::move(socket_);
  return absl::OkStatus();
}

absl::Status SocketAgentClient::Detach(const attach::v1::AttachmentKey& key) {
  plans_.erase(IdOf(key));
  attach::v1::Detach detach;
  *detach.mutable_key() = key;
  return Detach(detach, timeout_);
}

absl::Status SocketAgentClient::DetachAll(const attach::v1::AttachmentKey& key,
                                          std::chrono::milliseconds timeout) {
  plans_.clear();
  attach::v1::Detach detach;
  *detach.mutable_key() = key;
  detach.set_with_others(true);
  return Detach(detach, timeout);
}

absl::Status SocketAgentClient::Detach(const attach::v1::Detach& detach,
                                       std::chrono::milliseconds timeout) {
  RETURN_IF_ERROR(Connect(timeout));
  attach::v1::Request request;
  *request.mutable_detach() = detach;
  ASSIGN_OR_RETURN(const attach::v1::Reply reply, Ask(request, UniqueFd()));
  return reply.has_detached() ? absl::OkStatus() : Unexpected(path_);
}

std::string SocketAgentClient::RunDir() const { return path_.substr(0, path_.rfind('/')); }

absl::Status SocketAgentClient::QueueDetachAll(const attach::v1::AttachmentKey& key) {
  const absl::Status status = DetachQueue(RunDir()).Put({.network = key.network(),
                                                         .container_id = key.container_id(),
                                                         .ifname = key.ifname(),
                                                         .with_others = true});
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status SocketAgentClient::UnqueueDetachAll(const attach::v1::AttachmentKey& key) {
  return DetachQueue(RunDir()).Remove(IdOf(key));
}

absl::StatusOr<attach::v1::Checked> SocketAgentClient::Check(const attach::v1::AttachmentKey& key) {
  RETURN_IF_ERROR(Connect(timeout_));
  attach::v1::Request request;
  *request.mutable_check()->mutable_key() = key;
  ASSIGN_OR_RETURN(const attach::v1::Reply reply, Ask(request, UniqueFd()));
  if (!reply.has_checked()) return Unexpected(path_);
  return reply.checked();
}

absl::StatusOr<std::vector<attach::v1::Listed::Attachment>> SocketAgentClient::List(
    const std::string& network, const std::string& container_id) {
  RETURN_IF_ERROR(Connect(timeout_));
  attach::v1::Request request;
  request.mutable_list()->set_network(network);
  request.mutable_list()->set_container_id(container_id);
  std::vector<attach::v1::Listed::Attachment> all;
  while (true) {
    ASSIGN_OR_RETURN(const attach::v1::Reply reply, Ask(request, UniqueFd()));
    const bool sound =
        reply.has_listed() && !(reply.listed().more() && reply.listed().attachments().empty());
    if (!sound) return Unexpected(path_);
    all.insert(all.end(), reply.listed().attachments().begin(), reply.listed().attachments().end());
    if (!reply.listed().more()) return all;
    request.mutable_list()->set_after(all.back().id());
  }
}

bool SocketAgentClient::HasAttachments() {
  const absl::StatusOr<std::vector<std::string>> names =
      ListFolder(absl::StrCat(RunDir(), "/attachments"));
  return names.ok() && std::any_of(names->begin(), names->end(), [](const std::string& name) {
           return absl::EndsWith(name, ".json");
         });
}

absl::Status SocketAgentClient::Ping(const attach::v1::Ping& ping,
                                     std::chrono::milliseconds grace) {
  const auto end = std::chrono::steady_clock::now() + grace;
  attach::v1::Request request;
  *request.mutable_ping() = ping;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    // A timeout of zero would mean "no timeout" (socket(7)).
    absl::Status status = Connect(std::max(left, kRetryPause));
    if (status.ok()) {
      const absl::StatusOr<attach::v1::Reply> reply = Ask(request, UniqueFd());
      if (reply.ok() && !reply->has_pong()) return Unexpected(path_);
      if (reply.ok() && reply->pong().has_problem()) return Refusal(reply->pong().problem());
      status = reply.status();
    }
    const bool later = !status.ok() && ToCniError(status).code == kCniTryAgainLater;
    if (!later || std::chrono::steady_clock::now() + kRetryPause >= end) return status;
    std::this_thread::sleep_for(kRetryPause);
  }
}

}  // namespace vxvde
