#include "agent/status/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "agent/api/health.pb.h"
#include "agent/api/status.grpc.pb.h"
#include "agent/status/convert.h"
#include "agent/status/watchers.h"
#include "plugin/base/status.h"
#include "plugin/base/time.h"
#include "plugin/os/fd.h"
#include "plugin/os/mutex.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;

constexpr Duration kMaxCallDuration = 2s;
constexpr Duration kHealthDeadline = 1s;
constexpr Duration kHealthPeriod = 1s;
// Each call that waits for the loop occupies one; watchers occupy none.
constexpr int kMaxThreads = 16;
constexpr int kMaxRequestBytes = 64 * 1024;

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // The numbers of absl::StatusCode are those of gRPC.
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

const grpc::Status& Starting() {
  static const grpc::Status status(grpc::StatusCode::UNAVAILABLE,
                                   "the agent is starting or stopping: retry");
  return status;
}

Duration SinceEpoch() { return std::chrono::system_clock::now().time_since_epoch(); }

class Service final : public v1::Status::WithCallbackMethod_Watch<v1::Status::Service> {
 public:
  Service(EventLoop* loop, const NodeView* view)
      : loop_(loop), view_(view), watchers_(std::make_shared<Watchers>()) {}

  Watchers& watchers() { return *watchers_; }
  void SetServing(bool serving) { serving_ = serving; }

  grpc::Status GetNode(grpc::ServerContext* context, const v1::GetNodeRequest*,
                       v1::Node* response) override {
    const Instant asked = Clock::now();
    const auto node = OnLoop(context, [view = view_, asked] {
      return std::pair(view->Snapshot(), Clock::now() - asked);
    });
    if (!node.ok()) return ToGrpc(node.status());
    *response = ToNode(node->first, node->second);
    return grpc::Status::OK;
  }

  grpc::Status ListClouds(grpc::ServerContext* context, const v1::ListCloudsRequest* request,
                          v1::ListCloudsResponse* response) override {
    return List(context, *request, response);
  }
  grpc::Status ListPorts(grpc::ServerContext* context, const v1::ListPortsRequest* request,
                         v1::ListPortsResponse* response) override {
    return List(context, *request, response);
  }
  grpc::Status ListPeers(grpc::ServerContext* context, const v1::ListPeersRequest* request,
                         v1::ListPeersResponse* response) override {
    return List(context, *request, response);
  }
  grpc::Status ListFdb(grpc::ServerContext* context, const v1::ListFdbRequest* request,
                       v1::ListFdbResponse* response) override {
    return Reply(OnLoop(context,
                        [view = view_, request = *request] {
                          NodeSnapshot node = view->Snapshot();
                          AddStations(*view, request, node);
                          return node;
                        }),
                 *request, response);
  }
  grpc::Status ListGroups(grpc::ServerContext* context, const v1::ListGroupsRequest* request,
                          v1::ListGroupsResponse* response) override {
    return List(context, *request, response);
  }
  grpc::Status ListDrops(grpc::ServerContext* context, const v1::ListDropsRequest* request,
                         v1::ListDropsResponse* response) override {
    return List(context, *request, response);
  }

  grpc::Status GetIpam(grpc::ServerContext* context, const v1::GetIpamRequest* request,
                       v1::Ipam* response) override {
    return List(context, *request, response);
  }

  grpc::Status Explain(grpc::ServerContext* context, const v1::ExplainRequest* request,
                       v1::ExplainResponse* response) override {
    const auto source = MacAddress::Parse(request->source());
    if (!source.ok()) return ToGrpc(Annotate(source.status(), "source"));
    const auto destination = MacAddress::Parse(request->destination());
    if (!destination.ok()) return ToGrpc(Annotate(destination.status(), "destination"));

    auto answer = OnLoop(
        context, [view = view_, cloud = request->cloud(), source = *source, to = *destination] {
          return std::pair(view->Explain(cloud, source, to), view->Snapshot());
        });
    if (!answer.ok()) return ToGrpc(answer.status());
    const auto& [explanation, node] = *answer;
    if (!explanation.ok()) return ToGrpc(explanation.status());
    *response = ToResponse(*explanation, node, request->cloud(), *source, *destination);
    return grpc::Status::OK;
  }

  // Posts instead of waiting: a thread of gRPC's callback API must not block.
  Watchers::Reactor* Watch(grpc::CallbackServerContext*, const v1::WatchRequest* request) override {
    if (!serving_) return Watchers::Refuse(Starting());
    uint64_t id = 0;
    Watchers::Reactor* reactor = watchers_->Add(request->cloud(), &id);
    if (id != 0) {
      loop_->Post([watchers = watchers_, view = view_, id, asked = Clock::now()] {
        watchers->Begin(id, ToNode(view->Snapshot(), Clock::now() - asked));
      });
    }
    return reactor;
  }

 private:
  // Runs `function` on the loop, within the caller's deadline.
  template <typename Function, typename Result = std::invoke_result_t<Function>>
  absl::StatusOr<Result> OnLoop(grpc::ServerContext* context, Function function) {
    if (!serving_) return absl::UnavailableError(Starting().error_message());
    const auto left = context->deadline() - std::chrono::system_clock::now();
    return loop_->Call(std::move(function),
                       std::clamp<Duration>(left, Duration{}, kMaxCallDuration));
  }

  template <typename Request, typename Response>
  grpc::Status List(grpc::ServerContext* context, const Request& request, Response* response) {
    return Reply(OnLoop(context, [view = view_] { return view->Snapshot(); }), request, response);
  }

