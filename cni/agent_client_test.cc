// The client against a socket whose answers each test chooses.

#include "cni/agent_client.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "agent/api/attachment_id.h"
#include "cni/error.h"
#include "plugin/os/unix_socket.h"

namespace vxvde {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// Answers each message on each connection with the result of `answer`. Ends with the test.
class FakeAgent {
 public:
  using Answer = std::function<std::string(const attach::v1::Request&, const UniqueFd& fd)>;

  explicit FakeAgent(Answer answer) : answer_(std::move(answer)) {
    std::string pattern = "/tmp/agent_client.XXXXXX";  // short enough for a socket
    folder_ = mkdtemp(pattern.data());
    listener_.Reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path().data(), path().size());
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_.get(), 8), 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeAgent() {
    shutdown(listener_.get(), SHUT_RDWR);  // makes accept() fail
    thread_.join();
    unlink(path().c_str());
    rmdir(folder_.c_str());
  }

  std::string path() const { return folder_ + "/s"; }
  int connections() const { return connections_; }

 private:
  void Serve() {
    while (true) {
      const UniqueFd connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection) return;
      ++connections_;
      while (One(connection)) {
      }
    }
  }

  bool One(const UniqueFd& connection) {
    std::vector<uint8_t> buffer(65536);
    absl::StatusOr<UnixMessage> message = ReceiveUnix(connection, buffer);
    if (!message.ok() || message->size == 0) return false;
    UniqueFd fd;
    if (!message->fds.empty()) fd = std::move(message->fds.front());
    attach::v1::Request request;
    EXPECT_TRUE(request.ParseFromArray(buffer.data(), static_cast<int>(message->size)));
    EXPECT_EQ(request.protocol(), kAttachProtocol);
    const std::string answer = answer_(request, fd);
    if (answer.empty()) return false;  // hangs up
    return SendUnix(connection, answer).ok();
  }

  Answer answer_;
  std::string folder_;
  UniqueFd listener_;
  std::atomic<int> connections_ = 0;
  std::thread thread_;
};

attach::v1::AttachmentKey Key() {
  attach::v1::AttachmentKey key;
  key.set_network("blue");
  key.set_container_id("c1");
  key.set_ifname("eth0");
  return key;
}

TEST(AgentClient, CommitEndsItsOwnPlan) {
  std::vector<std::string> asked;
  FakeAgent agent([&](const attach::v1::Request& request, const UniqueFd&) {
    attach::v1::Reply reply;
    if (request.has_plan()) {
      reply.mutable_planned()->set_id(request.plan().key().ifname());
    } else if (request.has_commit()) {
      asked.push_back(request.commit().addresses(0));
      reply.mutable_committed();
    } else if (request.has_detach()) {
      asked.push_back(request.detach().with_others() ? "detach all" : "detach");
      reply.mutable_detached();
    }
    return reply.SerializeAsString();
  });
  SocketAgentClient client(agent.path(), milliseconds(5000));
  attach::v1::Plan plan;
  *plan.mutable_key() = Key();
  ASSERT_TRUE(client.Plan(plan).ok());
  attach::v1::Commit commit;
  commit.add_addresses("192.0.2.7/24");
  EXPECT_FALSE(client.Commit(AttachmentId("blue", "c1", "net1"), commit, UniqueFd()).ok())
      << "is not planned";
  EXPECT_TRUE(client.Commit(AttachmentId("blue", "c1", "eth0"), commit, UniqueFd()).ok());
  commit.set_addresses(0, "192.0.2.8/24");
  EXPECT_TRUE(client.Commit(AttachmentId("blue", "c1", "eth0"), commit, UniqueFd()).ok())
      << "of an IPAM plugin that asked on the link";
  EXPECT_TRUE(client.Detach(Key()).ok());
  EXPECT_FALSE(client.Commit(AttachmentId("blue", "c1", "eth0"), commit, UniqueFd()).ok());
  EXPECT_TRUE(client.DetachAll(Key(), milliseconds(5000)).ok());
  EXPECT_THAT(asked, testing::ElementsAre("192.0.2.7/24", "192.0.2.8/24", "detach", "detach all"));
}

TEST(AgentClient, PlanAndCommitUseOneConnectionWhichCarriesTheTap) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  std::vector<std::string> addresses;
  FakeAgent agent([&](const attach::v1::Request& request, const UniqueFd& fd) {
    attach::v1::Reply reply;
    if (request.has_plan()) {
      EXPECT_FALSE(fd);
      reply.mutable_planned()->set_id("x" + request.plan().key().network());
    } else if (request.has_commit()) {
      addresses = {request.commit().addresses().begin(), request.commit().addresses().end()};
      EXPECT_TRUE(fd);
      EXPECT_EQ(write(fd.get(), "!", 1), 1);
      reply.mutable_committed()->set_port(3);
    }
    return reply.SerializeAsString();
  });
  SocketAgentClient client(agent.path(), milliseconds(5000));
  attach::v1::Plan plan;
  *plan.mutable_key() = Key();
  const auto planned = client.Plan(plan);
  ASSERT_TRUE(planned.ok()) << planned.status();
  EXPECT_EQ(planned->id(), "xblue");
  attach::v1::Commit commit;
  commit.add_addresses("192.0.2.7/24");
  const absl::Status committed = client.Commit(AttachmentId("blue", "c1", "eth0"), commit, writer);
  ASSERT_TRUE(committed.ok()) << committed;
  EXPECT_THAT(addresses, testing::ElementsAre("192.0.2.7/24"));
  char byte = 0;
  EXPECT_EQ(read(reader.get(), &byte, 1), 1);  // the descriptor is that of the pipe
  EXPECT_EQ(agent.connections(), 1);
}

