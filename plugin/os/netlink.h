// rtnetlink, as far as this project needs it. One socket: one namespace.
// Not thread-safe. Errors name the operation, the object and the kernel's own words (extended ack).

#ifndef VXVDE_PLUGIN_OS_NETLINK_H_
#define VXVDE_PLUGIN_OS_NETLINK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
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
  bool ipv6 = false;     // it may be used: the kernel has it, and disable_ipv6 is 0
  IfIndex peer = IfIndex::kNone;    // IFLA_LINK: index of the other end, in its own namespace
  bool peer_elsewhere = false;      // that namespace is another one (IFLA_LINK_NETNSID)
  std::optional<int> peer_netns;    // its number, if it has one here
  uint16_t type = 0;                // ARPHRD_ETHER ...
  uint32_t group = 0;               // IFLA_GROUP; 0 is "default"
  bool xdp_native = false;          // an XDP program runs in the driver
  bool xdp_generic = false;         // an XDP program runs in the network stack
  IfIndex master = IfIndex::kNone;  // the bridge, bond or VRF that it is a port of
};

// A classifier of a link's clsact or ingress qdisc.
struct FilterInfo {
  std::string kind;       // "bpf", "u32" ...
  uint16_t priority = 0;  // classifiers run in ascending order
  uint16_t protocol = 0;  // ETH_P_ALL, ETH_P_IP ...
  uint32_t handle = 0;    // 0: the classifier as a whole, which the kernel lists as well
  std::string program;    // of kind "bpf": its name
  uint32_t program_id = 0;
};
enum class Direction { kIngress, kEgress };

// A queueing discipline of a link.
struct QdiscInfo {
  std::string kind;     // "tbf", "clsact", "ingress" ...
  uint32_t parent = 0;  // TC_H_ROOT, TC_H_INGRESS (clsact too) or a class
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
  int mtu = 1500;             // of both ends
  uint32_t gso_max_size = 0;  // bytes of the other end's largest super-frame; 0: the kernel's
};

struct LinkChange {
  std::optional<bool> up;
  std::optional<int> mtu;
  std::optional<MacAddress> mac;
  std::optional<std::string> alias;
  std::optional<uint32_t> gso_max_size;
  std::optional<uint32_t> group = {};
  std::optional<uint32_t> tx_queue_len = {};  // frames; of a tap: that wait for its reader
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
};

// What a link sends, by a token bucket (tc-tbf(8)).
struct Shape {
  uint64_t rate = 0;   // bits a second, at least 8
  uint64_t burst = 0;  // bits that may go at once; at least one frame of the link, less than 2^35
};

class Netlink {
 public:
  // In the calling thread's namespace.
  static absl::StatusOr<Netlink> Open();
  // In another one, without entering it on this thread.
  static absl::StatusOr<Netlink> OpenIn(const UniqueFd& netns);

  // NotFound names the link.
  absl::StatusOr<LinkInfo> GetLink(absl::string_view name);
  absl::StatusOr<LinkInfo> GetLink(IfIndex index);
  absl::StatusOr<std::vector<LinkInfo>> ListLinks();
  // A link of the namespace that this one knows by the number `netns` (CAP_NET_ADMIN there).
  absl::StatusOr<LinkInfo> GetLinkIn(int netns, IfIndex index);

  // AlreadyExists when either name is taken. Both ends are left down. One message makes the
  // pair with names, MACs, MTU, groups, namespace and gso_max_size; aliases, which the kernel does
  // not read there, follow in messages of their own. When one of these fails the pair is removed
  // again; a process killed in between leaves a pair without them.
  absl::Status CreateVeth(const VethSpec& spec);
  absl::Status ChangeLink(IfIndex index, const LinkChange& change);
  // NotFound when it is gone already.
  absl::Status DeleteLink(IfIndex index);

  // IPv6 addresses are added without duplicate address detection (IFA_F_NODAD), so
  // that they can be used at once. AlreadyExists when it is there.
  absl::Status AddAddress(IfIndex index, const IpPrefix& prefix);
  absl::Status DeleteAddress(IfIndex index, const IpPrefix& prefix);
  absl::StatusOr<std::vector<AddressInfo>> ListAddresses();  // of all links, both families
  absl::Status AddRoute(IfIndex index, const Route& route);
  absl::StatusOr<std::vector<RouteInfo>> ListRoutes();  // unicast, of all tables, both families

