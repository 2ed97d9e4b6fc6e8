#include "agent/lifecycle/signal_handler.h"

#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "agent/lifecycle/process.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

void Notify(const Log& log, const std::string& state) {
  if (const absl::Status status = NotifyServiceManager(state); !status.ok()) {
    log.Warn("not notified", {{"error", std::string(status.message())}});
  }
}

}  // namespace

SignalHandler::SignalHandler(EventLoop* loop, const Log* log, const UniqueFd* signals,
                             Actions actions)
    : loop_(loop), log_(log), signals_(signals), actions_(std::move(actions)) {}

SignalHandler::~SignalHandler() {
  loop_->Unwatch(signals_->get());
  if (ending_calls_.joinable()) ending_calls_.join();
}

absl::StatusOr<std::unique_ptr<SignalHandler>> SignalHandler::Start(EventLoop* loop, const Log* log,
                                                                    const UniqueFd* signals,
                                                                    Actions actions) {
  std::unique_ptr<SignalHandler> handler(new SignalHandler(loop, log, signals, std::move(actions)));
  RETURN_IF_ERROR(loop->Watch(signals->get(), EPOLLIN,
                              [self = handler.get()](uint32_t) { self->OnSignals(); }));
  return handler;
}

void SignalHandler::OnSignals() {
  while (const std::optional<int> signal = NextSignal(*signals_)) {
    if (*signal == SIGHUP) {
      Reload();
    } else if (!stopping_) {
      Stop(*signal);
    }
  }
}

void SignalHandler::Reload() {
  Notify(*log_, "RELOADING=1");
  actions_.reload();
  Notify(*log_, "READY=1");
}

void SignalHandler::Stop(int signal) {
  stopping_ = true;
  log_->Info("stopping", {{"signal", strsignal(signal)}});
  Notify(*log_, "STOPPING=1");
  // gRPC never ends if it could not start one of its threads. SIGALRM then ends the process; for
  // all other parts that is equivalent to kill -9.
  alarm(kMaxStopSeconds);
  try {
    ending_calls_ = std::thread([this] {
      actions_.end_calls();
      loop_->Stop();
    });
  } catch (const std::system_error& error) {
    log_->Warn("status calls cut off", {{"error", error.what()}});
    loop_->Stop();
  }
}

}  // namespace vxvde
