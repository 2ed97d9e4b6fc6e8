// The path of a frame through a cloud.
//
// The event loop reports readable descriptors: those of ports, the group socket, the unicast
// socket, and the one by which the kernel datapath hands over frames that it does not forward. One
// read takes a batch, and all of the batch is done before the handler returns (I2): buffers are
// shared by all clouds and reused by the next read.
//
//   from a port      ReadPort, ReadPunted -> OnFrameFromPort
//   from a peer      ReadSocket -> OnDatagram (header, VNI, echo, leave) -> OnFrameFromPeer
//
// Both then take the same steps, in this order:
//
//   1. Hello is the agents' own: to the Greeter, never to a port.
//   2. A frame of a pod passes the port's guard (CheckFromPort), before anything is learned from
//      it.
//   3. Learn: FloodControl teaches the FDB where the source is, and refuses frames that circle.
//      The FDB reports each change to OnFdbChange, which keeps the kernel's copy right.
//   4. Forward() gives the verdict. A batch mostly holds frames of one flow: `Flow` keeps the
//      verdict for the next frame with the same addresses, so steps 3 and 4 cost one comparison.
//   5. The verdict is carried out:
//        to a port   CloudPort. Frames of peers are coalesced, and leave at the end of the batch.
//        to a peer   Egress: cut into segments, with finished checksums, sent at the end of the
//                    batch in runs (TxBatch). From a tap to an offloaded peer: KernelOffload.
//        flood       limited by FloodControl. To the ports that the Snooper names; from a port
//                    also to the group. Ports first: they take a super-frame as it is, while
//                    Egress finishes checksums in place.
//        drop        counted with the port, or with the cloud.
//
// With a kernel datapath, only those frames come here that the programs cannot forward. The cloud
// learns from them and updates the programs' copy, so that the next ones stay in the kernel.

#include "plugin/cloud/cloud.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/cloud/explain.h"
#include "plugin/cloud/forward.h"
#include "plugin/cloud/guard.h"
#include "plugin/wire/header.h"
#include "plugin/wire/hello.h"
#include "plugin/wire/membership.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

absl::Status NoPort(PortId id, const CloudKey& cloud) {
  return absl::NotFoundError(
      absl::StrCat("no port ", static_cast<uint32_t>(id), " in cloud ", cloud.ToString()));
}

// Returns whether the guard of a port lets `source` send.
bool MaySendFrom(const MacAddress& source, const PortOptions& port) {
  std::array<uint8_t, kEthernetHeaderSize + 1> frame = {};  // of no protocol
  std::copy(source.bytes().begin(), source.bytes().end(), frame.begin() + source.bytes().size());
  return CheckFromPort(frame, port.mac, port.guard) == Drop::kNone;
}

}  // namespace

Cloud::Cloud(CloudOptions options, std::unique_ptr<DatagramIo> group,
             std::unique_ptr<DatagramIo> unicast, OffloadStart offload, CloudContext* context,
             Listener listener)
    : options_(std::move(options)),
      context_(context),
      loop_(context->loop),
      listener_(std::move(listener)),
      joined_(loop_->now()),
      group_(std::move(group)),
      egress_(std::move(unicast), {options_.config.key.group, options_.config.key.port},
              options_.config.key.vni, &drops_),
      fdb_({.expiry = options_.config.expiry,
            .reserve = static_cast<size_t>(options_.config.table_size)},
           [this](const FdbChange& change) { OnFdbChange(change); }),
      flood_(options_.storm),
      offload_(std::move(offload), &fdb_, loop_, &context->buffers, this),
      greeter_(options_.agent_mac, offload_.fast_port(), context->random, &egress_, joined_),
      sweep_(&fdb_, &peers_, options_.config.expiry),
      tasks_(loop_) {
  loop_->CheckOnLoop();
  options_.unicast_port = egress_.socket().port();
  SetSnooping(options_.snooping);
}