TEST(AgentClient, DetachUsesASeparateConnection) {
  FakeAgent agent([&](const attach::v1::Request& request, const UniqueFd&) {
    attach::v1::Reply reply;
    if (request.has_plan()) reply.mutable_planned();
    if (request.has_detach()) {
      EXPECT_EQ(request.detach().key().container_id(), "c1");
      reply.mutable_detached()->set_found(false);
    }
    if (request.has_ping()) reply.mutable_pong()->set_version("1");
    return reply.SerializeAsString();
  });
  SocketAgentClient client(agent.path(), milliseconds(5000));
  attach::v1::Plan plan;
  *plan.mutable_key() = Key();
  ASSERT_TRUE(client.Plan(plan).ok());
  EXPECT_TRUE(client.Detach(Key()).ok());  // the agent sees the end of the plan's connection first
  EXPECT_EQ(agent.connections(), 2);
  EXPECT_TRUE(client.Ping({}, milliseconds(5000)).ok());
}

TEST(AgentClient, RefusalKeepsCodeMessageAndRemedy) {
  FakeAgent agent([](const attach::v1::Request&, const UniqueFd&) {
    attach::v1::Reply reply;
    reply.mutable_error()->set_code(101);
    reply.mutable_error()->set_message("no cloud \"blue\"");
    reply.mutable_error()->set_details("add it");
    return reply.SerializeAsString();
  });
  SocketAgentClient client(agent.path(), milliseconds(5000));
  const CniError error = ToCniError(client.Plan({}).status());
  EXPECT_EQ(error.code, 101u);
  EXPECT_EQ(error.msg, "no cloud \"blue\"");
  EXPECT_EQ(error.details, "add it");
}

TEST(AgentClient, UnexpectedAnswersAreAVersionMismatch) {
  for (const std::string& answer : {std::string("\xff\xff\xff"), [] {
                                      attach::v1::Reply reply;
                                      reply.mutable_pong();
                                      return reply.SerializeAsString();
                                    }()}) {
    FakeAgent agent([&](const attach::v1::Request&, const UniqueFd&) { return answer; });
    SocketAgentClient client(agent.path(), milliseconds(5000));
    EXPECT_EQ(ToCniError(client.Plan({}).status()).code, 100u);
  }
}

TEST(AgentClient, E7_NoAgentIsTryAgainLater) {
  SocketAgentClient client("/nonexistent/handoff.sock", milliseconds(5000));
  const CniError error = ToCniError(client.Plan({}).status());
  EXPECT_EQ(error.code, 11u);
  EXPECT_THAT(error.msg, HasSubstr("/nonexistent/handoff.sock"));
  EXPECT_THAT(error.details, HasSubstr("vxvde-agent"));
}

TEST(AgentClient, E7_HangUpAndSilenceAreTryAgainLater) {
  FakeAgent rude([](const attach::v1::Request&, const UniqueFd&) { return std::string(); });
  EXPECT_EQ(ToCniError(SocketAgentClient(rude.path(), milliseconds(5000)).Detach(Key())).code, 11u);

  // A listener that never accepts: the request waits in its queue.
  std::string folder = "/tmp/agent_client.XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/s";
  const UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 2), 0);
  const CniError error = ToCniError(SocketAgentClient(path, milliseconds(50)).Detach(Key()));
  EXPECT_EQ(error.code, 11u);
  EXPECT_THAT(error.msg, HasSubstr("no answer in time"));
  // DEL has a deadline of its own.
  const absl::Status late =
      SocketAgentClient(path, milliseconds(3'600'000)).DetachAll(Key(), milliseconds(50));
  EXPECT_EQ(ToCniError(late).code, 11u);
  unlink(path.c_str());
  rmdir(folder.c_str());
}

TEST(AgentClient, S1_ANegativeAnswerOfTheAgentKeepsItsCode) {
  FakeAgent agent([](const attach::v1::Request& request, const UniqueFd&) {
    EXPECT_EQ(request.ping().cloud(), "blue");
    attach::v1::Reply reply;
    attach::v1::Error& problem = *reply.mutable_pong()->mutable_problem();
    problem.set_code(51);
    problem.set_message("eth0 is down");
    problem.set_details("ip link set eth0 up");
    return reply.SerializeAsString();
  });
  attach::v1::Ping ping;
  ping.set_cloud("blue");
  const CniError error = ToCniError(
      SocketAgentClient(agent.path(), milliseconds(5000)).Ping(ping, milliseconds(5000)));
  EXPECT_EQ(error.code, 51u);
  EXPECT_EQ(error.msg, "eth0 is down");
  EXPECT_EQ(error.details, "ip link set eth0 up");
  EXPECT_EQ(agent.connections(), 1);
}

// The first two connections reach an agent that is shutting down.
TEST(AgentClient, S1_PingOutlivesARestart) {
  int calls = 0;
  FakeAgent agent([&](const attach::v1::Request&, const UniqueFd&) {
    attach::v1::Reply reply;
    reply.mutable_pong()->set_version("1");
    return ++calls <= 2 ? std::string() : reply.SerializeAsString();
  });
  EXPECT_TRUE(
      SocketAgentClient(agent.path(), milliseconds(5000)).Ping({}, milliseconds(5000)).ok());
  EXPECT_EQ(agent.connections(), 3);
  const CniError error = ToCniError(
      SocketAgentClient("/nonexistent/s", milliseconds(5000)).Ping({}, milliseconds(150)));
  EXPECT_EQ(error.code, 11u);
}

}  // namespace
}  // namespace vxvde
