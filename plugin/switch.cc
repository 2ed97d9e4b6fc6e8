#include "plugin/switch.h"

#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/cloud/cloud.h"
#include "plugin/os/task_scope.h"

namespace vxvde {
namespace {

constexpr std::chrono::seconds kTick{1};

}  // namespace

struct Switch::Impl {
  FastPath* fast;
  SwitchSockets sockets;
  Listener listener;
  CloudContext context;
  std::map<CloudKey, std::unique_ptr<Cloud>> clouds;
  Timer tick;

  void CheckOnLoop() const { context.loop->CheckOnLoop(); }
  void Report(const SwitchEvent& event) const {
    if (listener) listener(event);
  }
  absl::StatusOr<Cloud*> Find(const CloudKey& key) const {
    CheckOnLoop();
    const auto it = clouds.find(key);
    if (it == clouds.end()) {
      return absl::NotFoundError(absl::StrCat("cloud ", key.ToString(), " is not joined"));
    }
    return it->second.get();
  }
};

Switch::Switch(EventLoop* loop, SwitchSockets sockets, FastPath* fast)
    : impl_(new Impl{.fast = fast,
                     .sockets = std::move(sockets),
                     .listener = {},
                     .context = CloudContext(loop),
                     .clouds = {},
                     .tick = Timer(loop)}) {
  loop->CheckOnLoop();
  impl_->tick.Every(kTick, [loop, impl = impl_.get()] {
    for (const auto& [key, cloud] : impl->clouds) cloud->Tick(loop->now());
  });
}

Switch::~Switch() { impl_->CheckOnLoop(); }

void Switch::SetListener(Listener listener) {
  impl_->CheckOnLoop();
  impl_->listener = std::move(listener);
}

void Switch::SetLocalAddresses(std::vector<IpAddress> addresses) {
  impl_->CheckOnLoop();
  impl_->context.local.clear();
  impl_->context.local.insert(addresses.begin(), addresses.end());
  if (impl_->fast != nullptr) impl_->fast->SetLocalAddresses(addresses);
}

namespace {

UdpOptions UdpOf(const CloudOptions& options) {
  const CloudKey& key = options.config.key;
  return {.group = key.group,
          .group_port = key.port,
          .bind = options.config.bind,
          .port = options.unicast_port,
          .uplink = options.uplink,
          .uplink_mtu = options.uplink_mtu,
          .ttl = options.config.ttl,
          .receive_buffer = options.config.receive_buffer};
}

// FailedPrecondition: the options require the kernel datapath, and there is none.
absl::StatusOr<OffloadStart> StartOffload(FastPath* path, const CloudOptions& options,
                                          uint16_t unicast_port) {
  const bool insists = options.datapath == Datapath::kKernel;
  if (options.datapath == Datapath::kUser) return OffloadStart{};
  if (path == nullptr) {
    if (!insists) return OffloadStart{};
    return absl::FailedPreconditionError("`datapath: kernel`: this node has no kernel datapath");
  }
  absl::StatusOr<std::unique_ptr<FastCloud>> joined = path->Join({.group = options.config.key.group,
                                                                  .vni = options.config.key.vni,
                                                                  .unicast_port = unicast_port,
                                                                  .uplink = options.uplink,
                                                                  .ttl = options.config.ttl,
                                                                  .bind = options.config.bind});
  if (joined.ok()) return OffloadStart{.fast = *std::move(joined)};
  const std::string why(joined.status().message());
  if (!insists) return OffloadStart{.why_not = why};
  return absl::FailedPreconditionError(absl::StrCat("`datapath: kernel`: ", why));
}

}  // namespace

absl::Status Switch::Join(const CloudOptions& options) {
  const CloudKey& key = options.config.key;
  if (IsJoined(key)) {
    return absl::AlreadyExistsError(absl::StrCat("cloud ", key.ToString(), " is joined already"));
  }
  const UdpOptions udp = UdpOf(options);
  // The unicast socket first: a port in use is the likely failure, and is detected before joining.
  ASSIGN_OR_RETURN(std::unique_ptr<DatagramIo> unicast, impl_->sockets.unicast(udp));
  ASSIGN_OR_RETURN(std::unique_ptr<DatagramIo> group, impl_->sockets.group(udp));
  ASSIGN_OR_RETURN(OffloadStart offload, StartOffload(impl_->fast, options, unicast->port()));
  auto cloud = std::make_unique<Cloud>(
      options, std::move(group), std::move(unicast), std::move(offload), &impl_->context,
      [impl = impl_.get()](const SwitchEvent& event) { impl->Report(event); });
  RETURN_IF_ERROR(cloud->Start());
  impl_->clouds.emplace(key, std::move(cloud));
  impl_->Report({.kind = SwitchEvent::Kind::kCloudJoined, .cloud = key});
  return absl::OkStatus();
}

absl::Status Switch::Move(const CloudKey& cloud, IfIndex uplink, const std::string& name, int mtu) {
  ASSIGN_OR_RETURN(Cloud * found, impl_->Find(cloud));
  CloudOptions options = found->options();
  options.uplink = uplink;
  options.uplink_mtu = mtu;
  ASSIGN_OR_RETURN(std::unique_ptr<DatagramIo> group, impl_->sockets.group(UdpOf(options)));
  return found->MoveTo(uplink, name, mtu, std::move(group));
}

bool Switch::IsJoined(const CloudKey& cloud) const {
  impl_->CheckOnLoop();
  return impl_->clouds.contains(cloud);
}

absl::StatusOr<CloudHandle*> Switch::Find(const CloudKey& cloud) const {
  return impl_->Find(cloud);
}

void Switch::Leave(const CloudKey& cloud) {
  impl_->CheckOnLoop();
  const auto it = impl_->clouds.find(cloud);
  if (it == impl_->clouds.end()) return;
  it->second->SendLeave();
  impl_->clouds.erase(it);
  impl_->Report({.kind = SwitchEvent::Kind::kCloudLeft, .cloud = cloud});
}

SwitchSnapshot Switch::Snapshot() const {
  impl_->CheckOnLoop();
  SwitchSnapshot out;
  for (const auto& [key, cloud] : impl_->clouds) out.clouds.push_back(cloud->Snapshot());
  return out;
}

}  // namespace vxvde