Cloud::~Cloud() {
  loop_->CheckOnLoop();
  for (const auto& [id, port] : ports_) {
    if (!port->failed) loop_->Unwatch(port->io->fd());
  }
  loop_->Unwatch(group_->fd());
  loop_->Unwatch(egress_.socket().fd());
  if (!offload_.active()) return;
  loop_->Unwatch(offload_.datagrams().fd());
  loop_->Unwatch(offload_.punted_fd());
}

absl::Status Cloud::Watch(DatagramIo& io, Via via) {
  return loop_->Watch(io.fd(), EPOLLIN, [this, &io, via](uint32_t) { ReadSocket(io, via); });
}

absl::Status Cloud::Watch(CloudPort& port) {
  return loop_->Watch(port.io->fd(), EPOLLIN, [this, &port](uint32_t) { ReadPort(port); });
}

absl::Status Cloud::Start() {
  loop_->CheckOnLoop();
  RETURN_IF_ERROR(Watch(*group_, Via::kGroup));
  RETURN_IF_ERROR(Watch(egress_.socket(), Via::kUnicast));
  if (offload_.active()) {
    RETURN_IF_ERROR(Watch(offload_.datagrams(), Via::kFastPort));
    RETURN_IF_ERROR(
        loop_->Watch(offload_.punted_fd(), EPOLLIN, [this](uint32_t) { ReadPunted(); }));
  }
  offload_.SetFloodLimit(options_.storm.port);
  // The peers of an earlier agent have not noticed its end: their last Hello counts as if it came
  // now.
  for (const InheritedPeer& inherited : offload_.InheritedPeers()) {
    CloudPeer* peer = TouchPeer(inherited.peer);
    if (peer == nullptr) continue;
    greeter_.probe().Inherit(peer->probe, inherited.fast_port, loop_->now());
    UpdateOffload(inherited.peer, *peer);
    offload_.InheritStations(inherited.peer, options_.config.expiry,
                             [](const MacAddress&) { return true; });
  }
  greeter_.Announce(/*answer_wanted=*/true);
  return absl::OkStatus();
}

void Cloud::SendLeave() {
  loop_->CheckOnLoop();
  egress_.Send(egress_.group(), {});
}

absl::Status Cloud::MoveTo(IfIndex uplink, const std::string& name, int mtu,
                           std::unique_ptr<DatagramIo> group) {
  loop_->CheckOnLoop();
  RETURN_IF_ERROR(Watch(*group, Via::kGroup));
  if (absl::Status set = egress_.socket().SetUplink(uplink, mtu); !set.ok()) {
    loop_->Unwatch(group->fd());
    return set;
  }
  loop_->Unwatch(group_->fd());
  group_ = std::move(group);
  options_.uplink = uplink;
  options_.uplink_name = name;
  options_.uplink_mtu = mtu;
  greeter_.group().Reset(loop_->now());
  if (!offload_.active()) return absl::OkStatus();

  const absl::Status moved = offload_.MoveTo(uplink);
  if (moved.ok()) {
    for (const auto& [peer, state] : peers_) {
      if (state->probe.fast_port() != 0) UpdateOffload(peer, *state);
    }
    greeter_.Announce(/*answer_wanted=*/true);
    return absl::OkStatus();
  }
  ReadNow();  // frames that were punted would be lost
  loop_->Unwatch(offload_.datagrams().fd());
  loop_->Unwatch(offload_.punted_fd());
  offload_.Abandon(absl::StrCat("could not follow to uplink ", name, ": ", moved.message()),
                   drops_);
  greeter_.SetFastPort(0);
  greeter_.Announce(/*answer_wanted=*/false);
  return absl::OkStatus();
}

