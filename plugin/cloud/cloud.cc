#include "plugin/cloud/cloud.h"

#include <sys/epoll.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/cloud/explain.h"
#include "plugin/cloud/guard.h"
#include "plugin/wire/hello.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

void Count(FlowCounters& counters, uint64_t frames, uint64_t bytes) {
  counters.frames += frames;
  counters.bytes += bytes;
}

}  // namespace

Cloud::Cloud(CloudOptions options, std::unique_ptr<DatagramIo> group,
             std::unique_ptr<DatagramIo> unicast, Fast fast, EventLoop* loop, Buffers* buffers,
             const LocalAddresses* local, Listener listener)
    : options_(std::move(options)),
      group_(std::move(group)),
      unicast_(std::move(unicast)),
      loop_(loop),
      buffers_(buffers),
      local_(local),
      listener_(std::move(listener)),
      header_(EncodeHeader(options_.config.key.vni)),
      group_address_{options_.config.key.group, options_.config.key.port},
      joined_(loop->now()),
      fast_(std::move(fast.cloud)),
      why_not_fast_(std::move(fast.why_not)),
      last_hello_(joined_),
      group_watch_(joined_),
      fdb_({.expiry = options_.config.expiry,
            .reserve = static_cast<size_t>(options_.config.table_size)},
           [this](const FdbChange& change) { OnFdbChange(change); }),
      segmenter_(header_) {
  options_.unicast_port = unicast_->port();
  SetSnooping(options_.snooping);
}

Cloud::~Cloud() {
  for (const auto& [id, port] : ports_) {
    if (!port->failed) loop_->Unwatch(port->io->fd());
  }
  loop_->Unwatch(group_->fd());
  loop_->Unwatch(unicast_->fd());
  UnwatchFast();
}

absl::Status Cloud::WatchGroup(const DatagramIo& group) {
  return loop_->Watch(group.fd(), EPOLLIN, [this](uint32_t) { ReadSocket(*group_, Via::kGroup); });
}

absl::Status Cloud::WatchPort(Port& port) {
  return loop_->Watch(port.io->fd(), EPOLLIN, [this, &port](uint32_t) { ReadPort(port); });
}

absl::Status Cloud::MoveTo(IfIndex uplink, const std::string& name, int mtu,
                           std::unique_ptr<DatagramIo> group) {
  RETURN_IF_ERROR(WatchGroup(*group));
  if (absl::Status set = unicast_->SetUplink(uplink, mtu); !set.ok()) {
    loop_->Unwatch(group->fd());
    return set;
  }
  loop_->Unwatch(group_->fd());
  group_ = std::move(group);
  options_.uplink = uplink;
  options_.uplink_name = name;
  options_.uplink_mtu = mtu;
  group_watch_.Reset(loop_->now());
  MoveFast();
  return absl::OkStatus();
}

absl::Status Cloud::Start() {
  RETURN_IF_ERROR(WatchGroup(*group_));
  RETURN_IF_ERROR(loop_->Watch(unicast_->fd(), EPOLLIN,
                               [this](uint32_t) { ReadSocket(*unicast_, Via::kUnicast); }));
  RETURN_IF_ERROR(WatchFast());
  TakeOverPeers();
  SayHello(group_address_, /*answer_wanted=*/true);
  return absl::OkStatus();
}

void Cloud::SendLeave() {
  sends_.Add(group_address_, header_, {});
  FlushSends();
}

absl::Status Cloud::AddPort(PortId id, const PortOptions& options, std::unique_ptr<FrameIo> io) {
  if (!options.mac.IsStation()) {
    return absl::InvalidArgumentError(
        absl::StrCat("port ", options.name, ": ", options.mac.ToString(),
                     " cannot be the address of a station (group or zero)"));
  }
  const bool fast = TakeOverPort(id, options, *io);
  absl::Cleanup slow = [&] {
    if (fast) fast_->RemovePort(id);
  };
  if (!fdb_.AddStatic(options.mac, id)) {
    return absl::AlreadyExistsError(absl::StrCat("port ", options.name, ": MAC ",
                                                 options.mac.ToString(), " is another port's in ",
                                                 key().ToString()));
  }
  auto port = std::make_unique<Port>();
  port->id = id;
  port->options = options;
  port->io = std::move(io);
  port->added = loop_->now();
  port->fast = fast;
  // One that was kept may be deaf: it was a fast one.
  absl::Status watched = absl::OkStatus();
  if (!fast && !port->io->receives()) watched = port->io->Reopen(/*receives=*/true).status();
  if (watched.ok()) watched = WatchPort(*port);
  if (!watched.ok()) {
    fdb_.ForgetPort(id);
    return Annotate(watched, absl::StrCat("port ", options.name));
  }
  std::move(slow).Cancel();
  ports_.emplace(id, std::move(port));
  if (snooper_.has_value()) snooper_->AddPort(id);
  Report({.kind = SwitchEvent::Kind::kPortAdded, .port = id});
  if (fast) TakeOverStations(id);
  return absl::OkStatus();
}

