#include "plugin/fastpath/kernel.h"

#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "plugin/base/retry.h"
#include "plugin/base/status.h"
#include "plugin/fastpath/cloud_devices.h"
#include "plugin/fastpath/fastpath_programs.skel.h"
#include "plugin/fastpath/kernel_cloud.h"
#include "plugin/fastpath/maps.h"
#include "plugin/fastpath/station_entries.h"
#include "plugin/fastpath/tc.h"
#include "plugin/os/privileges.h"

namespace vxvde {
namespace {

// The last message of the verifier or of libbpf.
std::string LastLine(const std::string& log) {
  const std::vector<std::string> lines = absl::StrSplit(log.c_str(), '\n', absl::SkipWhitespace());
  return lines.empty() ? "" : absl::StrCat(": ", lines.back());
}

// Nothing deletes the device later, so the step is tried again.
void DeleteDevice(IfIndex device) {
  RetryOnce([&]() -> absl::Status {
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
    const absl::Status deleted = netlink.DeleteLink(device);
    return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;
  }).IgnoreError();
}

// Loads the programs, with the maps of `inherited` if there are any.
absl::StatusOr<fastpath_programs*> Load(const InheritedPrograms* inherited) {
  std::string log(size_t{1} << 16, '\0');
  bpf_object_open_opts options = {};
  options.sz = sizeof(options);
  options.kernel_log_buf = log.data();
  options.kernel_log_size = log.size();
  fastpath_programs* programs = fastpath_programs__open_opts(&options);
  if (programs == nullptr) return ErrnoStatus(errno, "read the fast path's programs");
  absl::Cleanup destroy = [&] { fastpath_programs__destroy(programs); };
  if (inherited != nullptr) RETURN_IF_ERROR(ReuseMaps(*inherited, programs->obj));
  if (const int error = fastpath_programs__load(programs); error != 0) {
    if (error == -EPERM || error == -EACCES) {
      return absl::PermissionDeniedError(
          "loading tc programs is not permitted; it takes CAP_BPF and CAP_NET_ADMIN in the first "
          "user namespace (before Linux 5.8: CAP_SYS_ADMIN)");
    }
    utsname kernel = {};
    uname(&kernel);
    return absl::FailedPreconditionError(
        absl::StrCat("Linux ", kernel.release, " does not load the tc programs (",
                     std::strerror(-error), LastLine(log), "); it takes Linux 6.1 or later"));
  }
  RETURN_IF_ERROR(LeaveMapsTo(programs->obj));
  std::move(destroy).Cancel();
  return programs;
}

bool Contains(const std::vector<fp_local>& keys, const fp_local& key) {
  return std::any_of(keys.begin(), keys.end(), [&](const fp_local& one) {
    return std::memcmp(&one, &key, sizeof(key)) == 0;
  });
}

// Its threads need CAP_NET_ADMIN to close taps and delete devices, and get no other capability.
absl::StatusOr<std::unique_ptr<BackgroundCloser>> StartCloser() {
  std::unique_ptr<BackgroundCloser> closer;
  RETURN_IF_ERROR(RunWithCapabilities({CAP_NET_ADMIN}, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(closer, BackgroundCloser::Start());
    return absl::OkStatus();
  }));
  return closer;
}

}  // namespace

KernelFastPath::KernelFastPath(fastpath_programs* programs, Netlink netlink, FdStore* store)
    : programs_(programs), netlink_(std::move(netlink)), store_(store) {}

absl::StatusOr<std::unique_ptr<KernelFastPath>> KernelFastPath::Open(FdStore* store, bool tcx) {
  libbpf_set_print(nullptr);  // the statuses contain its messages
  ASSIGN_OR_RETURN(std::unique_ptr<ChainKeeper> keeper, ChainKeeper::Start(tcx));
  ASSIGN_OR_RETURN(std::unique_ptr<BackgroundCloser> closer, StartCloser());
  absl::StatusOr<std::unique_ptr<KernelFastPath>> fast =
      RetryOnce([&] { return OpenInherited(store); });
  if (!fast.ok()) fast = OpenFresh(store, fast.status());
  if (!fast.ok()) return fast;
  (*fast)->keeper_ = std::move(keeper);
  (*fast)->closer_ = std::move(closer);
  return fast;
}

