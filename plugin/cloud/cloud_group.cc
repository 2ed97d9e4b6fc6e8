// The cloud's self-test of its group on the underlay: GroupWatch says what to do, and here it is
// done. A Hello to the group, every so often, is what there is to be heard.

#include <utility>

#include "plugin/cloud/cloud.h"

namespace vxvde {

void Cloud::TickGroup(Instant now) {
  if (!options_.agent_mac.IsStation()) return;  // it says nothing, and nobody can know of it
  if (now - last_hello_ >= kHelloPeriod) {
    last_hello_ = now;
    SayHello(group_address_, /*answer_wanted=*/false);
    group_watch_.Sent(now);
  }
  const GroupWatch::Advice advice = group_watch_.Tick(now);
  for (const Peer& peer : advice.ask) SayHello(peer, /*answer_wanted=*/true);
  // An error is the uplink's, which is shown elsewhere; it is tried again.
  if (advice.rejoin) group_->Rejoin().IgnoreError();
  if (!advice.changed) return;
  std::string problem = group_watch_.Problem(now);
  const auto kind =
      problem.empty() ? SwitchEvent::Kind::kGroupHeard : SwitchEvent::Kind::kGroupUnheard;
  Report({.kind = kind, .text = std::move(problem)});
}

}  // namespace vxvde