absl::Status Cloud::NoPort(PortId id) const {
  return absl::NotFoundError(
      absl::StrCat("no port ", static_cast<uint32_t>(id), " in cloud ", key().ToString()));
}

absl::StatusOr<std::unique_ptr<FrameIo>> Cloud::TakePort(PortId id) {
  const auto it = ports_.find(id);
  if (it == ports_.end()) return NoPort(id);
  if (!it->second->failed) loop_->Unwatch(it->second->io->fd());
  SlowDown(*it->second);
  std::unique_ptr<FrameIo> io = std::move(it->second->io);
  ports_.erase(it);
  if (snooper_.has_value()) snooper_->RemovePort(id);
  fdb_.ForgetPort(id);
  Report({.kind = SwitchEvent::Kind::kPortRemoved, .port = id});
  return io;
}

absl::Status Cloud::SetGuard(PortId id, PortGuard guard) {
  Port* port = FindPort(id);
  if (port == nullptr) return NoPort(id);
  if (port->options.guard == guard) return absl::OkStatus();
  port->options.guard = std::move(guard);
  // The fast path asks nobody about a station that it knows.
  fdb_.ForgetLearnedAt(id);
  return absl::OkStatus();
}

absl::Status Cloud::Inject(PortId id, std::span<const uint8_t> frame) {
  Port* port = FindPort(id);
  if (port == nullptr) return NoPort(id);
  std::vector<uint8_t> copy(frame.begin(), frame.end());
  Frame plain{.bytes = copy, .offload = {}};
  Flow flow;
  OnFrameFromPort(*port, plain, flow);
  FlushSends();
  return absl::OkStatus();
}

absl::Status Cloud::InjectToGroup(PortId id, std::span<const uint8_t> frame) {
  Port* port = FindPort(id);
  if (port == nullptr) return NoPort(id);
  std::vector<uint8_t> copy(frame.begin(), frame.end());
  Frame plain{.bytes = copy, .offload = {}};
  Count(port->from_pod, 1, frame.size());
  SendFrame(*port, plain, group_address_, &to_group_);
  FlushSends();
  return absl::OkStatus();
}

void Cloud::ReadNow() {
  // A queue of the kernel's holds less; who fills it faster than it is read must not hold us.
  constexpr int kMostBatches = 64;
  const auto all = [](const auto& read) {
    for (int i = 0; i < kMostBatches && read(); ++i) continue;
  };
  all([&] { return ReadSocket(*group_, Via::kGroup); });
  all([&] { return ReadSocket(*unicast_, Via::kUnicast); });
  if (fast_ != nullptr) {
    all([&] { return ReadSocket(fast_->datagrams(), Via::kFastPort); });
    all([&] { return ReadPunted(); });
  }
  for (const auto& [id, port] : ports_) {
    all([&, at = port.get()] { return !at->failed && ReadPort(*at); });
  }
}

// ---------------------------------------------------------------- from the cloud

bool Cloud::ReadSocket(DatagramIo& io, Via via) {
  // An error here is about the socket, not about a datagram; it shows again if it lasts.
  if (!io.Receive(*buffers_, datagrams_, drops_).ok()) return false;
  for (const InDatagram& datagram : datagrams_) OnDatagram(datagram, via);
  FlushPorts();
  return !datagrams_.empty();
}

