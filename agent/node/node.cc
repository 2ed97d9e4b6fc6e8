#include "agent/node/node.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/status/event_log.h"
#include "plugin/base/status.h"

namespace vxvde {

Node::Node(NodeSystem system, std::unique_ptr<EventLoop> loop, Store store, Config config,
           const Log* log)
    : log_(log),
      system_(std::move(system)),
      loop_(std::move(loop)),
      config_(std::move(config)),
      store_(std::move(store)),
      switch_(loop_.get(), system_.sockets, system_.fast_path.fast.get()),
      clouds_(&switch_, &store_, log_, &system_.links, &config_),
      claims_({.loop = loop_.get(),
               .the_switch = &switch_,
               .store = &store_,
               .log = log_,
               .config = &config_},
              system_.random),
      firewall_(loop_.get(), log_, system_.firewall),
      underlay_wall_(loop_.get(), log_, system_.underlay_rules, system_.underlay),
      host_end_wall_(loop_.get(), log_, system_.host_end_rules, system_.host_ends),
      rule_watch_(loop_.get(), log_, system_.open_rule_monitor, [this] { OnRulesChange(); }),
      node_ports_({.loop = loop_.get(),
                   .the_switch = &switch_,
                   .clouds = &clouds_,
                   .claims = &claims_,
                   .firewall = &firewall_,
                   .walls = [this] { return WallProblem(); },
                   .links = &system_.links,
                   .kernel = &system_.node_links,
                   .log = log_,
                   .config = &config_}),
      attachments_({.loop = loop_.get(),
                    .the_switch = &switch_,
                    .store = &store_,
                    .log = log_,
                    .links = &system_.links,
                    .clouds = &clouds_,
                    .claims = &claims_,
                    .node_ports = &node_ports_,
                    .config = &config_},
                   system_.group_id),
      view_({.loop = loop_.get(),
             .the_switch = &switch_,
             .config = &config_,
             .clouds = &clouds_,
             .attachments = &attachments_,
             .claims = &claims_,
             .node_ports = &node_ports_},
            system_.group_id, system_.fast_path.why_not, [this] { return RulesStates(); }),
      reconciler_(loop_.get(), &attachments_.orphans(), system_.snapshot),
      uplink_timer_(loop_.get()),
      tasks_(loop_.get()) {
  clouds_.SetWatcher({.joined = [this](const CloudOptions& cloud) { OnJoined(cloud); },
                      .leaving = [this](const CloudKey& cloud) { OnLeaving(cloud); }});
  switch_.SetListener([this](const SwitchEvent& event) { OnEvent(event); });
}

absl::Status Node::Watch() {
  RETURN_IF_ERROR(ReadLocalAddresses());
  if (system_.link_monitor.has_value()) {
    RETURN_IF_ERROR(loop_->Watch(system_.link_monitor->fd(), EPOLLIN, [this](uint32_t) {
      if (system_.link_monitor->Drain()) OnLinkChange();
    }));
  }
  rule_watch_.Start();
  uplink_timer_.Every(kUplinkTick, [this] { FollowUplinks(); });
  return absl::OkStatus();
}

absl::Status Node::Restore() {
  host_end_wall_.MarkLinks();
  RETURN_IF_ERROR(claims_.Restore());
  RETURN_IF_ERROR(attachments_.Restore());
  FollowClouds();
  node_ports_.Start();
  // Start() may have removed the last host end, and this agent may end before it handles a link
  // event.
  host_end_wall_.MarkLinks();
  return absl::OkStatus();
}

void Node::DropInherited() {
  if (HasFastPath()) system_.fast_path.fast->DropInherited();
}

void Node::KeepForNextAgent() {
  if (HasFastPath()) system_.fast_path.fast->KeepForNextAgent();
}

void Node::Reload(absl::StatusOr<Config> config) {
  Apply(std::move(config));
  reconciler_.LookNow();
}

void Node::Apply(absl::StatusOr<Config> config) {
  if (!config.ok()) {
    log_->Error("configuration refused",
                {{"error", std::string(config.status().message())}, {"running", "the one before"}});
    return;
  }
  const Config& was = config_.Get();
  if (config->metrics != was.metrics) {
    log_->Warn("metrics address kept", {{"was", was.metrics},
                                        {"configured", config->metrics},
                                        {"reason", "it is bound at start; restart the agent"}});
  }
  if (config->datapath != was.datapath) {
    log_->Warn("datapath changed", {{"was", std::string(DatapathName(was.datapath))},
                                    {"configured", std::string(DatapathName(config->datapath))},
                                    {"for", "clouds that are joined from now on"},
                                    {"kernel", HasFastPath() ? "can" : system_.fast_path.why_not}});
  }
  config_.Set(*std::move(config));
  FollowClouds();  // applies the new `unicastPorts`
  log_->Info("configuration reloaded", {{"clouds", absl::StrCat(config_.Get().clouds.size())}});
}

bool Node::TapsWait() const {
  const std::vector<AttachmentInfo> attachments = attachments_.List();
  return std::any_of(attachments.begin(), attachments.end(), [](const AttachmentInfo& one) {
    return one.mode == "tap" && one.port == PortId::kNone;
  });
}

void Node::OnEvent(const SwitchEvent& event) {
  const std::string cloud = clouds_.NameOf(event.cloud);
  LogEvent(*log_, event, cloud);
  claims_.OnEvent(event);
  attachments_.OnEvent(event);
  node_ports_.OnEvent(event);
  if (listener_) listener_(event, cloud);
}

void Node::OnJoined(const CloudOptions& cloud) {
  tasks_.Post([this] { FollowClouds(); });  // after the cloud is listed
  host_end_wall_.Want(true);
  claims_.OnJoined(cloud.config.key);
}

void Node::OnLeaving(const CloudKey& cloud) {
  tasks_.Post([this] {
    FollowClouds();
    host_end_wall_.Want(!clouds_.all().empty());
  });
  claims_.OnLeaving(cloud);
}

void Node::OnLinkChange() {
  if (const absl::Status status = ReadLocalAddresses(); !status.ok()) {
    log_->Warn("local addresses not read", {{"error", std::string(status.message())}});
  }
  FollowUplinks();
  underlay_wall_.OnLinkChange();
  host_end_wall_.OnLinkChange();
}

void Node::OnRulesChange() {
  firewall_.OnChange();
  underlay_wall_.OnRulesChange();
  host_end_wall_.OnRulesChange();
}

absl::Status Node::ReadLocalAddresses() {
  ASSIGN_OR_RETURN(std::vector<IpAddress> addresses, system_.local_addresses());
  switch_.SetLocalAddresses(std::move(addresses));
  return absl::OkStatus();
}

void Node::FollowUplinks() {
  clouds_.FollowUplinks();
  FollowClouds();
}

void Node::FollowClouds() {
  std::vector<UnderlayCloud> list;
  for (const auto& [key, options] : clouds_.all()) {
    const absl::StatusOr<CloudHandle*> handle = switch_.Find(key);
    list.push_back({.uplink = options.uplink_name,
                    .ttl = options.config.ttl,
                    .group_port = key.port,
                    .unicast_port = options.unicast_port,
                    .fast_port = handle.ok() ? (*handle)->FastPort() : uint16_t{0}});
  }
  underlay_wall_.Follow(std::move(list), config_.Get().unicast_ports);
}

std::vector<RulesState> Node::RulesStates() const {
  std::vector<RulesState> states;
  const auto add = [&](const char* part, const absl::Status& problem, bool blocks_pods) {
    states.push_back({.part = part,
                      .problem = std::string(problem.message()),
                      .blocks_pods = blocks_pods && BlocksPods(problem)});
  };
  add("underlay-wall", underlay_wall_.problem(), true);
  add("host-end-wall", host_end_wall_.problem(), true);
  add("firewall", node_ports_.FirewallProblem(), true);
  add("watch", rule_watch_.problem(), false);
  return states;
}

absl::Status Node::WallProblem() const {
  for (const absl::Status& problem : {underlay_wall_.problem(), host_end_wall_.problem()}) {
    if (BlocksPods(problem)) return problem;
  }
  return absl::OkStatus();
}

}  // namespace vxvde
