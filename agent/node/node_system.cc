#include "agent/node/node_system.h"

#include <memory>
#include <random>
#include <utility>

#include "agent/config/system_config.h"
#include "agent/kernel/kept_io.h"
#include "agent/kernel/kernel_snapshot.h"
#include "agent/lifecycle/privileges.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

uint64_t RandomNumber() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

absl::StatusOr<std::vector<IpAddress>> ListLocalAddresses(Netlink& netlink) {
  ASSIGN_OR_RETURN(const std::vector<AddressInfo> infos, netlink.ListAddresses());
  std::vector<IpAddress> addresses;
  for (const AddressInfo& info : infos) addresses.push_back(info.prefix.address);
  return addresses;
}

}  // namespace

absl::StatusOr<NodeSystem> OpenNodeSystem(FdStore* kept, Datapath datapath,
                                          const std::string& proc_sys, const Log& log) {
  NodeSystem system;
  // The background threads of links only close ports.
  RETURN_IF_ERROR(RunWithCapabilities(kCapabilitiesToRun, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(system.links, KernelLinks(kept));
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(system.node_links, KernelNodeLinks(proc_sys));
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  system.local_addresses = [shared = std::make_shared<Netlink>(std::move(netlink))] {
    return ListLocalAddresses(*shared);
  };
  ASSIGN_OR_RETURN(system.link_monitor, NetlinkMonitor::Open());
  ASSIGN_OR_RETURN(system.fast_path,
                   OpenFastPath(datapath,
                                {.open = [kept] { return OpenKernelFastPath(kept); },
                                 .remove = RemoveKernelFastPath},
                                log));
  system.sockets = {
      .group = [kept](const UdpOptions& options) { return OpenKeptGroupSocket(kept, options); },
      .unicast =
          [kept](const UdpOptions& options) { return OpenKeptUnicastSocket(kept, options); }};

  system.firewall = KernelFirewall();
  system.underlay_rules = KernelNft();
  system.host_end_rules = KernelNft();
  system.open_rule_monitor = NftMonitor::Open;
  ASSIGN_OR_RETURN(system.underlay, KernelUnderlayView());
  ASSIGN_OR_RETURN(system.host_ends, KernelHostEndLinks());
  system.snapshot = TakeSnapshot;
  system.group_id = UnixGroupId;
  system.random = RandomNumber;
  return system;
}

}  // namespace vxvde
