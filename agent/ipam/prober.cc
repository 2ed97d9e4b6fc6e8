#include "agent/ipam/prober.h"

#include <algorithm>
#include <utility>

namespace vxvde {
namespace {

AgentMark::Kind KindOf(const Prober::Purpose& purpose) {
  return purpose.need ? AgentMark::Kind::kNeed : AgentMark::Kind::kClaim;
}

}  // namespace

void Prober::Start(Instant now, const IpAddress& address, Purpose purpose) {
  Probe probe;
  probe.purpose = std::move(purpose);
  probe.patient_until = now + kPatience;
  const auto [it, fresh] = probes_.insert_or_assign(address, std::move(probe));
  Send(now, address, it->second);
}

Prober::Purpose Prober::End(const IpAddress& address) {
  const auto found = probes_.find(address);
  Purpose purpose = std::move(found->second.purpose);
  probes_.erase(found);
  return purpose;
}

const Prober::Purpose* Prober::Find(const IpAddress& address) const {
  const auto found = probes_.find(address);
  return found == probes_.end() ? nullptr : &found->second.purpose;
}

size_t Prober::CountSpare(const IpPrefix& subnet) const {
  return static_cast<size_t>(std::count_if(probes_.begin(), probes_.end(), [&](const auto& one) {
    return one.second.purpose.spare() && subnet.Contains(one.first);
  }));
}

void Prober::OnFree(const IpAddress& address, const MacAddress& agent) {
  const auto found = probes_.find(address);
  if (found != probes_.end()) found->second.free.insert(agent);
}

std::vector<IpAddress> Prober::Due(Instant now) const {
  std::vector<IpAddress> due;
  for (const auto& [address, probe] : probes_) {
    if (probe.due <= now) due.push_back(address);
  }
  return due;
}

bool Prober::Advance(Instant now, const IpAddress& address) {
  const auto found = probes_.find(address);
  if (found == probes_.end()) return false;
  Probe& probe = found->second;
  if (probe.sent < kProbes) {
    Send(now, address, probe);
    return false;
  }
  if (probe.patient_until <= now || AllAgree(now, address, probe)) return true;
  probe.due = now + kAskInterval;
  return false;
}

bool Prober::WouldDecide(Instant now) const {
  return std::any_of(probes_.begin(), probes_.end(), [&](const auto& one) {
    return one.second.sent == kProbes && one.second.due <= now;
  });
}

std::optional<Instant> Prober::NextTime() const {
  std::optional<Instant> next;
  for (const auto& [address, probe] : probes_) {
    if (!next || probe.due < *next) next = probe.due;
  }
  return next;
}

void Prober::Send(Instant now, const IpAddress& address, Probe& probe) {
  ++probe.sent;
  probe.due = now + (*jitter_)(kProbeInterval);
  outbox_->SendProbe(address, KindOf(probe.purpose));
}

bool Prober::AllAgree(Instant now, const IpAddress& address, const Probe& probe) {
  // Others have heard more agents than this one: an agent is busy, or this one has just joined.
  bool all = agents_->complete();
  for (const MacAddress& agent : agents_->Alive(now)) {
    if (probe.free.contains(agent)) continue;
    all = false;
    outbox_->SendProbe(address, KindOf(probe.purpose), agent);
  }
  return all;
}

}  // namespace vxvde
