#include <linux/pkt_cls.h>
#include <sys/utsname.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/fastpath/chain_keeper.h"
#include "plugin/fastpath/tc.h"
#include "plugin/fastpath/testing_programs.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ChainKeeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    libbpf_set_print(nullptr);
    ConnectVeth(node_, "eth0", other_, "eth0");
    other_.SetUp("eth0", "192.0.2.2/24");
    index_ = node_.SetUp("eth0", "192.0.2.1/24");
    node_.Run([&] {
      ours_ = AnsweringProgram(BPF_PROG_TYPE_SCHED_CLS, TC_ACT_UNSPEC);
      theirs_ = AnsweringProgram(BPF_PROG_TYPE_SCHED_CLS, TC_ACT_OK);
    });
  }
  void TearDown() override { keeper_.reset(); }

  // False: this kernel, which is older than Linux 6.6, has no tcx.
  bool Start(Where where, bool tcx) {
    node_.Run([&] {
      keeper_ = ValueOrDie(ChainKeeper::Start(tcx));
      ASSERT_TRUE(AttachProgram(index_, ours_.get()).ok());
      keeper_->Keep(index_, where, ours_.get());
    });
    if (keeper_->tcx() == tcx) return true;
    utsname kernel = {};
    uname(&kernel);
    int major = 0, minor = 0;
    EXPECT_EQ(std::sscanf(kernel.release, "%d.%d", &major, &minor), 2) << kernel.release;
    EXPECT_LT(std::pair(major, minor), std::pair(6, 6))
        << "tcx is not used, though the kernel has it";
    return false;
  }
  std::vector<uint32_t> Tcx() {
    std::vector<uint32_t> ids;
    node_.Run([&] { ids = ListTcx(index_, Direction::kIngress); });
    return ids;
  }
  uint32_t Filter() {
    uint32_t id = 0;
    node_.Run([&] { id = AttachedProgram(index_); });
    return id;
  }
  std::string Obstacle() { return keeper_->At(index_).obstacle; }
  uint32_t Ours() { return ProgramId(ours_.get()); }
  uint32_t Theirs() { return ProgramId(theirs_.get()); }

  TestNetNs node_, other_;
  IfIndex index_{};
  UniqueFd ours_, theirs_;
  std::unique_ptr<ChainKeeper> keeper_;
};

TEST_F(ChainKeeperTest, AnUplinksProgramIsFirstWhoeverComes) {
  int appended = 0;
  node_.Run([&] { appended = AppendTcx(index_, theirs_.get()); });  // there before it
  if (!Start(Where::kUplink, /*tcx=*/true)) GTEST_SKIP() << "this kernel has no tcx";
  ASSERT_EQ(appended, 0);
  EXPECT_TRUE(WaitFor([&] { return Tcx() == std::vector<uint32_t>{Ours(), Theirs()}; }));
  node_.Run([&] {
    ASSERT_EQ(RemoveTcx(index_, theirs_.get()), 0);
    ASSERT_EQ(PrependTcx(index_, theirs_.get()), 0);
  });
  EXPECT_TRUE(WaitFor([&] { return Tcx() == std::vector<uint32_t>{Ours(), Theirs()}; }));
  EXPECT_EQ(Obstacle(), "");
}

TEST_F(ChainKeeperTest, WhoComesToTheFrontAgainIsLeftThereAndNamed) {
  if (!Start(Where::kUplink, /*tcx=*/true)) GTEST_SKIP() << "this kernel has no tcx";
  ASSERT_TRUE(WaitFor([&] { return Tcx() == std::vector<uint32_t>{Ours()}; }));
  const auto come = [&] {
    (void)RemoveTcx(index_, theirs_.get());
    ASSERT_EQ(PrependTcx(index_, theirs_.get()), 0);
  };
  node_.Run(come);
  ASSERT_TRUE(WaitFor([&] { return Tcx() == std::vector<uint32_t>{Ours(), Theirs()}; }));
  node_.Run(come);
  ASSERT_TRUE(WaitFor([&] { return !Obstacle().empty(); }));
  EXPECT_THAT(Obstacle(), HasSubstr(absl::StrCat("tcx program ", Theirs(), " at eth0")));
  EXPECT_THAT(Tcx(), ElementsAre(Theirs(), Ours()));
  node_.Run([&] { ASSERT_EQ(RemoveTcx(index_, theirs_.get()), 0); });
  EXPECT_TRUE(WaitFor([&] { return Obstacle().empty(); }));
  EXPECT_THAT(Tcx(), ElementsAre(Ours()));
}

TEST_F(ChainKeeperTest, AHostEndIsInTheTcxChainOnlyIfSomebodyElseIsBeforeIt) {
  if (!Start(Where::kHostEnd, /*tcx=*/true)) GTEST_SKIP() << "this kernel has no tcx";
  EXPECT_THAT(Tcx(), IsEmpty());
  node_.Run([&] { AddFilter(index_, theirs_.get(), 49152); });
  node_.Run([&] { AddFilter(index_, theirs_.get(), 1); });
  EXPECT_TRUE(WaitFor([&] { return Tcx() == std::vector<uint32_t>{Ours()}; }));
  node_.Run([&] { ASSERT_EQ(PrependTcx(index_, theirs_.get()), 0); });
  EXPECT_TRUE(WaitFor([&] { return Tcx() == std::vector<uint32_t>{Ours(), Theirs()}; }));
  EXPECT_EQ(Obstacle(), "");
}

