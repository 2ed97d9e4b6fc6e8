#include "agent/handoff/session.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <functional>
#include <optional>

#include "agent/api/attach.pb.h"
#include "agent/api/attachment_id.h"
#include "agent/attach/testing/fake_attach_service.h"
#include "agent/base/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

namespace pb = ::vxvde::attach::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

pb::Request GoodPlan(pb::Mode mode = pb::VETH) {
  pb::Request request;
  request.set_protocol(1);
  pb::Plan& plan = *request.mutable_plan();
  plan.mutable_key()->set_network("blue");
  plan.mutable_key()->set_container_id("c1");
  plan.mutable_key()->set_ifname("eth0");
  plan.set_mode(mode);
  plan.set_netns("/run/netns/web");
  return request;
}

pb::Request CommitOf(const std::vector<std::string>& addresses) {
  pb::Request request;
  request.mutable_commit();
  for (const std::string& address : addresses) request.mutable_commit()->add_addresses(address);
  return request;
}

pb::Request DetachRequest() {
  pb::Request request;
  request.set_protocol(1);
  *request.mutable_detach()->mutable_key() = GoodPlan().plan().key();
  return request;
}

class HandoffSessionTest : public testing::Test {
 protected:
  pb::Reply Ask(const pb::Request& request, int fds = 0) {
    return AskBytes(request.SerializeAsString(), fds);
  }
  pb::Reply AskBytes(const std::string& bytes, int fds = 0, bool truncated = false) {
    std::vector<UniqueFd> came;
    for (int i = 0; i < fds; ++i) came.emplace_back(eventfd(0, EFD_CLOEXEC));
    for (const UniqueFd& fd : came) last_fds_.push_back(fd.get());
    const std::optional<std::string> answer = session_->Handle(
        {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, std::move(came), truncated);
    pb::Reply reply;
    EXPECT_TRUE(answer.has_value() && reply.ParseFromString(*answer));
    return reply;
  }
  std::optional<std::string> HandlePlan() {
    const std::string bytes = GoodPlan().SerializeAsString();
    return session_->Handle({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, {},
                            false);
  }
  HandoffSession::Later KeepLater() {
    return [this](std::string answer) { later_.push_back(std::move(answer)); };
  }

  FakeAttachService service_;
  std::vector<std::string> later_;
  std::optional<HandoffSession> session_{std::in_place, &service_, KeepLater()};
  std::vector<int> last_fds_;
};

TEST_F(HandoffSessionTest, PlanThenCommit) {
  const pb::Reply planned = Ask(GoodPlan());
  ASSERT_TRUE(planned.has_planned()) << planned.error().message();
  EXPECT_EQ(planned.planned().mac(), std::string("\x02\x00\x5e\x10\x00\x01", 6));
  EXPECT_EQ(planned.planned().mtu(), 1450u);
  EXPECT_EQ(planned.planned().host_ifname(), "vx0123456789abc");
  EXPECT_EQ(planned.planned().alias(), "vxvde:0123456789abc");
  EXPECT_EQ(planned.planned().gso_max_size(), 60632u);
  EXPECT_EQ(planned.planned().cloud(), "blue");
  EXPECT_EQ(planned.planned().vnl(), "vxvde://239.1.2.3");

  const pb::Reply committed = Ask(CommitOf({"192.0.2.7/24", "2001:db8::7/64"}));
  ASSERT_TRUE(committed.has_committed()) << committed.error().message();
  EXPECT_EQ(committed.committed().port(), 7u);
  EXPECT_THAT(service_.addresses,
              ElementsAre(*IpPrefix::Parse("192.0.2.7/24"), *IpPrefix::Parse("2001:db8::7/64")));
  EXPECT_FALSE(session_->Ended());
  session_.reset();
  EXPECT_THAT(service_.calls, ElementsAre("plan blue/c1/eth0", "commit 1"));
}

TEST_F(HandoffSessionTest, ASecondCommitReplacesTheAddresses) {
  ASSERT_TRUE(Ask(GoodPlan(pb::TAP)).has_planned());
  ASSERT_TRUE(Ask(CommitOf({}), 1).has_committed());
  const pb::Reply again = Ask(CommitOf({"192.0.2.7/24"}));
  ASSERT_TRUE(again.has_committed()) << again.error().message();
  EXPECT_EQ(again.committed().port(), 7u);
  EXPECT_THAT(service_.addresses, ElementsAre(*IpPrefix::Parse("192.0.2.7/24")));
  service_.fail = Refuse(AttachError::kAddressInUse, "192.0.2.8 is taken", "ask for another");
  EXPECT_EQ(Ask(CommitOf({"192.0.2.8/24"})).error().code(), 102u);
  session_.reset();
  EXPECT_THAT(service_.calls,
              ElementsAre("plan blue/c1/eth0", "commit 1", "set addresses blue/c1/eth0",
                          "set addresses blue/c1/eth0"))
      << "it stays attached: the plugin detaches it";
}

TEST_F(HandoffSessionTest, TheEndBeforeTheCommitRollsBack) {
  ASSERT_TRUE(Ask(GoodPlan()).has_planned());
  session_.reset();
  EXPECT_THAT(service_.calls, ElementsAre("plan blue/c1/eth0", "rollback 1"));
}

TEST_F(HandoffSessionTest, ATapsDescriptorRidesAlong) {
  ASSERT_TRUE(Ask(GoodPlan(pb::TAP)).has_planned());
  ASSERT_TRUE(Ask(CommitOf({}), 1).has_committed());
  EXPECT_EQ(service_.tap, last_fds_.at(0));
}

TEST_F(HandoffSessionTest, AnyOtherNumberOfDescriptorsIsRefusedAndTheyAreClosed) {
  for (const auto& [mode, fds] : {std::pair{pb::TAP, 0}, {pb::TAP, 2}, {pb::VETH, 1}}) {
    session_.emplace(&service_, KeepLater());
    last_fds_.clear();
    ASSERT_TRUE(Ask(GoodPlan(mode)).has_planned());
    const pb::Reply reply = Ask(CommitOf({}), fds);
    EXPECT_EQ(reply.error().code(), kCniDecodeFailure) << fds;
    EXPECT_EQ(service_.open, 0) << "rolled back";
    for (const int fd : last_fds_) EXPECT_EQ(fcntl(fd, F_GETFD), -1) << "left open";
  }
  session_.emplace(&service_, KeepLater());
  EXPECT_EQ(Ask(GoodPlan(), 1).error().code(), kCniDecodeFailure);
}

TEST_F(HandoffSessionTest, AnotherProtocolIsToldBothNumbers) {
  for (const uint32_t protocol : {0u, 2u}) {
    session_.emplace(&service_, KeepLater());
    pb::Request request = GoodPlan();
    request.set_protocol(protocol);
    const pb::Reply reply = Ask(request);
    EXPECT_EQ(reply.error().code(), static_cast<uint32_t>(AttachError::kVersionMismatch));
    EXPECT_THAT(reply.error().message(), HasSubstr("protocol " + std::to_string(protocol)));
    EXPECT_THAT(reply.error().message(), HasSubstr("protocol 1"));
    EXPECT_TRUE(session_->Ended());
  }
  EXPECT_THAT(service_.calls, IsEmpty());
}

TEST_F(HandoffSessionTest, PingAnswersWithTheVersion) {
  pb::Request ping;
  ping.set_protocol(1);
  ping.mutable_ping();
  EXPECT_FALSE(Ask(ping).pong().version().empty());
  EXPECT_TRUE(Ask(GoodPlan()).has_planned()) << "the connection stays usable";
}

// S1.
TEST_F(HandoffSessionTest, PingSaysWhatIsInTheWay) {
  pb::Request ping;
  ping.set_protocol(1);
  ping.mutable_ping()->set_cloud("blue");
  EXPECT_FALSE(Ask(ping).pong().has_problem());
  EXPECT_THAT(service_.calls, ElementsAre("ready blue"));
  service_.fail = Refuse(kCniLimitedConnectivity, "eth0 is down", "bring it up");
  const pb::Reply reply = Ask(ping);
  EXPECT_FALSE(reply.pong().version().empty());
  EXPECT_EQ(reply.pong().problem().code(), 51u);
  EXPECT_EQ(reply.pong().problem().message(), "eth0 is down");
  EXPECT_EQ(reply.pong().problem().details(), "bring it up");
  ping.mutable_ping()->set_cloud(std::string(300, 'x'));
  EXPECT_EQ(Ask(ping).pong().problem().code(), 7u);
}

TEST_F(HandoffSessionTest, WrongOrderIsRefused) {
  pb::Request commit = CommitOf({});
  commit.set_protocol(1);
  EXPECT_THAT(Ask(commit).error().message(), HasSubstr("Commit without a Plan"));

  session_.emplace(&service_, KeepLater());
  ASSERT_TRUE(Ask(GoodPlan()).has_planned());
  EXPECT_TRUE(Ask(GoodPlan()).has_error());
  EXPECT_EQ(service_.open, 0) << "the first plan is rolled back";

  session_.emplace(&service_, KeepLater());
  ASSERT_TRUE(Ask(GoodPlan()).has_planned());
  EXPECT_TRUE(Ask(DetachRequest()).has_error());
  EXPECT_EQ(service_.open, 0);

  session_.emplace(&service_, KeepLater());
  ASSERT_TRUE(Ask(GoodPlan()).has_planned());
  ASSERT_TRUE(Ask(CommitOf({})).has_committed());
  EXPECT_TRUE(Ask(GoodPlan()).has_error());
  EXPECT_TRUE(Ask(CommitOf({})).has_error()) << "no message is handled after an error";
  EXPECT_EQ(service_.open, 0);
}

TEST_F(HandoffSessionTest, NotOurMessages) {
  const std::string whole = GoodPlan().SerializeAsString();
  pb::Request nothing;
  nothing.set_protocol(1);
  for (const std::string& bytes :
       {std::string("\xff\xff\xff"), whole.substr(0, whole.size() - 3), nothing.SerializeAsString(),
        std::string(kMaxHandoffMessage + 1, 'x')}) {
    session_.emplace(&service_, KeepLater());
    EXPECT_EQ(AskBytes(bytes).error().code(), kCniDecodeFailure);
    EXPECT_TRUE(session_->Ended());
  }
  session_.emplace(&service_, KeepLater());
  EXPECT_EQ(AskBytes(whole, 0, /*truncated=*/true).error().code(), kCniDecodeFailure);
  EXPECT_THAT(service_.calls, IsEmpty());
}

TEST_F(HandoffSessionTest, TheCallerIsCniUnlessItSaysNetavark) {
  for (const auto& [said, meant] :
       {std::pair{"", "cni"}, {"cni", "cni"}, {"netavark", "netavark"}}) {
    session_.emplace(&service_, KeepLater());
    pb::Request request = GoodPlan();
    request.mutable_plan()->set_caller(said);
    ASSERT_TRUE(Ask(request).has_planned());
    EXPECT_EQ(service_.plan.caller, meant);
  }
}

TEST_F(HandoffSessionTest, EachFieldOfAPlanIsChecked) {
  struct Case {
    const char* what;
    uint32_t code;
    std::function<void(pb::Plan&)> spoil;
  };
  const Case cases[] = {
      {"network name", kCniInvalidConfig, [](auto& p) { p.mutable_key()->set_network("-x"); }},
      {"container id", kCniInvalidEnvironment,
       [](auto& p) { p.mutable_key()->set_container_id(""); }},
      {"container id", kCniInvalidEnvironment,
       [](auto& p) { p.mutable_key()->set_container_id("../x"); }},
      {"interface name", kCniInvalidEnvironment,
       [](auto& p) { p.mutable_key()->set_ifname(".."); }},
      {"interface name", kCniInvalidEnvironment,
       [](auto& p) { p.mutable_key()->set_ifname("sixteencharacter"); }},
      {"interface name", kCniInvalidEnvironment,
       [](auto& p) { p.mutable_key()->set_ifname("a b"); }},
      {"mode", kCniInvalidConfig, [](auto& p) { p.set_mode(pb::MODE_UNSPECIFIED); }},
      {"mode", kCniInvalidConfig, [](auto& p) { p.set_mode(static_cast<pb::Mode>(9)); }},
      {"network namespace", kCniInvalidEnvironment, [](auto& p) { p.set_netns("relative"); }},
      {"network namespace", kCniInvalidConfig,
       [](auto& p) { p.set_netns(std::string("/a\0b", 4)); }},
      {"both a cloud", kCniInvalidConfig,
       [](auto& p) {
         p.set_cloud("blue");
         p.set_vnl("vxvde://");
       }},
      {"vnl", kCniInvalidConfig, [](auto& p) { p.set_vnl(std::string(5000, 'v')); }},
      {"pod name", kCniInvalidConfig,
       [](auto& p) { p.mutable_pod()->set_name(std::string(300, 'p')); }},
      {"caller \"docker\"", kCniInvalidConfig, [](auto& p) { p.set_caller("docker"); }},
      {"MAC of 5 bytes", kCniInvalidConfig, [](auto& p) { p.set_mac("12345"); }},
      {"group address", kCniInvalidConfig,
       [](auto& p) { p.set_mac(std::string("\x01\x00\x5e\x00\x00\x01", 6)); }},
      {"zero", kCniInvalidConfig, [](auto& p) { p.set_mac(std::string(6, '\0')); }},
      {"allow: \"anything\"", kCniInvalidConfig, [](auto& p) { p.add_allow("anything"); }},
      {"10.42.0.7/16 has host bits", kCniInvalidConfig,
       [](auto& p) { p.add_allow_by_annotation("10.42.0.7/16"); }},
      {"65 entries are too many", kCniInvalidConfig,
       [](auto& p) {
         for (int i = 0; i < 65; ++i) p.add_allow("router");
       }},
  };
  for (const Case& c : cases) {
    session_.emplace(&service_, KeepLater());
    pb::Request request = GoodPlan();
    c.spoil(*request.mutable_plan());
    const pb::Reply reply = Ask(request);
    EXPECT_EQ(reply.error().code(), c.code) << c.what;
    EXPECT_THAT(reply.error().message(), HasSubstr(c.what));
    EXPECT_FALSE(reply.error().details().empty()) << c.what;
  }
  EXPECT_THAT(service_.calls, IsEmpty());
}

TEST_F(HandoffSessionTest, EachAddressIsChecked) {
  for (const char* address : {"192.0.2.7", "nonsense", "239.0.0.1/8", "127.0.0.1/8", "::/0"}) {
    session_.emplace(&service_, KeepLater());
    ASSERT_TRUE(Ask(GoodPlan()).has_planned());
    EXPECT_EQ(Ask(CommitOf({address})).error().code(), kCniInvalidConfig) << address;
    EXPECT_EQ(service_.open, 0) << "rolled back";
  }
  session_.emplace(&service_, KeepLater());
  ASSERT_TRUE(Ask(GoodPlan()).has_planned());
  EXPECT_TRUE(Ask(CommitOf(std::vector<std::string>(65, "192.0.2.7/24"))).has_error());
}

TEST_F(HandoffSessionTest, Ipv6NeedsAnMtuOf1280) {
  for (const uint32_t mtu : {1279u, 1280u}) {
    session_.emplace(&service_, KeepLater());
    pb::Request plan = GoodPlan();
    plan.mutable_plan()->set_mtu(mtu);
    ASSERT_TRUE(Ask(plan).has_planned());
    const pb::Reply reply = Ask(CommitOf({"2001:db8::7/64"}));
    EXPECT_EQ(reply.has_committed(), mtu == 1280) << mtu;
    if (mtu < 1280) {
      EXPECT_EQ(reply.error().code(), static_cast<uint32_t>(AttachError::kMtuImpossible));
    }
  }
}

TEST_F(HandoffSessionTest, RefusalsOfTheServiceReachTheCaller) {
  service_.fail = Refuse(AttachError::kUnknownCloud, "there is no cloud \"x\"", "name it");
  const pb::Reply reply = Ask(GoodPlan());
  EXPECT_EQ(reply.error().code(), 101u);
  EXPECT_EQ(reply.error().message(), "there is no cloud \"x\"");
  EXPECT_EQ(reply.error().details(), "name it");
  EXPECT_TRUE(session_->Ended());

  session_.emplace(&service_, KeepLater());
  service_.fail = absl::InternalError("disk full");
  EXPECT_EQ(Ask(DetachRequest()).error().code(), kCniTryAgainLater);
}

TEST_F(HandoffSessionTest, DetachWithOthersIsAnotherQuestion) {
  pb::Request request = DetachRequest();
  request.mutable_detach()->set_with_others(true);
  EXPECT_TRUE(Ask(request).detached().found());
  EXPECT_THAT(service_.calls, ElementsAre("detach all blue/c1/eth0"));
}

TEST_F(HandoffSessionTest, PlanOfAnAnnotationSaysSo) {
  pb::Request request = GoodPlan();
  request.mutable_plan()->set_main_ifname("eth9");
  request.mutable_plan()->set_by_annotation(true);
  ASSERT_TRUE(Ask(request).has_planned());
  EXPECT_EQ(service_.plan.main_ifname, "eth9");
  EXPECT_TRUE(service_.plan.by_annotation);
}

TEST_F(HandoffSessionTest, WhatIsAllowedIsReadOnceForEachWhoAsks) {
  pb::Request request = GoodPlan();
  request.mutable_plan()->add_allow("00:00:5E:00:01:00/40");
  request.mutable_plan()->add_allow_by_annotation("10.42.0.200/32");
  ASSERT_TRUE(Ask(request).has_planned());
  EXPECT_THAT(FormatAllowed(service_.plan.allow), ElementsAre("00:00:5e:00:01:00/40"));
  EXPECT_THAT(FormatAllowed(service_.plan.allow_by_annotation), ElementsAre("10.42.0.200"));
}

TEST_F(HandoffSessionTest, MainInterfaceNameIsChecked) {
  pb::Request request = GoodPlan();
  request.mutable_plan()->set_main_ifname("eth/9");
  EXPECT_THAT(Ask(request).error().message(), HasSubstr("eth/9"));
  EXPECT_THAT(service_.calls, IsEmpty());
}

TEST_F(HandoffSessionTest, DetachAnswersWhetherThereWasSomething) {
  const pb::Reply reply = Ask(DetachRequest());
  ASSERT_TRUE(reply.has_detached());
  EXPECT_TRUE(reply.detached().found());
  EXPECT_THAT(service_.calls, ElementsAre("detach blue/c1/eth0"));
}

TEST_F(HandoffSessionTest, OnlyWhatHasEndedIsForgotten) {
  pb::Request request;
  request.set_protocol(1);
  *request.mutable_detach()->mutable_key() = GoodPlan().plan().key();
  request.mutable_detach()->set_only_ended(true);
  EXPECT_TRUE(Ask(request).detached().found());
  EXPECT_THAT(service_.calls, ElementsAre("forget blue/c1/eth0"));
}

// C1.
TEST_F(HandoffSessionTest, CheckAnswersOrSaysWhy) {
  pb::Request request;
  request.set_protocol(1);
  *request.mutable_check()->mutable_key() = GoodPlan().plan().key();
  const pb::Reply good = Ask(request);
  EXPECT_EQ(good.checked().mac(), std::string("\x02\x00\x5e\x10\x00\x01", 6));
  EXPECT_EQ(good.checked().mtu(), 1450u);
  EXPECT_EQ(good.checked().mode(), pb::VETH);
  EXPECT_THAT(service_.calls, ElementsAre("check blue/c1/eth0"));
  service_.fail = Refuse(AttachError::kNotForwarding, "no uplink", "plug it in");
  EXPECT_EQ(Ask(request).error().code(), 111u);
  EXPECT_TRUE(session_->Ended());
  session_.emplace(&service_, KeepLater());
  request.mutable_check()->mutable_key()->set_ifname("a/b");
  EXPECT_EQ(Ask(request).error().code(), 4u);
}

// G1. A list that is too long for one message comes in pages.
TEST_F(HandoffSessionTest, AListIsReadInPages) {
  std::vector<std::string> ids;
  for (int i = 0; i < 60; ++i) {
    ids.push_back(std::to_string(1000 + i));
    service_.listed.push_back({.key = {"blue", "c1", "eth0"},
                               .id = ids.back(),
                               .main_ifname = "eth0",
                               .caller = "cni",
                               .netns = "/" + std::string(4000, 'n')});
  }
  pb::Request request;
  request.set_protocol(1);
  request.mutable_list()->set_network("blue");
  std::vector<std::string> seen;
  int pages = 0;
  while (true) {
    const pb::Reply reply = Ask(request);
    ASSERT_TRUE(reply.has_listed()) << reply.error().message();
    EXPECT_LT(reply.ByteSizeLong(), kMaxHandoffMessage);
    ++pages;
    for (const auto& one : reply.listed().attachments()) seen.push_back(one.id());
    if (!reply.listed().more()) break;
    request.mutable_list()->set_after(seen.back());
  }
  EXPECT_EQ(seen, ids);
  EXPECT_GT(pages, 1);
  request.mutable_list()->set_network("no/name");
  EXPECT_EQ(Ask(request).error().code(), 7u);
}

TEST_F(HandoffSessionTest, ACommitThatNobodyHearsOfIsUndone) {
  ASSERT_TRUE(Ask(GoodPlan()).has_planned());
  ASSERT_TRUE(Ask(CommitOf({})).has_committed());
  session_->Undelivered();
  session_.reset();
  EXPECT_THAT(service_.calls, ElementsAre("plan blue/c1/eth0", "commit 1", "detach blue/c1/eth0"));
}

TEST_F(HandoffSessionTest, APlanMayBeAnsweredLater) {
  service_.plan_waits = true;
  service_.plan_addresses = {*IpPrefix::Parse("10.42.0.7/16")};
  service_.plan_gateways = {*IpAddress::Parse("10.42.0.1")};
  EXPECT_EQ(HandlePlan(), std::nullopt);
  service_.AnswerPlan(absl::OkStatus());
  ASSERT_EQ(later_.size(), 1u);
  pb::Reply reply;
  ASSERT_TRUE(reply.ParseFromString(later_[0]));
  EXPECT_THAT(reply.planned().addresses(), ElementsAre("10.42.0.7/16"));
  EXPECT_THAT(reply.planned().gateways(), ElementsAre("10.42.0.1"));
  EXPECT_TRUE(Ask(CommitOf({"10.42.0.7/16"})).has_committed());
}

TEST_F(HandoffSessionTest, ALaterRefusalEndsThePlan) {
  service_.plan_waits = true;
  EXPECT_EQ(HandlePlan(), std::nullopt);
  service_.AnswerPlan(Refuse(AttachError::kAddressInUse, "10.42.0.7 is taken", "ask for another"));
  ASSERT_EQ(later_.size(), 1u);
  pb::Reply reply;
  ASSERT_TRUE(reply.ParseFromString(later_[0]));
  EXPECT_EQ(reply.error().code(), static_cast<uint32_t>(AttachError::kAddressInUse));
  EXPECT_TRUE(session_->Ended());
  session_.reset();
  EXPECT_THAT(service_.calls, ElementsAre("plan blue/c1/eth0")) << "there is nothing to roll back";
}

TEST_F(HandoffSessionTest, AMessageBeforeTheAnswerCancelsThePlan) {
  service_.plan_waits = true;
  EXPECT_EQ(HandlePlan(), std::nullopt);
  EXPECT_TRUE(Ask(CommitOf({})).has_error());
  EXPECT_THAT(service_.calls, ElementsAre("plan blue/c1/eth0", "rollback 1"));
  EXPECT_FALSE(service_.plan_pending());
}

TEST_F(HandoffSessionTest, TheEndOfTheConnectionCancelsThePlan) {
  service_.plan_waits = true;
  EXPECT_EQ(HandlePlan(), std::nullopt);
  session_.reset();
  EXPECT_THAT(service_.calls, ElementsAre("plan blue/c1/eth0", "rollback 1"));
  EXPECT_FALSE(service_.plan_pending());
}

// The server closes the connection, and so destroys the session, if the answer cannot be sent.
TEST_F(HandoffSessionTest, ALaterAnswerMayDestroyTheSession) {
  service_.plan_waits = true;
  session_.emplace(&service_, [this](const std::string&) {
    session_->Undelivered();
    session_.reset();
  });
  EXPECT_EQ(HandlePlan(), std::nullopt);
  service_.AnswerPlan(absl::OkStatus());
  EXPECT_FALSE(session_.has_value());
  EXPECT_THAT(service_.calls, ElementsAre("plan blue/c1/eth0", "rollback 1"));
}

TEST_F(HandoffSessionTest, PortMappingsAndAddresses) {
  pb::Request request = GoodPlan();
  pb::PortMapping& mapping = *request.mutable_plan()->add_port_mappings();
  mapping.set_host_port(8080);
  mapping.set_container_port(80);
  mapping.set_protocol("tcp");
  mapping.set_host_ip("192.0.2.1");
  request.mutable_plan()->add_addresses("10.42.0.7");
  EXPECT_TRUE(Ask(request).has_planned());
  EXPECT_THAT(service_.plan.addresses, ElementsAre(*IpAddress::Parse("10.42.0.7")));
  EXPECT_THAT(service_.plan.port_mappings,
              ElementsAre(PortMapping{8080, 80, "tcp", *IpAddress::Parse("192.0.2.1")}));

  const auto refused = [&](const std::function<void(pb::PortMapping&)>& change) {
    session_.emplace(&service_, KeepLater());
    pb::Request bad = request;
    change(*bad.mutable_plan()->mutable_port_mappings(0));
    return Ask(bad).error().message();
  };
  EXPECT_THAT(refused([](pb::PortMapping& m) { m.set_host_port(70000); }), HasSubstr("70000"));
  EXPECT_THAT(refused([](pb::PortMapping& m) { m.set_container_port(0); }), HasSubstr("port 0"));
  EXPECT_THAT(refused([](pb::PortMapping& m) { m.set_protocol("icmp"); }), HasSubstr("icmp"));
  EXPECT_THAT(refused([](pb::PortMapping& m) { m.set_host_ip("here"); }), HasSubstr("here"));
  session_.emplace(&service_, KeepLater());
  request.mutable_plan()->add_addresses("10.42.0.7/16");
  EXPECT_THAT(Ask(request).error().message(), HasSubstr("10.42.0.7/16"));
}

}  // namespace
}  // namespace vxvde
