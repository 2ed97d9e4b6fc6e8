#include "plugin/cloud/kernel_offload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vxvde {
namespace {

void Add(FlowCounters& sum, const FlowCounters& more) {
  sum.frames += more.frames;
  sum.bytes += more.bytes;
}

// The queue of punted frames holds no more.
constexpr int kMaxBatches = 64;

void CountLost(const FastLost& lost, DropCounters& drops) {
  drops.Add(Drop::kPortOverrun, lost.frames);
  drops.Add(Drop::kSocketOverrun, lost.datagrams);
  drops.Add(Drop::kNotFromHere, lost.not_from_here);
}

}  // namespace

KernelOffload::KernelOffload(OffloadStart start, Fdb* fdb, EventLoop* loop, Buffers* buffers,
                             OffloadHost* host)
    : fast_(std::move(start.fast)),
      why_not_(std::move(start.why_not)),
      fdb_(fdb),
      loop_(loop),
      buffers_(buffers),
      host_(host),
      tasks_(loop) {}

bool KernelOffload::ReceivePunted(std::vector<PuntedFrame>& out, DropCounters& drops) {
  const absl::Status received = fast_->frames().Receive(*buffers_, out, drops);
  if (!received.ok() || out.empty()) {
    out.clear();
    return false;
  }
  const auto is_probe = [](const PuntedFrame& frame) {
    return frame.way == PuntedFrame::Way::kTunnelProbe;
  };
  if (std::erase_if(out, is_probe) != 0) tunnel_probe_ = loop_->now();
  return true;
}

// ---------------------------------------------------------------- ports

PortOffload KernelOffload::AddPort(PortId id, const PortOptions& options, FrameIo* io) {
  if (!active()) return PortOffload::kNone;
  Port& port = ports_
                   .insert_or_assign(id, Port{.host_end = options.host_end,
                                              .mac = options.mac,
                                              .io = io,
                                              .added = loop_->now()})
                   .first->second;
  port.state = TakeOver(id, port);
  return port.state;
}

void KernelOffload::RemovePort(PortId id) {
  const auto found = ports_.find(id);
  if (found == ports_.end()) return;
  StopPort(id, found->second);
  ports_.erase(found);
}

void KernelOffload::FailPort(PortId id) {
  const auto found = ports_.find(id);
  if (found == ports_.end()) return;
  StopPort(id, found->second);
  found->second.failed = true;
}

// The packet socket sees each frame before the programs, so only one of the two may be on. With
// both on, frames would be forwarded twice and overtake each other; a frame that comes while
// neither is, some 0.2 ms, is lost as on a wire. Frames that already wait at the socket are
// forwarded first, so that none overtakes them.
void KernelOffload::StartPort(PortId id, Port& port) {
  absl::Status started = fast_->CheckPort(port.host_end);
  if (absl::IsUnavailable(started)) port.check_again = loop_->now() + kCheckAgain;
  if (started.ok()) started = port.io->SetReceiving(false);
  if (!started.ok()) {
    port.why_not = std::string(started.message());
    return;
  }
  if (!host_->DrainPort(id)) return;
  started = fast_->AddPort(id, port.host_end);
  if (started.ok()) {
    port.state = PortOffload::kKernel;
    host_->OnPortOffload(id, port.state, {});
    CopyStationsOfPort(id);
    Reopen(id, port, /*receives=*/false);  // if it fails, the socket is a little slower
    return;
  }
  port.why_not = std::string(started.message());
  if (!port.io->SetReceiving(true).ok()) host_->FailPort(id);
}

// Leaves the interface without a reader, because it may be gone.
void KernelOffload::StopPort(PortId id, Port& port) {
  if (port.state == PortOffload::kNone) return;
  FastCounters counted = fast_->CountersOf(id);
  counted.refused -= std::exchange(port.refused, 0);
  fast_->RemovePort(id);
  port.state = PortOffload::kNone;
  host_->OnPortOffload(id, port.state, counted);
  CopyStationsOfPort(id);
}

// Forwards punted frames first: they are older than those that the interface receives from now on.
void KernelOffload::GiveBack(PortId id, Port& port) {
  const bool send_only = port.state == PortOffload::kKernel;
  for (int i = 0; i < kMaxBatches && host_->ReadPunted(); ++i) continue;
  StopPort(id, port);
  if (send_only && !Reopen(id, port, /*receives=*/true) && !port.io->SetReceiving(true).ok()) {
    host_->FailPort(id);
  }
}