absl::StatusOr<PortId> Cloud::AddPort(const PortOptions& options, std::unique_ptr<FrameIo> io) {
  loop_->CheckOnLoop();
  if (!options.mac.IsStation()) {
    return absl::InvalidArgumentError(
        absl::StrCat("port ", options.name, ": ", options.mac.ToString(),
                     " cannot be the address of a station (group or zero)"));
  }
  const PortId id{++context_->last_port};
  const PortOffload offload = offload_.AddPort(id, options, io.get());
  if (!fdb_.AddStatic(options.mac, id)) {
    offload_.RemovePort(id);
    return absl::AlreadyExistsError(absl::StrCat("port ", options.name, ": MAC ",
                                                 options.mac.ToString(), " is another port's in ",
                                                 options_.config.key.ToString()));
  }
  auto port = std::make_unique<CloudPort>();
  port->id = id;
  port->options = options;
  port->io = std::move(io);
  port->added = loop_->now();
  port->offload = offload;
  // A kept interface may be send-only, because its port was offloaded.
  absl::Status watched = absl::OkStatus();
  if (offload == PortOffload::kNone && !port->io->receives()) {
    watched = port->io->Reopen(/*receives=*/true).status();
  }
  if (watched.ok()) watched = Watch(*port);
  if (!watched.ok()) {
    offload_.RemovePort(id);
    fdb_.ForgetPort(id);
    return Annotate(watched, absl::StrCat("port ", options.name));
  }
  const CloudPort& added = *ports_.emplace(id, std::move(port)).first->second;
  if (snooper_.has_value()) snooper_->AddPort(id);
  Report({.kind = SwitchEvent::Kind::kPortAdded, .port = id});
  // The guard may differ from the earlier agent's.
  offload_.InheritStations(id, options_.config.expiry, [&added](const MacAddress& mac) {
    return MaySendFrom(mac, added.options);
  });
  return id;
}

absl::StatusOr<std::unique_ptr<FrameIo>> Cloud::TakePort(PortId id) {
  loop_->CheckOnLoop();
  const auto found = ports_.find(id);
  if (found == ports_.end()) return NoPort(id, options_.config.key);
  if (!found->second->failed) loop_->Unwatch(found->second->io->fd());
  offload_.RemovePort(id);
  std::unique_ptr<FrameIo> io = std::move(found->second->io);
  ports_.erase(found);
  if (snooper_.has_value()) snooper_->RemovePort(id);
  fdb_.ForgetPort(id);
  Report({.kind = SwitchEvent::Kind::kPortRemoved, .port = id});
  return io;
}

absl::Status Cloud::SetGuard(PortId id, PortGuard guard) {
  loop_->CheckOnLoop();
  CloudPort* port = FindPort(id);
  if (port == nullptr) return NoPort(id, options_.config.key);
  if (port->options.guard == guard) return absl::OkStatus();
  port->options.guard = std::move(guard);
  // The programs forward frames of known stations without the guard.
  fdb_.ForgetLearnedAt(id);
  return absl::OkStatus();
}

void Cloud::SetStorm(const StormLimits& limits) {
  loop_->CheckOnLoop();
  options_.storm = limits;
  flood_.SetLimits(limits);
  offload_.SetFloodLimit(limits.port);
}

// Requires an address to query from: without queries memberships stay unknown.
void Cloud::SetSnooping(bool on) {
  loop_->CheckOnLoop();
  options_.snooping = on;
  if (!options_.agent_mac.IsStation()) return;
  if (on == snooper_.has_value()) return;
  snooper_.reset();
  if (!on) return;
  snooper_.emplace(options_.agent_mac, loop_->now());
  for (const auto& [id, port] : ports_) snooper_->AddPort(id);
}

absl::Status Cloud::Inject(PortId id, std::span<const uint8_t> frame) {
  loop_->CheckOnLoop();
  CloudPort* port = FindPort(id);
  if (port == nullptr) return NoPort(id, options_.config.key);
  std::vector<uint8_t> copy(frame.begin(), frame.end());
  Frame plain{.bytes = copy, .offload = {}};
  Flow flow;
  OnFrameFromPort(*port, plain, flow);
  egress_.Flush();
  return absl::OkStatus();
}

absl::Status Cloud::InjectToGroup(PortId id, std::span<const uint8_t> frame) {
  loop_->CheckOnLoop();
  CloudPort* port = FindPort(id);
  if (port == nullptr) return NoPort(id, options_.config.key);
  std::vector<uint8_t> copy(frame.begin(), frame.end());
  Frame plain{.bytes = copy, .offload = {}};
  Count(port->from_pod, 1, frame.size());
  if (const Drop drop = egress_.Add(egress_.group(), plain, &to_group_); drop != Drop::kNone) {
    port->drops.Add(drop);
  }
  egress_.Flush();
  return absl::OkStatus();
}

