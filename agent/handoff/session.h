// HandoffSession: one connection of the handoff without its socket. It takes bytes and descriptors
// and gives bytes, and checks every field of every message of agent/api/attach.proto.
//
// States: kFresh --Plan--> kPlanning --> kPlanned --Commit--> kCommitted; an error or the end of
// the connection leads to kOver from each of them.
// Invariant: this connection has an open plan exactly in kPlanning and kPlanned.

#ifndef VXVDE_AGENT_HANDOFF_SESSION_H_
#define VXVDE_AGENT_HANDOFF_SESSION_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "agent/attach/attach_service.h"
#include "plugin/os/fd.h"

namespace vxvde {

inline constexpr size_t kMaxHandoffMessage = 64 * 1024;

class HandoffSession {
 public:
  // Receives the answers that Handle could not give at once.
  using Later = std::function<void(std::string answer)>;
  HandoffSession(AttachService* service, Later later)
      : service_(service), later_(std::move(later)) {}
  // Ends the connection: rolls back an open plan.
  ~HandoffSession();
  HandoffSession(const HandoffSession&) = delete;
  HandoffSession& operator=(const HandoffSession&) = delete;

  // Handles one message and the descriptors that came with it. `truncated`: the reader had not
  // enough room for the message or for its descriptors. Returns the answer, which is to be sent
  // even if Ended() is true afterwards; nullopt: it comes later.
  std::optional<std::string> Handle(std::span<const uint8_t> message, std::vector<UniqueFd> fds,
                                    bool truncated);

  // The session reads no more messages: close the connection.
  bool Ended() const { return state_ == State::kOver; }

  // The caller is gone and did not get the last answer: undoes the operation that it answered.
  void Undelivered();

 private:
  enum class State { kFresh, kPlanning, kPlanned, kCommitted, kOver };

  std::optional<std::string> Plan(const PlanRequest& request);
  std::string OnPlanned(const absl::StatusOr<PlannedAttachment>& planned);
  void End();
  std::string Over(const absl::Status& error);

  AttachService* service_;
  Later later_;
  State state_ = State::kFresh;
  bool greeted_ = false;  // the first message had the right protocol number
  // Of the plan:
  PlanTicket ticket_{};
  AttachmentKey key_;
  bool tap_ = false;
  int mtu_ = 0;
  uint32_t port_ = 0;  // once committed
};

// The answer to a connection that is refused before its first message.
std::string HandoffRefusal(uint32_t code, const std::string& message, const std::string& remedy);

}  // namespace vxvde

#endif  // VXVDE_AGENT_HANDOFF_SESSION_H_
