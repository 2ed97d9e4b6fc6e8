// Config: the agent's configuration file, checked whole. yaml-cpp stops in config.cc.
//
// Strict: an unknown key, a wrong type, a value that cannot be or two clouds that are one are
// errors. All of them are reported, each as "LINE: KEY: what is wrong; remedy". The keys are
// listed in deploy/agent.yaml. Pure but for LoadConfig, which reads the file.

#ifndef VXVDE_AGENT_CONFIG_CONFIG_H_
#define VXVDE_AGENT_CONFIG_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/base/derive.h"
#include "agent/model/allowed.h"
#include "plugin/base/ip_address.h"
#include "plugin/switch.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

inline constexpr char kDefaultConfigPath[] = "/etc/vxvde/agent.yaml";

struct NamedCloud {
  std::string name;
  CloudConfig config;
  int mtu = 0;  // of pods; 0 = what the uplink carries
  std::vector<IpPrefix> subnets;
  bool defend = false;      // `conflicts: defend`: announce an address again that another has, too
  bool gateway = false;     // the node has an address in it, and pods may route through it
  bool snooping = true;     // multicast only to pods that want it
  bool masquerade = false;  // what leaves it through the node gets the node's address
  bool routed = false;      // hosts outside the clouds reach its pods through the node
  std::vector<std::string> reaches;  // names of clouds that the node routes it into
  bool port_security = true;  // ports send from their own MAC and addresses, and are no servers
  // What the annotations of pods may add to that for their own ports.
  std::vector<Allowed> allow_by_annotation;
  StormLimits storm = {};  // how much may be flooded
  // Kubernetes namespaces whose pods may use it, as globs (fnmatch); callers without a
  // namespace are not limited.
  std::vector<std::string> namespaces = {"*"};

  friend bool operator==(const NamedCloud&, const NamedCloud&);
};

struct Config {
  std::string node;    // empty = the host's name
  std::string uplink;  // empty = the route to each cloud's group
  PortRange unicast_ports;
  Datapath datapath = Datapath::kAuto;
  std::string metrics = "127.0.0.1:9478";  // empty = off
  bool allow_vnl = false;                  // may a pod's annotation name a locator?
  // Callers with a Kubernetes namespace join configured clouds only, and get what these allow
  // (agent/attach/confinement.h). Unless it is given: where `clouds` names any and `allow_vnl` is
  // false.
  bool confine_namespaces = false;
  std::vector<NamedCloud> clouds;

  // nullptr when there is none.
  const NamedCloud* FindByName(absl::string_view name) const;
  const NamedCloud* FindByKey(const CloudKey& key) const;
};

// As the configuration spells it.
absl::string_view DatapathName(Datapath datapath);

// InvalidArgument with a line for each mistake.
absl::StatusOr<Config> ParseConfig(const std::string& yaml, const GroupLookup& group_id);

// The file at `path`; when `path` is empty, the one at kDefaultConfigPath or, if that is missing,
// the defaults. Lines of an error begin with the path.
absl::StatusOr<Config> LoadConfig(const std::string& path, const GroupLookup& group_id);

// May pods of `pod_namespace` use `cloud`? Empty: a caller outside Kubernetes, who may.
bool MayUse(const NamedCloud& cloud, const std::string& pod_namespace);

// For people: the name of `cloud` in the configuration, else its locator.
std::string NameOfCloud(const Config& config, const CloudConfig& cloud);

}  // namespace vxvde

#endif  // VXVDE_AGENT_CONFIG_CONFIG_H_
