// SignalHandler: SIGHUP reloads; SIGTERM and SIGINT end the calls of clients and then stop the
// loop. It notifies the service manager of both.

#ifndef VXVDE_AGENT_LIFECYCLE_SIGNAL_HANDLER_H_
#define VXVDE_AGENT_LIFECYCLE_SIGNAL_HANDLER_H_

#include <functional>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "agent/base/log.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/fd.h"

namespace vxvde {

class SignalHandler {
 public:
  // The process ends by SIGALRM if stopping takes longer. gRPC takes 2 s for calls that do not end.
  static constexpr unsigned kMaxStopSeconds = 5;

  struct Actions {
    std::function<void()> reload;  // on the loop's thread
    // Runs on another thread, because the calls may wait for the loop, which answers meanwhile.
    std::function<void()> end_calls;
  };
  // `signals` comes from SignalFd() (process.h). All of them outlive it. Loop thread only.
  static absl::StatusOr<std::unique_ptr<SignalHandler>> Start(EventLoop* loop, const Log* log,
                                                              const UniqueFd* signals,
                                                              Actions actions);
  // Waits for end_calls.
  ~SignalHandler();
  SignalHandler(const SignalHandler&) = delete;
  SignalHandler& operator=(const SignalHandler&) = delete;

 private:
  SignalHandler(EventLoop* loop, const Log* log, const UniqueFd* signals, Actions actions);
  void OnSignals();
  void Reload();
  void Stop(int signal);

  EventLoop* loop_;
  const Log* log_;
  const UniqueFd* signals_;
  Actions actions_;
  bool stopping_ = false;
  std::thread ending_calls_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIFECYCLE_SIGNAL_HANDLER_H_
