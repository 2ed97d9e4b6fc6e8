#include "plugin/os/nftables.h"

#include <linux/capability.h>
#include <poll.h>
#include <sys/syscall.h>

#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/privileges.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

IpPrefix Prefix(const std::string& text) { return *IpPrefix::Parse(text); }

NftTable Empty() { return {.family = NftFamily::kInet, .name = "nft_test"}; }

NftTable TableOf(std::vector<NftRule> rules) {
  NftTable table = Empty();
  table.chains = {
      {.name = "c",
       .hook = NftHook{.type = "nat", .point = NftHookPoint::kPostrouting, .priority = kNftSrcnat},
       .rules = std::move(rules)}};
  return table;
}

NftTable Simple() {
  return TableOf({NftRule().In(NftField::kOutputName, {NftName("x0")}).Count().Masquerade(),
                  NftRule().In(NftField::kOutputName, {NftName("x1"), NftName("x2")}).Return()});
}

std::string Listing(const TestNetNs& netns) {
  return netns.Output("nft --stateless list table inet nft_test");
}

class NftablesTest : public testing::Test {
 protected:
  absl::Status Replace(const NftTable& table) {
    absl::Status status;
    netns_.Run([&] { status = ReplaceNftTables({table}); });
    return status;
  }
  std::string Read() {
    std::string text;
    netns_.Run([&] { text = ValueOrDie(ReadNftTables({Empty()})); });
    return text;
  }

  const TestNetNs netns_;
};

TEST_F(NftablesTest, ATableIsMadeReadAndRemoved) {
  EXPECT_THAT(Read(), IsEmpty());
  ASSERT_EQ(Replace(Simple()), absl::OkStatus());
  EXPECT_EQ(Listing(netns_), R"(table inet nft_test {
	chain c {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "x0" counter masquerade
		oifname { "x1", "x2" } return
	}
}
)");
  EXPECT_THAT(Read(), HasSubstr("masq"));
  ASSERT_EQ(Replace(Empty()), absl::OkStatus());
  EXPECT_THAT(Read(), IsEmpty());
  EXPECT_THAT(netns_.Output("nft list tables"), IsEmpty());
  EXPECT_EQ(Replace(Empty()), absl::OkStatus()) << "when it is not there";
}

// agent/node_port compares the agent's rules with nft's listing; these are the forms of values that
// do not occur there.
TEST_F(NftablesTest, NftPrintsWhatIsMeant) {
  using F = NftField;
  const NftValue v4 = NftByte(AF_INET);
  const NftValue v6 = NftByte(AF_INET6);
  NftTable table =
      TableOf({NftRule().Is(F::kFamily, v4).Within(F::kSourceV4, {Prefix("10.0.0.0/7")}).Return(),
               NftRule().Is(F::kFamily, v6).Within(F::kSourceV6, {Prefix("fd00::/121")}).Return(),
               NftRule().Is(F::kFamily, v4).Within(F::kSourceV4, {Prefix("0.0.0.0/0")}).Return(),
               // Adjacent prefixes, and those at the two ends of the address range.
               NftRule()
                   .Is(F::kFamily, v4)
                   .Within(F::kDestinationV4, {Prefix("192.0.3.0/24"), Prefix("192.0.2.0/24"),
                                               Prefix("0.0.0.0/8"), Prefix("255.255.0.0/16")})
                   .Return(),
               NftRule()
                   .Is(F::kFamily, v6)
                   .Within(F::kDestinationV6, {Prefix("2001:db8::/33"), Prefix("ff00::/8")})
                   .Return(),
               NftRule().NotIn(F::kInputKind, {NftName("veth")}).Return(),
               NftRule().NotIn(F::kInputGroup, {NftNumber(7), NftNumber(8)}).Return(),
               NftRule()
                   .Is(F::kProtocol, NftByte(17))
                   .NotIn(F::kSourcePort, {NftPort(53), NftPort(4000)})
                   .Return(),
               NftRule()
                   .In({F::kProtocol, F::kDestinationPort, F::kInputName},
                       {{NftByte(6), NftPort(80), NftName("x0")}})
                   .Return()});
  ASSERT_EQ(Replace(table), absl::OkStatus());
  EXPECT_THAT(Listing(netns_), HasSubstr(R"(
		ip saddr 10.0.0.0/7 return
		ip6 saddr fd00::/121 return
		ip saddr 0.0.0.0/0 return
		ip daddr { 0.0.0.0/8, 192.0.2.0/23, 255.255.0.0/16 } return
		ip6 daddr { 2001:db8::/33, ff00::/8 } return
		meta iifkind != "veth" return
		iifgroup != { 7, 8 } return
		udp sport != { 53, 4000 } return
		meta l4proto . th dport . iifname { tcp . 80 . "x0" } return
)"));
}

TEST_F(NftablesTest, AMapIsAsLargeAsItHasToBe) {
  for (const int family : {AF_INET, AF_INET6}) {
    const IpAddress target = *IpAddress::Parse(family == AF_INET6 ? "fd42::7" : "10.42.0.7");
    std::map<uint16_t, std::pair<IpAddress, uint16_t>> targets;
    for (uint16_t port = 1; port <= 20000; ++port) targets[port] = {target, port};
    NftTable table = TableOf({NftRule()
                                  .Is(NftField::kFamily, NftByte(static_cast<uint8_t>(family)))
                                  .Is(NftField::kProtocol, NftByte(6))
                                  .Dnat(family, targets)});
    table.chains[0].hook->point = NftHookPoint::kPrerouting;
    ASSERT_EQ(Replace(table), absl::OkStatus());
    const std::string listed = Listing(netns_);
    for (const int port : {1, 500, 501, 20000}) {
      EXPECT_THAT(listed, HasSubstr(absl::StrCat(port, " : ", target.ToString(), " . ", port)));
    }
    const std::string read = Read();
    ASSERT_EQ(Replace(table), absl::OkStatus());
    EXPECT_EQ(Read(), read);
  }
}

TEST_F(NftablesTest, OneRefusedObjectMeansThatNothingIsDone) {
  NftTable table = Simple();
  table.chains[0].rules.push_back(NftRule().Jump("nosuch"));
  const absl::Status status = Replace(table);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("rule 3 of chain inet nft_test c: No such file"));
  EXPECT_THAT(Read(), IsEmpty());
  ASSERT_EQ(Replace(Simple()), absl::OkStatus());
  const std::string before = Read();
  EXPECT_FALSE(Replace(table).ok());
  EXPECT_EQ(Read(), before);
}

