// Node: the parts of the agent, built on one system (node_system.h) and one run-dir, and connected
// with each other. It passes events of the switch, changes of the kernel and a new configuration to
// all parts that need them, in the order that they require.
//
// Not here: sockets of clients (status, metrics, handoff), the process (agent/lifecycle), and the
// work of each part.

#ifndef VXVDE_AGENT_NODE_NODE_H_
#define VXVDE_AGENT_NODE_NODE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/attach/attachments.h"
#include "agent/attach/reconciler.h"
#include "agent/base/log.h"
#include "agent/clouds/joined_clouds.h"
#include "agent/config/config.h"
#include "agent/config/current_config.h"
#include "agent/ipam/ipam.h"
#include "agent/node/node_system.h"
#include "agent/node_port/firewall.h"
#include "agent/node_port/host_end_wall.h"
#include "agent/node_port/host_ports.h"
#include "agent/node_port/nft_watch.h"
#include "agent/node_port/underlay_wall.h"
#include "agent/status/live_node.h"
#include "agent/store/store.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/task_scope.h"
#include "plugin/switch.h"

namespace vxvde {

class Node {
 public:
  // `log` outlives it. `config.node` is not empty. Nothing happens before the calls below, all of
  // which belong to the loop's thread.
  Node(NodeSystem system, std::unique_ptr<EventLoop> loop, Store store, Config config,
       const Log* log);
  // The destructor leaves clouds, links and rules as they are: the next agent takes them over.
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // `cloud` is the name of the cloud in the configuration, or its locator.
  using Listener = std::function<void(const SwitchEvent&, const std::string& cloud)>;
  void SetListener(Listener listener) { listener_ = std::move(listener); }

  // Starts to follow addresses, links and rules of the kernel.
  absl::Status Watch();
  // Restores the state that the run-dir records. Called before clients can connect.
  absl::Status Restore();
  // Removes the inherited part of the kernel datapath that this agent has not taken over. Called
  // last.
  void DropInherited();
  // Compares the attachments with the kernel, now and periodically.
  void StartReconciling() { reconciler_.Start(); }
  // Called before the process ends: the kernel datapath continues without it.
  void KeepForNextAgent();

  // Applies a newly read configuration. One that cannot be used is refused as a whole, and the
  // current one stays. Either way the attachments are compared with the kernel.
  void Reload(absl::StatusOr<Config> config);

  EventLoop& loop() { return *loop_; }
  Attachments& attachments() { return attachments_; }
  const NodeView& view() const { return view_; }
  bool HasFastPath() const { return system_.fast_path.fast != nullptr; }
  // Returns whether taps of pods have yet to be opened.
  bool TapsWait() const;

 private:
  // The kernel does not report routes, and the route of a new uplink comes after its address.
  static constexpr std::chrono::seconds kUplinkTick{2};

  void Apply(absl::StatusOr<Config> config);
  void OnEvent(const SwitchEvent& event);
  void OnJoined(const CloudOptions& cloud);
  void OnLeaving(const CloudKey& cloud);
  void OnLinkChange();
  void OnRulesChange();
  absl::Status ReadLocalAddresses();
  void FollowUplinks();
  // Adapts the walls to the joined clouds.
  void FollowClouds();
  std::vector<RulesState> RulesStates() const;
  // The problem of the walls that keeps all pods off the node, if there is one.
  absl::Status WallProblem() const;

  const Log* log_;
  NodeSystem system_;
  std::unique_ptr<EventLoop> loop_;
  CurrentConfig config_;
  Store store_;
  Switch switch_;
  JoinedClouds clouds_;
  Ipam claims_;
  Firewall firewall_;
  UnderlayWall underlay_wall_;
  HostEndWall host_end_wall_;
  NftWatch rule_watch_;
  HostPorts node_ports_;
  Attachments attachments_;
  LiveNode view_;
  Reconciler reconciler_;
  Listener listener_;
  Timer uplink_timer_;
  TaskScope tasks_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_NODE_H_
