// The gRPC server on a unix socket: vxvde.v1.Status (agent/api/status.proto), grpc.health.v1.Health
// and server reflection. It reads the node through NodeView, one turn of the event loop a call, and
// changes nothing.

#ifndef VXVDE_AGENT_STATUS_SERVER_H_
#define VXVDE_AGENT_STATUS_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/status/node_view.h"
#include "plugin/os/event_loop.h"
#include "plugin/switch.h"

namespace vxvde {

class StatusServer {
 public:
  // Listens on `socket_path` (mode 0660), replacing a socket on which no process listens, and
  // answers UNAVAILABLE until SetServing(true). `loop` and `view` outlive the server and every turn
  // of the loop. AlreadyExists: another agent listens there.
  static absl::StatusOr<std::unique_ptr<StatusServer>> Start(EventLoop* loop, const NodeView* view,
                                                             const std::string& socket_path);
  // Calls Shutdown() if that was not done.
  ~StatusServer();

  // Sends an event to all watchers. Loop thread; never blocks. `cloud_name` as in CloudInfo::name.
  void Publish(const SwitchEvent& event, const std::string& cloud_name);

  // Any thread. False: calls get UNAVAILABLE and health is NOT_SERVING.
  void SetServing(bool serving);

  // Ends all calls, including open streams, and removes the socket. Not to be called on the loop's
  // thread while calls wait for the loop: it would wait for them in vain, for up to 2 s.
  void Shutdown();

 private:
  struct Impl;
  explicit StatusServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_STATUS_SERVER_H_