void KernelOffload::FollowObstacle(PortId id, Port& port, Instant now) {
  if (port.state != PortOffload::kNone) {
    std::string why = fast_->Obstacle(id);
    if (why.empty()) return;
    GiveBack(id, port);
    port.why_not = std::move(why);
    port.check_again = now + kCheckAgain;
    return;
  }
  const absl::Status checked = fast_->CheckPort(port.host_end);
  port.why_not = std::string(checked.message());
  port.check_again.reset();
  if (absl::IsUnavailable(checked)) port.check_again = now + kCheckAgain;
}

void KernelOffload::ReportRefused(PortId id, Port& port) {
  const uint64_t refused = fast_->CountersOf(id).refused;
  const uint64_t before = std::exchange(port.refused, refused);
  if (refused != before)
    host_->OnPortOffload(id, port.state, {.from = {}, .to = {}, .refused = refused - before});
}

void KernelOffload::SetFloodLimit(uint32_t rate) {
  if (active()) fast_->SetFloodLimit(rate);
}

// A tap has no interface on this node to which a program could be attached.
void KernelOffload::TickTap(PortId id, Port& port, Instant now) {
  const bool open = tunnel_probe_.has_value() && now - *tunnel_probe_ < kTunnelProbeLife;
  if (!open) StopPort(id, port);
  if (!open || port.state != PortOffload::kNone || port.failed || !port.why_not.empty()) return;
  if (const absl::Status added = fast_->AddRelayed(id, port.mac); !added.ok()) {
    port.why_not = std::string(added.message());
    return;
  }
  port.state = PortOffload::kRelayed;
  host_->OnPortOffload(id, port.state, {});
  CopyStationsOfPort(id);
}

bool KernelOffload::Reopen(PortId id, Port& port, bool receives) {
  absl::StatusOr<UniqueFd> before = port.io->Reopen(receives);
  if (!before.ok()) return false;
  host_->RewatchPort(id, before->get());
  fast_->Discard(*std::move(before));
  return true;
}

// At most Fdb::Options::max_at_port. Copies those of ports that are not offloaded as well, by which
// the programs know that a frame between two pods is not for a peer.
void KernelOffload::CopyStationsOfPort(PortId id) {
  fdb_->ForEachAt(id, [&](const MacAddress& mac, const FdbEntry& entry) {
    fast_->SetStation(mac, id, entry.seen);
  });
}

// ---------------------------------------------------------------- state of an earlier agent

// The programs never stopped serving the port, so the frames in a newly opened socket are copies.
PortOffload KernelOffload::TakeOver(PortId id, const Port& port) {
  if (port.host_end == IfIndex::kNone) {
    if (!fast_->IsInheritedTap(port.mac)) return PortOffload::kNone;
    if (!fast_->AddRelayed(id, port.mac).ok()) return PortOffload::kNone;
    tunnel_probe_ = loop_->now();  // the earlier agent had one
    return PortOffload::kRelayed;
  }
  if (!fast_->IsInheritedPort(port.host_end)) return PortOffload::kNone;
  if (!fast_->AddPort(id, port.host_end).ok()) return PortOffload::kNone;
  if (!port.io->receives()) return PortOffload::kKernel;
  if (!port.io->SetReceiving(false).ok()) {
    fast_->RemovePort(id);
    return PortOffload::kNone;
  }
  DropCounters copies;
  while (port.io->Receive(*buffers_, frames_, copies).ok() && !frames_.empty()) continue;
  absl::StatusOr<UniqueFd> before = port.io->Reopen(/*receives=*/false);
  if (before.ok()) fast_->Discard(*std::move(before));
  return PortOffload::kKernel;
}

std::vector<InheritedPeer> KernelOffload::InheritedPeers() const {
  return active() ? fast_->InheritedPeers() : std::vector<InheritedPeer>();
}

void KernelOffload::InheritStations(const Location& where, Duration expiry,
                                    absl::FunctionRef<bool(const MacAddress&)> may) {
  if (!active() || !IsOffloaded(where)) return;
  const Instant now = loop_->now();
  for (const InheritedStation& station : fast_->InheritedStations(where)) {
    const Instant seen = std::min(station.seen, now);
    if (now - seen >= expiry || !may(station.mac)) continue;
    if (fdb_->Find(station.mac, now) != nullptr) continue;  // a port's own, or known to be younger
    if (fdb_->Learn(station.mac, where, seen) != Fdb::Learned::kAdded) continue;
    fast_->SetStation(station.mac, where, seen);
  }
}