void Cloud::OnDatagram(const InDatagram& datagram, Via via) {
  const size_t step = datagram.segment_size != 0 ? datagram.segment_size : datagram.bytes.size();
  const size_t datagrams = step == 0 ? 1 : (datagram.bytes.size() + step - 1) / step;
  if (datagram.from.port == unicast_->port() && local_->contains(datagram.from.address)) {
    drops_.Add(Drop::kOwnEcho, datagrams);
    if (via == Via::kGroup) group_watch_.Echo(loop_->now());
    return;
  }
  if (via == Via::kGroup) group_watch_.Heard(loop_->now());
  Flow flow;
  PeerState* peer = nullptr;
  std::span<const uint8_t> rest = datagram.bytes;
  for (size_t i = 0; i < datagrams; ++i) {
    const std::span<const uint8_t> payload = rest.first(std::min(step, rest.size()));
    rest = rest.subspan(payload.size());
    Datagram decoded;
    Drop drop = Decode(payload, decoded);
    if (drop == Drop::kNone && decoded.vni != key().vni) drop = Drop::kWrongVni;
    if (drop != Drop::kNone) {
      drops_.Add(drop);
      continue;
    }
    if (decoded.leave) {
      OnLeave(datagram.from);
      flow.valid = false;
      peer = nullptr;
      continue;
    }
    if (peer == nullptr) peer = TouchPeer(datagram.from);
    OnFrameFromPeer(decoded.frame, datagram.from, peer, via, flow);
  }
}

void Cloud::OnFrameFromPeer(std::span<const uint8_t> frame, const Peer& from, PeerState* peer,
                            Via via, Flow& flow) {
  if (peer != nullptr) Count(peer->from_peer, 1, frame.size());
  if (via == Via::kGroup) Count(from_group_, 1, frame.size());
  if (IsHello(frame)) {
    if (!MaySayHello(peer)) return drops_.Add(Drop::kStorm);
    OnHello(frame, from, peer, via);
    return;
  }
  const MacAddress destination = DestinationMac(frame);
  const MacAddress source = SourceMac(frame);
  if (!flow.valid || flow.destination != destination || flow.source != source) {
    flow.valid = false;
    if (!LearnAt(from, source)) return drops_.Add(Drop::kLoop);
    flow = {.valid = true,
            .destination = destination,
            .source = source,
            .verdict = Forward(destination, source, from, fdb_, loop_->now())};
  }
  switch (flow.verdict.action) {
    case Verdict::Action::kToPort:
      if (Port* port = FindPort(flow.verdict.port)) DeliverSegment(*port, frame);
      return;
    case Verdict::Action::kFlood: {
      if (!MayFlood(from, peer)) return drops_.Add(Drop::kStorm);
      const Snooper::Audience audience = AudienceOf(frame, /*checksum=*/true, from);
      for (const auto& [id, port] : ports_) {
        if (IsFor(audience, id) && TakesFloods(*port, 1)) DeliverSegment(*port, frame);
      }
      return;
    }
    case Verdict::Action::kToPeer:  // Forward never says so of a peer's frame
    case Verdict::Action::kDrop:
      drops_.Add(flow.verdict.drop);
      return;
  }
}

// ---------------------------------------------------------------- from a port

bool Cloud::ReadPort(Port& port) {
  const absl::Status read = port.io->Receive(*buffers_, frames_, port.drops);
  if (!read.ok()) {
    if (absl::IsNotFound(read)) FailPort(port);
    return false;
  }
  Flow flow;
  for (Frame& frame : frames_) OnFrameFromPort(port, frame, flow);
  FlushSends();
  return !frames_.empty();
}

