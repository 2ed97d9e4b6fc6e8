// The netlink socket to nftables, and self-freeing objects of libnftnl. For nftables_*.cc only.

#ifndef VXVDE_PLUGIN_OS_NFTABLES_NETLINK_H_
#define VXVDE_PLUGIN_OS_NFTABLES_NETLINK_H_

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/gen.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>

#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vxvde::nft {

// The most bytes that the kernel sends at once.
constexpr size_t kMaxAnswer = 64 * 1024;

template <typename T, void (*Free)(const T*)>
struct Freer {
  void operator()(T* object) const { Free(object); }
};
template <typename T, void (*Free)(const T*)>
using Owned = std::unique_ptr<T, Freer<T, Free>>;

using Table = Owned<nftnl_table, nftnl_table_free>;
using Chain = Owned<nftnl_chain, nftnl_chain_free>;
using Rule = Owned<nftnl_rule, nftnl_rule_free>;
using Set = Owned<nftnl_set, nftnl_set_free>;

// The libraries return nullptr where `new` throws.
template <typename T>
T* Made(T* object) {
  if (object == nullptr) throw std::bad_alloc();
  return object;
}

struct CloseSocket {
  void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
};
using Socket = std::unique_ptr<mnl_socket, CloseSocket>;

absl::StatusOr<Socket> Connect();

// Calls `each` with every queued message, until none is left or it returns false.
absl::Status Receive(mnl_socket* socket, std::vector<char>& buffer,
                     absl::FunctionRef<bool(const nlmsghdr*)> each);

// nullopt: `message` is neither an error nor an acknowledgement. Otherwise its errno, 0 for the
// latter.
std::optional<int> ErrorOf(const nlmsghdr* message);

// "WHAT: Operation not permitted (EPERM)", followed by the kernel's text, if there is any.
std::string ErrorText(const nlmsghdr* message, int error, absl::string_view what);

}  // namespace vxvde::nft

#endif  // VXVDE_PLUGIN_OS_NFTABLES_NETLINK_H_
