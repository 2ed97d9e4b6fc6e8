// HandoffSession: one connection of the handoff, without its socket. Bytes and descriptors in,
// bytes out; every message of agent/api/attach.proto is checked here, whatever it holds.
//
// States: kFresh --Plan--> kSettling --> kPlanned --Commit--> kCommitted, or kOver after an error
// or an end.
// Invariant: in every other state than kSettling and kPlanned no plan of this connection is open.

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
  // An answer that Handle could not give yet comes through `later`, which may destroy the session.
  using Later = std::function<void(std::string answer)>;
  HandoffSession(AttachService* service, Later later)
      : service_(service), later_(std::move(later)) {}
  // The end of the connection: rolls an open plan back.
  ~HandoffSession();
  HandoffSession(const HandoffSession&) = delete;
  HandoffSession& operator=(const HandoffSession&) = delete;

  // Answers one message; `fds` came with it. `truncated`: message or descriptors were more than
  // the reader had room for. The answer is to be sent also when Ended() is true afterwards. None:
  // it comes later.
  std::optional<std::string> Handle(std::span<const uint8_t> message, std::vector<UniqueFd> fds,
                                    bool truncated);

  // Nothing more is to be read: close the connection.
  bool Ended() const { return state_ == State::kOver; }

  // The last answer did not reach the caller, who is gone: what it could not learn of is undone.
  void Undelivered();

 private:
  enum class State { kFresh, kSettling, kPlanned, kCommitted, kOver };

  void End();
  std::optional<std::string> Settle(const PlannedAttachment& planned);
  std::string Over(const absl::Status& error);

  AttachService* service_;
  Later later_;
  State state_ = State::kFresh;
  bool greeted_ = false;  // the first message's protocol number was ours
  bool tap_ = false;      // of the open plan
  int mtu_ = 0;           // of the open plan
  PlanTicket ticket_{};
  AttachmentKey key_;
};

// An answer by which a connection is turned away before it says anything.
std::string HandoffRefusal(uint32_t code, const std::string& message, const std::string& remedy);

}  // namespace vxvde

#endif  // VXVDE_AGENT_HANDOFF_SESSION_H_