// A table of the same name in another family, and a table of another program, stay as they are.
TEST_F(NftablesTest, NoOtherTableIsTouched) {
  netns_.Shell(
      "nft 'table ip nft_test { chain c { counter; }; }; table inet theirs { set s { type "
      "ipv4_addr; elements = { 192.0.2.1 }; }; chain c { ip saddr @s drop; }; }'");
  const std::string before = netns_.Output("nft list ruleset");
  ASSERT_EQ(Replace(Simple()), absl::OkStatus());
  EXPECT_THAT(Read(), Not(HasSubstr("theirs")));
  ASSERT_EQ(Replace(Empty()), absl::OkStatus());
  EXPECT_EQ(netns_.Output("nft list ruleset"), before);
}

TEST_F(NftablesTest, ATextIsTheSameExactlyForTheSameTable) {
  ASSERT_EQ(Replace(Simple()), absl::OkStatus());
  const std::string made = Read();
  ASSERT_EQ(Replace(Simple()), absl::OkStatus());
  EXPECT_EQ(Read(), made) << "in place of itself";
  netns_.Shell("nft 'add table inet theirs; add chain inet theirs c'");
  EXPECT_EQ(Read(), made) << "tables of others";
  std::set<std::string> texts = {made};
  for (const char* change :
       {"add rule inet nft_test c drop", "insert rule inet nft_test c counter",
        "flush table inet nft_test",
        "delete rule inet nft_test c handle $(nft -a list table "
        "inet nft_test | sed -n \"s/.*x0.*handle //p\")",
        "replace rule inet nft_test c handle $(nft -a list table inet nft_test | sed -n "
        "\"s/.*x1.*handle //p\") oifname { x1, x3 } return",
        "add chain inet nft_test d", "add set inet nft_test s { type ipv4_addr; }",
        "add set inet nft_test s { type ipv4_addr; elements = { 192.0.2.1 }; }",
        "add counter inet nft_test k", "add chain inet nft_test c { policy drop; }",
        "add table inet nft_test { flags dormant; }", "rename chain inet nft_test c e",
        "delete table inet nft_test"}) {
    netns_.Shell(absl::StrCat("nft \"", change, "\""));
    EXPECT_TRUE(texts.insert(Read()).second) << change << "\n" << Read();
    ASSERT_EQ(Replace(Simple()), absl::OkStatus());
    EXPECT_EQ(Read(), made) << change;
  }
}

TEST_F(NftablesTest, WithoutPermissionItSaysSo) {
  netns_.Run([] {
    ASSERT_EQ(KeepCapabilities({}), absl::OkStatus());
    const absl::Status status = ReplaceNftTables({Simple()});
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("CAP_NET_ADMIN"));
  });
}

TEST_F(NftablesTest, ATableThatAProgramOwnsIsNotTaken) {
  netns_.Run([] {
    FILE* const nft = popen("nft -i > /dev/null", "we");
    ASSERT_NE(nft, nullptr);
    std::fputs("add table inet nft_test { flags owner; }\n", nft);
    std::fflush(nft);
    EXPECT_TRUE(WaitFor([] { return !ValueOrDie(ReadNftTables({Empty()})).empty(); }));
    const absl::Status status = ReplaceNftTables({Simple()});
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("table inet nft_test: Operation not per"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("owns"));
    pclose(nft);  // the kernel removes its table
    EXPECT_EQ(ReplaceNftTables({Simple()}), absl::OkStatus());
  });
}

TEST_F(NftablesTest, AFailingCallIsAnErrorAndNoMore) {
  netns_.Run([] {
    for (const int call : {SYS_socket, SYS_bind, SYS_sendto, SYS_sendmsg, SYS_recvmsg}) {
      RunWithFailing(call, EIO, [&] {
        const absl::Status written = ReplaceNftTables({Simple()});
        const absl::Status read = ReadNftTables({Empty()}).status();
        // The library may send by either of the two calls.
        if (call == SYS_sendto || call == SYS_sendmsg) return;
        EXPECT_FALSE(written.ok()) << call;
        EXPECT_FALSE(read.ok()) << call;
      });
    }
    EXPECT_EQ(ReplaceNftTables({Simple()}), absl::OkStatus());
  });
}

bool Waits(const NftMonitor& monitor) {
  pollfd waiting = {.fd = monitor.fd(), .events = POLLIN, .revents = 0};
  return poll(&waiting, 1, 0) == 1;
}

TEST_F(NftablesTest, WhatOthersChangeIsTold) {
  netns_.Run([&] {
    NftMonitor monitor = ValueOrDie(NftMonitor::Open());
    EXPECT_FALSE(Waits(monitor));
    netns_.Shell("nft add table ip theirs");
    EXPECT_TRUE(Waits(monitor));
    monitor.Drain();
    EXPECT_FALSE(Waits(monitor));
    netns_.Shell("nft flush ruleset");
    EXPECT_TRUE(Waits(monitor));
  });
}

}  // namespace
}  // namespace vxvde
