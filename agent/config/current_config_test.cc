#include "agent/config/current_config.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Config Named(const std::string& node) {
  Config config;
  config.node = node;
  return config;
}

TEST(CurrentConfigTest, ListenersSeeBothConfigurationsInTheOrderOfSubscription) {
  CurrentConfig current(Named("a"));
  const Config& same = current.Get();
  std::vector<std::string> calls;
  const auto listen = [&](const std::string& name) {
    return current.Subscribe([&, name](const Config& before) {
      calls.push_back(absl::StrCat(name, ": ", before.node, " ", current.Get().node));
    });
  };
  const CurrentConfig::Subscription first = listen("first");
  const CurrentConfig::Subscription second = listen("second");
  EXPECT_THAT(calls, IsEmpty()) << "a subscription is no change";
  current.Set(Named("b"));
  EXPECT_THAT(calls, ElementsAre("first: a b", "second: a b"));
  EXPECT_EQ(&current.Get(), &same);
  EXPECT_EQ(same.node, "b");
}

TEST(CurrentConfigTest, ASubscriptionEndsWithItsOwner) {
  CurrentConfig current(Named("a"));
  int calls = 0;
  {
    std::optional<CurrentConfig::Subscription> moved;
    {
      CurrentConfig::Subscription subscription = current.Subscribe([&](const Config&) { ++calls; });
      moved.emplace(std::move(subscription));
    }
    current.Set(Named("b"));
    EXPECT_EQ(calls, 1);
  }
  current.Set(Named("c"));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace vxvde