void Cloud::OnFrameFromPort(Port& port, Frame& frame, Flow& flow, bool punted) {
  if (frame.bytes.size() <= kEthernetHeaderSize) {
    port.drops.Add(Drop::kShortFrame);
    return;
  }
  const uint32_t count = SegmentCount(frame.offload, frame.bytes.size());
  const bool given_back = punted && port.carried();
  if (!given_back) Count(port.from_pod, count, frame.bytes.size());
  if (IsHello(frame.bytes)) {
    OnHelloFromPort(port, SourceMac(frame.bytes));
    port.drops.Add(Drop::kReserved, count);
    return;
  }
  // Before anything is learned from it.
  if (const Drop refused = CheckFromPort(frame.bytes, port.options.mac, port.options.guard);
      refused != Drop::kNone) {
    port.drops.Add(refused, count);
    return;
  }
  const MacAddress destination = DestinationMac(frame.bytes);
  const MacAddress source = SourceMac(frame.bytes);
  if (!flow.valid || flow.destination != destination || flow.source != source) {
    flow.valid = false;
    if (!LearnAt(port, source)) return port.drops.Add(Drop::kLoop, count);
    flow = {.valid = true,
            .destination = destination,
            .source = source,
            .verdict = Forward(destination, source, port.id, fdb_, loop_->now())};
    if (flow.verdict.action == Verdict::Action::kToPeer) flow.peer = FindPeer(flow.verdict.peer);
  }
  const iovec whole{frame.bytes.data(), frame.bytes.size()};
  const OutFrame out{.parts = {&whole, 1}, .size = frame.bytes.size(), .offload = frame.offload};
  switch (flow.verdict.action) {
    case Verdict::Action::kToPort:
      if (Port* to = FindPort(flow.verdict.port)) DeliverWhole(*to, out);
      return;
    case Verdict::Action::kToPeer:
      if (port.carried() && !given_back && flow.peer != nullptr && flow.peer->fast) {
        if (const Drop drop = fast_->Relay(port.id, out); drop != Drop::kNone) {
          port.drops.Add(drop, count);
        }
        return;
      }
      SendFrame(port, frame, flow.verdict.peer,
                flow.peer != nullptr ? &flow.peer->to_peer : nullptr);
      return;
    case Verdict::Action::kFlood: {
      if (const Drop drop = MayFlood(port, count); drop != Drop::kNone) {
        return port.drops.Add(drop, count);
      }
      const Snooper::Audience audience =
          AudienceOf(frame.bytes, /*checksum=*/!frame.offload.needs_checksum, port.id);
      // Ports first: they take the super-frame as it is, and SendFrame finishes checksums in place.
      for (const auto& [id, other] : ports_) {
        if (id != port.id && IsFor(audience, id) && TakesFloods(*other, count))
          DeliverWhole(*other, out);
      }
      SendFrame(port, frame, group_address_, &to_group_);
      return;
    }
    case Verdict::Action::kDrop:
      port.drops.Add(flow.verdict.drop, count);
      return;
  }
}

// ---------------------------------------------------------------- out

void Cloud::DeliverSegment(Port& port, std::span<const uint8_t> frame) {
  port.coalescing = true;
  port.coalescer.Add(frame, [&](const OutFrame& out) { DeliverWhole(port, out); });
}

void Cloud::DeliverWhole(Port& port, const OutFrame& frame) {
  const uint32_t count = SegmentCount(frame.offload, frame.size);
  const Drop drop = port.io->Send(frame);
  if (drop == Drop::kNone) {
    Count(port.to_pod, count, frame.size);
  } else {
    // Kernels before 6.2 have no word for it (virtio_net_hdr_to_skb()): lost once.
    if (drop == Drop::kBadOffload && frame.offload.gso == Gso::kUdp) port.coalescer.LeaveUdpAlone();
    port.drops.Add(drop, count);
  }
}

void Cloud::SendFrame(Port& port, Frame& frame, const Peer& to, FlowCounters* counters) {
  segments_.clear();
  if (const Drop drop = segmenter_.Split(frame, segments_); drop != Drop::kNone) {
    port.drops.Add(drop);
    return;
  }
  for (const Segment& segment : segments_) {
    sends_.Add(to, segment.headers, segment.payload);
    if (counters != nullptr) Count(*counters, 1, segment.size() - kVxvdeHeaderSize);
  }
}

void Cloud::FlushPorts() {
  for (const auto& [id, port] : ports_) {
    if (!port->coalescing) continue;
    port->coalescing = false;
    Port& to = *port;
    to.coalescer.Flush([&](const OutFrame& out) { DeliverWhole(to, out); });
  }
}

void Cloud::FlushSends() {
  sends_.Flush(*unicast_, drops_);
  segmenter_.Clear();
}

// ---------------------------------------------------------------- who is there

Cloud::PeerState* Cloud::FindPeer(const Peer& peer) const {
  const auto it = peers_.find(peer);
  return it != peers_.end() ? it->second.get() : nullptr;
}

Cloud::PeerState* Cloud::TouchPeer(const Peer& peer) {
  const Instant now = loop_->now();
  if (PeerState* known = FindPeer(peer)) {
    known->last = now;
    return known;
  }
  if (peers_.size() >= kMaxPeers) {
    ++peers_not_kept_;
    return nullptr;
  }
  auto state = std::make_unique<PeerState>();
  state->first = state->last = now;
  PeerState* raw = state.get();
  peers_.emplace(peer, std::move(state));
  Report({.kind = SwitchEvent::Kind::kPeerSeen, .peer = peer});
  return raw;
}

