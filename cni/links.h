// The two ends of a pod's link: made, set up, found again by name and alias, removed.
// System calls through plugin/os; nothing here knows of agents or addresses' origins.

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

// Where an attachment's interfaces are and how they are known again (agent/api/attachment_id.h).
struct LinkNames {
  std::string netns;   // path; may be empty, or missing, for Delete
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

// What CHECK compares.
struct LinkState {
  bool ours = false;  // the alias says so
  MacAddress mac;
  uint32_t mtu = 0;
  bool up = false;
  bool host_up = false;  // veth: of the host end; a tap has none: true
  std::vector<IpPrefix> addresses;
  std::vector<RouteInfo> routes;  // of the whole namespace
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

  // May an attachment be made there? kCniInvalidEnvironment: no such namespace. kCniInvalidNetNs:
  // it is our own, and `own_allowed` is false (E6).
  virtual absl::Status CheckNetNs(const std::string& netns, bool own_allowed) = 0;
  // Is there anything of this attachment, from a try that was killed or an ADD before this one?
  // Changes nothing. AlreadyExists when `ifname` is somebody else's (A1).
  virtual absl::StatusOr<bool> HasLeftovers(const LinkNames& names) = 0;
  // Both ends, down. Undone by Delete, also when it failed.
  virtual absl::StatusOr<PodLink> Create(const LinkNames& names, const LinkSpec& spec) = 0;
  // Brings both ends up, with addresses that can be used at once, and routes.
  virtual absl::Status Configure(const LinkNames& names, LinkMode mode,
                                 const std::vector<IpPrefix>& addresses,
                                 const std::vector<ResultRoute>& routes) = 0;
  // OK when there is nothing left of it; what is not ours is left alone.
  virtual absl::Status Delete(const LinkNames& names) = 0;
  // As it is now. NotFound: the pod has no such interface.
  virtual absl::StatusOr<LinkState> Inspect(const LinkNames& names, LinkMode mode) = 0;
  // Is the namespace there, with our interface in it?
  virtual absl::StatusOr<bool> IsInPod(const LinkNames& names) = 0;
  // The same of all that the ADD of `main` made; it need not have a link itself. `names_of` are
  // those of another attachment of that ADD, with that interface name.
  virtual absl::Status DeleteAll(const LinkNames& main, NamesOfInterface names_of) = 0;
};

class KernelPodLinks : public PodLinks {
 public:
  absl::Status CheckNetNs(const std::string& netns, bool own_allowed) override;
  absl::StatusOr<bool> HasLeftovers(const LinkNames& names) override;
  absl::StatusOr<PodLink> Create(const LinkNames& names, const LinkSpec& spec) override;
  absl::Status Configure(const LinkNames& names, LinkMode mode,
                         const std::vector<IpPrefix>& addresses,
                         const std::vector<ResultRoute>& routes) override;
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

  // Opened on first use, and the latter kept until it is another pod's turn: to enter a namespace
  // costs a thread.
  absl::StatusOr<Netlink*> Host();
  absl::StatusOr<Pod*> PodAt(const std::string& path);
  absl::StatusOr<Pod*> PodIfAny(const std::string& path);  // null when it has gone

  absl::Status DeleteOthers(const LinkNames& main, NamesOfInterface names_of);

  std::optional<Netlink> host_;
  std::optional<Pod> pod_;
};

}  // namespace vxvde

#endif  // VXVDE_CNI_LINKS_H_