void Cloud::ReadNow() {
  loop_->CheckOnLoop();
  // No queue of the kernel holds more. The bound ends the loop if the sender is faster.
  constexpr int kMaxBatches = 64;
  const auto all = [](const auto& read) {
    for (int i = 0; i < kMaxBatches && read(); ++i) continue;
  };
  all([&] { return ReadSocket(*group_, Via::kGroup); });
  all([&] { return ReadSocket(egress_.socket(), Via::kUnicast); });
  if (offload_.active()) {
    all([&] { return ReadSocket(offload_.datagrams(), Via::kFastPort); });
    all([&] { return ReadPunted(); });
  }
  for (const auto& [id, port] : ports_) {
    all([&, at = port.get()] { return !at->failed && ReadPort(*at); });
  }
}

// ---------------------------------------------------------------- from a peer

bool Cloud::ReadSocket(DatagramIo& io, Via via) {
  // An error concerns the socket, not a datagram, and recurs while it lasts.
  if (!io.Receive(context_->buffers, datagrams_, drops_).ok()) return false;
  for (const InDatagram& datagram : datagrams_) OnDatagram(datagram, via);
  for (const auto& [id, port] : ports_) port->Flush();
  return !datagrams_.empty();
}

void Cloud::OnDatagram(const InDatagram& datagram, Via via) {
  const size_t step = datagram.segment_size != 0 ? datagram.segment_size : datagram.bytes.size();
  const size_t datagrams = step == 0 ? 1 : (datagram.bytes.size() + step - 1) / step;
  // The kernel may send to the group from the unspecified address while the uplink has none.
  const IpAddress& from = datagram.from.address;
  if (datagram.from.port == options_.unicast_port &&
      (context_->local.contains(from) || from.IsUnspecified())) {
    drops_.Add(Drop::kOwnEcho, datagrams);
    if (via == Via::kGroup) greeter_.group().Echo(loop_->now());
    return;
  }
  if (via == Via::kGroup) greeter_.group().Heard(loop_->now());
  Flow flow;
  CloudPeer* peer = nullptr;
  std::span<const uint8_t> rest = datagram.bytes;
  for (size_t i = 0; i < datagrams; ++i) {
    const std::span<const uint8_t> payload = rest.first(std::min(step, rest.size()));
    rest = rest.subspan(payload.size());
    Datagram decoded;
    Drop drop = Decode(payload, decoded);
    if (drop == Drop::kNone && decoded.vni != options_.config.key.vni) drop = Drop::kWrongVni;
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
    if (peer == nullptr) {
      // The agent's own Hello, from an address that is not known as this node's.
      if (IsHello(decoded.frame) && SourceMac(decoded.frame) == options_.agent_mac) {
        drops_.Add(Drop::kOwnEcho);
        if (via == Via::kGroup) greeter_.group().Echo(loop_->now());
        continue;
      }
      peer = TouchPeer(datagram.from);
    }
    OnFrameFromPeer(decoded.frame, datagram.from, peer, via, flow);
  }
}

