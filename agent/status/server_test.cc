// The server as clients see it: real gRPC on a unix socket, a made-up node, a real loop.

#include "agent/status/server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/api/health.grpc.pb.h"
#include "agent/api/status.grpc.pb.h"
#include "agent/status/testing/fake_node.h"

namespace vxvde {
namespace {

using grpc::StatusCode;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::SizeIs;

class StatusServerTest : public testing::Test {
 protected:
  StatusServerTest() {
    char pattern[] = "/tmp/status_server_test.XXXXXX";
    directory_ = mkdtemp(pattern);
    path_ = directory_ + "/status.sock";
    auto server = StatusServer::Start(loop_.loop(), &node_, path_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    server_->SetServing(true);
    channel_ = grpc::CreateChannel("unix:" + path_, grpc::InsecureChannelCredentials());
    stub_ = v1::Status::NewStub(channel_);
  }
  ~StatusServerTest() override {
    loop_.Release();
    server_.reset();
    unlink(path_.c_str());
    rmdir(directory_.c_str());
  }

  void Publish(SwitchEvent::Kind kind, int times = 1, const std::string& cloud = "blue") {
    loop_.Run([&] {
      SwitchEvent event{kind};
      event.mac = Mac(8);
      event.port = PortId{1};
      for (int i = 0; i < times; ++i) server_->Publish(event, cloud);
    });
  }

  std::string directory_, path_;
  FakeNode node_;
  LoopThread loop_;
  std::unique_ptr<StatusServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Status::Stub> stub_;
};

// A call that gives up after a while, so that no test hangs.
struct Patient : grpc::ClientContext {
  explicit Patient(Duration wait = 20s) { set_deadline(std::chrono::system_clock::now() + wait); }
};

// Any process that can open the socket may query; no call changes anything.
TEST(StatusService, OnlyReads) {
  const google::protobuf::FileDescriptor* file = v1::Node::descriptor()->file();
  ASSERT_EQ(file->service_count(), 1);
  for (int i = 0; i < file->service(0)->method_count(); ++i) {
    EXPECT_THAT(file->service(0)->method(i)->name(),
                MatchesRegex("(Get|List|Explain|Watch)[A-Za-z]*"));
  }
}

TEST_F(StatusServerTest, AnswersFromTheLoop) {
  Patient context;
  v1::Node node;
  const grpc::Status status = stub_->GetNode(&context, {}, &node);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(node.name(), "n1");
  EXPECT_EQ(node.station_count(), 4u);
  EXPECT_GT(node.loop_delay().nanos(), 0);
}

TEST_F(StatusServerTest, PagesAndFilters) {
  v1::ListFdbRequest request;
  request.set_cloud("blue");
  request.set_page_size(3);
  v1::ListFdbResponse response;
  {
    Patient context;
    ASSERT_TRUE(stub_->ListFdb(&context, request, &response).ok());
  }
  EXPECT_THAT(response.entries(), SizeIs(3));
  request.set_page_token(response.next_page_token());
  {
    Patient context;
    ASSERT_TRUE(stub_->ListFdb(&context, request, &response).ok());
  }
  EXPECT_THAT(response.entries(), SizeIs(1));
  EXPECT_EQ(response.next_page_token(), "");
  {
    Patient context;
    request.set_page_token("nonsense");
    EXPECT_EQ(stub_->ListFdb(&context, request, &response).error_code(),
              StatusCode::INVALID_ARGUMENT);
  }
  {
    Patient context;
    v1::ListPortsRequest ports;
    ports.set_cloud("none");
    v1::ListPortsResponse none;
    EXPECT_EQ(stub_->ListPorts(&context, ports, &none).error_code(), StatusCode::NOT_FOUND);
  }
}

TEST_F(StatusServerTest, EveryListAnswers) {
  v1::ListCloudsResponse clouds;
  v1::ListPortsResponse ports;
  v1::ListPeersResponse peers;
  v1::ListDropsResponse drops;
  Patient c1, c2, c3, c4;
  ASSERT_TRUE(stub_->ListClouds(&c1, {}, &clouds).ok());
  ASSERT_TRUE(stub_->ListPorts(&c2, {}, &ports).ok());
  ASSERT_TRUE(stub_->ListPeers(&c3, {}, &peers).ok());
  ASSERT_TRUE(stub_->ListDrops(&c4, {}, &drops).ok());
  EXPECT_THAT(clouds.clouds(), SizeIs(2));
  EXPECT_THAT(ports.ports(), SizeIs(3));
  EXPECT_THAT(peers.peers(), SizeIs(2));
  EXPECT_THAT(drops.drops(), SizeIs(3));
}

TEST_F(StatusServerTest, ExplainsAndNamesWhatIsWrong) {
  v1::ExplainRequest request;
  request.set_cloud("blue");
  request.set_source("02-00-5E-10-00-08");
  request.set_destination("02:00:5e:10:00:01");
  v1::ExplainResponse response;
  {
    Patient context;
    const grpc::Status status = stub_->Explain(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.action(), v1::ExplainResponse::TO_PORT);
    EXPECT_EQ(response.to().port_name(), "vx0000000000001");
    EXPECT_EQ(response.source(), "02:00:5e:10:00:08");
  }
  {
    Patient context;
    request.set_cloud("red");
    const grpc::Status status = stub_->Explain(&context, request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
    EXPECT_THAT(status.error_message(), HasSubstr("'red'"));
  }
  {
    Patient context;
    request.set_destination("02:00");
    const grpc::Status status = stub_->Explain(&context, request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("destination"));
  }
}

TEST_F(StatusServerTest, ALateLoopIsDeadlineExceeded) {
  loop_.Hold();
  v1::Node node;
  {
    Patient context(50ms);  // the caller's own deadline
    EXPECT_EQ(stub_->GetNode(&context, {}, &node).error_code(), StatusCode::DEADLINE_EXCEEDED);
  }
  {
    Patient context;  // the server's limit, although the caller would wait longer
    const grpc::Status status = stub_->GetNode(&context, {}, &node);
    EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
    EXPECT_THAT(status.error_message(), HasSubstr("event loop"));
  }
  loop_.Release();
  Patient context;
  EXPECT_TRUE(stub_->GetNode(&context, {}, &node).ok());
}

TEST_F(StatusServerTest, IsUnavailableWhenNotServing) {
  server_->SetServing(false);
  v1::Node node;
  Patient context;
  EXPECT_EQ(stub_->GetNode(&context, {}, &node).error_code(), StatusCode::UNAVAILABLE);
  Patient watch;
  const auto stream = stub_->Watch(&watch, {});
  v1::WatchResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(StatusServerTest, WatchGivesTheNodeThenEvents) {
  Patient context;
  v1::WatchRequest request;
  request.set_cloud("blue");
  const auto stream = stub_->Watch(&context, request);
  v1::WatchResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.node().name(), "n1");

  Publish(SwitchEvent::Kind::kCloudJoined, 1, "green");  // not requested
  Publish(SwitchEvent::Kind::kStationAdded);
  Publish(SwitchEvent::Kind::kStationGone);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.event().type(), v1::Event::STATION_ADDED);
  EXPECT_EQ(response.event().cloud(), "blue");
  EXPECT_EQ(response.event().mac(), "02:00:5e:10:00:08");
  EXPECT_GT(response.event().time().seconds(), 1700000000);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.event().type(), v1::Event::STATION_GONE);

  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
  Publish(SwitchEvent::Kind::kStationAdded);  // without a watcher
}

TEST_F(StatusServerTest, ASlowWatcherIsToldWhatItLost) {
  Patient context;
  const auto stream = stub_->Watch(&context, {});
  v1::WatchResponse response;
  ASSERT_TRUE(stream->Read(&response));

  constexpr int kMany = 300000;  // more than gRPC itself would buffer
  Publish(SwitchEvent::Kind::kStationMoved, kMany);
  uint64_t received = 0, lost = 0;
  while (received + lost < kMany && stream->Read(&response)) {
    received += response.kind_case() == v1::WatchResponse::kEvent ? 1 : 0;
    lost += response.lost();
  }
  EXPECT_EQ(received + lost, kMany);
  EXPECT_GT(lost, 0u);
  EXPECT_GT(received, 0u);

  Publish(SwitchEvent::Kind::kStationGone);  // and the stream continues
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.event().type(), v1::Event::STATION_GONE);
}

TEST_F(StatusServerTest, WatchersAreLimited) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchResponse>>> streams;
  v1::WatchResponse response;
  StatusCode refused = StatusCode::OK;
  while (refused == StatusCode::OK && streams.size() < 1000) {
    contexts.push_back(std::make_unique<Patient>());
    streams.push_back(stub_->Watch(contexts.back().get(), {}));
    if (!streams.back()->Read(&response)) {
      refused = streams.back()->Finish().error_code();
      streams.pop_back();
    }
  }
  EXPECT_EQ(refused, StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(streams, SizeIs(64));
  for (const auto& context : contexts) context->TryCancel();
  for (const auto& stream : streams) stream->Finish();
}

TEST_F(StatusServerTest, ShutdownEndsOpenStreams) {
  Patient context;
  const auto stream = stub_->Watch(&context, {});
  v1::WatchResponse response;
  ASSERT_TRUE(stream->Read(&response));
  Patient health_context;
  const auto health_stub = grpc::health::v1::Health::NewStub(channel_);
  const auto health = health_stub->Watch(&health_context, {});
  grpc::health::v1::HealthCheckResponse state;
  ASSERT_TRUE(health->Read(&state));

  server_->Shutdown();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::UNAVAILABLE);
  while (health->Read(&state)) {
  }
  EXPECT_FALSE(health->Finish().ok());
  EXPECT_NE(access(path_.c_str(), F_OK), 0) << "the socket remains";
}

