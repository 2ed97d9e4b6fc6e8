#include "agent/lifecycle/signal_handler.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/lifecycle/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SignalHandlerTest : public testing::Test {
 protected:
  // A service manager listens as well.
  SignalHandlerTest() {
    std::string pattern = "/tmp/signals.XXXXXX";  // short enough for a socket
    folder_ = mkdtemp(pattern.data());
    const std::string path = folder_ + "/notify";
    manager_ = UniqueFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(bind(manager_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    setenv("NOTIFY_SOCKET", path.c_str(), /*overwrite=*/1);
    signals_ = *SignalFd();
  }
  ~SignalHandlerTest() override {
    alarm(0);
    unsetenv("NOTIFY_SOCKET");
    std::filesystem::remove_all(folder_);
  }

  std::unique_ptr<SignalHandler> Start(SignalHandler::Actions actions) {
    return *SignalHandler::Start(loop_.get(), &log_, &signals_, std::move(actions));
  }
  std::string Notified() {
    std::array<char, 64> text;
    const ssize_t size = recv(manager_.get(), text.data(), text.size(), 0);
    return size < 0 ? "" : std::string(text.data(), static_cast<size_t>(size));
  }

  std::string folder_;
  UniqueFd manager_;
  UniqueFd signals_;
  std::vector<std::string> lines_;
  const Log log_ = Log([this](LogLevel, const std::string& line) { lines_.push_back(line); });
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
};

TEST_F(SignalHandlerTest, HangupReloadsAndTheLoopGoesOn) {
  std::vector<std::string> notified;
  const auto read = [&] {
    for (std::string one = Notified(); !one.empty(); one = Notified()) notified.push_back(one);
  };
  int reloads = 0;
  const auto handler = Start({.reload =
                                  [&] {
                                    read();
                                    if (++reloads == 2) return loop_->Stop();
                                    kill(getpid(), SIGHUP);
                                  },
                              .end_calls = [] { ADD_FAILURE() << "nothing stops"; }});
  kill(getpid(), SIGHUP);
  loop_->Run();
  read();
  EXPECT_EQ(reloads, 2);
  EXPECT_THAT(notified, ElementsAre("RELOADING=1", "READY=1", "RELOADING=1", "READY=1"));
}

TEST_F(SignalHandlerTest, TermEndsCallsWhileTheLoopAnswersThem) {
  const std::thread::id loop_thread = std::this_thread::get_id();
  int ended = 0;
  {
    const auto handler = Start({.reload = [] { ADD_FAILURE() << "nothing is reloaded"; },
                                .end_calls =
                                    [&] {
                                      EXPECT_NE(std::this_thread::get_id(), loop_thread);
                                      const auto answer =
                                          loop_->Call([] { return 7; }, std::chrono::seconds(20));
                                      EXPECT_TRUE(answer.ok()) << answer.status();
                                      ++ended;
                                    }});
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGINT);  // has no effect any more
    loop_->Run();
  }
  EXPECT_EQ(ended, 1);
  EXPECT_GT(alarm(0), 0u) << "the process would have ended in time";
  EXPECT_EQ(Notified(), "STOPPING=1");
  EXPECT_EQ(Notified(), "");
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("stopping")));
}

}  // namespace
}  // namespace vxvde