absl::StatusOr<std::unique_ptr<KernelFastPath>> KernelFastPath::OpenInherited(FdStore* store) {
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(InheritedPrograms inherited, FindInheritedPrograms(netlink));
  ASSIGN_OR_RETURN(fastpath_programs * programs, Load(&inherited));
  std::unique_ptr<KernelFastPath> fast(new KernelFastPath(programs, std::move(netlink), store));
  RETURN_IF_ERROR(fast->MapPunts());
  ASSIGN_OR_RETURN(InheritedEntries entries, ReadInheritedEntries(*programs));
  fast->inherited_ = std::move(entries.clouds);
  fast->inherited_interfaces_ = std::move(inherited.interfaces);
  fast->clouds_.Reserve(std::move(entries.cloud_slots));
  fast->ports_.Reserve(std::move(entries.port_slots));
  fast->peers_.Reserve(std::move(entries.peer_slots));
  return fast;
}

absl::StatusOr<std::unique_ptr<KernelFastPath>> KernelFastPath::OpenFresh(FdStore* store,
                                                                          const absl::Status& why) {
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(const InheritedPrograms inherited, FindInheritedPrograms(netlink));
  ASSIGN_OR_RETURN(fastpath_programs * programs, Load(nullptr));
  std::unique_ptr<KernelFastPath> fast(new KernelFastPath(programs, std::move(netlink), store));
  RETURN_IF_ERROR(fast->MapPunts());
  if (!inherited.interfaces.empty()) fast->why_not_inherited_ = std::string(why.message());
  for (const IfIndex index : inherited.interfaces) DetachProgram(index);
  RETURN_IF_ERROR(RemoveCloudDevices(fast->netlink_, {}));
  return fast;
}

absl::Status KernelFastPath::MapPunts() {
  ASSIGN_OR_RETURN(punts_, PuntRoom::Map(bpf_map__fd(programs_->maps.fp_punts)));
  return absl::OkStatus();
}

KernelFastPath::~KernelFastPath() {
  closer_.reset();
  keeper_.reset();  // before the programs that it attaches
  fastpath_programs__destroy(programs_);
}

std::string KernelFastPath::Hooks() const { return keeper_->tcx() ? "tcx" : "clsact"; }

absl::Status KernelFastPath::Keep(IfIndex index, Where where, int program) {
  RETURN_IF_ERROR(AttachProgram(index, program));
  keeper_->Keep(index, where, program);
  return absl::OkStatus();
}

absl::StatusOr<Seen> KernelFastPath::KeepHostEnd(IfIndex index) {
  RETURN_IF_ERROR(AttachProgram(index, from_pod()));
  ASSIGN_OR_RETURN(const Seen seen,
                   ChainKeeper::LookNow(netlink_, index, Where::kHostEnd, from_pod()));
  keeper_->Keep(index, Where::kHostEnd, from_pod(), seen);
  return seen;
}

int KernelFastPath::from_pod() const { return bpf_program__fd(programs_->progs.from_pod); }
int KernelFastPath::from_uplink() const { return bpf_program__fd(programs_->progs.from_uplink); }
int KernelFastPath::from_cloud() const { return bpf_program__fd(programs_->progs.from_cloud); }
int KernelFastPath::from_tunnel() const { return bpf_program__fd(programs_->progs.from_tunnel); }

absl::StatusOr<std::unique_ptr<FastCloud>> KernelFastPath::Join(const FastCloudOptions& options) {
  closer_->Wait();  // a cloud that had the same unicast port may be closing
  const auto found = std::find_if(inherited_.begin(), inherited_.end(),
                                  [&](const auto& one) { return one.second.Matches(options); });
  const bool is_inherited = found != inherited_.end();
  const std::optional<uint32_t> slot = is_inherited ? found->first : clouds_.Take();
  if (!slot.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is room for ", FP_CLOUDS, " clouds in the fast path"));
  }
  InheritedCloud inherited;
  if (is_inherited) inherited = std::move(inherited_.extract(found).mapped());
  auto cloud = std::make_unique<KernelFastCloud>(this, options, *slot, std::move(inherited));
  absl::Status opened = cloud->Open();
  // The end of an inherited cloud would interrupt the frames that the programs forward.
  if (!opened.ok() && is_inherited) opened = cloud->Open();
  if (!opened.ok()) return absl::FailedPreconditionError(opened.message());
  return cloud;
}

void KernelFastPath::SetLocalAddresses(const std::vector<IpAddress>& addresses) {
  addresses_ = addresses;
  WriteLocals();
}