void Cloud::OnFrameFromPeer(std::span<const uint8_t> frame, const Peer& from, CloudPeer* peer,
                            Via via, Flow& flow) {
  if (peer != nullptr) Count(peer->from_peer, 1, frame.size());
  if (via == Via::kGroup) Count(from_group_, 1, frame.size());
  if (IsHello(frame)) {
    PeerProbe::State* const probe = peer != nullptr ? &peer->probe : nullptr;
    if (!greeter_.probe().Admit(probe, loop_->now())) return drops_.Add(Drop::kStorm);
    greeter_.OnHello(frame, from, probe, via, loop_->now());
    if (peer != nullptr) UpdateOffload(from, *peer);
    return;
  }
  const MacAddress destination = DestinationMac(frame);
  const MacAddress source = SourceMac(frame);
  if (!flow.valid || flow.destination != destination || flow.source != source) {
    flow.valid = false;
    if (const Drop drop = flood_.Learn(fdb_, from, source, loop_->now()); drop != Drop::kNone) {
      return drops_.Add(drop);
    }
    flow = {.valid = true,
            .destination = destination,
            .source = source,
            .verdict = Forward(destination, source, from, fdb_, loop_->now())};
  }
  switch (flow.verdict.action) {
    case Verdict::Action::kToPort:
      if (CloudPort* port = FindPort(flow.verdict.port)) port->DeliverSegment(frame);
      return;
    case Verdict::Action::kFlood: {
      const FloodControl::Ruling ruling =
          flood_.Flood(peer != nullptr ? &peer->flood : nullptr, loop_->now());
      if (ruling.news) Report({.kind = SwitchEvent::Kind::kStorm, .peer = from});
      if (ruling.drop != Drop::kNone) return drops_.Add(ruling.drop);
      FloodToPorts(frame, /*checksum=*/true, from, 1,
                   [&](CloudPort& port) { port.DeliverSegment(frame); });
      return;
    }
    case Verdict::Action::kToPeer:  // never returned for a peer's frame
    case Verdict::Action::kDrop:
      drops_.Add(flow.verdict.drop);
      return;
  }
}

// ---------------------------------------------------------------- from a port

bool Cloud::ReadPort(CloudPort& port) {
  const absl::Status read = port.io->Receive(context_->buffers, frames_, port.drops);
  if (!read.ok()) {
    if (absl::IsNotFound(read)) FailPort(port.id);
    return false;
  }
  Flow flow;
  for (Frame& frame : frames_) OnFrameFromPort(port, frame, flow);
  egress_.Flush();
  return !frames_.empty();
}

bool Cloud::ReadPunted() {
  if (!offload_.ReceivePunted(punted_, drops_)) return false;
  PortId last = PortId::kNone;
  Flow flow;
  for (PuntedFrame& punted : punted_) {
    CloudPort* port = FindPort(punted.port);
    if (port == nullptr) continue;  // Receive leaves out the frames of ports that are gone
    if (punted.way == PuntedFrame::Way::kTo) {
      const iovec whole{punted.frame.bytes.data(), punted.frame.bytes.size()};
      port->Deliver({.parts = {&whole, 1},
                     .size = punted.frame.bytes.size(),
                     .offload = punted.frame.offload});
      continue;
    }
    if (punted.port != last) flow.valid = false;
    last = punted.port;
    OnFrameFromPort(*port, punted.frame, flow, /*punted=*/true);
  }
  egress_.Flush();
  return true;
}

