// One nftables table of the calling thread's namespace: replaced, read and watched, as text
// (nft(8)). The caller decides its content; no other table is changed. Source: libnftables(3),
// linux/netfilter/nfnetlink.h.

#ifndef VXVDE_PLUGIN_OS_NFTABLES_H_
#define VXVDE_PLUGIN_OS_NFTABLES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Runs `commands` as one transaction: all of them or none. PermissionDenied without CAP_NET_ADMIN
// in the namespace's user namespace.
absl::Status RunNft(const std::string& commands);

// The output of `nft --stateless list table FAMILY NAME`; `table` is both. Empty: there is none.
absl::StatusOr<std::string> ListNftTable(const std::string& table);

// Reports changes of any rules of the namespace (NFNLGRP_NFTABLES).
class NftMonitor {
 public:
  static absl::StatusOr<NftMonitor> Open();
  int fd() const { return fd_.get(); }
  // Discards all waiting messages.
  void Drain();

 private:
  explicit NftMonitor(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NFTABLES_H_
