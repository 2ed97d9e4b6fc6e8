// The cloud's side of snooping: what it hears it hands to the Snooper, and it carries questions
// out. Which port wants what is plugin/snoop's business.

#include <sys/uio.h>

#include <vector>

#include "plugin/cloud/cloud.h"
#include "plugin/wire/membership.h"

namespace vxvde {

// Without an address to ask from nothing would ever be sure.
void Cloud::SetSnooping(bool on) {
  options_.snooping = on;
  if (!options_.agent_mac.IsStation()) return;
  if (on == snooper_.has_value()) return;
  snooper_.reset();
  if (!on) return;
  snooper_.emplace(options_.agent_mac, loop_->now());
  for (const auto& [id, port] : ports_) snooper_->AddPort(id);
}

Snooper::Audience Cloud::AudienceOf(std::span<const uint8_t> frame, bool checksum,
                                    const Location& from) {
  if (!snooper_.has_value()) return {};
  return snooper_->Hear(frame, checksum, from);
}

bool Cloud::IsFor(const Snooper::Audience& audience, PortId port) {
  return !snooper_.has_value() || snooper_->IsFor(audience, port);
}

void Cloud::TickSnooper(Instant now) {
  if (!snooper_.has_value()) return;
  for (const Snooper::Question& question : snooper_->Tick(now)) {
    std::vector<uint8_t> frame =
        BuildQuery(question.v6, options_.agent_mac, question.response, Snooper::kQueryInterval);
    const iovec whole{frame.data(), frame.size()};
    const OutFrame out{.parts = {&whole, 1}, .size = frame.size(), .offload = {}};
    for (const auto& [id, port] : ports_) {
      const bool asked = !question.port.has_value() || *question.port == id;
      if (asked && !port->failed) DeliverWhole(*port, out);
    }
    if (question.port.has_value()) continue;
    sends_.Add(group_address_, header_, frame);
    FlushSends();
  }
}

}  // namespace vxvde