TEST_F(ChainKeeperTest, WithoutTcxAFilterBeforeItIsNamed) {
  ASSERT_TRUE(Start(Where::kHostEnd, /*tcx=*/false));
  node_.Run([&] { AddFilter(index_, theirs_.get(), 49152); });
  node_.Run([&] { AddFilter(index_, theirs_.get(), 7); });
  ASSERT_TRUE(WaitFor([&] { return !Obstacle().empty(); }));
  EXPECT_THAT(Obstacle(), HasSubstr(absl::StrCat("the bpf filter of priority 7 (program ", Theirs(),
                                                 ", somebodys) at eth0")));
  EXPECT_THAT(Tcx(), IsEmpty());
  node_.Run([&] { RemoveFilter(index_, 7); });
  EXPECT_TRUE(WaitFor([&] { return Obstacle().empty(); })) << Obstacle();
}

TEST_F(ChainKeeperTest, AProgramThatWasTakenAwayIsPutBack) {
  for (const Where where : {Where::kUplink, Where::kHostEnd, Where::kOwnDevice}) {
    Start(where, /*tcx=*/true);
    node_.Shell("tc qdisc del dev eth0 clsact");
    EXPECT_TRUE(WaitFor([&] { return Filter() == Ours(); })) << static_cast<int>(where);
    if (where == Where::kUplink && keeper_->tcx()) {
      node_.Run([&] { (void)RemoveTcx(index_, ours_.get()); });
      EXPECT_TRUE(WaitFor([&] { return Tcx() == std::vector<uint32_t>{Ours()}; }));
    }
    EXPECT_EQ(Obstacle(), "");
    node_.Run([&] {
      keeper_->Release(index_);
      DetachFilter(index_);
      keeper_.reset();
    });
    EXPECT_EQ(Filter(), 0u);
    EXPECT_THAT(Tcx(), IsEmpty());
  }
}

TEST_F(ChainKeeperTest, AProgramOfAnEarlierAgentIsReplacedInBothPlaces) {
  if (!Start(Where::kUplink, /*tcx=*/true)) GTEST_SKIP() << "this kernel has no tcx";
  ASSERT_TRUE(WaitFor([&] { return Tcx() == std::vector<uint32_t>{Ours()}; }));
  keeper_.reset();
  node_.Run([&] {
    ASSERT_EQ(AppendTcx(index_, theirs_.get()), 0);
    const UniqueFd next = AnsweringProgram(BPF_PROG_TYPE_SCHED_CLS, TC_ACT_UNSPEC);
    ASSERT_TRUE(AttachProgram(index_, next.get()).ok());
    EXPECT_EQ(AttachedProgram(index_), ProgramId(next.get()));
    EXPECT_THAT(ListTcx(index_, Direction::kIngress), ElementsAre(ProgramId(next.get()), Theirs()));
    // Without CAP_SYS_ADMIN, to open a program by its id.
    const UniqueFd last = AnsweringProgram(BPF_PROG_TYPE_SCHED_CLS, TC_ACT_UNSPEC);
    ASSERT_TRUE(AttachProgram(index_, last.get()).ok());
    EXPECT_THAT(ListTcx(index_, Direction::kIngress), ElementsAre(ProgramId(last.get()), Theirs()));
    DetachProgram(index_);
    EXPECT_THAT(ListTcx(index_, Direction::kIngress), ElementsAre(Theirs()));
    EXPECT_EQ(AttachedProgram(index_), 0u);
  });
}

TEST_F(ChainKeeperTest, APodsOwnXdpProgramIsSeenAsItComesAndGoes) {
  Start(Where::kHostEnd, /*tcx=*/true);  // with or without it
  const IfIndex pod = ValueOrDie(other_.OpenNetlink().GetLink("eth0")).index;
  const auto set = [&](int program, uint32_t flags) {
    other_.Run(
        [&] { ASSERT_EQ(bpf_xdp_attach(static_cast<int>(pod), program, flags, nullptr), 0); });
  };
  const UniqueFd xdp = AnsweringProgram(BPF_PROG_TYPE_XDP, XDP_PASS);
  set(xdp.get(), XDP_FLAGS_DRV_MODE);
  EXPECT_TRUE(WaitFor([&] { return keeper_->At(index_).pod_native_xdp; }));
  EXPECT_FALSE(keeper_->At(index_).pod_generic_xdp);
  set(-1, XDP_FLAGS_DRV_MODE);
  EXPECT_TRUE(WaitFor([&] { return !keeper_->At(index_).pod_native_xdp; }));
  set(xdp.get(), XDP_FLAGS_SKB_MODE);
  node_.Run([&] {
    Netlink netlink = ValueOrDie(Netlink::Open());
    const Seen seen =
        ValueOrDie(ChainKeeper::LookNow(netlink, index_, Where::kHostEnd, ours_.get()));
    EXPECT_TRUE(seen.pod_generic_xdp);
    EXPECT_FALSE(seen.pod_native_xdp);
  });
}

TEST_F(ChainKeeperTest, FiltersOfWhatAHostEndSendsAreSeen) {
  Start(Where::kHostEnd, /*tcx=*/true);  // with or without it
  node_.Run([&] { AddFilter(index_, theirs_.get(), 1, BPF_TC_EGRESS); });
  EXPECT_TRUE(WaitFor([&] { return keeper_->At(index_).filters_egress; }));
}

}  // namespace
}  // namespace vxvde
