#include "agent/clouds/joined_clouds.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/base/refusal.h"
#include "agent/clouds/uplink.h"
#include "plugin/base/status.h"

namespace vxvde {

namespace {

// A cloud that the configuration does not name has the defaults.
StormLimits StormOf(const Config& config, const CloudKey& key) {
  const NamedCloud* named = config.FindByKey(key);
  return named != nullptr ? named->storm : StormLimits{};
}

}  // namespace

absl::StatusOr<const CloudOptions*> JoinedClouds::Join(const std::string& holder,
                                                       const CloudConfig& cloud,
                                                       const Config& config) {
  if (const CloudOptions* options = Find(cloud.key)) {
    holders_.at(cloud.key).insert(holder);
    return options;
  }
  ASSIGN_OR_RETURN(const Uplink uplink, ChooseUplink(cloud, config.uplink, *links_));
  const NamedCloud* named = config.FindByKey(cloud.key);
  CloudOptions options{.config = cloud,
                       .uplink = uplink.index,
                       .uplink_name = uplink.name,
                       .uplink_mtu = uplink.mtu,
                       .datapath = config.datapath,
                       .agent_mac = DeriveMac("vxvde-agent", config.node, cloud.key.ToString(),
                                              /*attempt=*/0),
                       .storm = StormOf(config, cloud.key),
                       .snooping = named == nullptr || named->snooping};
  RETURN_IF_ERROR(JoinOnFreePort(options, config));

  UnicastPorts ports = ports_;
  ports[cloud.key] = options.unicast_port;
  if (const absl::Status status = store_->SavePorts(ports); !status.ok()) {
    if (ports != ports_) {
      switch_->Leave(cloud.key);
      return status;
    }
    // A restart reads the port from the file. Leaving the cloud now would send a leave to the
    // members and stop the kernel datapath, which is worse than a new port after a restart.
    log_->Warn("unicast port not saved",
               {{"cloud", NameOfCloud(config, cloud)}, {"error", std::string(status.message())}});
  }
  if (const auto before = ports_.find(cloud.key);
      before != ports_.end() && before->second != options.unicast_port) {
    log_->Warn(
        "unicast port changed",
        {{"cloud", NameOfCloud(config, cloud)},
         {"was", absl::StrCat(before->second)},
         {"is", absl::StrCat(options.unicast_port)},
         {"reason", "the old port is in use; members learn the new one from the next frames"}});
  }
  ports_ = std::move(ports);
  const CloudOptions& joined = joined_.emplace(cloud.key, std::move(options)).first->second;
  holders_[cloud.key].insert(holder);
  if (watcher_.joined) watcher_.joined(joined);
  return &joined;
}

absl::Status JoinedClouds::JoinOnFreePort(CloudOptions& options, const Config& config) {
  const CloudKey& key = options.config.key;
  std::vector<uint16_t> candidates;
  if (const auto recalled = ports_.find(key); recalled != ports_.end()) {
    candidates.push_back(recalled->second);
  }
  const PortRange range = config.unicast_ports;
  const int start = FirstUnicastPort(key, config.node, range) - range.first;
  for (int i = 0; i < range.size(); ++i) {
    candidates.push_back(static_cast<uint16_t>(range.first + (start + i) % range.size()));
  }
  std::set<uint16_t> of_others;
  for (const auto& [other, port] : ports_) {
    if (other != key) of_others.insert(port);
  }

  absl::Status joined = absl::AlreadyExistsError("other clouds of this node use all of them");
  for (const uint16_t port : candidates) {
    if (of_others.contains(port)) continue;
    options.unicast_port = port;
    joined = switch_->Join(options);
    if (!absl::IsAlreadyExists(joined)) break;
  }
  if (joined.ok()) return joined;
  const std::string what = absl::StrCat("cannot join cloud ", NameOfCloud(config, options.config),
                                        " on ", options.uplink_name, ": ");
  if (absl::IsAlreadyExists(joined)) {
    return Refuse(AttachError::kCannotJoin,
                  absl::StrCat(what, "no free UDP port in ", range.first, "-", range.last, ": ",
                               joined.message()),
                  "widen `unicastPorts:` in the agent's configuration");
  }
  if (absl::IsFailedPrecondition(joined) && options.datapath == Datapath::kKernel) {
    return Refuse(AttachError::kCannotJoin, absl::StrCat(what, joined.message()),
                  "set `datapath: auto` in the agent's configuration to join without the programs");
  }
  return Refuse(AttachError::kCannotJoin, absl::StrCat(what, joined.message()),
                "check the uplink (`uplink:` of the agent's configuration, /if= of the locator)");
}

void JoinedClouds::Leave(const std::string& holder, const CloudKey& cloud) {
  if (!joined_.contains(cloud)) return ForgetPort(cloud);
  std::set<std::string>& holders = holders_.at(cloud);
  if (holders.erase(holder) == 0 || !holders.empty()) return;
  if (watcher_.leaving) watcher_.leaving(cloud);
  // Switch::Leave reports to a listener that asks for the name, so the entry is erased afterwards.
  switch_->Leave(cloud);
  joined_.erase(cloud);
  stuck_.erase(cloud);
  holders_.erase(cloud);
  ForgetPort(cloud);
}

bool JoinedClouds::IsAtRecalledPort(const CloudKey& cloud) const {
  const auto was = recalled_.find(cloud);
  const CloudOptions* is = Find(cloud);
  return was != recalled_.end() && is != nullptr && is->unicast_port == was->second;
}

void JoinedClouds::ForgetPort(const CloudKey& cloud) {
  recalled_.erase(cloud);
  if (ports_.erase(cloud) == 0) return;
  if (const absl::Status status = store_->SavePorts(ports_); !status.ok()) {
    // Harmless: at worst a stale port is recalled, and only if it is free.
    log_->Warn("unicast port not forgotten", {{"error", std::string(status.message())}});
  }
}

void JoinedClouds::FollowUplinks(const Config& config) {
  std::set<IfIndex> there;  // most clouds share one
  for (auto& [key, options] : joined_) {
    if (there.contains(options.uplink)) continue;
    if (!absl::IsNotFound(links_->by_index(options.uplink).status())) {
      there.insert(options.uplink);
      continue;
    }
    const absl::StatusOr<Uplink> uplink = ChooseUplink(options.config, config.uplink, *links_);
    if (!uplink.ok()) continue;  // retried later
    const absl::Status moved = switch_->Move(key, uplink->index, uplink->name, uplink->mtu);
    const std::string cloud = NameOfCloud(config, options.config);
    if (!moved.ok()) {
      std::string& said = stuck_[key];
      if (std::exchange(said, std::string(moved.message())) == said) continue;
      log_->Warn("cloud has no uplink", {{"cloud", cloud},
                                         {"was", options.uplink_name},
                                         {"tried", uplink->name},
                                         {"error", said},
                                         {"reason", "the old uplink is gone; the agent retries"}});
      continue;
    }
    stuck_.erase(key);
    log_->Info("uplink changed", {{"cloud", cloud},
                                  {"was", options.uplink_name},
                                  {"is", uplink->name},
                                  {"reason", "the old uplink is gone"}});
    options.uplink = uplink->index;
    options.uplink_name = uplink->name;
    options.uplink_mtu = uplink->mtu;
  }
}

void JoinedClouds::Follow(const Config& config) {
  for (auto& [key, options] : joined_) {
    const NamedCloud* named = config.FindByKey(key);
    options.snooping = named == nullptr || named->snooping;
    options.storm = StormOf(config, key);
    const absl::StatusOr<CloudHandle*> handle = switch_->Find(key);
    if (!handle.ok()) continue;
    (*handle)->SetSnooping(options.snooping);
    (*handle)->SetStorm(options.storm);
  }
}

const CloudOptions* JoinedClouds::Find(const CloudKey& cloud) const {
  const auto found = joined_.find(cloud);
  return found == joined_.end() ? nullptr : &found->second;
}

}  // namespace vxvde