  template <typename Request, typename Response>
  grpc::Status Reply(const absl::StatusOr<NodeSnapshot>& node, const Request& request,
                     Response* response) {
    if (!node.ok()) return ToGrpc(node.status());
    absl::StatusOr<Response> page = ToResponse(*node, request);
    if (!page.ok()) return ToGrpc(page.status());
    *response = *std::move(page);
    return grpc::Status::OK;
  }

  EventLoop* const loop_;
  const NodeView* const view_;
  const std::shared_ptr<Watchers> watchers_;
  std::atomic<bool> serving_{false};
};

// Measures health: whether the loop still answers, and whether pods may come.
class HealthProbe {
 public:
  HealthProbe(EventLoop* loop, const NodeView* view, grpc::HealthCheckServiceInterface* health)
      : loop_(loop), view_(view), health_(health) {
    Report();
  }
  absl::Status Start() {
    try {
      thread_ = std::thread([this] { Run(); });
    } catch (const std::system_error& error) {
      return ErrnoStatus(error.code().value(), "start the thread that measures health");
    }
    return absl::OkStatus();
  }
  ~HealthProbe() {
    {
      const MutexLock lock(&mutex_);
      stopping_ = true;
    }
    wake_.NotifyAll();
    if (thread_.joinable()) thread_.join();
  }

  // True holds until the next measurement.
  void SetServing(bool serving) {
    const MutexLock lock(&mutex_);
    serving_ = ready_ = serving;
    Report();
  }

 private:
  void Run() {
    while (true) {
      const bool ready =
          // It may run after the deadline, and after this object is gone; the view still exists
          // then.
          loop_->Call([view = view_] { return view->WhyNotReady().empty(); }, kHealthDeadline)
              .value_or(false);
      const Instant next = Clock::now() + kHealthPeriod;
      const MutexLock lock(&mutex_);
      ready_ = ready;
      Report();
      while (!stopping_ && wake_.WaitUntil(&mutex_, next)) continue;
      if (stopping_) return;
    }
  }
  void Report() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const char* service : {"", v1::Status::service_full_name()}) {
      health_->SetServingStatus(service, serving_ && ready_);
    }
  }

  EventLoop* const loop_;
  const NodeView* const view_;
  grpc::HealthCheckServiceInterface* const health_;
  Mutex mutex_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// gRPC replaces any socket at `path`, which must not be the socket of a living agent.
absl::Status CheckSocketPath(const std::string& path) {
  sockaddr_un address = {};
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("status socket ", path, ": longer than ",
                                                   sizeof(address.sun_path) - 1,
                                                   " bytes; choose a shorter --run-dir"));
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
      errno == EAGAIN) {
    return absl::AlreadyExistsError(
        absl::StrCat("another agent answers at ", path, "; stop it, or choose another --run-dir"));
  }
  struct stat info;
  if (lstat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " exists and is not a socket; remove it, or choose another --run-dir"));
  }
  return absl::OkStatus();
}

}  // namespace

struct StatusServer::Impl {
  Impl(EventLoop* loop, const NodeView* view) : service(loop, view) {}

  Service service;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<HealthProbe> health;  // null after Shutdown
};

StatusServer::StatusServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

StatusServer::~StatusServer() { Shutdown(); }

absl::StatusOr<std::unique_ptr<StatusServer>> StatusServer::Start(EventLoop* loop,
                                                                  const NodeView* view,
                                                                  const std::string& socket_path) {
  RETURN_IF_ERROR(CheckSocketPath(socket_path));

  auto impl = std::make_unique<Impl>(loop, view);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::health::v1::HealthCheckRequest::descriptor();  // links the descriptor, so that reflection
                                                       // lists it
  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("status");
  quota.SetMaxThreads(kMaxThreads);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.AddListeningPort("unix:" + socket_path, grpc::InsecureServerCredentials());
  builder.RegisterService(&impl->service);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", socket_path,
                                               "; does its directory exist, and is it writable?"));
  }
  // gRPC creates the socket with the umask. Connecting to it requires write permission.
  if (chmod(socket_path.c_str(), 0660) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot set the mode of ", socket_path, " to 0660"));
  }
  impl->health = std::make_unique<HealthProbe>(loop, view, impl->server->GetHealthCheckService());
  RETURN_IF_ERROR(impl->health->Start());
  return std::unique_ptr<StatusServer>(new StatusServer(std::move(impl)));
}

void StatusServer::Publish(const SwitchEvent& event, const std::string& cloud_name) {
  Watchers& watchers = impl_->service.watchers();
  if (watchers.empty()) return;
  watchers.Publish(ToEvent(event, cloud_name, SinceEpoch()));
}

void StatusServer::SetServing(bool serving) {
  impl_->service.SetServing(serving);
  if (impl_->health != nullptr) impl_->health->SetServing(serving);
}

void StatusServer::Shutdown() {
  if (impl_->health == nullptr) return;
  SetServing(false);
  impl_->service.watchers().Close(Starting());
  impl_->health.reset();
  // Calls that wait for the loop may complete; streams of health and reflection end here.
  impl_->server->Shutdown(std::chrono::system_clock::now() + kMaxCallDuration);
  // Shutdown may never return (docs/decisions/0020), so it runs here, where the loop continues
  // meanwhile.
  impl_->server.reset();
}

}  // namespace vxvde
