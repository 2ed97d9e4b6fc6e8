// Encodes and decodes Hello, field by field; hello.h has the layout.

#include "plugin/wire/hello.h"

#include <algorithm>

#include "plugin/base/frame.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

constexpr MacAddress kAgents({0x03, 0x76, 0x78, 0x76, 0x64, 0x65});
constexpr uint16_t kEtherTypeLocalExperimental = 0x88b5;
constexpr std::array<uint8_t, 5> kMark = {'v', 'x', 'v', 'd', 'e'};
constexpr uint8_t kVersion = 1;
constexpr uint8_t kAnswerWanted = 0x01;
constexpr uint8_t kHeard = 0x02;
constexpr uint8_t kRepeated = 0x04;
constexpr uint8_t kReturnsNonce = 0x08;

// Offsets of the fields.
constexpr size_t kEtherTypeAt = 12;
constexpr size_t kMarkAt = kEthernetHeaderSize;
constexpr size_t kVersionAt = kMarkAt + kMark.size();
constexpr size_t kFlagsAt = kVersionAt + 1;
constexpr size_t kFastPortAt = kFlagsAt + 2;
constexpr size_t kEnd = kFastPortAt + 2;
constexpr size_t kNonceAt = kEnd;  // frames of 0.1.0 end before it, padded with zeros
constexpr size_t kNonceEnd = kNonceAt + 8;

}  // namespace

std::array<uint8_t, kHelloSize> EncodeHello(const Hello& hello) {
  std::array<uint8_t, kHelloSize> frame = {};
  const MacAddress::Bytes& source = hello.source.bytes();
  std::copy(kAgents.bytes().begin(), kAgents.bytes().end(), frame.begin());
  std::copy(source.begin(), source.end(), frame.begin() + MacAddress::kSize);
  StoreBe16(&frame[kEtherTypeAt], kEtherTypeLocalExperimental);
  std::copy(kMark.begin(), kMark.end(), frame.begin() + kMarkAt);
  frame[kVersionAt] = kVersion;
  frame[kFlagsAt] = static_cast<uint8_t>(
      (hello.answer_wanted ? kAnswerWanted : 0) | (hello.heard ? kHeard : 0) |
      (hello.repeated ? kRepeated : 0) | (hello.returns_nonce ? kReturnsNonce : 0));
  StoreBe16(&frame[kFastPortAt], hello.fast_port);
  for (size_t i = 0; i < kNonceEnd - kNonceAt; ++i) {
    frame[kNonceEnd - 1 - i] = static_cast<uint8_t>(hello.nonce >> (8 * i));
  }
  return frame;
}

bool IsHello(std::span<const uint8_t> frame) {
  return frame.size() >= kEthernetHeaderSize && MacAddress::FromWire(frame.data()) == kAgents &&
         LoadBe16(&frame[kEtherTypeAt]) == kEtherTypeLocalExperimental;
}

std::optional<Hello> DecodeHello(std::span<const uint8_t> frame) {
  if (!IsHello(frame) || frame.size() < kEnd || frame[kVersionAt] != kVersion ||
      !std::equal(kMark.begin(), kMark.end(), frame.begin() + kMarkAt)) {
    return std::nullopt;
  }
  Hello hello{.source = MacAddress::FromWire(&frame[MacAddress::kSize]),
              .fast_port = LoadBe16(&frame[kFastPortAt]),
              .answer_wanted = (frame[kFlagsAt] & kAnswerWanted) != 0,
              .heard = (frame[kFlagsAt] & kHeard) != 0,
              .repeated = (frame[kFlagsAt] & kRepeated) != 0,
              .returns_nonce = (frame[kFlagsAt] & kReturnsNonce) != 0};
  for (size_t at = kNonceAt; frame.size() >= kNonceEnd && at < kNonceEnd; ++at) {
    hello.nonce = hello.nonce << 8 | frame[at];
  }
  if (!hello.source.IsStation()) return std::nullopt;
  return hello;
}

}  // namespace vxvde
