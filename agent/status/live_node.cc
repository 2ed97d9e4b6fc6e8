#include "agent/status/live_node.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "plugin/base/status.h"
#include "plugin/base/version.h"

namespace vxvde {

LiveNode::LiveNode(const Parts& parts, GroupLookup group_id, std::string why_not_fast,
                   std::function<std::vector<RulesState>()> rules)
    : parts_(parts),
      group_id_(std::move(group_id)),
      why_not_fast_(std::move(why_not_fast)),
      rules_(std::move(rules)),
      started_(parts.loop->now()) {}

// The reason why the agent forwards the frames of `cloud` itself; empty if the kernel does.
std::string LiveNode::WhyNotFast(const CloudSnapshot& cloud) const {
  if (cloud.fast_port != 0) return "";
  if (cloud.options.datapath == Datapath::kUser) {
    return "`datapath: user` was configured when the cloud was joined";
  }
  return why_not_fast_.empty() ? cloud.why_not_fast : why_not_fast_;
}

std::string LiveNode::ProblemsOf(const std::vector<RulesState>& rules, bool all) {
  std::vector<std::string> problems;
  for (const RulesState& state : rules) {
    if (!state.problem.empty() && (all || state.blocks_pods)) problems.push_back(state.problem);
  }
  return absl::StrJoin(problems, "; ");
}

NodeSnapshot LiveNode::Snapshot() const {
  NodeSnapshot node{.node = parts_.config->Get().node,
                    .version = kVersion,
                    .uptime = parts_.loop->now() - started_,
                    .clouds = {},
                    .attachments = parts_.attachments->List(),
                    .ipam = parts_.claims->Snapshot(),
                    .reconciled = parts_.attachments->reconciled(),
                    .rules = rules_()};
  node.warning = ProblemsOf(node.rules, /*all=*/true);
  node.not_ready = ProblemsOf(node.rules, /*all=*/false);
  for (AttachmentInfo& port : parts_.node_ports->List())
    node.attachments.push_back(std::move(port));
  SwitchSnapshot snapshot = parts_.the_switch->Snapshot();
  for (CloudSnapshot& state : snapshot.clouds) {
    const CloudKey key = state.options.config.key;
    CloudInfo cloud;
    cloud.name = parts_.clouds->NameOf(key);
    cloud.vnl = parts_.clouds->LocatorOf(key);
    cloud.datapath = state.fast_port != 0 ? "kernel" : "user";
    cloud.datapath_reason = WhyNotFast(state);
    cloud.state = std::move(state);
    node.clouds.push_back(std::move(cloud));
  }
  std::sort(node.clouds.begin(), node.clouds.end(),
            [](const CloudInfo& a, const CloudInfo& b) { return a.name < b.name; });
  return node;
}

absl::StatusOr<Explanation> LiveNode::Explain(const std::string& cloud, const MacAddress& source,
                                              const MacAddress& destination) const {
  CloudKey key;
  if (const NamedCloud* named = parts_.config->Get().FindByName(cloud); named != nullptr) {
    key = named->config.key;
  } else {
    const absl::StatusOr<CloudConfig> config = ParseVnl(cloud, group_id_);
    if (!config.ok()) {
      return absl::NotFoundError(
          absl::StrCat("\"", cloud, "\" is neither a cloud of this node nor a locator"));
    }
    key = config->key;
  }
  const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(key);
  if (!handle.ok()) {
    return absl::NotFoundError(
        absl::StrCat("cloud \"", cloud, "\" is not joined: this node has no port on it"));
  }
  return (*handle)->Explain(source, destination);
}

}  // namespace vxvde
