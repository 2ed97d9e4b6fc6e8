// TCP and UDP packets for tests: from a description to bytes and back, checksums included.
// Written byte by byte and sum by sum from the RFCs, without plugin/wire and plugin/offload, so
// that a mistake there does not prove itself right.

#ifndef VXVDE_PLUGIN_OFFLOAD_TESTING_PACKETS_H_
#define VXVDE_PLUGIN_OFFLOAD_TESTING_PACKETS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "plugin/base/frame.h"

namespace vxvde::packets {

using Bytes = std::vector<uint8_t>;

inline constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10,
                         kUrg = 0x20, kEce = 0x40, kCwr = 0x80;

struct Spec {
  int tags = 0;  // VLAN tags, 0 to 2
  bool ipv6 = false;
  bool udp = false;            // otherwise TCP
  uint8_t host = 1;            // the sender: last byte of its MAC and of its address
  uint8_t tos = 0;             // traffic class
  uint32_t label = 0;          // IPv6
  uint8_t ttl = 64;            // hop limit
  uint16_t id = 0x1000;        // IPv4
  uint16_t fragment = 0x4000;  // IPv4: DF
  size_t ip_options = 0;       // IPv4: bytes of no-operation, a multiple of 4
  uint16_t source_port = 40000;
  uint16_t destination_port = 5201;
  uint32_t sequence = 1000;
  uint32_t ack = 77;
  uint8_t reserved = 0;  // the four bits beside TCP's data offset
  uint8_t flags = kAck;
  uint16_t window = 501;
  uint16_t urgent = 0;
  Bytes options = {};  // TCP: a multiple of 4
  Bytes payload = {};
  size_t padding = 0;  // bytes of 0xee behind the IP packet
};

// The twelve bytes that Linux puts in each segment: two no-operations and a timestamp.
Bytes TimestampOption(uint32_t value = 0x01020304);

// `size` bytes that depend on their position and on `seed`.
Bytes Payload(size_t size, uint32_t seed = 1);

// A whole frame with finished checksums.
Bytes Build(const Spec& spec);

// The same as a super-frame: the pseudo-header sum stands in the checksum field (CHECKSUM_PARTIAL).
Bytes BuildSuper(const Spec& spec, uint16_t gso_size, Offload& offload);

// The frames that a super-frame of `spec` stands for: IPv4 ids count up.
std::vector<Bytes> Segments(const Spec& spec, uint16_t gso_size, bool ecn = false);

// "" when lengths and checksums of a TCP or UDP frame over IPv4 or IPv6 are right, or what is
// wrong. Reads nothing outside of `frame`.
std::string WhatIsWrong(std::span<const uint8_t> frame);

}  // namespace vxvde::packets

#endif  // VXVDE_PLUGIN_OFFLOAD_TESTING_PACKETS_H_
