// This room reads and writes the hex examples of docs/PROTOCOL.md.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "plugin/wire/announce.h"
#include "plugin/wire/header.h"
#include "plugin/wire/hello.h"
#include "plugin/wire/membership.h"
#include "plugin/wire/neighbour.h"

namespace vxvde {
namespace {

using Bytes = std::vector<uint8_t>;
using testing::ElementsAreArray;

// The blocks that start with "```hex NAME". "#" starts a comment.
std::map<std::string, Bytes> ReadHexBlocks(std::istream& in) {
  std::map<std::string, Bytes> blocks;
  std::string line;
  Bytes* block = nullptr;
  while (std::getline(in, line)) {
    if (line.rfind("```", 0) == 0) {
      block = line.rfind("```hex ", 0) == 0 ? &blocks[line.substr(7)] : nullptr;
      continue;
    }
    if (block == nullptr) continue;
    std::istringstream words(line.substr(0, line.find('#')));
    for (std::string word; words >> word;) {
      EXPECT_EQ(word.size(), 2u) << word;
      block->push_back(static_cast<uint8_t>(std::stoi(word, nullptr, 16)));
    }
  }
  return blocks;
}

class ProtocolTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file("docs/PROTOCOL.md");
    ASSERT_TRUE(file) << "docs/PROTOCOL.md is not beside the test";
    blocks_ = ReadHexBlocks(file);
  }
  const Bytes& Block(const std::string& name) {
    EXPECT_EQ(blocks_.count(name), 1u) << "the document has no block " << name;
    seen_.push_back(name);
    return blocks_[name];
  }
  Drop Verdict(const std::string& name) { return Decode(Block(name), datagram_); }

  std::map<std::string, Bytes> blocks_;
  std::vector<std::string> seen_;
  Datagram datagram_;
};

TEST_F(ProtocolTest, SaysWhatTheCodeDoes) {
  const Vni vni = Vni::Make(0x123456).value();
  EXPECT_THAT(EncodeHeader(vni), ElementsAreArray(Block("header")));

  ASSERT_EQ(Verdict("smallest"), Drop::kNone);
  EXPECT_EQ(datagram_.vni, vni);
  EXPECT_FALSE(datagram_.leave);
  EXPECT_EQ(datagram_.frame.size(), 15u);

  ASSERT_EQ(Verdict("leave"), Drop::kNone);
  EXPECT_EQ(datagram_.vni, vni);
  EXPECT_TRUE(datagram_.leave);

  EXPECT_EQ(Verdict("bad-flags"), Drop::kBadHeader);
  EXPECT_EQ(Verdict("bad-reserved"), Drop::kBadHeader);
  EXPECT_EQ(Verdict("short-datagram"), Drop::kShortDatagram);
  EXPECT_EQ(Verdict("short-frame"), Drop::kShortFrame);

  const MacAddress mac = MacAddress::Parse("02:00:5e:10:00:01").value();
  EXPECT_THAT(BuildAnnouncement(mac, IpAddress::Parse("192.0.2.7").value()),
              ElementsAreArray(Block("announce-ipv4")));
  EXPECT_THAT(BuildAnnouncement(mac, IpAddress::Parse("2001:db8::7").value()),
              ElementsAreArray(Block("announce-ipv6")));

  const AgentMark mark{.kind = AgentMark::Kind::kClaim, .beat = 258};
  EXPECT_THAT(BuildProbe(mac, IpAddress::Parse("192.0.2.7").value(), mark),
              ElementsAreArray(Block("claim-ipv4")));
  EXPECT_THAT(BuildProbe(mac, IpAddress::Parse("2001:db8::7").value(), mark),
              ElementsAreArray(Block("claim-ipv6")));

  EXPECT_THAT(EncodeHello({.source = mac,
                           .fast_port = 51105,
                           .answer_wanted = true,
                           .repeated = true,
                           .returns_nonce = true}),
              ElementsAreArray(Block("hello")));
  EXPECT_THAT(EncodeHello({.source = mac,
                           .fast_port = 51105,
                           .heard = true,
                           .repeated = true,
                           .returns_nonce = true,
                           .nonce = 0x1122334455667788}),
              ElementsAreArray(Block("hello-answer")));

  EXPECT_THAT(BuildQuery(false, mac, std::chrono::seconds(1), std::chrono::seconds(125)),
              ElementsAreArray(Block("question-igmp")));
  EXPECT_THAT(BuildQuery(true, mac, std::chrono::seconds(1), std::chrono::seconds(125)),
              ElementsAreArray(Block("question-mld")));

  // Every block has a test.
  EXPECT_EQ(seen_.size(), blocks_.size());
}

}  // namespace
}  // namespace vxvde
