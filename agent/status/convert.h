// NodeSnapshot -> the messages of agent/api/status.proto: filters, pages, names. Pure, and
// independent of gRPC.

#ifndef VXVDE_AGENT_STATUS_CONVERT_H_
#define VXVDE_AGENT_STATUS_CONVERT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "agent/api/status.pb.h"
#include "agent/status/node_view.h"
#include "google/protobuf/duration.pb.h"
#include "plugin/switch.h"

namespace vxvde {

inline constexpr int kDefaultPageSize = 1000;
inline constexpr int kMaxPageSize = 10000;

void Set(google::protobuf::Duration* out, Duration value);

v1::Node ToNode(const NodeSnapshot& node, Duration loop_delay);

// One page each. InvalidArgument: page_size or page_token is invalid. NotFound: no such cloud.
absl::StatusOr<v1::ListCloudsResponse> ToResponse(const NodeSnapshot& node,
                                                  const v1::ListCloudsRequest& request);
absl::StatusOr<v1::ListPortsResponse> ToResponse(const NodeSnapshot& node,
                                                 const v1::ListPortsRequest& request);
absl::StatusOr<v1::ListPeersResponse> ToResponse(const NodeSnapshot& node,
                                                 const v1::ListPeersRequest& request);
absl::StatusOr<v1::ListFdbResponse> ToResponse(const NodeSnapshot& node,
                                               const v1::ListFdbRequest& request);
// Adds the stations of the requested page to `node`, a snapshot of the same turn whose clouds are
// sorted by name.
void AddStations(const NodeView& view, const v1::ListFdbRequest& request, NodeSnapshot& node);
absl::StatusOr<v1::ListGroupsResponse> ToResponse(const NodeSnapshot& node,
                                                  const v1::ListGroupsRequest& request);
absl::StatusOr<v1::ListDropsResponse> ToResponse(const NodeSnapshot& node,
                                                 const v1::ListDropsRequest& request);

// NotFound: no such cloud.
absl::StatusOr<v1::Ipam> ToResponse(const NodeSnapshot& node, const v1::GetIpamRequest& request);

// `unix_time`: since the epoch.
v1::Event ToEvent(const SwitchEvent& event, const std::string& cloud_name, Duration unix_time);

// `node` supplies the names of ports. `cloud`: as the caller named it.
v1::ExplainResponse ToResponse(const Explanation& explanation, const NodeSnapshot& node,
                               const std::string& cloud, const MacAddress& source,
                               const MacAddress& destination);

}  // namespace vxvde

#endif  // VXVDE_AGENT_STATUS_CONVERT_H_
