// JoinedClouds: of which clouds this node is a member, over which uplink and from which unicast
// port. Parts of the agent that have something in a cloud hold it; the last one's Leave leaves it.
//
// Invariants:
//   I1  A cloud is joined exactly while somebody holds it.
//   I2  While a cloud is joined, its unicast port is on disk, so that a restarted agent takes the
//       same one: other members know us by it.

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
#include "agent/kernel/links.h"
#include "agent/store/store.h"
#include "plugin/switch.h"

namespace vxvde {

class JoinedClouds {
 public:
  // All of them outlive it.
  JoinedClouds(Switch* the_switch, Store* store, const Log* log, const Links* links)
      : switch_(the_switch), store_(store), log_(log), links_(links) {}

  // Before a restart the cloud had this unicast port.
  void Restore(const CloudKey& cloud, uint16_t unicast_port) {
    ports_[cloud] = unicast_port;
    recalled_[cloud] = unicast_port;
  }
  // `cloud` is joined on the port that was recalled: others still know it and who is behind it.
  bool IsAtRecalledPort(const CloudKey& cloud) const;

  // Who has something in every cloud that is joined: told after the join and before the leave.
  struct Watcher {
    std::function<void(const CloudOptions&)> joined;
    std::function<void(const CloudKey&)> leaving;
  };
  // One; before anything is joined. It outlives the clouds.
  void SetWatcher(Watcher watcher) { watcher_ = std::move(watcher); }

  // Joins `cloud` unless it is joined (then as it was joined, whatever else `cloud` says), and
  // holds it for `holder`, the name of a part of the agent. Its
  // recalled unicast port if that is free, else one of config.unicast_ports. Refused
  // (kCannotJoin) with the remedy. The result lives until it is left.
  absl::StatusOr<const CloudOptions*> Join(const std::string& holder, const CloudConfig& cloud,
                                           const Config& config);

  // Ends the hold of `holder`, if there is one. When it was the last: leaves the cloud and forgets
  // its unicast port.
  void Leave(const std::string& holder, const CloudKey& cloud);

  // A cloud whose uplink is gone goes on over the one that would be chosen now, when there is one
  // (an interface that was made again has another index). To be called now and then.
  void FollowUplinks(const Config& config);

  // What `config` says of clouds that are joined already and can be changed: `snooping`, `storm`.
  void Follow(const Config& config);

  // nullptr when it is not joined.
  const CloudOptions* Find(const CloudKey& cloud) const;
  const std::map<CloudKey, CloudOptions>& all() const { return joined_; }

 private:
  void ForgetPort(const CloudKey& cloud);
  // Joins on the first free port and sets options.unicast_port to it.
  absl::Status JoinOnFreePort(CloudOptions& options, const Config& config);

  Switch* switch_;
  Store* store_;
  const Log* log_;
  const Links* links_;
  Watcher watcher_;
  std::map<CloudKey, CloudOptions> joined_;
  std::map<CloudKey, std::set<std::string>> holders_;  // of joined ones
  std::map<CloudKey, std::string> stuck_;  // why one could not follow, as it was logged last
  UnicastPorts ports_;                     // of joined and recalled clouds
  UnicastPorts recalled_;                  // as they were, until the cloud is left
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_CLOUDS_JOINED_CLOUDS_H_
