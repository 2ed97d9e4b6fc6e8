// HandoffServer: the socket of agent/api/attach.proto (SOCK_SEQPACKET, unix). It moves bytes and
// descriptors between connections and their HandoffSession, and accepts only root and the agent's
// own user. Loop thread only. Not here: messages (session.h).

#ifndef VXVDE_AGENT_HANDOFF_SERVER_H_
#define VXVDE_AGENT_HANDOFF_SERVER_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/attach/attach_service.h"
#include "agent/base/log.h"
#include "agent/handoff/session.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Listens at `path`, mode 0600. Replaces a socket of an earlier agent: the caller holds the lock of
// the run-dir, so that agent has ended.
absl::StatusOr<UniqueFd> ListenForHandoff(const std::string& path);

class HandoffServer {
 public:
  // Further connections are refused with "try again later".
  static constexpr size_t kMaxConnections = 256;

  // `listener` comes from ListenForHandoff or from systemd. The other arguments outlive the server.
  static absl::StatusOr<std::unique_ptr<HandoffServer>> Start(EventLoop* loop,
                                                              AttachService* service,
                                                              const Log* log, UniqueFd listener);
  // Ends all connections; open plans are rolled back.
  ~HandoffServer();

 private:
  struct Connection {
    Connection(UniqueFd fd, AttachService* service, HandoffSession::Later later)
        : socket(std::move(fd)), session(service, std::move(later)) {}
    UniqueFd socket;
    HandoffSession session;
  };

  HandoffServer(EventLoop* loop, AttachService* service, const Log* log, UniqueFd listener);
  void Accept();
  void Read(int fd);
  void Answer(int fd, const std::string& answer);
  void Close(int fd);

  EventLoop* loop_;
  AttachService* service_;
  const Log* log_;
  UniqueFd listener_;
  std::map<int, std::unique_ptr<Connection>> connections_;  // by descriptor
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(kMaxHandoffMessage);
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_HANDOFF_SERVER_H_