Cloud::Port* Cloud::FindPort(PortId id) const {
  const auto it = ports_.find(id);
  return it != ports_.end() ? it->second.get() : nullptr;
}

void Cloud::Report(SwitchEvent event) const {
  if (!listener_) return;
  event.cloud = key();
  listener_(event);
}

void Cloud::OnFdbChange(const FdbChange& change) {
  CopyChange(change);
  SwitchEvent event{.kind = SwitchEvent::Kind::kStationGone, .mac = change.mac};
  if (change.kind == FdbChange::Kind::kAdded) event.kind = SwitchEvent::Kind::kStationAdded;
  if (change.kind == FdbChange::Kind::kMoved) event.kind = SwitchEvent::Kind::kStationMoved;
  if (change.kind == FdbChange::Kind::kHeld) event.kind = SwitchEvent::Kind::kStationHeld;
  if (const auto* port = std::get_if<PortId>(&change.where)) {
    event.port = *port;
  } else {
    event.peer = std::get<Peer>(change.where);
  }
  Report(std::move(event));
}

void Cloud::FailPort(Port& port) {
  loop_->Unwatch(port.io->fd());
  SlowDown(port);
  port.failed = true;
  // The owner may remove the port in answer, which ends `port`: not while we stand in its handler.
  loop_->Post([this, alive = std::weak_ptr<bool>(alive_), id = port.id] {
    if (alive.expired() || FindPort(id) == nullptr) return;  // removed in between
    Report({.kind = SwitchEvent::Kind::kPortFailed, .cloud = key(), .port = id});
  });
}

// ---------------------------------------------------------------- what people ask

CloudSnapshot Cloud::Snapshot() const {
  const Instant now = loop_->now();
  CloudSnapshot out{.options = options_,
                    .drops = drops_,
                    .from_group = from_group_,
                    .to_group = to_group_,
                    .moves = fdb_.moves(),
                    .conflicts = fdb_.conflicts(),
                    .not_learned = fdb_.refused_full(),
                    .holds = fdb_.holds(),
                    .peers_not_kept = peers_not_kept_,
                    .age = now - joined_};
  out.station_count = fdb_.live();
  for (const auto& [id, port] : ports_) {
    out.ports.push_back({.id = id,
                         .options = port->options,
                         .from_pod = port->from_pod,
                         .to_pod = port->to_pod,
                         .drops = port->drops,
                         .age = now - port->added,
                         .blocked = std::max(port->loop.blocked_until - now, Duration{}),
                         .blocks = port->loop.blocks});
  }
  for (const auto& [peer, state] : peers_) {
    out.peers.push_back({.peer = peer,
                         .stations = fdb_.CountAt(peer),
                         .from_peer = state->from_peer,
                         .to_peer = state->to_peer,
                         .age = now - state->first,
                         .idle = now - state->last});
  }
  std::sort(out.peers.begin(), out.peers.end(),
            [](const PeerSnapshot& a, const PeerSnapshot& b) { return a.peer < b.peer; });
  out.group_problem = group_watch_.Problem(now);
  out.rejoins = group_watch_.rejoins();
  if (snooper_.has_value()) out.snooping = snooper_->Snapshot();
  AddFastTo(out);
  return out;
}

std::vector<StationSnapshot> Cloud::Stations(const std::optional<MacAddress>& after,
                                             size_t limit) const {
  const Instant now = loop_->now();
  std::vector<StationSnapshot> out;
  for (const Fdb::Row& row : fdb_.Rows(now, after, limit)) {
    out.push_back({.mac = row.mac,
                   .where = row.entry.where,
                   .is_static = row.entry.is_static,
                   .idle = row.entry.is_static ? Duration{} : now - row.entry.seen,
                   .held = now < row.entry.held_until});
  }
  AddFastTo(out);
  return out;
}

Explanation Cloud::Explain(const MacAddress& source, const MacAddress& destination) const {
  const Instant now = loop_->now();
  Obstacles obstacles;
  obstacles.snooping = snooper_.has_value();
  for (const auto& [id, port] : ports_) {
    if (port->loop.IsBlocked(now)) obstacles.in_loop.push_back(id);
    obstacles.guarded = obstacles.guarded || port->options.guard.on;
  }
  Explanation out = ExplainForward(source, destination, fdb_, now, group_address_, obstacles);
  if (fast_ != nullptr) out.fast = fast_->Explain(source, destination);
  return out;
}

}  // namespace vxvde
