#include "plugin/switch.h"

#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/cloud/cloud.h"

namespace vxvde {
namespace {

// Frames or datagrams of one read: enough to fill UDP_SEGMENT runs with small
// frames, little enough that no other descriptor waits long.
constexpr size_t kBatch = 64;
constexpr std::chrono::seconds kTick{1};

}  // namespace

struct Switch::Impl {
  EventLoop* loop;
  FastPath* fast;
  SwitchSockets sockets;
  Listener listener;
  Buffers buffers{kBatch};
  Cloud::LocalAddresses local;
  std::map<CloudKey, std::unique_ptr<Cloud>> clouds;
  EventLoop::TimerId tick{};
  uint32_t last_port = 0;

  void Report(const SwitchEvent& event) const {
    if (listener) listener(event);
  }
  absl::StatusOr<Cloud*> Find(const CloudKey& key) const {
    const auto it = clouds.find(key);
    if (it == clouds.end()) {
      return absl::NotFoundError(absl::StrCat("cloud ", key.ToString(), " is not joined"));
    }
    return it->second.get();
  }
};

Switch::Switch(EventLoop* loop, SwitchSockets sockets, FastPath* fast)
    : impl_(std::make_unique<Impl>()) {
  impl_->loop = loop;
  impl_->fast = fast;
  impl_->sockets = std::move(sockets);
  impl_->tick = loop->Every(kTick, [loop, impl = impl_.get()] {
    for (const auto& [key, cloud] : impl->clouds) cloud->Tick(loop->now());
  });
}

Switch::~Switch() { impl_->loop->Cancel(impl_->tick); }

void Switch::SetListener(Listener listener) { impl_->listener = std::move(listener); }

void Switch::SetLocalAddresses(std::vector<IpAddress> addresses) {
  impl_->local.clear();
  impl_->local.insert(addresses.begin(), addresses.end());
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

// FailedPrecondition: the options insist on a fast path, and there is none.
absl::StatusOr<Cloud::Fast> JoinFast(FastPath* path, const CloudOptions& options,
                                     uint16_t unicast_port) {
  const bool insists = options.datapath == Datapath::kKernel;
  if (options.datapath == Datapath::kUser) return Cloud::Fast{};
  if (path == nullptr) {
    if (!insists) return Cloud::Fast{};
    return absl::FailedPreconditionError("`datapath: kernel`: this node has no fast path");
  }
  absl::StatusOr<std::unique_ptr<FastCloud>> joined = path->Join({.group = options.config.key.group,
                                                                  .vni = options.config.key.vni,
                                                                  .unicast_port = unicast_port,
                                                                  .uplink = options.uplink,
                                                                  .ttl = options.config.ttl,
                                                                  .bind = options.config.bind});
  if (joined.ok()) return Cloud::Fast{.cloud = *std::move(joined)};
  const std::string why(joined.status().message());
  if (!insists) return Cloud::Fast{.why_not = why};
  return absl::FailedPreconditionError(absl::StrCat("`datapath: kernel`: ", why));
}

}  // namespace

absl::Status Switch::Join(const CloudOptions& options) {
  const CloudKey& key = options.config.key;
  if (IsJoined(key)) {
    return absl::AlreadyExistsError(absl::StrCat("cloud ", key.ToString(), " is joined already"));
  }
  const UdpOptions udp = UdpOf(options);
  // The unicast socket first: a taken port is the likely failure and is seen before we join.
  ASSIGN_OR_RETURN(std::unique_ptr<DatagramIo> unicast, impl_->sockets.unicast(udp));
  ASSIGN_OR_RETURN(std::unique_ptr<DatagramIo> group, impl_->sockets.group(udp));
  ASSIGN_OR_RETURN(Cloud::Fast fast, JoinFast(impl_->fast, options, unicast->port()));
  auto cloud = std::make_unique<Cloud>(
      options, std::move(group), std::move(unicast), std::move(fast), impl_->loop, &impl_->buffers,
      &impl_->local, [impl = impl_.get()](const SwitchEvent& event) { impl->Report(event); });
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

void Switch::SetStorm(const CloudKey& cloud, const StormLimits& limits) {
  const auto it = impl_->clouds.find(cloud);
  if (it != impl_->clouds.end()) it->second->SetStorm(limits);
}

bool Switch::IsJoined(const CloudKey& cloud) const { return impl_->clouds.contains(cloud); }

uint16_t Switch::FastPort(const CloudKey& cloud) const {
  const auto it = impl_->clouds.find(cloud);
  return it == impl_->clouds.end() ? 0 : it->second->FastPort();
}

void Switch::SetSnooping(const CloudKey& cloud, bool on) {
  const auto it = impl_->clouds.find(cloud);
  if (it != impl_->clouds.end()) it->second->SetSnooping(on);
}

void Switch::Leave(const CloudKey& cloud) {
  const auto it = impl_->clouds.find(cloud);
  if (it == impl_->clouds.end()) return;
  it->second->SendLeave();
  impl_->clouds.erase(it);
  impl_->Report({.kind = SwitchEvent::Kind::kCloudLeft, .cloud = cloud});
}

absl::StatusOr<PortId> Switch::AddPort(const CloudKey& cloud, const PortOptions& options,
                                       std::unique_ptr<FrameIo> io) {
  ASSIGN_OR_RETURN(Cloud * found, impl_->Find(cloud));
  const PortId id{++impl_->last_port};
  RETURN_IF_ERROR(found->AddPort(id, options, std::move(io)));
  return id;
}

absl::Status Switch::RemovePort(const CloudKey& cloud, PortId port) {
  return TakePort(cloud, port).status();
}

absl::StatusOr<std::unique_ptr<FrameIo>> Switch::TakePort(const CloudKey& cloud, PortId port) {
  ASSIGN_OR_RETURN(Cloud * found, impl_->Find(cloud));
  return found->TakePort(port);
}

absl::Status Switch::SetGuard(const CloudKey& cloud, PortId port, PortGuard guard) {
  ASSIGN_OR_RETURN(Cloud * found, impl_->Find(cloud));
  return found->SetGuard(port, std::move(guard));
}

absl::Status Switch::Inject(const CloudKey& cloud, PortId port, std::span<const uint8_t> frame) {
  ASSIGN_OR_RETURN(Cloud * found, impl_->Find(cloud));
  return found->Inject(port, frame);
}

absl::Status Switch::InjectToGroup(const CloudKey& cloud, PortId port,
                                   std::span<const uint8_t> frame) {
  ASSIGN_OR_RETURN(Cloud * found, impl_->Find(cloud));
  return found->InjectToGroup(port, frame);
}

absl::Status Switch::ReadNow(const CloudKey& cloud) {
  ASSIGN_OR_RETURN(Cloud * found, impl_->Find(cloud));
  found->ReadNow();
  return absl::OkStatus();
}

SwitchSnapshot Switch::Snapshot() const {
  SwitchSnapshot out;
  for (const auto& [key, cloud] : impl_->clouds) out.clouds.push_back(cloud->Snapshot());
  return out;
}

std::vector<StationSnapshot> Switch::Stations(const CloudKey& cloud,
                                              const std::optional<MacAddress>& after,
                                              size_t limit) const {
  const auto it = impl_->clouds.find(cloud);
  if (it == impl_->clouds.end()) return {};
  return it->second->Stations(after, limit);
}

absl::StatusOr<Explanation> Switch::Explain(const CloudKey& cloud, const MacAddress& source,
                                            const MacAddress& destination) const {
  ASSIGN_OR_RETURN(const Cloud* found, impl_->Find(cloud));
  return found->Explain(source, destination);
}

}  // namespace vxvde
