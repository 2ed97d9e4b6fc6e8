// The cloud's side of the fast path: who has one (Hello), which ports and peers are fast, and the
// copy of the FDB that the kernel forwards by (I4, I5). What it does with the copy is
// plugin/fastpath's business.

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/cloud/cloud.h"
#include "plugin/cloud/guard.h"
#include "plugin/wire/hello.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

void CountLost(const FastLost& lost, DropCounters& drops) {
  drops.Add(Drop::kPortOverrun, lost.frames);
  drops.Add(Drop::kSocketOverrun, lost.datagrams);
}

bool MaySendFrom(const MacAddress& source, const PortOptions& port) {
  std::array<uint8_t, kEthernetHeaderSize + 1> frame = {};  // of no protocol
  std::copy(source.bytes().begin(), source.bytes().end(), frame.begin() + source.bytes().size());
  return CheckFromPort(frame, port.mac, port.guard) == Drop::kNone;
}

void Add(FlowCounters& sum, const FlowCounters& more) {
  sum.frames += more.frames;
  sum.bytes += more.bytes;
}

}  // namespace

absl::Status Cloud::WatchFast() {
  if (fast_ == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(loop_->Watch(fast_->datagrams().fd(), EPOLLIN, [this](uint32_t) {
    ReadSocket(fast_->datagrams(), Via::kFastPort);
  }));
  return loop_->Watch(fast_->frames().fd(), EPOLLIN, [this](uint32_t) { ReadPunted(); });
}

void Cloud::UnwatchFast() {
  if (fast_ == nullptr) return;
  loop_->Unwatch(fast_->datagrams().fd());
  loop_->Unwatch(fast_->frames().fd());
}

bool Cloud::ReadPunted() {
  if (!fast_->frames().Receive(*buffers_, punted_, drops_).ok()) return false;
  PortId last = PortId::kNone;
  Flow flow;
  for (PuntedFrame& punted : punted_) {
    if (punted.way == PuntedFrame::Way::kTunnelProbe) {
      proof_ = loop_->now();
      continue;
    }
    Port* port = FindPort(punted.port);
    if (port == nullptr) continue;  // Receive leaves out the frames of ports that are gone
    if (punted.way == PuntedFrame::Way::kTo) {
      const iovec whole{punted.frame.bytes.data(), punted.frame.bytes.size()};
      DeliverWhole(*port, {.parts = {&whole, 1},
                           .size = punted.frame.bytes.size(),
                           .offload = punted.frame.offload});
      continue;
    }
    if (punted.port != last) flow.valid = false;
    last = punted.port;
    OnFrameFromPort(*port, punted.frame, flow, /*punted=*/true);
  }
  FlushSends();
  return !punted_.empty();
}

// ---------------------------------------------------------------- Hello

void Cloud::SayHello(const Peer& to, bool answer_wanted, bool heard) {
  if (!options_.agent_mac.IsStation()) return;
  const std::array<uint8_t, kHelloSize> frame = EncodeHello({.source = options_.agent_mac,
                                                             .fast_port = FastPort(),
                                                             .answer_wanted = answer_wanted,
                                                             .heard = heard,
                                                             .repeated = true});
  sends_.Add(to, header_, frame);
  FlushSends();
}

// A fast port is used only as long as a Hello that was sent there is answered: a firewall may be in
// the way, another interface than the one where the programs are, or an agent that is no more.
//
// An answer wants none, so it may be answered only by who has not heard of its sender or has lost
// its own fast path: two agents never go on answering each other.
void Cloud::OnHello(std::span<const uint8_t> frame, const Peer& from, PeerState* peer, Via via) {
  const std::optional<Hello> hello = DecodeHello(frame);
  if (!hello.has_value()) return;
  const Instant now = loop_->now();
  if (hello->repeated) group_watch_.Hello(hello->source, from, via == Via::kGroup, now);
  const bool is_news = peer != nullptr && !peer->hello.has_value();
  if (peer != nullptr) {
    peer->hello = now;
    if (peer->fast_port != hello->fast_port) peer->heard = peer->tried = std::nullopt;
    peer->fast_port = hello->fast_port;
    if (hello->heard) {
      peer->heard = now;
      peer->tries = 0;
    }
    UpdatePeer(from, *peer);
  }
  // It may still send to a fast port that this agent had before it was started again.
  const bool must_be_told = fast_ == nullptr && hello->fast_port != 0;
  const bool here = via == Via::kFastPort;
  if (hello->answer_wanted || is_news || must_be_told || here) {
    SayHello(from, /*answer_wanted=*/false, /*heard=*/here);
  }
  if (peer == nullptr || fast_ == nullptr || peer->fast_port == 0) return;
  if (peer->tried.has_value() && now - *peer->tried < kTryPeriod) return;
  peer->tries = 0;
  TryFastPort(from, *peer);
}

void Cloud::TryFastPort(const Peer& peer, PeerState& state) {
  state.tried = loop_->now();
  ++state.tries;
  SayHello({peer.address, state.fast_port}, /*answer_wanted=*/false);
}

// ---------------------------------------------------------------- time

void Cloud::TickFast(Instant now) {
  for (const auto& [peer, state] : peers_) {
    if (state->hello.has_value() && now - *state->hello >= kHelloLife) {
      state->hello.reset();
      state->fast_port = 0;
    }
    if (state->heard.has_value() && now - *state->heard >= kHelloLife) state->heard.reset();
    if (state->fast_port == 0 || !state->heard.has_value()) SlowDown(peer, *state);
    if (fast_ != nullptr && state->tried.has_value() && state->fast_port != 0 && state->tries > 0 &&
        state->tries < kTries && now - *state->tried >= kTryAgain) {
      TryFastPort(peer, *state);
    }
  }
  if (fast_ == nullptr) return;
  last_tick_ = now;
  for (const auto& [peer, state] : peers_) {
    if (!state->fast) continue;
    const uint64_t frames = fast_->CountersOf(peer).from.frames;
    if (std::exchange(state->fast_frames, frames) != frames)
      state->last = std::max(state->last, now);
  }
  int left = kMostMadeFast;
  for (const auto& [id, port] : ports_) {
    if (port->options.host_end == IfIndex::kNone) CarryOrNot(*port, now);
    const bool may = left > 0 && !port->fast && !port->failed && port->why_not_fast.empty() &&
                     port->options.host_end != IfIndex::kNone;
    if (!may || now - port->added < kFastAfter) continue;
    SpeedUp(*port);
    --left;
  }
}

// ---------------------------------------------------------------- ports

// The packet socket sees a frame before the programs do, whatever they do with it, so of the two
// only one may be on. What comes while neither is, some 0.2 ms, is lost, as on a wire: were they
// both on for that long, frames would be forwarded twice and overtake each other. What already
// waits at the socket is read first, so that nothing overtakes it either.
void Cloud::SpeedUp(Port& port) {
  absl::Status fast = port.io->SetReceiving(false);
  if (!fast.ok()) {
    port.why_not_fast = std::string(fast.message());
    return;
  }
  while (!port.failed && ReadPort(port)) continue;  // ends: nothing more comes
  if (port.failed) return;
  fast = fast_->AddPort(port.id, port.options.host_end);
  if (fast.ok()) {
    port.fast = true;
    CopyStationsAt(port.id);
    Reopen(port, /*receives=*/false);  // if that cannot be, all works as well, and a little slower
    return;
  }
  port.why_not_fast = std::string(fast.message());
  if (!port.io->SetReceiving(true).ok()) FailPort(port);  // nobody would read it any more
}

// A tap has no interface on this node where a program could stand.
void Cloud::CarryOrNot(Port& port, Instant now) {
  const bool open = proof_.has_value() && now - *proof_ < kHelloLife;
  if (port.fast && !open) SlowDown(port);
  if (port.fast || !open || port.failed || !port.why_not_fast.empty()) return;
  if (const absl::Status added = fast_->AddRelayed(port.id, port.options.mac); !added.ok()) {
    port.why_not_fast = std::string(added.message());
    return;
  }
  port.fast = true;
  CopyStationsAt(port.id);
}

bool Cloud::Reopen(Port& port, bool receives) {
  absl::StatusOr<UniqueFd> before = port.io->Reopen(receives);
  if (!before.ok()) return false;
  loop_->Unwatch(before->get());
  fast_->Discard(*std::move(before));
  if (!WatchPort(port).ok()) FailPort(port);
  return true;
}

// Its interface may be gone, or is about to be: nobody reads it from now on.
void Cloud::SlowDown(Port& port) {
  if (!port.fast) return;
  const FastCounters last = fast_->CountersOf(port.id);
  Add(port.from_pod, last.from);
  Add(port.to_pod, last.to);
  fast_->RemovePort(port.id);
  port.fast = false;
  CopyStationsAt(port.id);
}

// ---------------------------------------------------------------- what an agent before us left

// Its peers have had no reason to forget us, nor we them: what they said last is believed for as
// long as if it had been said now.
void Cloud::TakeOverPeers() {
  if (fast_ == nullptr) return;
  const Instant now = loop_->now();
  for (const InheritedPeer& left : fast_->InheritedPeers()) {
    PeerState* state = TouchPeer(left.peer);
    if (state == nullptr) continue;
    state->fast_port = left.fast_port;
    state->hello = state->heard = now;
    UpdatePeer(left.peer, *state);
    if (state->fast) TakeOverStations(left.peer);
  }
}

// The programs have had its frames all the time: what a socket has heard since it was opened are
// copies.
bool Cloud::TakeOverPort(PortId id, const PortOptions& options, FrameIo& io) {
  if (fast_ == nullptr) return false;
  if (options.host_end == IfIndex::kNone && fast_->IsInheritedTap(options.mac)) {
    if (!fast_->AddRelayed(id, options.mac).ok()) return false;
    proof_ = loop_->now();  // so it was, and so it is believed, as of the peers
    return true;
  }
  if (!fast_->IsInheritedPort(options.host_end)) return false;
  if (!fast_->AddPort(id, options.host_end).ok()) return false;
  if (!io.receives()) return true;
  if (!io.SetReceiving(false).ok()) {
    fast_->RemovePort(id);
    return false;
  }
  DropCounters copies;
  while (io.Receive(*buffers_, frames_, copies).ok() && !frames_.empty()) continue;
  absl::StatusOr<UniqueFd> before = io.Reopen(/*receives=*/false);
  if (before.ok()) fast_->Discard(*std::move(before));
  return true;
}

void Cloud::TakeOverStations(const Location& where) {
  const Instant now = loop_->now();
  const auto* id = std::get_if<PortId>(&where);
  const Port* port = id != nullptr ? FindPort(*id) : nullptr;
  for (const InheritedStation& left : fast_->InheritedStations(where)) {
    const Instant seen = std::min(left.seen, now);
    if (now - seen >= options_.config.expiry) continue;
    // It may have another guard by now.
    if (port != nullptr && !MaySendFrom(left.mac, port->options)) continue;
    if (fdb_.Find(left.mac, now) != nullptr) continue;  // its own MAC; and nothing gets younger
    if (fdb_.Learn(left.mac, where, seen) != Fdb::Learned::kAdded) continue;
    fast_->SetStation(left.mac, where, seen);
  }
}

// ---------------------------------------------------------------- peers

void Cloud::UpdatePeer(const Peer& peer, PeerState& state) {
  if (fast_ == nullptr || stopped_.contains(peer)) return;
  if (state.fast_port == 0 || !state.heard.has_value()) {
    SlowDown(peer, state);
    return;
  }
  const FastCounters last = state.fast ? fast_->CountersOf(peer) : FastCounters{};
  if (!fast_->SetPeer(peer, state.fast_port).ok()) {
    if (state.fast) PeerIsSlow(peer, state, last);
    return;  // tried again with its next Hello
  }
  if (state.fast) return;
  state.fast = true;
  CopyStationsAt(peer);
}

void Cloud::SlowDown(const Peer& peer, PeerState& state) {
  if (!state.fast) return;
  PeerIsSlow(peer, state, fast_->CountersOf(peer));
  if (fdb_.IsForgetting(peer)) {
    fast_->StopPeer(peer);
    stopped_.insert(peer);
  } else {
    fast_->ForgetPeer(peer);
  }
}

void Cloud::PeerIsSlow(const Peer& peer, PeerState& state, const FastCounters& last) {
  Add(state.from_peer, last.from);
  Add(state.to_peer, last.to);
  state.fast = false;
  fdb_.ForEachAt(peer,
                 [this](const MacAddress& mac, const FdbEntry&) { fast_->ForgetStation(mac); });
}

// ---------------------------------------------------------------- stations (I4)

bool Cloud::IsFast(const Location& where) const {
  if (const auto* id = std::get_if<PortId>(&where)) {
    const Port* port = FindPort(*id);
    return port != nullptr && port->fast;
  }
  const PeerState* peer = FindPeer(std::get<Peer>(where));
  return peer != nullptr && peer->fast;
}

// Stations at ports are copied always, those at slow ones too: the programs then know that a frame
// between two pods is not for a peer.
void Cloud::CopyChange(const FdbChange& change) {
  if (fast_ == nullptr) return;
  const Peer* peer = std::get_if<Peer>(&change.where);
  const bool copied = peer == nullptr || IsFast(change.where);
  switch (change.kind) {
    case FdbChange::Kind::kAdded:
      if (copied) fast_->SetStation(change.mac, change.where, loop_->now());
      return;
    case FdbChange::Kind::kMoved:
      if (copied) {
        fast_->SetStation(change.mac, change.where, loop_->now());
      } else {
        fast_->ForgetStation(change.mac);
      }
      return;
    case FdbChange::Kind::kRemoved:
    case FdbChange::Kind::kExpired:
      if (copied || stopped_.contains(*peer)) fast_->ForgetStation(change.mac);
      return;
    case FdbChange::Kind::kHeld:
      return;
  }
}

void Cloud::CopyStationsAt(const Location& where) {
  fdb_.ForEachAt(where, [&](const MacAddress& mac, const FdbEntry& entry) {
    fast_->SetStation(mac, where, entry.seen);
  });
}

// The programs see no frames of stations at slow places.
std::optional<Instant> Cloud::LastSeen(const MacAddress& mac, const Location& where, Instant now) {
  if (fast_ == nullptr || !IsFast(where)) return std::nullopt;
  const std::optional<Instant> seen = fast_->LastSeen(mac);
  // "Now" is when this turn began; the programs may have seen it since.
  if (const auto* peer = std::get_if<Peer>(&where); peer != nullptr && seen.has_value()) {
    PeerState* state = FindPeer(*peer);
    state->last = std::max(state->last, std::min(*seen, now));
  }
  return seen;
}

// ---------------------------------------------------------------- the whole cloud

// After the cloud itself has moved.
void Cloud::MoveFast() {
  if (fast_ == nullptr) return;
  if (const absl::Status moved = fast_->MoveTo(options_.uplink); !moved.ok()) {
    LeaveFast(
        absl::StrCat("could not follow to uplink ", options_.uplink_name, ": ", moved.message()));
    return;
  }
  for (const auto& [peer, state] : peers_) {
    if (state->fast_port != 0) UpdatePeer(peer, *state);
  }
  SayHello(group_address_, /*answer_wanted=*/true);
}

// Goes on in user space, with ports, peers and counters as they are.
void Cloud::LeaveFast(std::string why) {
  ReadNow();  // what was punted would be lost
  for (const auto& [id, port] : ports_) {
    const bool deaf = port->fast && !port->carried();
    SlowDown(*port);
    if (deaf && !Reopen(*port, /*receives=*/true) && !port->io->SetReceiving(true).ok()) {
      FailPort(*port);
    }
  }
  for (const auto& [peer, state] : peers_) SlowDown(peer, *state);
  UnwatchFast();
  CountLost(fast_->lost(), drops_);
  fast_.reset();
  why_not_fast_ = std::move(why);
  SayHello(group_address_, /*answer_wanted=*/false);
}

// ---------------------------------------------------------------- what people ask

// What the programs forwarded counts as if we had, and is as fresh.
void Cloud::AddFastTo(CloudSnapshot& snapshot) const {
  snapshot.why_not_fast = why_not_fast_;
  if (fast_ == nullptr) return;
  const Instant now = loop_->now();
  snapshot.fast_port = fast_->fast_port();
  snapshot.slow = fast_->slow();
  CountLost(fast_->lost(), snapshot.drops);
  for (PortSnapshot& out : snapshot.ports) {
    const Port& port = *FindPort(out.id);
    out.fast = port.fast;
    out.why_not_fast = port.why_not_fast;
    if (!port.fast && port.options.host_end == IfIndex::kNone && out.why_not_fast.empty()) {
      out.why_not_fast = absl::StrCat(
          "it is a tap, and no agent's Hello has come to UDP port ", fast_->fast_port(),
          " through the node's own network stack (if there are agents with a fast path, let it "
          "through the firewall)");
    }
    if (!port.fast) continue;
    const FastCounters counters = fast_->CountersOf(port.id);
    Add(out.from_pod, counters.from);
    Add(out.to_pod, counters.to);
  }
  for (PeerSnapshot& out : snapshot.peers) {
    const PeerState& state = *FindPeer(out.peer);
    if (!state.fast) continue;
    out.fast_port = state.fast_port;
    const FastCounters counters = fast_->CountersOf(out.peer);
    Add(out.from_peer, counters.from);
    Add(out.to_peer, counters.to);
    if (counters.from.frames != state.fast_frames) out.idle = std::min(out.idle, now - last_tick_);
  }
}

void Cloud::AddFastTo(std::vector<StationSnapshot>& stations) const {
  if (fast_ == nullptr) return;
  const Instant now = loop_->now();
  for (StationSnapshot& station : stations) {
    if (station.is_static || !IsFast(station.where)) continue;
    const std::optional<Instant> seen = fast_->LastSeen(station.mac);
    if (!seen.has_value()) continue;
    station.idle = std::min(station.idle, std::max(now - *seen, Duration{}));
  }
}

}  // namespace vxvde