void Cloud::OnFrameFromPort(CloudPort& port, Frame& frame, Flow& flow, bool punted) {
  if (frame.bytes.size() <= kEthernetHeaderSize) return port.drops.Add(Drop::kShortFrame);
  const uint32_t count = SegmentCount(frame.offload, frame.bytes.size());
  const bool relayed = port.offload == PortOffload::kRelayed;
  const bool given_back = punted && relayed;
  if (!given_back) Count(port.from_pod, count, frame.bytes.size());
  if (IsHello(frame.bytes)) {
    if (SourceMac(frame.bytes) == options_.agent_mac &&
        flood_.OnOwnHello(port.flood, loop_->now())) {
      Report({.kind = SwitchEvent::Kind::kPortBlocked, .port = port.id});
    }
    return port.drops.Add(Drop::kReserved, count);
  }
  // Checked before anything is learned from the frame.
  if (const Drop refused = CheckFromPort(frame.bytes, port.options.mac, port.options.guard);
      refused != Drop::kNone) {
    return port.drops.Add(refused, count);
  }
  const MacAddress destination = DestinationMac(frame.bytes);
  const MacAddress source = SourceMac(frame.bytes);
  if (!flow.valid || flow.destination != destination || flow.source != source) {
    flow.valid = false;
    const FloodControl::Ruling ruling =
        flood_.Learn(fdb_, port.flood, port.id, source, loop_->now());
    if (ruling.news) Report({.kind = SwitchEvent::Kind::kPortBlocked, .port = port.id});
    if (ruling.drop != Drop::kNone) return port.drops.Add(ruling.drop, count);
    flow = {.valid = true,
            .destination = destination,
            .source = source,
            .verdict = Forward(destination, source, port.id, fdb_, loop_->now())};
    if (flow.verdict.action == Verdict::Action::kToPeer) {
      flow.peer = peers_.Find(flow.verdict.peer);
    }
  }
  const iovec whole{frame.bytes.data(), frame.bytes.size()};
  const OutFrame out{.parts = {&whole, 1}, .size = frame.bytes.size(), .offload = frame.offload};
  Drop drop = Drop::kNone;
  switch (flow.verdict.action) {
    case Verdict::Action::kToPort:
      if (CloudPort* to = FindPort(flow.verdict.port)) to->Deliver(out);
      return;
    case Verdict::Action::kToPeer:
      if (relayed && !given_back && flow.peer != nullptr && flow.peer->offloaded) {
        drop = offload_.Relay(port.id, out);
        if (drop != Drop::kNone) port.drops.Add(drop, count);
        return;
      }
      drop = egress_.Add(flow.verdict.peer, frame,
                         flow.peer != nullptr ? &flow.peer->to_peer : nullptr);
      break;
    case Verdict::Action::kFlood: {
      const FloodControl::Ruling ruling = flood_.Flood(port.flood, count, loop_->now());
      if (ruling.news) Report({.kind = SwitchEvent::Kind::kStorm, .port = port.id});
      if (ruling.drop != Drop::kNone) return port.drops.Add(ruling.drop, count);
      FloodToPorts(frame.bytes, /*checksum=*/!frame.offload.needs_checksum, port.id, count,
                   [&](CloudPort& to) { to.Deliver(out); });
      drop = egress_.Add(egress_.group(), frame, &to_group_);
      break;
    }
    case Verdict::Action::kDrop:
      return port.drops.Add(flow.verdict.drop, count);
  }
  if (drop != Drop::kNone) port.drops.Add(drop);
}

template <typename Deliver>
void Cloud::FloodToPorts(std::span<const uint8_t> frame, bool checksum, const Location& from,
                         uint32_t count, Deliver deliver) {
  Snooper::Recipients recipients;
  if (snooper_.has_value()) recipients = snooper_->Hear(frame, checksum, from);
  for (const auto& [id, port] : ports_) {
    if (from == Location(id)) continue;
    if (snooper_.has_value() && !snooper_->IsFor(recipients, id)) continue;
    if (FloodControl::Takes(port->flood, loop_->now())) {
      deliver(*port);
    } else {
      port->drops.Add(Drop::kLoop, count);
    }
  }
}

// ---------------------------------------------------------------- ports and peers

CloudPeer* Cloud::TouchPeer(const Peer& peer) {
  const PeerTable::Touched touched = peers_.Touch(peer, loop_->now());
  if (touched.is_new) Report({.kind = SwitchEvent::Kind::kPeerSeen, .peer = peer});
  return touched.peer;
}

CloudPort* Cloud::FindPort(PortId id) const {
  const auto found = ports_.find(id);
  return found != ports_.end() ? found->second.get() : nullptr;
}

void Cloud::UpdateOffload(const Peer& peer, const CloudPeer& state) {
  if (state.probe.usable()) {
    offload_.StartPeer(peer, state.probe.fast_port());
  } else {
    offload_.StopPeer(peer);
  }
}

void Cloud::OnLeave(const Peer& from) {
  fdb_.ForgetPeer(from);
  offload_.StopPeer(from);
  Sweep(loop_->now());
  if (!peers_.Erase(from)) return;
  greeter_.group().Left(from);
  Report({.kind = SwitchEvent::Kind::kPeerGone, .peer = from});
}

void Cloud::Report(SwitchEvent event) const {
  if (!listener_) return;
  event.cloud = options_.config.key;
  listener_(event);
}