void KernelFastPath::WriteLocals() {
  const bpf_map* const map = programs_->maps.fp_locals;
  std::vector<fp_local> now;
  for (const auto& [slot, cloud] : joined_) {
    for (const IpAddress& address : addresses_) {
      const FastCloudOptions& options = cloud->options();
      if (address.is_v6() != options.group.is_v6()) continue;
      if (options.bind.has_value() && *options.bind != address) continue;
      fp_local key = {};
      std::memcpy(key.addr, Mapped(address).data(), FP_ADDR_SIZE);
      key.port = htons(cloud->fast_port());
      Write(map, key, slot).IgnoreError();
      now.push_back(key);
    }
  }
  for (const fp_local& before : std::exchange(locals_, std::move(now))) {
    if (!Contains(locals_, before)) Erase(map, before);
  }
}

absl::Status KernelFastPath::Attach(IfIndex uplink) {
  if (uplinks_[uplink]++ > 0) return absl::OkStatus();
  const absl::Status attached = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const LinkInfo link, netlink_.GetLink(uplink));
    if (link.type != ARPHRD_ETHER) {
      return absl::FailedPreconditionError(
          absl::StrCat("uplink ", link.name, " is not an Ethernet interface"));
    }
    return Keep(uplink, Where::kUplink, from_uplink());
  }();
  if (!attached.ok()) uplinks_.erase(uplink);
  return attached;
}

void KernelFastPath::Detach(IfIndex uplink) {
  const auto found = uplinks_.find(uplink);
  if (found == uplinks_.end() || --found->second > 0) return;
  uplinks_.erase(found);
  keeper_->Release(uplink);
  DetachFilter(uplink);
}

void KernelFastPath::CloseLater(std::vector<UniqueFd> fds, std::vector<IfIndex> devices) {
  closer_->CloseLater([fds = std::move(fds), devices = std::move(devices)]() mutable {
    fds.clear();
    for (const IfIndex device : devices) DeleteDevice(device);
  });
}

// ---------------------------------------------------------------- state of an earlier agent

void KernelFastPath::DropInherited() {
  std::map<uint32_t, InheritedCloud> inherited = std::exchange(inherited_, {});
  for (auto& [slot, cloud] : inherited) {
    if (cloud.value.frames_tap != 0) {
      Zero<fp_cloud>(programs_->maps.fp_clouds, slot);
      clouds_.GiveBack(slot);
    }
    Forget(slot, cloud);
  }
  std::set<IfIndex> own;
  for (const auto& [uplink, users] : uplinks_) own.insert(uplink);
  for (const auto& [slot, cloud] : joined_) cloud->DropInherited(own);
  for (const IfIndex index : std::exchange(inherited_interfaces_, {})) {
    if (!own.contains(index)) DetachProgram(index);
  }
  std::vector<fp_local> locals;
  (void)ForEachKey<fp_local>(programs_->maps.fp_locals, [&](const fp_local& key) {
    if (!Contains(locals_, key)) locals.push_back(key);
    return absl::OkStatus();
  });
  for (const fp_local& key : locals) Erase(programs_->maps.fp_locals, key);
  (void)RemoveCloudDevices(netlink_, own);
}

void KernelFastPath::Forget(uint32_t slot, const InheritedCloud& inherited) {
  const auto& maps = programs_->maps;
  for (const auto& [host_end, port] : inherited.ports) {
    Erase(maps.fp_ports, static_cast<uint32_t>(host_end));
    ports_.GiveBack(port);
  }
  for (const auto& [at, peer] : inherited.peers) {
    Zero<fp_peer>(maps.fp_peers, at);
    peers_.GiveBack(at);
  }
  for (const IfIndex device : inherited.devices) {
    Erase(maps.fp_ports, static_cast<uint32_t>(device));
  }
  std::set<uint32_t> relayed;
  for (const auto& [mac, port] : inherited.relayed) relayed.insert(port);
  for (const uint32_t port : relayed) ports_.GiveBack(port);
  StationEntries stations(maps.fp_stations, slot);
  for (const MacAddress& mac : inherited.stations) stations.Remove(mac);
}

// ---------------------------------------------------------------- entries of this room

absl::StatusOr<std::unique_ptr<FastPath>> OpenKernelFastPath(FdStore* store) {
  return KernelFastPath::Open(store);
}

absl::Status RemoveKernelFastPath() {
  libbpf_set_print(nullptr);
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  RETURN_IF_ERROR(DetachAllPrograms(netlink));
  return RemoveCloudDevices(netlink, {});
}

}  // namespace vxvde
