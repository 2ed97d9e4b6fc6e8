#include "agent/handoff/server.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include "agent/api/attach.pb.h"
#include "agent/attach/testing/fake_attach_service.h"
#include "agent/base/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/unix_socket.h"

namespace vxvde {
namespace {

namespace pb = ::vxvde::attach::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A server on a loop in a thread of its own; the test is the client.
class HandoffTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/handoff.XXXXXX";  // a socket's path is short
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ + "/handoff.sock";
    absl::StatusOr<UniqueFd> listener = ListenForHandoff(path_);
    ASSERT_TRUE(listener.ok()) << listener.status();
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    auto server = HandoffServer::Start(loop_.get(), &service_, &log_, *std::move(listener));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    thread_ = std::thread([this] { loop_->Run(); });
  }
  void TearDown() override {
    loop_->Stop();
    thread_.join();
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  UniqueFd Connect() {
    absl::StatusOr<UniqueFd> socket = ConnectUnix(path_, std::chrono::seconds(10));
    EXPECT_TRUE(socket.ok()) << socket.status();
    return *std::move(socket);
  }
  static void Send(const UniqueFd& to, const std::string& bytes, int count = 0) {
    std::vector<UniqueFd> owned;
    std::vector<int> fds;
    for (int i = 0; i < count; ++i) {
      fds.push_back(owned.emplace_back(eventfd(0, EFD_CLOEXEC)).get());
    }
    EXPECT_TRUE(SendUnix(to, bytes, fds).ok());
  }
  // nullopt: the connection has ended.
  static std::optional<pb::Reply> Receive(const UniqueFd& from) {
    std::string bytes(65536, '\0');
    const ssize_t n = recv(from.get(), bytes.data(), bytes.size(), 0);
    if (n <= 0) return std::nullopt;
    bytes.resize(static_cast<size_t>(n));
    pb::Reply reply;
    EXPECT_TRUE(reply.ParseFromString(bytes));
    return reply;
  }
  // Waits until the service has had `at_least` calls.
  std::vector<std::string> Calls(size_t at_least) {
    std::vector<std::string> calls;
    do {
      calls = *loop_->Call([this] { return service_.calls; }, std::chrono::seconds(10));
    } while (calls.size() < at_least);
    return calls;
  }
  static std::string Plan(pb::Mode mode) {
    pb::Request request;
    request.set_protocol(1);
    request.mutable_plan()->mutable_key()->set_network("blue");
    request.mutable_plan()->mutable_key()->set_container_id("c1");
    request.mutable_plan()->mutable_key()->set_ifname("eth0");
    request.mutable_plan()->set_mode(mode);
    request.mutable_plan()->set_netns("/run/netns/web");
    return request.SerializeAsString();
  }
  static std::string Commit() {
    pb::Request request;
    request.mutable_commit();
    return request.SerializeAsString();
  }

  std::string folder_;
  std::string path_;
  FakeAttachService service_;
  const Log log_{nullptr};
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<HandoffServer> server_;
  std::thread thread_;
};

TEST_F(HandoffTest, ATapIsPlannedAndCommittedWithItsDescriptor) {
  const UniqueFd client = Connect();
  Send(client, Plan(pb::TAP));
  EXPECT_TRUE(Receive(client)->has_planned());
  Send(client, Commit(), 1);
  EXPECT_EQ(Receive(client)->committed().port(), 7u);
  EXPECT_GE(*loop_->Call([this] { return service_.tap; }, std::chrono::seconds(10)), 0);
}

TEST_F(HandoffTest, AClientThatDiesAfterItsPlanIsRolledBack) {
  {
    const UniqueFd client = Connect();
    Send(client, Plan(pb::VETH));
    EXPECT_TRUE(Receive(client)->has_planned());
  }
  EXPECT_THAT(Calls(2), ElementsAre("plan blue/c1/eth0", "rollback 1"));
}

TEST_F(HandoffTest, AClientThatDiesBeforeItHearsOfItsCommitIsDetached) {
  UniqueFd client = Connect();
  Send(client, Plan(pb::VETH));
  EXPECT_TRUE(Receive(client)->has_planned());
  // The loop waits until the client is gone and its request is still unread.
  std::promise<void> died;
  loop_->Post([&died] { died.get_future().wait(); });
  Send(client, Commit());
  client.Reset();
  died.set_value();
  EXPECT_THAT(Calls(3), ElementsAre("plan blue/c1/eth0", "commit 1", "detach blue/c1/eth0"));
}

TEST_F(HandoffTest, GarbageIsAnsweredAndTheConnectionEnds) {
  const UniqueFd client = Connect();
  Send(client, "\xff\xff\xff");
  EXPECT_EQ(Receive(client)->error().code(), kCniDecodeFailure);
  EXPECT_EQ(Receive(client), std::nullopt);
}

TEST_F(HandoffTest, TooLargeAndTooManyDescriptors) {
  const UniqueFd large = Connect();
  const int room = 1 << 20;
  setsockopt(large.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  Send(large, std::string(kMaxHandoffMessage + 1, 'x'));
  EXPECT_EQ(Receive(large)->error().code(), kCniDecodeFailure);

  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const UniqueFd many = Connect();
  Send(many, Plan(pb::TAP));
  EXPECT_TRUE(Receive(many)->has_planned());
  const auto before = descriptors();
  Send(many, Commit(), 60);
  EXPECT_EQ(Receive(many)->error().code(), kCniDecodeFailure);
  EXPECT_EQ(Receive(many), std::nullopt);
  EXPECT_LE(descriptors(), before) << "unexpected descriptors stay open";
  EXPECT_THAT(Calls(2), ElementsAre("plan blue/c1/eth0", "rollback 1"));
}

TEST_F(HandoffTest, TooManyConnectionsAreToldToTryAgain) {
  std::vector<UniqueFd> clients;
  for (size_t i = 0; i < HandoffServer::kMaxConnections; ++i) clients.push_back(Connect());
  pb::Request ping;
  ping.set_protocol(1);
  ping.mutable_ping();
  Send(clients.back(), ping.SerializeAsString());
  EXPECT_TRUE(Receive(clients.back())->has_pong());
  const UniqueFd one_more = Connect();
  const std::optional<pb::Reply> reply = Receive(one_more);
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->error().code(), kCniTryAgainLater);
  EXPECT_EQ(Receive(one_more), std::nullopt);

  clients.pop_back();
  // The server accepts again once it has seen one end.
  std::optional<pb::Reply> pong;
  do {
    const UniqueFd again = Connect();
    // The server may refuse and close before the request is sent.
    const std::string bytes = ping.SerializeAsString();
    (void)!send(again.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    pong = Receive(again);
  } while (!pong.has_value() || !pong->has_pong());
}

TEST_F(HandoffTest, TheSocketIsItsOwnersOnlyAndReplacesAStaleOne) {
  struct stat file {};
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
  const absl::StatusOr<UniqueFd> again = ListenForHandoff(path_);
  EXPECT_TRUE(again.ok()) << again.status();
}

TEST(ListenForHandoffTest, APathThatIsTooLongIsNamed) {
  const absl::StatusOr<UniqueFd> listener = ListenForHandoff("/tmp/" + std::string(200, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(listener.status()));
  EXPECT_THAT(std::string(listener.status().message()), HasSubstr("--run-dir"));
}

TEST(ListenForHandoffTest, WhatIsNoSocketIsLeftAlone) {
  std::string path = "/tmp/file.XXXXXX";
  const UniqueFd file(mkstemp(path.data()));
  EXPECT_TRUE(absl::IsAlreadyExists(ListenForHandoff(path).status()));
  EXPECT_EQ(unlink(path.c_str()), 0);
}

}  // namespace
}  // namespace vxvde