void Cloud::OnFdbChange(const FdbChange& change) {
  offload_.OnFdbChange(change);
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

bool Cloud::DrainPort(PortId id) {
  CloudPort& port = *FindPort(id);
  while (!port.failed && ReadPort(port)) continue;  // ends, because nothing more arrives
  return !port.failed;
}

void Cloud::RewatchPort(PortId id, int before) {
  loop_->Unwatch(before);
  if (!Watch(*FindPort(id)).ok()) FailPort(id);
}

void Cloud::FailPort(PortId id) {
  CloudPort& port = *FindPort(id);
  loop_->Unwatch(port.io->fd());
  offload_.FailPort(id);
  port.failed = true;
  // In a turn of its own, because the owner may remove the port in response.
  tasks_.Post([this, id] {
    if (FindPort(id) == nullptr) return;  // removed in between
    Report({.kind = SwitchEvent::Kind::kPortFailed, .port = id});
  });
}

void Cloud::OnPortOffload(PortId id, PortOffload state, const FastCounters& counted) {
  CloudPort* port = FindPort(id);
  if (port == nullptr) return;  // it is being added
  port->offload = state;
  Count(port->from_pod, counted.from.frames, counted.from.bytes);
  Count(port->to_pod, counted.to.frames, counted.to.bytes);
  if (counted.refused == 0) return;
  port->drops.Add(Drop::kStorm, counted.refused);
  if (FloodControl::OnRefused(port->flood, loop_->now())) {
    Report({.kind = SwitchEvent::Kind::kStorm, .port = id});
  }
}

void Cloud::OnPeerOffload(const Peer& peer, bool offloaded, const FastCounters& counted) {
  CloudPeer* state = peers_.Find(peer);
  if (state == nullptr) return;
  state->offloaded = offloaded;
  Count(state->from_peer, counted.from.frames, counted.from.bytes);
  Count(state->to_peer, counted.to.frames, counted.to.bytes);
}

// ---------------------------------------------------------------- time

void Cloud::Tick(Instant now) {
  loop_->CheckOnLoop();
  sweep_.StartExpiry();
  Sweep(now);
  size_t stops = StationSweep::kMaxPeersPerTurn;
  for (const auto& [peer, state] : peers_) {
    greeter_.TickPeer(peer, state->probe, now);
    if (!state->offloaded) continue;
    if (!state->probe.usable() && stops > 0) {  // others follow at the next Tick
      --stops;
      offload_.StopPeer(peer);
    } else if (offload_.TakeInUse(peer, now)) {
      state->last = std::max(state->last, now);
    }
  }
  const uint16_t fast_port = offload_.fast_port();
  offload_.Tick(now);
  if (offload_.fast_port() != fast_port) {
    greeter_.SetFastPort(offload_.fast_port());
    for (const auto& [peer, state] : peers_) UpdateOffload(peer, *state);
    greeter_.Announce(/*answer_wanted=*/true);
  }
  if (snooper_.has_value()) {
    for (const Snooper::Query& query : snooper_->Tick(now)) {
      std::vector<uint8_t> frame =
          BuildQuery(query.v6, options_.agent_mac, query.response, Snooper::kQueryInterval);
      const iovec whole{frame.data(), frame.size()};
      const OutFrame out{.parts = {&whole, 1}, .size = frame.size(), .offload = {}};
      for (const auto& [id, port] : ports_) {
        if (query.port.value_or(id) == id && !port->failed) port->Deliver(out);
      }
      if (!query.port.has_value()) egress_.Send(egress_.group(), frame);
    }
  }
  group_->CountLost(drops_);
  egress_.socket().CountLost(drops_);
  const GroupWatch::Advice advice = greeter_.TickGroup(now);
  // An error is the uplink's, which is reported elsewhere. GroupWatch tries again.
  if (advice.rejoin) group_->Rejoin().IgnoreError();
  if (!advice.changed) return;
  std::string problem = greeter_.group().Problem(now);
  const auto kind =
      problem.empty() ? SwitchEvent::Kind::kGroupHeard : SwitchEvent::Kind::kGroupUnheard;
  Report({.kind = kind, .text = std::move(problem)});
}

void Cloud::Sweep(Instant now) {
  const auto last_seen = [&](const MacAddress& mac, const Location& where) {
    const std::optional<Instant> seen = offload_.LastSeen(mac, where);
    // `now` is when this turn began; the programs may have seen it since.
    if (const Peer* from = std::get_if<Peer>(&where); from != nullptr && seen.has_value()) {
      CloudPeer* peer = peers_.Find(*from);
      if (peer != nullptr) peer->last = std::max(peer->last, std::min(*seen, now));
    }
    return seen;
  };
  const StationSweep::Result swept = sweep_.Run(now, last_seen, [&](const Peer& peer) {
    offload_.StopPeer(peer);
    Report({.kind = SwitchEvent::Kind::kPeerGone, .peer = peer});
  });
  if (swept.any) offload_.OnSwept();
  if (!swept.more || sweep_posted_) return;
  sweep_posted_ = true;
  tasks_.Post([this] {
    sweep_posted_ = false;
    Sweep(loop_->now());
  });
}

// ---------------------------------------------------------------- for people

uint16_t Cloud::FastPort() const {
  loop_->CheckOnLoop();
  return offload_.fast_port();
}

CloudSnapshot Cloud::Snapshot() const {
  loop_->CheckOnLoop();
  const Instant now = loop_->now();
  CloudSnapshot out{.options = options_,
                    .drops = drops_,
                    .from_group = from_group_,
                    .to_group = to_group_,
                    .moves = fdb_.moves(),
                    .conflicts = fdb_.conflicts(),
                    .not_learned = fdb_.refused_full(),
                    .holds = fdb_.holds(),
                    .peers_not_kept = peers_.not_kept(),
                    .age = now - joined_};
  out.station_count = fdb_.live();
  for (const auto& [id, port] : ports_) {
    const LoopGuard::PortState& loop = port->flood.loop;
    out.ports.push_back({.id = id,
                         .options = port->options,
                         .from_pod = port->from_pod,
                         .to_pod = port->to_pod,
                         .drops = port->drops,
                         .age = now - port->added,
                         .blocked = std::max(loop.blocked_until - now, Duration{}),
                         .blocks = loop.blocks});
  }
  for (const auto& [peer, state] : peers_) {
    out.peers.push_back({.peer = peer,
                         .stations = fdb_.CountAt(peer),
                         .from_peer = state->from_peer,
                         .to_peer = state->to_peer,
                         .age = now - state->flood.first,
                         .idle = now - state->last});
  }
  std::sort(out.peers.begin(), out.peers.end(),
            [](const PeerSnapshot& a, const PeerSnapshot& b) { return a.peer < b.peer; });
  out.group_problem = greeter_.group().Problem(now);
  out.rejoins = greeter_.group().rejoins();
  if (snooper_.has_value()) out.snooping = snooper_->Snapshot();
  offload_.AddTo(out);
  return out;
}

std::vector<StationSnapshot> Cloud::Stations(const std::optional<MacAddress>& after,
                                             size_t limit) const {
  loop_->CheckOnLoop();
  const Instant now = loop_->now();
  std::vector<StationSnapshot> out;
  for (const Fdb::Row& row : fdb_.Rows(now, after, limit)) {
    out.push_back({.mac = row.mac,
                   .where = row.entry.where,
                   .is_static = row.entry.is_static,
                   .idle = row.entry.is_static ? Duration{} : now - row.entry.seen,
                   .held = now < row.entry.held_until});
  }
  offload_.AddTo(out);
  return out;
}

Explanation Cloud::Explain(const MacAddress& source, const MacAddress& destination) const {
  loop_->CheckOnLoop();
  const Instant now = loop_->now();
  Obstacles obstacles;
  obstacles.snooping = snooper_.has_value();
  for (const auto& [id, port] : ports_) {
    if (!FloodControl::Takes(port->flood, now)) obstacles.in_loop.push_back(id);
    obstacles.guarded = obstacles.guarded || port->options.guard.on;
  }
  Explanation out = ExplainForward(source, destination, fdb_, now, egress_.group(), obstacles);
  out.fast = offload_.Explain(source, destination);
  return out;
}

}  // namespace vxvde
