// The output of vxvdectl: messages of agent/api/status.proto -> text. Pure.

#ifndef VXVDE_AGENT_CTL_VIEWS_H_
#define VXVDE_AGENT_CTL_VIEWS_H_

#include <google/protobuf/message.h>

#include <string>

#include "absl/time/time.h"
#include "agent/api/status.pb.h"

namespace vxvde {

// Tables: a header line, then a line for each row. `wide` adds columns and shows exact numbers.
std::string CloudsView(const v1::ListCloudsResponse& list, bool wide);
std::string PortsView(const v1::ListPortsResponse& list, bool wide);
std::string PeersView(const v1::ListPeersResponse& list, bool wide);
std::string FdbView(const v1::ListFdbResponse& list, bool wide);
std::string GroupsView(const v1::ListGroupsResponse& list, bool wide);
std::string DropsView(const v1::ListDropsResponse& list, bool wide);

// Pools, then conflicts if there are any, then the held addresses.
std::string IpamView(const v1::Ipam& ipam, bool wide);

// Node, clouds and ports on one screen.
std::string StatusView(const v1::Node& node, const v1::ListCloudsResponse& clouds,
                       const v1::ListPortsResponse& ports, bool wide);

std::string ExplainView(const v1::ExplainResponse& explanation);

std::string WatchHeader();
// One line. Times of day are in `zone`.
std::string WatchLine(const v1::WatchResponse& response, absl::TimeZone zone);

// The JSON mapping of proto3, including fields of value zero. `lines`: indented; else one line.
std::string JsonOf(const google::protobuf::Message& message, bool lines);
// The same as a YAML document, strings quoted.
std::string YamlOf(const google::protobuf::Message& message);

}  // namespace vxvde

#endif  // VXVDE_AGENT_CTL_VIEWS_H_
