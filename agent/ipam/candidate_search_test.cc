#include "agent/ipam/candidate_search.h"

#include <map>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using State = CandidateSearch::State;
using Turn = CandidateSearch::Turn;

class CandidateSearchTest : public testing::Test {
 protected:
  std::optional<IpAddress> Next() {
    return search_.Next([&](const IpAddress& address) {
      const auto found = states_.find(address);
      return found == states_.end() ? default_ : found->second;
    });
  }
  // Walks to the end of the candidates, all of which are in use.
  std::set<IpAddress> Walk() {
    std::set<IpAddress> seen;
    while (const auto next = Next()) {
      EXPECT_TRUE(seen.insert(*next).second);
      search_.OnInUse();
    }
    return seen;
  }

  CandidateSearch search_{*IpPrefix::Parse("192.0.2.0/24"), "cloud", "owner"};
  std::map<IpAddress, State> states_;
  State default_ = State::kUnknown;
};

TEST_F(CandidateSearchTest, OneProbeAtATimeUntilAddressesTurnOutToBeInUse) {
  EXPECT_FALSE(search_.probing());
  EXPECT_EQ(Next(), Candidates(*IpPrefix::Parse("192.0.2.0/24"), "cloud", "owner").Next());
  EXPECT_TRUE(search_.probing());
  EXPECT_EQ(Next(), std::nullopt);
  for (int i = 1; i < CandidateSearch::kFailuresPerProbe; ++i) {
    search_.OnInUse();
    EXPECT_TRUE(Next());
    EXPECT_FALSE(Next());
  }
  search_.OnInUse();
  EXPECT_TRUE(Next());
  EXPECT_TRUE(Next()) << "two side by side";
  EXPECT_FALSE(Next());
  EXPECT_EQ(search_.failures(), CandidateSearch::kFailuresPerProbe);
}

TEST_F(CandidateSearchTest, TheSecondWalkProbesAddressesInUseAndSaysNeed) {
  default_ = State::kInUse;
  EXPECT_FALSE(Next());
  EXPECT_FALSE(search_.probing());
  EXPECT_FALSE(search_.need());
  EXPECT_EQ(search_.EndWalk(), Turn::kAgain);
  EXPECT_TRUE(search_.need());
  for (int i = 0; i < CandidateSearch::kMaxProbes; ++i) EXPECT_TRUE(Next());
  EXPECT_FALSE(Next());
}

TEST_F(CandidateSearchTest, IsExhaustedAfterTwoWalksThroughAll) {
  EXPECT_EQ(Walk().size(), 254u);
  EXPECT_EQ(search_.EndWalk(), Turn::kAgain);
  EXPECT_EQ(Walk().size(), 254u);
  EXPECT_EQ(search_.EndWalk(), Turn::kExhausted);
  EXPECT_EQ(search_.failures(), 2 * 254);
}

TEST_F(CandidateSearchTest, WaitsForAProbeOfAnotherClaim) {
  const IpAddress probed = IpAddress::V4(192, 0, 2, 77);
  default_ = State::kHeld;
  states_[probed] = State::kProbed;
  EXPECT_FALSE(Next());
  EXPECT_EQ(search_.EndWalk(), Turn::kAgain);
  EXPECT_FALSE(Next());
  EXPECT_EQ(search_.EndWalk(), Turn::kWait);
  states_[probed] = State::kInUse;
  EXPECT_EQ(Next(), probed);
  search_.OnInUse();
  EXPECT_FALSE(Next());
  EXPECT_EQ(search_.EndWalk(), Turn::kExhausted);
}

}  // namespace
}  // namespace vxvde
