// Netlink: an rtnetlink socket of one namespace, with the operations on links, addresses and
// routes. Qdiscs and classifiers are in traffic_control.h, VXLAN devices in vxlan.h, numbers of
// namespaces in netns_number.h, announced changes in netlink_monitor.h.
//
// Not thread-safe. Errors contain the operation, the object and the kernel's message (extended
// ack).

#ifndef VXVDE_PLUGIN_OS_NETLINK_H_
#define VXVDE_PLUGIN_OS_NETLINK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/os/fd.h"

struct nlmsghdr;

namespace vxvde {

class NetlinkRequest;

struct LinkInfo {
  IfIndex index = IfIndex::kNone;
  std::string name;
  std::string alias;
  std::string kind;  // "veth", "tun", "bridge" ...; empty for hardware
  MacAddress mac;
  int mtu = 0;
  bool up = false;       // IFF_UP
  bool running = false;  // IFF_RUNNING: frames pass (IFF_LOWER_UP comes earlier, before the
                         // kernel has given the link a queue)
  bool ipv6 = false;     // usable: the kernel has IPv6, and disable_ipv6 is 0
  IfIndex peer = IfIndex::kNone;    // IFLA_LINK: index of the other end, in its own namespace
  bool peer_elsewhere = false;      // the other end is in another namespace (IFLA_LINK_NETNSID)
  std::optional<int> peer_netns;    // the number of that namespace here, if it has one
  uint16_t type = 0;                // ARPHRD_ETHER ...
  uint32_t group = 0;               // IFLA_GROUP; 0 is "default"
  bool xdp_native = false;          // an XDP program runs in the driver
  bool xdp_generic = false;         // an XDP program runs in the network stack
  IfIndex master = IfIndex::kNone;  // the bridge, bond or VRF that it is a port of
};

// One end of a veth pair.
struct VethEnd {
  std::string name;
  std::string alias;              // empty: none
  std::optional<MacAddress> mac;  // set in the creating message: udev then leaves it alone
  uint32_t group = 0;             // set in the creating message
};
struct VethSpec {
  VethEnd here;   // in the socket's namespace
  VethEnd there;  // in `there_netns`
  int there_netns = -1;
  int mtu = 1500;  // of both ends
  uint32_t gso_max_size =
      0;  // the other end's largest super-frame, in bytes; 0: the kernel's default
};

struct LinkChange {
  std::optional<bool> up;
  std::optional<int> mtu;
  std::optional<MacAddress> mac;
  std::optional<std::string> alias;
  std::optional<uint32_t> gso_max_size;
  std::optional<uint32_t> group = {};
  std::optional<uint32_t> tx_queue_len = {};  // frames; for a tap, those that wait for its reader
  bool no_ipv6 = false;  // IN6_ADDR_GEN_MODE_NONE: no link-local address, no router solicitation
};

struct Route {
  std::optional<IpPrefix> destination;  // absent: default, of the gateway's family
  std::optional<IpAddress> gateway;     // absent: on link
  std::optional<uint32_t> mtu;
  std::optional<uint32_t> advmss;
  std::optional<uint32_t> priority;  // metric
  std::optional<uint32_t> table;
  std::optional<uint8_t> scope;  // absent: link without a gateway, else global
};

struct RouteAnswer {
  IfIndex interface = IfIndex::kNone;
  std::optional<IpAddress> source;
};

struct AddressInfo {
  IfIndex interface = IfIndex::kNone;
  IpPrefix prefix;
  bool tentative = false;
};

struct RouteInfo {
  IpPrefix destination;                // 0.0.0.0/0 and ::/0: default
  std::vector<IpAddress> gateways;     // more than one: multipath; none: on link
  IfIndex interface = IfIndex::kNone;  // kNone: multipath
  uint32_t table = 0;
  uint32_t priority = 0;  // metric; the lowest of a destination is used
};

class Netlink {
 public:
  // In the calling thread's namespace.
  static absl::StatusOr<Netlink> Open();
  // In another namespace, which this thread does not enter.
  static absl::StatusOr<Netlink> OpenIn(const UniqueFd& netns);

  // NotFound names the link.
  absl::StatusOr<LinkInfo> GetLink(absl::string_view name);
  absl::StatusOr<LinkInfo> GetLink(IfIndex index);
  absl::StatusOr<std::vector<LinkInfo>> ListLinks();
  // A link of the namespace that has the number `netns` in this one (CAP_NET_ADMIN there).
  absl::StatusOr<LinkInfo> GetLinkIn(int netns, IfIndex index);

  // AlreadyExists if either name is in use. Both ends are left down. One message creates the pair
  // with names, MACs, MTU, groups, namespace and gso_max_size. Aliases, which the kernel does not
  // read there, follow in separate messages; if one of these fails, the pair is removed again. A
  // process that is killed in between leaves a pair without them.
  absl::Status CreateVeth(const VethSpec& spec);
  absl::Status ChangeLink(IfIndex index, const LinkChange& change);
  // NotFound if it is already gone.
  absl::Status DeleteLink(IfIndex index);

  // IPv6 addresses are added without duplicate address detection (IFA_F_NODAD), so that they can be
  // used at once. AlreadyExists if the address exists.
  absl::Status AddAddress(IfIndex index, const IpPrefix& prefix);
  absl::Status DeleteAddress(IfIndex index, const IpPrefix& prefix);
  absl::StatusOr<std::vector<AddressInfo>> ListAddresses();  // of all links, both families
  absl::Status AddRoute(IfIndex index, const Route& route);
  // All default routes of a family in the main table, whichever their links.
  absl::Status DeleteDefaultRoutes(int family);
  absl::StatusOr<std::vector<RouteInfo>> ListRoutes();  // unicast, of all tables, both families

  // Frames that the link dropped instead of sending since it was created.
  absl::StatusOr<uint64_t> GetTxDropped(IfIndex index);

  // The answer of `ip route get DESTINATION`. Unavailable if there is no route.
  absl::StatusOr<RouteAnswer> LookUpRoute(const IpAddress& destination);

  // For the files of this folder that query other objects (netlink_message.h).
  //
  // Sends `message` and reads until the kernel's final reply. `each` sees every reply before that;
  // `kernel_error` receives the errno of a refusal.
  absl::Status Exchange(NetlinkRequest& message, absl::string_view what,
                        absl::FunctionRef<absl::Status(const nlmsghdr*)> each,
                        int* kernel_error = nullptr);
  absl::Status Do(NetlinkRequest& request, absl::string_view what, int* kernel_error = nullptr);
  // Starts again, after calling `restart`, if the list changed while it was being read.
  absl::Status Dump(NetlinkRequest& request, absl::string_view what,
                    absl::FunctionRef<void()> restart,
                    absl::FunctionRef<absl::Status(const nlmsghdr*)> each);

 private:
  explicit Netlink(UniqueFd fd);

  absl::StatusOr<LinkInfo> GetOneLink(NetlinkRequest& request, absl::string_view what);
  absl::Status SetAlias(IfIndex index, absl::string_view alias);

  UniqueFd fd_;
  uint32_t sequence_ = 0;
  std::unique_ptr<uint8_t[]> reply_;  // one read from the kernel
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NETLINK_H_
