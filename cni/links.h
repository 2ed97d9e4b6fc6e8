// PodLinks: creates, configures, finds and deletes the two ends of a pod's link.
//
// It knows neither the agent nor where addresses come from. System calls go through plugin/os.
// Specification: agent/api/attachment_id.h for names and aliases; links.cc states the invariants.

#ifndef VXVDE_CNI_LINKS_H_
#define VXVDE_CNI_LINKS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cni/request.h"
#include "cni/result.h"
#include "plugin/base/mac_address.h"
#include "plugin/os/fd.h"
#include "plugin/os/netlink.h"

namespace vxvde {

// The place and the names of an attachment's interfaces (attachment_name.h).
struct LinkNames {
  std::string netns;   // path; for Delete it may be empty, or not exist
  std::string ifname;  // in the pod
  std::string host_ifname;
  std::string alias;
};

struct LinkSpec {
  LinkMode mode = LinkMode::kVeth;
  MacAddress mac;
  uint32_t mtu = 0;
  uint32_t gso_max_size = 0;
  Bandwidth bandwidth = {};  // `ingress` of a veth only
};

// The state that CHECK compares with ADD's result.
struct LinkState {
  bool ours = false;  // the alias is that of the attachment
  MacAddress mac;
  uint32_t mtu = 0;
  bool up = false;
  bool enslaved = false;  // to a VRF or a bridge of the pod
  bool host_up = false;   // the host end of a veth; true for a tap, which has none
  std::vector<IpPrefix> addresses;
  std::vector<RouteInfo> routes;  // all routes of the namespace
};

struct PodLink {
  MacAddress mac;
  MacAddress host_mac;  // veth
  UniqueFd tap;         // tap
};

using NamesOfInterface = absl::FunctionRef<LinkNames(const std::string& ifname)>;

class PodLinks {
 public:
  virtual ~PodLinks() = default;

  // Decides whether an attachment can be made in this namespace. kCniInvalidEnvironment: it does
  // not exist. kCniInvalidNetNs: it is the plugin's own, and `own_allowed` is false (E6).
  virtual absl::Status CheckNetNs(const std::string& netns, bool own_allowed) = 0;
  // Returns whether links of this attachment exist, from a killed try or an earlier ADD. Changes
  // nothing. AlreadyExists if `ifname` exists and does not belong to the attachment (A1).
  virtual absl::StatusOr<bool> HasLeftovers(const LinkNames& names) = 0;
  // Creates both ends, down. Delete undoes it, even after a failure.
  virtual absl::StatusOr<PodLink> Create(const LinkNames& names, const LinkSpec& spec) = 0;
  // Brings both ends up without an address, for an IPAM plugin that sends requests on the link.
  virtual absl::Status BringUp(const LinkNames& names, LinkMode mode) = 0;
  // Brings both ends up and adds addresses, which are usable at once, and routes (A6). Returns the
  // routes that are now in effect: a route whose place is taken is left out, because the first one
  // wins.
  virtual absl::StatusOr<std::vector<ResultRoute>> Configure(
      const LinkNames& names, LinkMode mode, const std::vector<IpPrefix>& addresses,
      const std::vector<ResultRoute>& routes) = 0;
  // All routes of the namespace.
  virtual absl::StatusOr<std::vector<RouteInfo>> ListRoutes(const std::string& netns) = 0;
  // Deletes the default routes of all networks of the pod.
  virtual absl::Status DeleteDefaultRoutes(const std::string& netns, int family) = 0;
  // OK if nothing of the attachment remains. Links of others are left alone (D1).
  virtual absl::Status Delete(const LinkNames& names) = 0;
  // NotFound: the pod does not have the interface.
  virtual absl::StatusOr<LinkState> Inspect(const LinkNames& names, LinkMode mode) = 0;
  // Returns whether the namespace exists and contains the attachment's interface.
  virtual absl::StatusOr<bool> IsInPod(const LinkNames& names) = 0;
  // Deletes all links of the ADD of `main`, which itself need not have one. `names_of` returns the
  // names of the ADD's attachment with that interface name.
  virtual absl::Status DeleteAll(const LinkNames& main, NamesOfInterface names_of) = 0;
};

class KernelPodLinks : public PodLinks {
 public:
  absl::Status CheckNetNs(const std::string& netns, bool own_allowed) override;
  absl::StatusOr<bool> HasLeftovers(const LinkNames& names) override;
  absl::StatusOr<PodLink> Create(const LinkNames& names, const LinkSpec& spec) override;
  absl::Status BringUp(const LinkNames& names, LinkMode mode) override;
  absl::StatusOr<std::vector<ResultRoute>> Configure(
      const LinkNames& names, LinkMode mode, const std::vector<IpPrefix>& addresses,
      const std::vector<ResultRoute>& routes) override;
  absl::StatusOr<std::vector<RouteInfo>> ListRoutes(const std::string& netns) override;
  absl::Status DeleteDefaultRoutes(const std::string& netns, int family) override;
  absl::Status Delete(const LinkNames& names) override;
  absl::StatusOr<LinkState> Inspect(const LinkNames& names, LinkMode mode) override;
  absl::StatusOr<bool> IsInPod(const LinkNames& names) override;
  absl::Status DeleteAll(const LinkNames& main, NamesOfInterface names_of) override;

 private:
  struct Pod {
    std::string path;
    UniqueFd netns;
    Netlink netlink;
  };

  // Opened at their first use. The pod's socket is kept until another pod is used, because entering
  // a namespace takes a thread.
  absl::StatusOr<Netlink*> Host();
  absl::StatusOr<Pod*> PodAt(const std::string& path);
  absl::StatusOr<Pod*> PodIfAny(const std::string& path);  // nullptr if it does not exist

  absl::Status DeleteOthers(const LinkNames& main, NamesOfInterface names_of);

  std::optional<Netlink> host_;
  std::optional<Pod> pod_;
};

}  // namespace vxvde

#endif  // VXVDE_CNI_LINKS_H_
