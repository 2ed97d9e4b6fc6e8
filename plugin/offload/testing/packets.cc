#include "plugin/offload/testing/packets.h"

#include <algorithm>

namespace vxvde::packets {
namespace {

constexpr size_t kEthernet = 14;

void Put16(Bytes& out, size_t value) {
  out.push_back(static_cast<uint8_t>(value >> 8));
  out.push_back(static_cast<uint8_t>(value));
}

void Put32(Bytes& out, uint32_t value) {
  Put16(out, value >> 16);
  Put16(out, value & 0xffff);
}

void Set16(Bytes& out, size_t at, size_t value) {
  out[at] = static_cast<uint8_t>(value >> 8);
  out[at + 1] = static_cast<uint8_t>(value);
}

size_t Get16(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<size_t>(bytes[at]) << 8 | bytes[at + 1];
}

// RFC 1071, word by word, folded at each step.
uint32_t Sum(std::span<const uint8_t> bytes, uint32_t sum = 0) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? bytes[i] * 256u : bytes[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return sum;
}

// `ip`: from the first byte of the IP header.
uint32_t PseudoHeader(std::span<const uint8_t> ip, bool ipv6, uint8_t protocol, size_t length) {
  Bytes pseudo(ip.begin() + (ipv6 ? 8 : 12), ip.begin() + (ipv6 ? 40 : 20));
  Put32(pseudo, static_cast<uint32_t>(length));
  Put32(pseudo, protocol);
  return Sum(pseudo);
}

struct Offsets {
  size_t ip, l4, payload;
};

Offsets OffsetsOf(const Spec& spec) {
  const size_t ip = kEthernet + static_cast<size_t>(spec.tags) * 4;
  const size_t l4 = ip + (spec.ipv6 ? 40 : 20 + spec.ip_options);
  return {ip, l4, l4 + (spec.udp ? 8 : 20 + spec.options.size())};
}

// All but the transport checksum.
Bytes BuildUnsummed(const Spec& spec) {
  const Offsets at = OffsetsOf(spec);
  const uint8_t protocol = spec.udp ? 17 : 6;
  const size_t l4_length = at.payload - at.l4 + spec.payload.size();

  Bytes out = {0x02, 0, 0x5e, 0, 0, 0xff, 0x02, 0, 0x5e, 0, 0, spec.host};
  for (int i = 0; i < spec.tags; ++i) {
    Put16(out, i + 1 < spec.tags ? 0x88a8 : 0x8100);
    Put16(out, 0x2064 + static_cast<size_t>(i));
  }
  Put16(out, spec.ipv6 ? 0x86dd : 0x0800);

  if (spec.ipv6) {
    Put32(out, 0x60000000u | static_cast<uint32_t>(spec.tos) << 20 | spec.label);
    Put16(out, l4_length & 0xffff);
    out.push_back(protocol);
    out.push_back(spec.ttl);
    for (const uint8_t host : {spec.host, uint8_t{0xff}}) {
      const Bytes address = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host};
      out.insert(out.end(), address.begin(), address.end());
    }
  } else {
    const size_t total = at.l4 - at.ip + l4_length;
    out.push_back(static_cast<uint8_t>(0x40 | (at.l4 - at.ip) / 4));
    out.push_back(spec.tos);
    Put16(out, total > 0xffff ? 0 : total);  // as Linux does for BIG TCP
    Put16(out, spec.id);
    Put16(out, spec.fragment);
    out.push_back(spec.ttl);
    out.push_back(protocol);
    Put16(out, 0);
    for (const uint8_t host : {spec.host, uint8_t{0xff}}) {
      const Bytes address = {192, 0, 2, host};
      out.insert(out.end(), address.begin(), address.end());
    }
    out.insert(out.end(), spec.ip_options, 1);
    Set16(out, at.ip + 10, ~Sum(std::span(out).subspan(at.ip)) & 0xffff);
  }

  Put16(out, spec.source_port);
  Put16(out, spec.destination_port);
  if (spec.udp) {
    Put16(out, l4_length & 0xffff);
    Put16(out, 0);
  } else {
    Put32(out, spec.sequence);
    Put32(out, spec.ack);
    out.push_back(static_cast<uint8_t>((at.payload - at.l4) / 4 << 4 | spec.reserved));
    out.push_back(spec.flags);
    Put16(out, spec.window);
    Put16(out, 0);
    Put16(out, spec.urgent);
    out.insert(out.end(), spec.options.begin(), spec.options.end());
  }
  out.insert(out.end(), spec.payload.begin(), spec.payload.end());
  return out;
}

uint32_t PseudoHeader(const Spec& spec, const Bytes& frame) {
  const Offsets at = OffsetsOf(spec);
  return PseudoHeader(std::span(frame).subspan(at.ip), spec.ipv6, spec.udp ? 17 : 6,
                      frame.size() - at.l4);
}

}  // namespace

