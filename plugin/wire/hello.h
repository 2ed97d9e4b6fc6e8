// Hello: the frame by which agents with a kernel datapath find each other. To every other member it
// is an Ethernet frame of a kind to which no station listens (docs/PROTOCOL.md, "Hello"):
//
//   6  destination  03:76:78:76:64:65, a locally administered group address ("vxvde" in ASCII)
//   6  source       the agent's own address in the cloud
//   2  EtherType    0x88b5 (IEEE 802, Local Experimental 1)
//   5  "vxvde"
//   1  version      1
//   1  flags        bit 0: an answer is requested; bit 1: this answers one that arrived at the
//                   sender's fast port; bit 2: it is repeated to the group; bit 3: the sender
//                   returns nonces; the rest is 0 and ignored
//   1  0
//   2  fast port    big endian; 0: none (any more)
//   8  nonce        big endian; of a trial, a random number other than 0; of its answer, that of
//                   the trial; else 0
//
// padded with zeros to 60 bytes. It is sent to the group, or as an answer to one member.

#ifndef VXVDE_PLUGIN_WIRE_HELLO_H_
#define VXVDE_PLUGIN_WIRE_HELLO_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "plugin/base/mac_address.h"

namespace vxvde {

struct Hello {
  MacAddress source = {};
  uint16_t fast_port = 0;  // 0: none
  bool answer_wanted = false;
  bool heard = false;          // datagrams to the sender's fast port arrive
  bool repeated = false;       // the sender repeats its Hello to the group every 30 s
  bool returns_nonce = false;  // the sender answers a trial with the nonce of the trial
  uint64_t nonce = 0;

  friend bool operator==(const Hello&, const Hello&) = default;
};

inline constexpr size_t kHelloSize = 60;
std::array<uint8_t, kHelloSize> EncodeHello(const Hello& hello);

// True for all frames to the agents' address with their EtherType, whatever their version: they
// belong to agents and are never delivered to a port. Safe on any input.
bool IsHello(std::span<const uint8_t> frame);
// nullopt: another version, or no Hello.
std::optional<Hello> DecodeHello(std::span<const uint8_t> frame);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_HELLO_H_