// ---------------------------------------------------------------- peers

void KernelOffload::StartPeer(const Peer& peer, uint16_t fast_port) {
  if (!active() || !obstacle_.empty() || stopped_.contains(peer)) return;
  const auto known = peers_.find(peer);
  if (!fast_->SetPeer(peer, fast_port).ok()) {
    if (known != peers_.end()) StopPeer(peer);
    return;  // its next Hello tries again
  }
  if (known != peers_.end()) {
    known->second.fast_port = fast_port;
    return;
  }
  peers_.emplace(peer, OffloadedPeer{.fast_port = fast_port});
  host_->OnPeerOffload(peer, true, {});
  CopyStationsOfPeer(peer, /*remove=*/false);
}

void KernelOffload::StopPeer(const Peer& peer) {
  if (!active() || !peers_.contains(peer)) return;
  const FastCounters counted = fast_->CountersOf(peer);
  fast_->StopPeer(peer);
  peers_.erase(peer);
  stopped_.insert(peer);
  host_->OnPeerOffload(peer, false, counted);
  CopyStationsOfPeer(peer, /*remove=*/true);
}

void KernelOffload::CopyStationsOfPeer(const Peer& peer, bool remove) {
  std::vector<MacAddress> macs;
  fdb_->ForEachAt(peer, [&](const MacAddress& mac, const FdbEntry&) { macs.push_back(mac); });
  const auto [at, is_new] = pending_.try_emplace(peer);
  at->second = {.remove = remove, .macs = std::move(macs)};
  if (is_new) queue_.push_back(peer);
  Continue();
}

void KernelOffload::Apply(const Peer& peer, bool remove, const MacAddress& mac) {
  const FdbEntry* entry = fdb_->Find(mac, loop_->now());
  const bool is_here = entry != nullptr && entry->where == Location(peer);
  if (!remove) {
    if (is_here) fast_->SetStation(mac, peer, entry->seen);
  } else if (is_here || entry == nullptr) {
    fast_->ForgetStation(mac);  // OnFdbChange() has already set a station that moved
  }
}

void KernelOffload::Continue() {
  if (turn_ != loop_->now()) {
    turn_ = loop_->now();
    left_ = kStationsPerTurn;
  }
  while (!queue_.empty()) {
    const Peer peer = queue_.front();
    Pending& pending = pending_[peer];
    for (; left_ > 0 && !pending.macs.empty(); --left_) {
      Apply(peer, pending.remove, pending.macs.back());
      pending.macs.pop_back();
    }
    if (!pending.macs.empty()) break;
    pending_.erase(peer);
    queue_.pop_front();
    FinishPeer(peer);
  }
  if (queue_.empty() || posted_) return;
  posted_ = true;
  tasks_.Post([this] {
    posted_ = false;
    if (active()) Continue();
  });
}

void KernelOffload::FinishPeer(const Peer& peer) {
  if (!stopped_.contains(peer) || pending_.contains(peer)) return;
  if (fdb_->IsForgetting(peer)) {
    unswept_.push_back(peer);
    return;
  }
  fast_->ForgetPeer(peer);
  stopped_.erase(peer);
}

void KernelOffload::OnSwept() {
  for (const Peer& peer : std::exchange(unswept_, {})) FinishPeer(peer);
}

// ---------------------------------------------------------------- stations

bool KernelOffload::IsOffloaded(const Location& where) const {
  if (const Peer* peer = std::get_if<Peer>(&where)) return peers_.contains(*peer);
  const auto port = ports_.find(std::get<PortId>(where));
  return port != ports_.end() && port->second.state != PortOffload::kNone;
}

