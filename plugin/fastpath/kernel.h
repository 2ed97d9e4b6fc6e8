// KernelFastPath: the kernel datapath of a node. It loads the programs (fastpath.bpf.c), attaches
// them to uplinks, and holds their maps. kernel_cloud.h is the datapath of one cloud. For other
// rooms OpenKernelFastPath() (fastpath.h) is the entry; tests look inside.
//
// When an agent ends, the programs stay attached, and with them the maps, and go on forwarding. The
// next agent finds them there (inherited.h) and takes over the entries for which it has records:
// clouds, ports and peers keep their slots.

#ifndef VXVDE_PLUGIN_FASTPATH_KERNEL_H_
#define VXVDE_PLUGIN_FASTPATH_KERNEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/fastpath/abi.h"
#include "plugin/fastpath/chain_keeper.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/fastpath/inherited.h"
#include "plugin/fastpath/punt_room.h"
#include "plugin/fastpath/slots.h"
#include "plugin/os/background_closer.h"
#include "plugin/os/fd_store.h"
#include "plugin/os/netlink.h"

struct fastpath_programs;  // the skeleton

namespace vxvde {

class KernelFastCloud;

class KernelFastPath final : public FastPath {
 public:
  // Without `tcx`: as on a kernel that has none.
  static absl::StatusOr<std::unique_ptr<KernelFastPath>> Open(FdStore* store = nullptr,
                                                              bool tcx = true);
  ~KernelFastPath() override;

  absl::StatusOr<std::unique_ptr<FastCloud>> Join(const FastCloudOptions& options) override;
  void SetLocalAddresses(const std::vector<IpAddress>& addresses) override;
  std::string WhyNotInherited() const override { return why_not_inherited_; }
  std::string Hooks() const override;
  void DropInherited() override;
  void KeepForNextAgent() override {
    kept_for_next_ = true;
    keeper_->Stop();
  }

  // Descriptors of the programs, for BPF_PROG_TEST_RUN.
  int from_pod() const;
  int from_uplink() const;
  int from_cloud() const;
  int from_tunnel() const;
  PuntRoom& punts() { return *punts_; }

 private:
  friend class KernelFastCloud;
  KernelFastPath(fastpath_programs* programs, Netlink netlink, FdStore* store);
  // With the maps of an earlier agent, if there was one.
  static absl::StatusOr<std::unique_ptr<KernelFastPath>> OpenInherited(FdStore* store);
  // With maps of its own. Removes the programs and devices of an earlier agent.
  static absl::StatusOr<std::unique_ptr<KernelFastPath>> OpenFresh(FdStore* store,
                                                                   const absl::Status& why);
  absl::Status MapPunts();
  // Attaches the program, and keeps it attached and reached.
  absl::Status Keep(IfIndex index, Where where, int program);
  // The same for a host end. Returns the other programs there.
  absl::StatusOr<Seen> KeepHostEnd(IfIndex index);

  // Removes the entries, and gives back their slots.
  void Forget(uint32_t slot, const InheritedCloud& inherited);

  // Reference-counted, because clouds share an uplink.
  absl::Status Attach(IfIndex uplink);
  void Detach(IfIndex uplink);
  // Writes the fast ports at this node's addresses.
  void WriteLocals();
  // Closes taps, then deletes devices, in the background: each waits for RCU.
  void CloseLater(std::vector<UniqueFd> fds, std::vector<IfIndex> devices);

  fastpath_programs* programs_;
  Netlink netlink_;
  std::unique_ptr<ChainKeeper> keeper_;
  std::unique_ptr<BackgroundCloser> closer_;
  std::unique_ptr<PuntRoom> punts_;
  FdStore* store_;  // may be null
  bool kept_for_next_ = false;
  std::string why_not_inherited_;
  Slots clouds_{FP_CLOUDS};
  Slots ports_{FP_PORTS};
  Slots peers_{FP_PEERS};
  std::vector<IpAddress> addresses_;
  std::map<IfIndex, int> uplinks_;
  std::map<uint32_t, KernelFastCloud*> joined_;  // by slot
  std::vector<fp_local> locals_;                 // keys in the map
  // Until DropInherited(): what no cloud has taken over.
  std::map<uint32_t, InheritedCloud> inherited_;  // by slot
  std::vector<IfIndex> inherited_interfaces_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_KERNEL_H_