TEST_F(StatusServerTest, ShutdownDoesNotWaitForAHeldLoop) {
  loop_.Hold();
  std::thread client([&] {
    Patient context;
    v1::Node node;
    EXPECT_FALSE(stub_->GetNode(&context, {}, &node).ok());
  });
  Patient context;
  const auto stream = stub_->Watch(&context, {});
  const Instant start = Clock::now();
  server_->Shutdown();
  EXPECT_LT(Clock::now() - start, 10s);
  client.join();
  stream->Finish();
}

// Follows the health stream until it reports `wanted`.
bool ReadUntil(grpc::ClientReader<grpc::health::v1::HealthCheckResponse>* stream,
               grpc::health::v1::HealthCheckResponse::ServingStatus wanted) {
  grpc::health::v1::HealthCheckResponse response;
  while (stream->Read(&response)) {
    if (response.status() == wanted) return true;
  }
  return false;
}

TEST_F(StatusServerTest, HealthIsWhatTheLoopDoes) {
  using Response = grpc::health::v1::HealthCheckResponse;
  const auto stub = grpc::health::v1::Health::NewStub(channel_);
  for (const std::string service : {"", "vxvde.v1.Status"}) {
    Patient context(60s);
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    const auto stream = stub->Watch(&context, request);
    EXPECT_TRUE(ReadUntil(stream.get(), Response::SERVING));
    loop_.Hold();
    EXPECT_TRUE(ReadUntil(stream.get(), Response::NOT_SERVING));
    loop_.Release();
    EXPECT_TRUE(ReadUntil(stream.get(), Response::SERVING));
    server_->SetServing(false);
    EXPECT_TRUE(ReadUntil(stream.get(), Response::NOT_SERVING));
    server_->SetServing(true);
    EXPECT_TRUE(ReadUntil(stream.get(), Response::SERVING));
    context.TryCancel();
    stream->Finish();
  }
}

