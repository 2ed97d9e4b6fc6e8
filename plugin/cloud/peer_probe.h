// PeerProbe: decides whether the fast port of a peer may be used (docs/PROTOCOL.md, "Hello"). Pure:
// Hellos, time and random numbers in, answers and trials out.
//
// An agent announces its fast port in its Hello. Datagrams there may still be lost: a firewall may
// drop them, they may arrive at an interface without the programs, or the agent may have ended.
// Therefore a fast port is used only as long as trials are answered: Hellos to that port, which
// docs/PROTOCOL.md calls probes.
//
// Invariants:
//   I1  Only an answer to an outstanding trial counts. A peer that has announced that it returns
//       nonces must return the trial's: a host that never received the trial cannot answer it,
//       whatever source address it forges. Agents of 0.1.0 return none; the answer of such a peer
//       counts without one, until one of its Hellos announces nonces.
//   I2  Two agents never answer each other endlessly: an answer requests none, so only an agent
//       that has not heard of its sender, or that has lost its own fast path, answers it.
//   I3  The Hellos of one peer, and those of all peers whose fast port is not in use, are limited:
//       each may cost an answer and a route look-up.

#ifndef VXVDE_PLUGIN_CLOUD_PEER_PROBE_H_
#define VXVDE_PLUGIN_CLOUD_PEER_PROBE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "plugin/base/time.h"
#include "plugin/cloud/token_bucket.h"
#include "plugin/wire/hello.h"

namespace vxvde {

class PeerProbe {
 public:
  // A Hello, and the answer to a trial, count for this long.
  static constexpr Duration kHelloLife = std::chrono::seconds(128);
  // Trials of one round. The first Hello after kTryPeriod starts another round.
  static constexpr Duration kTryAgain = std::chrono::seconds(1);
  static constexpr Duration kTryPeriod = std::chrono::seconds(15);
  static constexpr int kMaxTries = 5;
  // Per second.
  static constexpr uint32_t kMaxHellosOfPeer = 10;
  static constexpr uint32_t kMaxHellos = 2000;

  // The state of one peer, which the cloud keeps with the peer.
  class State {
   public:
    uint16_t fast_port() const { return fast_port_; }  // 0: none announced
    bool usable() const { return fast_port_ != 0 && answered_.has_value(); }

   private:
    friend class PeerProbe;
    std::optional<Instant> hello_;     // the last one
    uint16_t fast_port_ = 0;           // announced there
    std::optional<Instant> answered_;  // the last answer to a trial
    std::optional<Instant> tried_;     // the last trial
    int tries_ = 0;                    // of this round, without an answer
    uint64_t nonce_ = 0;               // of this round; 0: no trial is outstanding
    bool returns_nonce_ = false;       // it has announced so
    bool proven_ = false;              // the answer returned the nonce
    TokenBucket hellos_;
  };

  // A Hello to the peer's fast port.
  struct Trial {
    uint16_t fast_port = 0;
    uint64_t nonce = 0;
  };
  // A Hello to the peer's unicast port.
  struct Answer {
    bool heard = false;  // it answers a trial
    uint64_t nonce = 0;
  };
  struct Reaction {
    std::optional<Answer> answer;
    std::optional<Trial> trial;
  };

  using Random = std::function<uint64_t()>;
  PeerProbe(bool has_fast_path, Random random)
      : has_fast_path_(has_fast_path), random_(std::move(random)) {}

  void SetFastPath(bool has) { has_fast_path_ = has; }

  // True: a Hello may be handled (I3). nullptr, here and below: a peer beyond those in the
  // PeerTable.
  bool Admit(State* peer, Instant now);
  Reaction OnHello(State* peer, const Hello& hello, bool at_fast_port, Instant now);
  // To be called every second.
  std::optional<Trial> Tick(State& peer, Instant now);
  // An earlier agent of this node used the fast port: it counts as announced and answered now.
  void Inherit(State& peer, uint16_t fast_port, Instant now);

 private:
  static void NoteHello(State& peer, const Hello& hello, Instant now);
  Trial Try(State& peer, Instant now);

  bool has_fast_path_;
  Random random_;
  TokenBucket hellos_;  // of peers whose fast port is not in use
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_PEER_PROBE_H_
