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

JoinedClouds::JoinedClouds(Switch* the_switch, Store* store, const Log* log, const Links* links,
                           CurrentConfig* config)
    : switch_(the_switch),
      store_(store),
      log_(log),
      links_(links),
      config_(config->Get()),
      subscription_(config->Subscribe([this](const Config&) { OnConfig(); })) {}

absl::StatusOr<const CloudOptions*> JoinedClouds::Join(const std::string& holder,
                                                       const CloudConfig& cloud) {
  if (const CloudOptions* options = Find(cloud.key)) {
    holders_.at(cloud.key).insert(holder);
    return options;
  }
  ASSIGN_OR_RETURN(const Uplink uplink, ChooseUplink(cloud, config_.uplink, *links_));
  const NamedCloud* named = config_.FindByKey(cloud.key);
  CloudOptions options{.config = cloud,
                       .uplink = uplink.index,
                       .uplink_name = uplink.name,
                       .uplink_mtu = uplink.mtu,
                       .datapath = config_.datapath,
                       .agent_mac = DeriveMac("vxvde-agent", config_.node, cloud.key.ToString(),
                                              /*attempt=*/0),
                       .storm = StormOf(config_, cloud.key),
                       .snooping = named == nullptr || named->snooping};
  RETURN_IF_ERROR(JoinOnFreePort(options));

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
               {{"cloud", NameOfCloud(config_, cloud)}, {"error", std::string(status.message())}});
  }
  if (const auto before = ports_.find(cloud.key);
      before != ports_.end() && before->second != options.unicast_port) {
    log_->Warn(
        "unicast port changed",
        {{"cloud", NameOfCloud(config_, cloud)},
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

absl::Status JoinedClouds::JoinOnFreePort(CloudOptions& options) {
  const CloudKey& key = options.config.key;
  std::vector<uint16_t> candidates;
  if (const auto recalled = ports_.find(key); recalled != ports_.end()) {
    candidates.push_back(recalled->second);
  }
  const PortRange range = config_.unicast_ports;
  const int start = FirstUnicastPort(key, config_.node, range) - range.first;
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
  const std::string what = absl::StrCat("cannot join cloud ", NameOfCloud(config_, options.config),
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

void JoinedClouds::FollowUplinks() {
  std::set<IfIndex> there;  // most clouds share an uplink
  for (auto& [key, options] : joined_) {
    if (there.contains(options.uplink)) continue;
    if (!absl::IsNotFound(links_->by_index(options.uplink).status())) {
      there.insert(options.uplink);
      continue;
    }
    const absl::StatusOr<Uplink> uplink = ChooseUplink(options.config, config_.uplink, *links_);
    if (!uplink.ok()) continue;  // retried later
    const absl::Status moved = switch_->Move(key, uplink->index, uplink->name, uplink->mtu);
    const std::string cloud = NameOfCloud(config_, options.config);
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

void JoinedClouds::OnConfig() {
  for (auto& [key, options] : joined_) {
    const NamedCloud* named = config_.FindByKey(key);
    options.snooping = named == nullptr || named->snooping;
    options.storm = StormOf(config_, key);
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

std::string JoinedClouds::LocatorOf(const CloudKey& cloud) const {
  if (const CloudOptions* joined = Find(cloud)) return FormatVnl(joined->config);
  if (const NamedCloud* named = config_.FindByKey(cloud)) return FormatVnl(named->config);
  CloudConfig locator;
  locator.key = cloud;
  return FormatVnl(locator);
}

std::string JoinedClouds::NameOf(const CloudKey& cloud) const {
  const CloudOptions* joined = Find(cloud);
  return joined != nullptr ? NameOfCloud(config_, joined->config) : NameOfCloud(config_, cloud);
}

}  // namespace vxvde
