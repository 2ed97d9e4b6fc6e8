#include "agent/node_port/host_end_wall.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

LinkInfo Link(uint32_t index, const std::string& name, const std::string& alias, uint32_t group) {
  LinkInfo link;
  link.index = IfIndex{index};
  link.name = name;
  link.alias = alias;
  link.group = group;
  return link;
}

class HostEndWallTest : public testing::Test {
 protected:
  void RunUntil(const std::function<bool()>& done) {
    loop_->Every(std::chrono::milliseconds(5), [this, done] {
      if (done()) loop_->Stop();
    });
    loop_->Run();
  }
  NftKernel Rules() {
    return {.run =
                [this](const std::string& commands) {
                  if (rules_refused.ok()) tables = commands;
                  return rules_refused;
                },
            .list = [this]() -> absl::StatusOr<std::string> { return tables; }};
  }
  HostEndLinks Links() {
    return {.list = [this]() -> absl::StatusOr<std::vector<LinkInfo>> {
              if (!links_refused.ok()) return links_refused;
              return links;
            },
            .mark =
                [this](IfIndex index) {
                  for (LinkInfo& link : links) {
                    if (link.index != index) continue;
                    link.group = 0x7678;
                    marked.push_back(link.name);
                  }
                  return absl::OkStatus();
                }};
  }

  absl::Status rules_refused;
  absl::Status links_refused;
  std::string tables;
  std::vector<LinkInfo> links;
  std::vector<std::string> marked;
  std::vector<std::string> lines_;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  Log log_{[this](LogLevel, const std::string& line) { lines_.push_back(line); }};
  HostEndWall wall_{loop_.get(), &log_, Rules(), Links()};
};

TEST_F(HostEndWallTest, TheRulesAreThereWhileTheyAreWanted) {
  wall_.Want(true);
  EXPECT_EQ(tables, HostEndRules(true));
  EXPECT_THAT(tables, HasSubstr("iifgroup 30328"));
  wall_.Want(false);
  EXPECT_EQ(tables, HostEndRules(false));
  EXPECT_THAT(wall_.problem(), IsEmpty());
}

TEST_F(HostEndWallTest, TheRulesStayAsLongAsAHostEnd) {
  links = {Link(3, "vx40cuhhrn1i6dk", "vxvde:40cuhhrn1i6dk", 0x7678)};
  wall_.MarkLinks();
  EXPECT_EQ(tables, HostEndRules(true)) << "of an agent before this one";
  wall_.Want(true);
  wall_.Want(false);
  EXPECT_EQ(tables, HostEndRules(true));
  links.clear();
  wall_.OnLinkChange();
  RunUntil([&] { return tables == HostEndRules(false); });
}

TEST_F(HostEndWallTest, RefusedRulesAreSaidAndTriedAgain) {
  rules_refused = absl::PermissionDeniedError("not permitted");
  links = {Link(3, "vx40cuhhrn1i6dk", "vxvde:40cuhhrn1i6dk", 0x7678)};
  wall_.Want(true);
  wall_.MarkLinks();
  EXPECT_THAT(wall_.problem(), HasSubstr("not permitted"));
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("not permitted")));
  rules_refused = absl::OkStatus();
  RunUntil([&] { return !tables.empty(); });
  EXPECT_THAT(wall_.problem(), IsEmpty());
}

TEST_F(HostEndWallTest, WithoutHostEndsNothingIsWrong) {
  rules_refused = absl::PermissionDeniedError("not permitted");
  wall_.Want(true);
  wall_.MarkLinks();
  EXPECT_THAT(wall_.problem(), IsEmpty()) << "a rootless agent has taps only";
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(HostEndWallTest, HostEndsAndNothingElseAreMarked) {
  links = {Link(1, "lo", "", 0),
           Link(2, "eth0", "", 0),
           Link(3, "vx40cuhhrn1i6dk", "vxvde:40cuhhrn1i6dk", 0),
           Link(4, "vx0kqt2ofiaqc7o", "vxvde:0kqt2ofiaqc7o", 0x7678),
           Link(5, "vx-blue", "vxvde-node:blue", 0),
           Link(6, "vx1kqt2ofiaqc7o", "vxvde-node:blue", 7)};
  wall_.OnLinkChange();
  wall_.OnLinkChange();
  EXPECT_THAT(marked, IsEmpty()) << "once for many changes";
  RunUntil([&] { return !marked.empty(); });
  EXPECT_THAT(marked, ElementsAre("vx40cuhhrn1i6dk", "vx1kqt2ofiaqc7o"));
}

TEST_F(HostEndWallTest, LinksThatCannotBeReadAreSaidAndTriedAgain) {
  links = {Link(3, "vx40cuhhrn1i6dk", "vxvde:40cuhhrn1i6dk", 0)};
  links_refused = absl::InternalError("no buffer space");
  wall_.Want(true);
  wall_.MarkLinks();
  EXPECT_THAT(wall_.problem(), HasSubstr("no buffer space"));
  links_refused = absl::OkStatus();
  RunUntil([&] { return !marked.empty(); });
  EXPECT_THAT(wall_.problem(), IsEmpty());
}

}  // namespace
}  // namespace vxvde
