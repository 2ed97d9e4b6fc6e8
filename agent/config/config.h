// Config: the agent's configuration file, completely checked. yaml-cpp is visible in config.cc
// only.
//
// Strict: an unknown key, a wrong type, an impossible value, or two entries for one cloud is an
// error. All errors are reported, each as "LINE: KEY: the mistake; the remedy". deploy/agent.yaml
// lists the keys. Pure, except for LoadConfig, which reads the file.

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
  int mtu = 0;  // of pods; 0: derived from the uplink's
  std::vector<IpPrefix> subnets;
  bool defend = false;      // `conflicts: defend`: announce an address again after a conflict
  bool gateway = false;     // the node has an address in the cloud, and pods may route through it
  bool snooping = true;     // multicast goes only to pods that have joined the group
  bool masquerade = false;  // packets that leave the cloud through the node get the node's address
  bool routed = false;      // hosts outside the clouds reach the pods through the node
  std::vector<std::string>
      reaches;  // names of clouds into which the node routes packets of this one
  bool port_security =
      true;  // ports send only from their own MAC and addresses, and are no servers
  // Exceptions that the annotations of pods may grant to their own ports.
  std::vector<Allowed> allow_by_annotation;
  StormLimits storm = {};  // limits of flooding
  // Kubernetes namespaces whose pods may use the cloud, as globs (fnmatch). Callers without a
  // namespace are not restricted.
  std::vector<std::string> namespaces = {"*"};

  friend bool operator==(const NamedCloud&, const NamedCloud&);
};

struct Config {
  std::string node;    // empty: the host's name
  std::string uplink;  // empty: the route to each cloud's group
  PortRange unicast_ports;
  Datapath datapath = Datapath::kAuto;
  std::string metrics = "127.0.0.1:9478";  // empty: off
  bool allow_vnl = false;                  // whether a pod's annotation may name a locator
  // Callers with a Kubernetes namespace join configured clouds only, and get only what these allow
  // (agent/attach/confinement.h). By default true if `clouds` has an entry and `allow_vnl` is
  // false.
  bool confine_namespaces = false;
  std::vector<NamedCloud> clouds;

  // nullptr if there is none.
  const NamedCloud* FindByName(absl::string_view name) const;
  const NamedCloud* FindByKey(const CloudKey& key) const;
};

// As written in the configuration.
absl::string_view DatapathName(Datapath datapath);

// InvalidArgument with one line for each mistake.
absl::StatusOr<Config> ParseConfig(const std::string& yaml, const GroupLookup& group_id);

// Reads the file at `path`. If `path` is empty, reads kDefaultConfigPath, or returns the defaults
// if that file is missing. Each line of an error begins with the path.
absl::StatusOr<Config> LoadConfig(const std::string& path, const GroupLookup& group_id);

// Whether pods of `pod_namespace` may use `cloud`. An empty namespace is a caller outside
// Kubernetes, who may use any cloud.
bool MayUse(const NamedCloud& cloud, const std::string& pod_namespace);

// For people: the name of `cloud` in the configuration, else its locator.
std::string NameOfCloud(const Config& config, const CloudConfig& cloud);
// The same where only the key is known: its locator has no options.
std::string NameOfCloud(const Config& config, const CloudKey& cloud);

}  // namespace vxvde

#endif  // VXVDE_AGENT_CONFIG_CONFIG_H_