Bytes TimestampOption(uint32_t value) {
  Bytes out = {1, 1, 8, 10};
  Put32(out, value);
  Put32(out, value ^ 0x55aa55aa);
  return out;
}

Bytes Payload(size_t size, uint32_t seed) {
  Bytes out(size);
  uint32_t state = seed * 2654435761u + 1;
  for (uint8_t& byte : out) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return out;
}

Bytes Build(const Spec& spec) {
  const Offsets at = OffsetsOf(spec);
  Bytes out = BuildUnsummed(spec);
  size_t checksum = ~Sum(std::span(out).subspan(at.l4), PseudoHeader(spec, out)) & 0xffff;
  if (spec.udp && checksum == 0) checksum = 0xffff;
  Set16(out, at.l4 + (spec.udp ? 6 : 16), checksum);
  out.insert(out.end(), spec.padding, 0xee);
  return out;
}

Bytes BuildSuper(const Spec& spec, uint16_t gso_size, Offload& offload) {
  const Offsets at = OffsetsOf(spec);
  Bytes out = BuildUnsummed(spec);
  Set16(out, at.l4 + (spec.udp ? 6 : 16), PseudoHeader(spec, out));
  offload = {};
  offload.gso = spec.udp ? Gso::kUdp : spec.ipv6 ? Gso::kTcp6 : Gso::kTcp4;
  offload.needs_checksum = true;
  offload.gso_size = gso_size;
  offload.header_size = static_cast<uint16_t>(at.payload);
  offload.checksum_start = static_cast<uint16_t>(at.l4);
  offload.checksum_offset = spec.udp ? 6 : 16;
  return out;
}

std::vector<Bytes> Segments(const Spec& spec, uint16_t gso_size, bool ecn) {
  std::vector<Bytes> out;
  size_t done = 0;
  do {
    const size_t size = std::min<size_t>(gso_size, spec.payload.size() - done);
    Spec one = spec;
    one.id = static_cast<uint16_t>(spec.id + out.size());
    one.sequence = static_cast<uint32_t>(spec.sequence + done);
    one.payload.assign(spec.payload.begin() + static_cast<ptrdiff_t>(done),
                       spec.payload.begin() + static_cast<ptrdiff_t>(done + size));
    if (done + size < spec.payload.size()) one.flags &= static_cast<uint8_t>(~(kFin | kPsh));
    if (ecn && done > 0) one.flags &= static_cast<uint8_t>(~kCwr);
    out.push_back(Build(one));
    done += size;
  } while (done < spec.payload.size());
  return out;
}

std::string WhatIsWrong(std::span<const uint8_t> frame) {
  size_t ip = kEthernet;
  if (frame.size() < ip) return "no Ethernet header";
  while (Get16(frame, ip - 2) == 0x8100 || Get16(frame, ip - 2) == 0x88a8) {
    ip += 4;
    if (frame.size() < ip) return "VLAN tag cut short";
  }
  const size_t ethertype = Get16(frame, ip - 2);
  const bool ipv6 = ethertype == 0x86dd;
  if (!ipv6 && ethertype != 0x0800) return "not IP";
  if (frame.size() < ip + (ipv6 ? 40 : 20)) return "IP header cut short";

  const size_t ip_header = ipv6 ? 40 : (frame[ip] & 15) * size_t{4};
  const size_t ip_length = ipv6 ? 40 + Get16(frame, ip + 4) : Get16(frame, ip + 2);
  if (ip_header < 20 || ip_length < ip_header || frame.size() < ip + ip_length) {
    return "IP length " + std::to_string(ip_length) + " in a frame of " +
           std::to_string(frame.size());
  }
  if (!ipv6 && Sum(frame.subspan(ip, ip_header)) != 0xffff) return "IPv4 header checksum";

  const uint8_t protocol = frame[ip + (ipv6 ? 6 : 9)];
  const auto l4 = frame.subspan(ip + ip_header, ip_length - ip_header);
  if (protocol == 17) {
    if (l4.size() < 8) return "UDP header cut short";
    if (Get16(l4, 4) != l4.size()) return "UDP length " + std::to_string(Get16(l4, 4));
    if (Get16(l4, 6) == 0) return "no UDP checksum";
  } else if (protocol == 6) {
    if (l4.size() < 20) return "TCP header cut short";
  } else {
    return "protocol " + std::to_string(protocol);
  }
  if (Sum(l4, PseudoHeader(frame.subspan(ip), ipv6, protocol, l4.size())) != 0xffff) {
    return "transport checksum";
  }
  return "";
}

}  // namespace vxvde::packets
