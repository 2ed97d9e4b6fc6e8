// NodeView: the queries of the status side about the node. LiveNode implements it; tests supply
// their own.

#ifndef VXVDE_AGENT_STATUS_NODE_VIEW_H_
#define VXVDE_AGENT_STATUS_NODE_VIEW_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/model/node_snapshot.h"
#include "plugin/switch.h"

namespace vxvde {

// Every call is made on the loop's thread.
class NodeView {
 public:
  virtual ~NodeView() = default;
  // Of stations, contains only their number.
  virtual NodeSnapshot Snapshot() const = 0;
  // NodeSnapshot::not_ready alone.
  virtual std::string WhyNotReady() const = 0;
  // The first `limit` stations of a cloud by MAC, after `after`. Empty for an unknown cloud.
  virtual std::vector<StationSnapshot> Stations(const CloudKey& cloud,
                                                const std::optional<MacAddress>& after,
                                                size_t limit) const = 0;
  // `cloud`: a configured name or a locator. The message of NotFound names it.
  virtual absl::StatusOr<Explanation> Explain(const std::string& cloud, const MacAddress& source,
                                              const MacAddress& destination) const = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_STATUS_NODE_VIEW_H_