void KernelOffload::OnFdbChange(const FdbChange& change) {
  if (!active()) return;
  const Peer* peer = std::get_if<Peer>(&change.where);
  const bool copied = peer == nullptr || peers_.contains(*peer);
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

// The programs see no frames of stations at ports and peers that are not offloaded.
std::optional<Instant> KernelOffload::LastSeen(const MacAddress& mac, const Location& where) const {
  return active() && IsOffloaded(where) ? fast_->LastSeen(mac) : std::nullopt;
}

bool KernelOffload::TakeInUse(const Peer& peer, Instant now) {
  const auto found = peers_.find(peer);
  if (found == peers_.end()) return false;
  last_use_ = now;
  const uint64_t frames = fast_->CountersOf(peer).from.frames;
  return std::exchange(found->second.frames, frames) != frames;
}

void KernelOffload::Tick(Instant now) {
  if (!active()) return;
  fast_->Tick();
  obstacle_ = fast_->Obstacle();
  if (!obstacle_.empty()) {
    for (auto& [id, port] : ports_) {
      if (port.state != PortOffload::kNone) GiveBack(id, port);
    }
    std::vector<Peer> peers;
    for (const auto& [peer, state] : peers_) peers.push_back(peer);
    for (const Peer& peer : peers) StopPeer(peer);
    return;
  }
  int left = kMaxStartedPerTick;
  for (auto& [id, port] : ports_) {
    if (port.state != PortOffload::kNone) ReportRefused(id, port);
    if (port.host_end == IfIndex::kNone) {
      TickTap(id, port, now);
      continue;
    }
    if (port.failed) continue;
    if (port.state != PortOffload::kNone) {
      FollowObstacle(id, port, now);
      continue;
    }
    if (left == 0) continue;
    if (port.check_again.has_value() && now >= *port.check_again) {
      FollowObstacle(id, port, now);
      --left;
    }
    if (left == 0 || !port.why_not.empty() || now - port.added < kStartAfter) continue;
    StartPort(id, port);
    --left;
  }
}

// ---------------------------------------------------------------- the whole cloud

absl::Status KernelOffload::MoveTo(IfIndex uplink) { return fast_->MoveTo(uplink); }

void KernelOffload::Abandon(std::string why, DropCounters& drops) {
  for (auto& [id, port] : ports_) {
    if (port.state != PortOffload::kNone) GiveBack(id, port);
  }
  for (const auto& [peer, state] : peers_) {
    host_->OnPeerOffload(peer, false, fast_->CountersOf(peer));
  }
  CountLost(fast_->lost(), drops);
  fast_.reset();
  ports_.clear();
  peers_.clear();
  stopped_.clear();
  unswept_.clear();
  pending_.clear();
  queue_.clear();
  why_not_ = std::move(why);
}

// ---------------------------------------------------------------- for people

void KernelOffload::AddTo(CloudSnapshot& snapshot) const {
  snapshot.why_not_fast = why_not_;
  if (!active()) return;
  const Instant now = loop_->now();
  snapshot.fast_port = fast_port();
  if (!obstacle_.empty()) {
    snapshot.why_not_fast = obstacle_;
    snapshot.obstructed = true;
  }
  snapshot.slow = fast_->slow();
  CountLost(fast_->lost(), snapshot.drops);
  for (PortSnapshot& out : snapshot.ports) {
    const auto found = ports_.find(out.id);
    if (found == ports_.end()) continue;
    const Port& port = found->second;
    out.fast = port.state != PortOffload::kNone;
    out.why_not_fast = port.why_not;
    out.obstructed = port.check_again.has_value();
    if (!out.fast && port.host_end == IfIndex::kNone && out.why_not_fast.empty() &&
        obstacle_.empty()) {
      out.why_not_fast = absl::StrCat(
          "it is a tap, and no agent's Hello has come to UDP port ", fast_->fast_port(),
          " through the node's own network stack (if there are agents with a fast path, let it "
          "through the firewall)");
    }
    if (!out.fast) continue;
    const FastCounters counters = fast_->CountersOf(out.id);
    out.drops.Add(Drop::kStorm, counters.refused - port.refused);
    Add(out.from_pod, counters.from);
    Add(out.to_pod, counters.to);
  }
  for (PeerSnapshot& out : snapshot.peers) {
    const auto found = peers_.find(out.peer);
    if (found == peers_.end()) continue;
    out.fast_port = found->second.fast_port;
    const FastCounters counters = fast_->CountersOf(out.peer);
    Add(out.from_peer, counters.from);
    Add(out.to_peer, counters.to);
    if (counters.from.frames != found->second.frames) {
      out.idle = std::min(out.idle, now - last_use_);
    }
  }
}

void KernelOffload::AddTo(std::vector<StationSnapshot>& stations) const {
  if (!active()) return;
  const Instant now = loop_->now();
  for (StationSnapshot& station : stations) {
    if (station.is_static || !IsOffloaded(station.where)) continue;
    const std::optional<Instant> seen = fast_->LastSeen(station.mac);
    if (!seen.has_value()) continue;
    station.idle = std::min(station.idle, std::max(now - *seen, Duration{}));
  }
}

std::string KernelOffload::Explain(const MacAddress& source, const MacAddress& destination) const {
  return active() ? fast_->Explain(source, destination) : std::string();
}

}  // namespace vxvde
