// vxvdectl's side of agent/api/status.proto. gRPC is visible in client.cc only.

#ifndef VXVDE_AGENT_CTL_CLIENT_H_
#define VXVDE_AGENT_CTL_CLIENT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/api/status.pb.h"

namespace vxvde {

// Each call waits a few seconds at most. The messages of Unavailable and DeadlineExceeded contain
// the remedy; other errors are the agent's own messages.
class StatusClient {
 public:
  // `address`: a gRPC target such as "unix:/run/vxvde/status.sock". The constructor does not
  // connect.
  explicit StatusClient(std::string address);
  ~StatusClient();

  absl::StatusOr<v1::Node> GetNode();

  // Complete lists, from all pages. An empty `cloud` selects all clouds.
  absl::StatusOr<v1::ListCloudsResponse> ListClouds();
  absl::StatusOr<v1::ListPortsResponse> ListPorts(const std::string& cloud);
  absl::StatusOr<v1::ListPeersResponse> ListPeers(const std::string& cloud);
  absl::StatusOr<v1::ListFdbResponse> ListFdb(const std::string& cloud);
  absl::StatusOr<v1::ListGroupsResponse> ListGroups(const std::string& cloud);
  absl::StatusOr<v1::ListDropsResponse> ListDrops(const std::string& cloud);

  absl::StatusOr<v1::Ipam> GetIpam(const std::string& cloud);  // empty: all clouds
  absl::StatusOr<v1::ExplainResponse> Explain(const v1::ExplainRequest& request);

  // Blocks until SIGINT or SIGTERM (OK) or the end of the stream. Both signals must be blocked in
  // every thread of the program.
  absl::Status Watch(const std::string& cloud,
                     const std::function<void(const v1::WatchResponse&)>& got);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_CTL_CLIENT_H_
