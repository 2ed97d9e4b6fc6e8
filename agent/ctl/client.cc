#include "agent/ctl/client.h"

#include <grpcpp/grpcpp.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "agent/api/status.grpc.pb.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;

constexpr auto kPatience = 5s;

// The reason why no agent answers at `address`, and the remedy. `said`: the message of gRPC.
std::string Remedy(absl::string_view address, const std::string& said) {
  constexpr char kStart[] = "Is vxvde-agent running (systemctl status vxvde-agent)?";
  if (absl::ConsumePrefix(&address, "unix:")) {
    const std::string path(address);
    if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) {
      return absl::StrCat("there is no such socket. ", kStart,
                          " For an agent with another run directory, give --run-dir.");
    }
    if (access(path.c_str(), W_OK) != 0 && errno == EACCES) {
      return "permission denied for that socket. Use root, or a user in the socket's group.";
    }
  }
  return absl::StrCat(said, ". ", kStart);
}

}  // namespace

struct StatusClient::Impl {
  std::string address;
  std::unique_ptr<v1::Status::Stub> stub;

  absl::Status ToStatus(const grpc::Status& status) const {
    switch (status.error_code()) {
      case grpc::StatusCode::OK:
        return absl::OkStatus();
      case grpc::StatusCode::UNAVAILABLE:
        return absl::UnavailableError(absl::StrCat("no answer from the agent at ", address, ": ",
                                                   Remedy(address, status.error_message())));
      case grpc::StatusCode::DEADLINE_EXCEEDED:
        return absl::DeadlineExceededError(absl::StrCat(
            "the agent at ", address, " did not answer in time (", status.error_message(),
            "). Its datapath may be stuck: check its CPU usage and its log (journalctl -u "
            "vxvde-agent)."));
      default:  // absl::StatusCode has the numbers of gRPC
        return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                            status.error_message());
    }
  }

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (v1::Status::Stub::*method)(grpc::ClientContext*,
                                                                         const Request&, Response*),
                                const Request& request) const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    Response response;
    RETURN_IF_ERROR(ToStatus((*stub.*method)(&context, request, &response)));
    return response;
  }

  // Fetches and merges all pages.
  template <typename Response, typename Request>
  absl::StatusOr<Response> List(grpc::Status (v1::Status::Stub::*method)(grpc::ClientContext*,
                                                                         const Request&, Response*),
                                Request request) const {
    Response all;
    do {
      ASSIGN_OR_RETURN(const Response page, Call(method, request));
      request.set_page_token(page.next_page_token());
      all.MergeFrom(page);
    } while (!request.page_token().empty());
    all.clear_next_page_token();
    return all;
  }
  template <typename Response, typename Request>
  absl::StatusOr<Response> ListOf(grpc::Status (v1::Status::Stub::*method)(grpc::ClientContext*,
                                                                           const Request&,
                                                                           Response*),
                                  const std::string& cloud) const {
    Request request;
    request.set_cloud(cloud);
    return List(method, std::move(request));
  }
};

StatusClient::StatusClient(std::string address) : impl_(std::make_unique<Impl>()) {
  impl_->address = std::move(address);
  impl_->stub =
      v1::Status::NewStub(grpc::CreateChannel(impl_->address, grpc::InsecureChannelCredentials()));
}
StatusClient::~StatusClient() = default;

absl::StatusOr<v1::Node> StatusClient::GetNode() {
  return impl_->Call(&v1::Status::Stub::GetNode, v1::GetNodeRequest());
}
absl::StatusOr<v1::ListCloudsResponse> StatusClient::ListClouds() {
  return impl_->List(&v1::Status::Stub::ListClouds, v1::ListCloudsRequest());
}
absl::StatusOr<v1::ListPortsResponse> StatusClient::ListPorts(const std::string& cloud) {
  return impl_->ListOf(&v1::Status::Stub::ListPorts, cloud);
}
absl::StatusOr<v1::ListPeersResponse> StatusClient::ListPeers(const std::string& cloud) {
  return impl_->ListOf(&v1::Status::Stub::ListPeers, cloud);
}
absl::StatusOr<v1::ListFdbResponse> StatusClient::ListFdb(const std::string& cloud) {
  return impl_->ListOf(&v1::Status::Stub::ListFdb, cloud);
}
absl::StatusOr<v1::ListGroupsResponse> StatusClient::ListGroups(const std::string& cloud) {
  return impl_->ListOf(&v1::Status::Stub::ListGroups, cloud);
}
absl::StatusOr<v1::ListDropsResponse> StatusClient::ListDrops(const std::string& cloud) {
  return impl_->ListOf(&v1::Status::Stub::ListDrops, cloud);
}
absl::StatusOr<v1::Ipam> StatusClient::GetIpam(const std::string& cloud) {
  v1::GetIpamRequest request;
  request.set_cloud(cloud);
  return impl_->Call(&v1::Status::Stub::GetIpam, request);
}
absl::StatusOr<v1::ExplainResponse> StatusClient::Explain(const v1::ExplainRequest& request) {
  return impl_->Call(&v1::Status::Stub::Explain, request);
}

absl::Status StatusClient::Watch(const std::string& cloud,
                                 const std::function<void(const v1::WatchResponse&)>& got) {
  grpc::ClientContext context;
  v1::WatchRequest request;
  request.set_cloud(cloud);
  const auto stream = impl_->stub->Watch(&context, request);

  std::atomic<bool> ended = false;        // the stream ended by itself
  std::atomic<bool> interrupted = false;  // a signal arrived
  std::thread signals([&] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    int signal = 0;
    sigwait(&set, &signal);
    if (ended) return;
    interrupted = true;
    context.TryCancel();
  });
  v1::WatchResponse response;
  while (stream->Read(&response)) got(response);
  ended = true;
  pthread_kill(signals.native_handle(),
               SIGINT);  // stays pending if the thread no longer waits: harmless
  signals.join();
  const grpc::Status status = stream->Finish();
  return interrupted ? absl::OkStatus() : impl_->ToStatus(status);
}

}  // namespace vxvde
