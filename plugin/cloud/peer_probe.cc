#include "plugin/cloud/peer_probe.h"

namespace vxvde {

bool PeerProbe::Admit(State* peer, Instant now) {
  if (peer != nullptr && !peer->hellos_.Take(1, kMaxHellosOfPeer, now)) return false;
  if (peer != nullptr && peer->answered_.has_value()) return true;
  return hellos_.Take(1, kMaxHellos, now);
}

void PeerProbe::NoteHello(State& peer, const Hello& hello, Instant now) {
  peer.hello_ = now;
  if (peer.fast_port_ != hello.fast_port) {
    peer.answered_ = peer.tried_ = std::nullopt;
    peer.nonce_ = 0;
  }
  peer.fast_port_ = hello.fast_port;
  if (hello.returns_nonce && !peer.returns_nonce_) {
    peer.returns_nonce_ = true;
    // An answer without a nonce may have been forged.
    if (peer.answered_.has_value() && !peer.proven_) peer.answered_ = peer.tried_ = std::nullopt;
  }
  if (!hello.heard || peer.nonce_ == 0) return;
  if (peer.returns_nonce_ && hello.nonce != peer.nonce_) return;
  peer.answered_ = now;
  peer.proven_ = peer.returns_nonce_;
  peer.tries_ = 0;
  peer.nonce_ = 0;
}

PeerProbe::Reaction PeerProbe::OnHello(State* peer, const Hello& hello, bool at_fast_port,
                                       Instant now) {
  const bool is_news = peer != nullptr && !peer->hello_.has_value();
  if (peer != nullptr) NoteHello(*peer, hello, now);
  Reaction out;
  // The sender may still use a fast port that this agent had before it was started again.
  const bool must_be_told = !has_fast_path_ && hello.fast_port != 0;
  if (hello.answer_wanted || is_news || must_be_told || at_fast_port) {
    out.answer = Answer{.heard = at_fast_port, .nonce = at_fast_port ? hello.nonce : 0};
  }
  if (peer == nullptr || !has_fast_path_ || peer->fast_port_ == 0) return out;
  if (peer->tried_.has_value() && now - *peer->tried_ < kTryPeriod) return out;
  peer->tries_ = 0;
  do {
    peer->nonce_ = random_();
  } while (peer->nonce_ == 0);
  out.trial = Try(*peer, now);
  return out;
}

PeerProbe::Trial PeerProbe::Try(State& peer, Instant now) {
  peer.tried_ = now;
  ++peer.tries_;
  return {.fast_port = peer.fast_port_, .nonce = peer.nonce_};
}

std::optional<PeerProbe::Trial> PeerProbe::Tick(State& peer, Instant now) {
  if (peer.hello_.has_value() && now - *peer.hello_ >= kHelloLife) {
    peer.hello_.reset();
    peer.fast_port_ = 0;
  }
  if (peer.answered_.has_value() && now - *peer.answered_ >= kHelloLife) peer.answered_.reset();
  if (!has_fast_path_ || !peer.tried_.has_value() || peer.fast_port_ == 0) return std::nullopt;
  if (peer.tries_ == 0 || peer.tries_ >= kMaxTries) return std::nullopt;
  if (now - *peer.tried_ < kTryAgain) return std::nullopt;
  return Try(peer, now);
}

void PeerProbe::Inherit(State& peer, uint16_t fast_port, Instant now) {
  peer.fast_port_ = fast_port;
  peer.hello_ = peer.answered_ = now;
  peer.proven_ = true;  // the earlier agent may have trusted an answer without a nonce
}

}  // namespace vxvde
