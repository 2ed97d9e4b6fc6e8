#include "agent/node_port/host_end_wall.h"

#include <memory>
#include <string>
#include <vector>

#include "agent/node_port/testing/fake_nft.h"
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

constexpr char kRules[] = R"(table inet vxvde-wall {
	chain from_host_ends {
		type filter hook prerouting priority -500; policy accept;
		iifgroup 30328 counter drop
	}

	chain to_host_ends {
		type filter hook postrouting priority 500; policy accept;
		oifgroup 30328 counter drop
	}
}
table arp vxvde-wall {
	chain from_host_ends {
		type filter hook input priority -500; policy accept;
		iifgroup 30328 counter drop
	}

	chain to_host_ends {
		type filter hook output priority 500; policy accept;
		oifgroup 30328 counter drop
	}
}
)";

class HostEndWallTest : public testing::Test {
 protected:
  void RunUntil(const std::function<bool()>& done) {
    loop_->Every(std::chrono::milliseconds(5), [this, done] {
      if (done()) loop_->Stop();
    });
    loop_->Run();
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

  absl::Status links_refused;
  FakeNft nft_;
  std::vector<LinkInfo> links;
  std::vector<std::string> marked;
  std::vector<std::string> lines_;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  Log log_{[this](LogLevel, const std::string& line) { lines_.push_back(line); }};
  HostEndWall wall_{loop_.get(), &log_, nft_.AsKernel(), Links()};
};

TEST_F(HostEndWallTest, TheRulesAreThereWhileTheyAreWanted) {
  wall_.Want(true);
  EXPECT_EQ(nft_.text, kRules);
  wall_.Want(false);
  EXPECT_THAT(nft_.text, IsEmpty());
  EXPECT_EQ(wall_.problem(), absl::OkStatus());
}

TEST_F(HostEndWallTest, TheRulesStayAsLongAsAHostEnd) {
  links = {Link(3, "vx40cuhhrn1i6dk", "vxvde:40cuhhrn1i6dk", 0x7678)};
  wall_.MarkLinks();
  EXPECT_EQ(nft_.text, kRules) << "of an agent before this one";
  wall_.Want(true);
  wall_.Want(false);
  EXPECT_EQ(nft_.text, kRules);
  links.clear();
  wall_.OnLinkChange();
  RunUntil([&] { return nft_.text.empty(); });
}

TEST_F(HostEndWallTest, RefusedRulesAreSaidAndTriedAgain) {
  nft_.refuses = absl::PermissionDeniedError("not permitted");
  links = {Link(3, "vx40cuhhrn1i6dk", "vxvde:40cuhhrn1i6dk", 0x7678)};
  wall_.Want(true);
  wall_.MarkLinks();
  EXPECT_THAT(std::string(wall_.problem().message()), HasSubstr("not permitted"));
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("not permitted")));
  nft_.refuses = absl::OkStatus();
  RunUntil([&] { return !nft_.text.empty(); });
  EXPECT_EQ(wall_.problem(), absl::OkStatus());
}

TEST_F(HostEndWallTest, WithoutHostEndsNothingIsWrong) {
  nft_.refuses = absl::PermissionDeniedError("not permitted");
  wall_.Want(true);
  wall_.MarkLinks();
  EXPECT_EQ(wall_.problem(), absl::OkStatus()) << "a rootless agent has taps only";
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(HostEndWallTest, WithoutHostEndsARefusalThatCanEndIsSaidAndTriedAgain) {
  nft_.refuses = absl::FailedPreconditionError("a program owns the table");
  wall_.Want(true);
  EXPECT_THAT(std::string(wall_.problem().message()), HasSubstr("owns"));
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("owns")));
  nft_.refuses = absl::OkStatus();
  RunUntil([&] { return !nft_.text.empty(); });
  EXPECT_EQ(wall_.problem(), absl::OkStatus());
  nft_.refuses = absl::FailedPreconditionError("a program owns the table");
  wall_.Want(false);
  EXPECT_EQ(wall_.problem(), absl::OkStatus()) << "there is no host end";
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
  EXPECT_THAT(std::string(wall_.problem().message()), HasSubstr("no buffer space"));
  links_refused = absl::OkStatus();
  RunUntil([&] { return !marked.empty(); });
  EXPECT_EQ(wall_.problem(), absl::OkStatus());
}

}  // namespace
}  // namespace vxvde
