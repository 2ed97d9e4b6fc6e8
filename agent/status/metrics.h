// Prometheus text at http://LISTEN/metrics: one snapshot of the node a scrape.
// docs/OPERATIONS.md explains each metric; a test reads it.

#ifndef VXVDE_AGENT_STATUS_METRICS_H_
#define VXVDE_AGENT_STATUS_METRICS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/status/node_view.h"
#include "plugin/os/event_loop.h"

namespace vxvde {

class MetricsServer {
 public:
  // `listen`: "127.0.0.1:9478" or "[::1]:9478"; with port 0 the kernel chooses one. `loop` and
  // `view` outlive the server and every turn of the loop. Unavailable if the address cannot be
  // bound. A scrape that the loop does not answer in time reports vxvde_up 0.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(EventLoop* loop, const NodeView* view,
                                                              const std::string& listen);
  ~MetricsServer();

  int port() const;  // TCP, as bound

 private:
  struct Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_STATUS_METRICS_H_
