// JoinedClouds: the clouds of which this node is a member, with the uplink and the unicast port of
// each. A part of the agent that needs a cloud holds it; the release of the last hold leaves the
// cloud.
//
// Invariants:
//   I1  A cloud is joined exactly while a part of the agent holds it.
//   I2  While a cloud is joined, its unicast port is on disk, so that a restarted agent uses the
//       same one: other members know the node by it.

#ifndef VXVDE_AGENT_CLOUDS_JOINED_CLOUDS_H_
#define VXVDE_AGENT_CLOUDS_JOINED_CLOUDS_H_

#include <functional>
#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/base/log.h"
#include "agent/config/config.h"
#include "agent/config/current_config.h"
#include "agent/kernel/links.h"
#include "agent/store/store.h"
#include "plugin/switch.h"

namespace vxvde {

class JoinedClouds {
 public:
  // All of these outlive it.
  JoinedClouds(Switch* the_switch, Store* store, const Log* log, const Links* links,
               CurrentConfig* config);

  // Restores the unicast port that the cloud had before a restart.
  void Restore(const CloudKey& cloud, uint16_t unicast_port) {
    ports_[cloud] = unicast_port;
    recalled_[cloud] = unicast_port;
  }
  // `cloud` is joined on the recalled port, so that other members still know it and its stations.
  bool IsAtRecalledPort(const CloudKey& cloud) const;

  // A part of the agent that has something in every joined cloud. It is told after the join and
  // before the leave.
  struct Watcher {
    std::function<void(const CloudOptions&)> joined;
    std::function<void(const CloudKey&)> leaving;
  };
  // Sets the only watcher, before any cloud is joined. It outlives the clouds.
  void SetWatcher(Watcher watcher) { watcher_ = std::move(watcher); }

  // Joins `cloud` unless it is joined already, and holds it for `holder`, the name of a part of the
  // agent. A joined cloud keeps its options, whatever else `cloud` says. The unicast port is the
  // recalled one if that is free, else one of `unicastPorts`. Refused (kCannotJoin) with the
  // remedy. The result is valid until the cloud is left.
  absl::StatusOr<const CloudOptions*> Join(const std::string& holder, const CloudConfig& cloud);

  // Ends the hold of `holder`, if there is one. After the last hold the cloud is left and its
  // unicast port forgotten.
  void Leave(const std::string& holder, const CloudKey& cloud);

  // Moves each cloud whose uplink is gone to the uplink that would be chosen now, if there is one:
  // an interface that was deleted and created again has another index. To be called periodically.
  void FollowUplinks();

  // nullptr if it is not joined.
  const CloudOptions* Find(const CloudKey& cloud) const;
  const std::map<CloudKey, CloudOptions>& all() const { return joined_; }

  // For messages: the locator of a cloud, as joined if it is joined, otherwise as configured.
  std::string LocatorOf(const CloudKey& cloud) const;
  // For people: the configured name, else LocatorOf.
  std::string NameOf(const CloudKey& cloud) const;

 private:
  // Applies the keys that can change while a cloud is joined: `snooping` and `storm`.
  void OnConfig();
  void ForgetPort(const CloudKey& cloud);
  // Joins on the first free port, and sets options.unicast_port to it.
  absl::Status JoinOnFreePort(CloudOptions& options);

  Switch* switch_;
  Store* store_;
  const Log* log_;
  const Links* links_;
  const Config& config_;  // the current one
  CurrentConfig::Subscription subscription_;
  Watcher watcher_;
  std::map<CloudKey, CloudOptions> joined_;
  std::map<CloudKey, std::set<std::string>> holders_;  // of joined clouds
  std::map<CloudKey, std::string> stuck_;  // the last logged reason why a cloud could not move
  UnicastPorts ports_;                     // of joined and recalled clouds
  UnicastPorts recalled_;                  // unchanged until the cloud is left
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_CLOUDS_JOINED_CLOUDS_H_
