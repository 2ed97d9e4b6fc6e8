#include "agent/ipam/candidate_search.h"

#include <algorithm>

namespace vxvde {

std::optional<IpAddress> CandidateSearch::Next(
    const std::function<State(const IpAddress&)>& state) {
  const int max = need_ ? kMaxProbes : std::min(kMaxProbes, 1 + failures_ / kFailuresPerProbe);
  while (probing_ < max) {
    const std::optional<IpAddress> next = order_.Next();
    if (!next) return std::nullopt;
    switch (state(*next)) {
      case State::kHeld:
        continue;
      case State::kProbed:
        skipped_ = true;
        continue;
      case State::kInUse:
        if (!need_) continue;
        break;
      case State::kUnknown:
        break;
    }
    ++probing_;
    return next;
  }
  return std::nullopt;
}

void CandidateSearch::OnInUse() {
  --probing_;
  ++failures_;
}

CandidateSearch::Turn CandidateSearch::EndWalk() {
  if (need_ && !skipped_) return Turn::kExhausted;
  const Turn turn = need_ ? Turn::kWait : Turn::kAgain;
  need_ = true;
  skipped_ = false;
  order_ = Candidates(subnet_, cloud_, owner_);
  return turn;
}

}  // namespace vxvde
