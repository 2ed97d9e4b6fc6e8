// CandidateSearch: which addresses of a subnet one claim probes, and how many side by side.
// It walks the owner's candidates twice. The first walk passes over addresses heard in use and
// begins with one probe at a time. The second one probes those, too, many at a time, and asks other
// agents to give up what no pod has. Not here: the probes. Pure.

#ifndef VXVDE_AGENT_IPAM_CANDIDATE_SEARCH_H_
#define VXVDE_AGENT_IPAM_CANDIDATE_SEARCH_H_

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "agent/ipam/candidates.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

class CandidateSearch {
 public:
  static constexpr int kMaxProbes = 16;        // side by side
  static constexpr int kFailuresPerProbe = 4;  // on the first walk, after which one more runs

  enum class State {
    kUnknown,  // may be free
    kInUse,    // was heard in use; may be free by now
    kProbed,   // by another claim or to be spare; may turn out to be free
    kHeld,     // by this agent
  };
  enum class Turn {
    kAgain,      // another walk begins: call Next
    kWait,       // until a probe of kProbed ends, and then another walk begins
    kExhausted,  // each candidate is in use
  };

  CandidateSearch(const IpPrefix& subnet, std::string cloud, std::string owner)
      : subnet_(subnet),
        cloud_(std::move(cloud)),
        owner_(std::move(owner)),
        order_(subnet_, cloud_, owner_) {}

  // The next address to probe, which counts as probed from now on. nullopt: enough probes run, or
  // the walk has ended.
  std::optional<IpAddress> Next(const std::function<State(const IpAddress&)>& state);
  // A probe ended because the address is in use.
  void OnInUse();
  // The walk has ended and no probe runs.
  Turn EndWalk();

  bool probing() const { return probing_ > 0; }
  // Whether probes say that other agents are to give up what no pod has.
  bool need() const { return need_; }
  // Probes that ended because the address is in use.
  int failures() const { return failures_; }

 private:
  IpPrefix subnet_;
  std::string cloud_;
  std::string owner_;
  Candidates order_;
  int probing_ = 0;
  int failures_ = 0;
  bool need_ = false;     // the second walk, or a later one
  bool skipped_ = false;  // a candidate was kProbed
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_CANDIDATE_SEARCH_H_
