#include "plugin/wire/hello.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace vxvde {
namespace {

using Bytes = std::vector<uint8_t>;
using testing::ElementsAreArray;
using testing::Optional;

constexpr MacAddress kAgent({0x02, 0, 0x5e, 0x10, 0, 0x01});

// Written by hand from docs/PROTOCOL.md.
Bytes MakeHello(uint8_t flags, uint8_t port_high, uint8_t port_low) {
  Bytes frame = {0x03, 0x76, 0x78, 0x76, 0x64, 0x65, 0x02, 0x00, 0x5e,  0x10, 0x00,      0x01,
                 0x88, 0xb5, 'v',  'x',  'v',  'd',  'e',  0x01, flags, 0x00, port_high, port_low};
  frame.resize(60);
  return frame;
}

TEST(Hello, IsWrittenAsTheDocumentSays) {
  EXPECT_THAT(EncodeHello({.source = kAgent, .fast_port = 0xc7a1, .answer_wanted = true}),
              ElementsAreArray(MakeHello(1, 0xc7, 0xa1)));
  EXPECT_THAT(EncodeHello({.source = kAgent, .fast_port = 7, .heard = true}),
              ElementsAreArray(MakeHello(2, 0, 7)));
  EXPECT_THAT(EncodeHello({.source = kAgent, .repeated = true}),
              ElementsAreArray(MakeHello(4, 0, 0)));
  Bytes trial = MakeHello(8, 0, 7);
  trial[24] = 0x01;
  trial[31] = 0xef;
  EXPECT_THAT(
      EncodeHello(
          {.source = kAgent, .fast_port = 7, .returns_nonce = true, .nonce = 0x01000000000000ef}),
      ElementsAreArray(trial));
  EXPECT_THAT(EncodeHello({.source = kAgent}), ElementsAreArray(MakeHello(0, 0, 0)));
}

TEST(Hello, IsReadAsTheDocumentSays) {
  EXPECT_THAT(DecodeHello(MakeHello(1, 0xc7, 0xa1)),
              Optional(Hello{.source = kAgent, .fast_port = 0xc7a1, .answer_wanted = true}));
  EXPECT_THAT(DecodeHello(MakeHello(0, 0, 0)), Optional(Hello{.source = kAgent}));
  EXPECT_THAT(DecodeHello(MakeHello(2, 0, 7)),
              Optional(Hello{.source = kAgent, .fast_port = 7, .heard = true}));
  EXPECT_THAT(DecodeHello(MakeHello(4, 0, 0)), Optional(Hello{.source = kAgent, .repeated = true}));
  EXPECT_THAT(DecodeHello(MakeHello(0xf0, 0, 7)), Optional(Hello{.source = kAgent, .fast_port = 7}))
      << "flags that nobody has defined yet";
  Bytes answer = MakeHello(10, 0, 7);
  answer[24] = 0x80;
  answer[31] = 0x01;
  const Hello expected{.source = kAgent,
                       .fast_port = 7,
                       .heard = true,
                       .returns_nonce = true,
                       .nonce = 0x8000000000000001};
  EXPECT_THAT(DecodeHello(answer), Optional(expected));
  answer.resize(32);
  EXPECT_THAT(DecodeHello(answer), Optional(expected));
  for (const size_t size : {31, 24}) {
    answer.resize(size);
    ASSERT_TRUE(DecodeHello(answer).has_value());
    EXPECT_EQ(DecodeHello(answer)->nonce, 0u) << size;
  }
}

TEST(Hello, WhatItCannotReadIsStillTheAgentsOwn) {
  Bytes version = MakeHello(1, 0, 9);
  version[19] = 2;
  Bytes mark = MakeHello(1, 0, 9);
  mark[18] = 'E';
  Bytes source = MakeHello(1, 0, 9);
  source[6] = 0x03;  // a group address
  Bytes cut = MakeHello(1, 0, 9);
  cut.resize(23);
  for (const Bytes& frame : {version, mark, source, cut}) {
    EXPECT_TRUE(IsHello(frame));
    EXPECT_FALSE(DecodeHello(frame).has_value());
  }
}

TEST(Hello, OthersFramesAreNone) {
  const Bytes hello = MakeHello(1, 0, 9);
  EXPECT_TRUE(IsHello(hello));
  for (const size_t byte : {0, 5, 12, 13}) {
    Bytes other = hello;
    other[byte] ^= 0x10;
    EXPECT_FALSE(IsHello(other)) << byte;
    EXPECT_FALSE(DecodeHello(other).has_value()) << byte;
  }
  EXPECT_FALSE(IsHello(std::span(hello).first(13)));
  EXPECT_FALSE(IsHello({}));
}

}  // namespace
}  // namespace vxvde
