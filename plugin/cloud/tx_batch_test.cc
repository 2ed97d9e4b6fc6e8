#include "plugin/cloud/tx_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "plugin/cloud/testing/fakes.h"

namespace vxvde {
namespace {

const Peer kOne{IpAddress::V4(192, 0, 2, 1), 14790};
const Peer kTwo{IpAddress::V4(192, 0, 2, 2), 14790};
const Peer kGroup{IpAddress::V4(239, 0, 0, 1), 14789};

class TxBatchTest : public testing::Test {
 protected:
  void Flush() {
    DropCounters drops;
    batch_.Flush(socket_, drops);
    EXPECT_TRUE(batch_.empty());
  }
  std::shared_ptr<FakeSocket::State> state_ = std::make_shared<FakeSocket::State>();
  FakeSocket socket_{state_};
  TxBatch batch_;
  const Bytes head_ = Bytes(8, 0xaa);
};

TEST_F(TxBatchTest, JoinsEqualSizesToOnePeerUpToAShorterOne) {
  const Bytes body(100, 1), shorter(60, 2);
  batch_.Add(kOne, head_, body);
  batch_.Add(kOne, head_, body);
  batch_.Add(kOne, head_, shorter);  // closes the run
  batch_.Add(kOne, head_, shorter);
  Flush();
  ASSERT_EQ(state_->out.size(), 2u);
  EXPECT_EQ(state_->out[0].segment_size, 108);
  EXPECT_EQ(state_->out[0].datagrams, 3u);
  EXPECT_EQ(state_->out[0].bytes.size(), 108u + 108 + 68);
  EXPECT_EQ(state_->out[1].segment_size, 0);
  EXPECT_EQ(state_->out[1].datagrams, 1u);
}

TEST_F(TxBatchTest, ALongerDatagramOrAnotherPeerBeginsARun) {
  const Bytes body(100, 1), longer(101, 2);
  batch_.Add(kOne, head_, body);
  batch_.Add(kOne, head_, longer);
  batch_.Add(kTwo, head_, longer);
  batch_.Add(kOne, head_, longer);
  Flush();
  ASSERT_EQ(state_->out.size(), 4u);
  EXPECT_EQ(state_->out[0].to, kOne);
  EXPECT_EQ(state_->out[2].to, kTwo);
  for (const auto& out : state_->out) EXPECT_EQ(out.datagrams, 1u);
}

TEST_F(TxBatchTest, NeverJoinsWhatGoesToTheGroup) {
  const Bytes body(100, 1);
  batch_.Add(kGroup, head_, body);
  batch_.Add(kGroup, head_, body);
  Flush();
  EXPECT_EQ(state_->out.size(), 2u);
}

TEST_F(TxBatchTest, KeepsTheKernelsLimits) {
  const Bytes small(50, 1), large(1400, 2);
  for (int i = 0; i < 200; ++i) batch_.Add(kOne, head_, small);
  for (int i = 0; i < 200; ++i) batch_.Add(kTwo, head_, large);
  Flush();
  uint32_t datagrams = 0;
  for (const auto& out : state_->out) {
    EXPECT_LE(out.datagrams, TxBatch::kMaxRunDatagrams);
    EXPECT_LE(out.bytes.size(), TxBatch::kMaxRunBytes);
    datagrams += out.datagrams;
  }
  EXPECT_EQ(datagrams, 400u);
  EXPECT_EQ(state_->out.size(), 4u + 5u);  // 64 64 64 8 and 46 46 46 46 16
}

TEST_F(TxBatchTest, ADatagramTooLargeForARunStaysAlone) {
  const Bytes huge(65'536 + 100, 1), tiny(40, 2);
  batch_.Add(kOne, head_, huge);
  batch_.Add(kOne, head_, tiny);
  Flush();
  ASSERT_EQ(state_->out.size(), 2u);
  EXPECT_EQ(state_->out[0].segment_size, 0);
}

}  // namespace
}  // namespace vxvde