  // A VXLAN device that unpacks for all VNIs and senders (collect metadata) what comes to UDP
  // `port`, IPv4 and IPv6, checksums of 0 included. It takes the port when it is brought up.
  // AlreadyExists when the name is taken; Unimplemented: this kernel has none.
  absl::Status CreateVxlan(const std::string& name, uint16_t port);
  // InvalidArgument when the link is no such device.
  absl::StatusOr<uint16_t> GetVxlanPort(IfIndex index);

  // Frames that the link should have sent and dropped, since it was made.
  absl::StatusOr<uint64_t> GetTxDropped(IfIndex index);

  // At the root and at ingress of one link, those that the kernel makes by itself (noqueue) left
  // out.
  absl::StatusOr<std::vector<QdiscInfo>> ListQdiscs(IfIndex index);

  // The classifiers of chain 0 in the order in which they run; none without such a qdisc.
  absl::StatusOr<std::vector<FilterInfo>> ListFilters(IfIndex index, Direction direction);

  // Frames that the link sends wait for their turn, at most 25 ms behind a whole burst; more are
  // dropped. Replaces the root queueing discipline that is there.
  absl::Status ShapeLink(IfIndex index, const Shape& shape);

  // The number by which this socket's namespace knows another one as long as that lives; given to
  // it if it has none (CAP_NET_ADMIN).
  absl::StatusOr<int> NumberNetNs(const UniqueFd& netns);
  // The numbers of those namespaces with a number that a thread of the machine is in. It takes a
  // microsecond or two for each thread. FailedPrecondition: not all threads can be seen here.
  absl::StatusOr<std::set<int>> NetNsInUse();

  // What `ip route get DESTINATION` says. Unavailable when there is no route.
  absl::StatusOr<RouteAnswer> LookUpRoute(const IpAddress& destination);

 private:
  explicit Netlink(UniqueFd fd);

  // Sends `message` and reads until the kernel's last word on it. `each` sees every reply
  // before that; `kernel_error` gets the errno of a refusal.
  absl::Status Exchange(NetlinkRequest& message, absl::string_view what,
                        absl::FunctionRef<absl::Status(const nlmsghdr*)> each,
                        int* kernel_error = nullptr);
  absl::Status Do(NetlinkRequest& request, absl::string_view what, int* kernel_error = nullptr);
  // Starts again, after `restart`, when the list changed while it was read.
  absl::Status Dump(NetlinkRequest& request, absl::string_view what,
                    absl::FunctionRef<void()> restart,
                    absl::FunctionRef<absl::Status(const nlmsghdr*)> each);
  absl::StatusOr<LinkInfo> GetOneLink(NetlinkRequest& request, absl::string_view what);
  absl::StatusOr<int> AskNetNsNumber(int attribute, uint32_t value, absl::string_view what);
  absl::Status SetAlias(IfIndex index, absl::string_view alias);

  UniqueFd fd_;
  uint32_t sequence_ = 0;
  std::unique_ptr<uint8_t[]> reply_;  // one read from the kernel
};

// Tells when addresses or links of a namespace change (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR,
// RTNLGRP_IPV6_IFADDR).
class NetlinkMonitor {
 public:
  static absl::StatusOr<NetlinkMonitor> Open();
  int fd() const { return fd_.get(); }
  // Throws away all that waits; true when there was anything (or something was lost).
  bool Drain();

 private:
  explicit NetlinkMonitor(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Tells of which links of a namespace qdiscs, classifiers or properties change (RTNLGRP_TC,
// RTNLGRP_LINK).
class LinkWatch {
 public:
  struct Changes {
    std::set<IfIndex> links;
    bool lost = false;  // more than these may have changed
  };
  static absl::StatusOr<LinkWatch> Open();
  int fd() const { return fd_.get(); }
  // What waits, without blocking.
  Changes Read();

 private:
  explicit LinkWatch(UniqueFd fd);
  UniqueFd fd_;
  std::unique_ptr<uint8_t[]> message_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NETLINK_H_