TEST_F(StatusServerTest, ANodeThatIsNotReadyIsNotServingUntilItIs) {
  using Response = grpc::health::v1::HealthCheckResponse;
  const auto stub = grpc::health::v1::Health::NewStub(channel_);
  Patient context(60s);
  const auto stream = stub->Watch(&context, {});
  EXPECT_TRUE(ReadUntil(stream.get(), Response::SERVING));
  const auto set = [&](const std::string& why) {
    ASSERT_TRUE(loop_.loop()->Call([&] { return node_.node.not_ready = why; }, 10s).ok());
  };
  set("table inet vxvde: not permitted");
  EXPECT_TRUE(ReadUntil(stream.get(), Response::NOT_SERVING));
  set("");
  EXPECT_TRUE(ReadUntil(stream.get(), Response::SERVING));
  context.TryCancel();
  stream->Finish();
}

TEST_F(StatusServerTest, SocketIsForTheGroup) {
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0660u);
}

TEST_F(StatusServerTest, LeavesALivingAgentsSocketAlone) {
  const auto second = StatusServer::Start(loop_.loop(), &node_, path_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(path_));
  Patient context;
  v1::Node node;
  EXPECT_TRUE(stub_->GetNode(&context, {}, &node).ok());
}

TEST_F(StatusServerTest, ReplacesADeadAgentsSocket) {
  const std::string path = directory_ + "/dead.sock";
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  close(dead);

  const auto server = StatusServer::Start(loop_.loop(), &node_, path);
  ASSERT_TRUE(server.ok()) << server.status();
}

TEST_F(StatusServerTest, RefusesWhatCannotBeASocket) {
  const std::string file = directory_ + "/file";
  std::ofstream(file) << "precious";
  EXPECT_EQ(StatusServer::Start(loop_.loop(), &node_, file).status().code(),
            absl::StatusCode::kFailedPrecondition);
  std::string kept;
  std::ifstream(file) >> kept;
  EXPECT_EQ(kept, "precious");
  unlink(file.c_str());

  EXPECT_EQ(
      StatusServer::Start(loop_.loop(), &node_, "/tmp/" + std::string(108, 'x')).status().code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusServer::Start(loop_.loop(), &node_, directory_ + "/no/such").status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace vxvde
