#include "plugin/cloud/greeter.h"

#include <array>
#include <optional>
#include <utility>

#include "plugin/wire/hello.h"

namespace vxvde {

Greeter::Greeter(const MacAddress& self, uint16_t fast_port, PeerProbe::Random random,
                 Egress* egress, Instant now)
    : self_(self),
      fast_port_(fast_port),
      egress_(egress),
      probe_(fast_port != 0, std::move(random)),
      group_(now),
      last_hello_(now) {}

void Greeter::Send(const Peer& to, const Hello& hello) {
  if (!self_.IsStation()) return;
  Hello out = hello;
  out.source = self_;
  out.fast_port = fast_port_;
  out.repeated = out.returns_nonce = true;
  egress_->Send(to, EncodeHello(out));
}

void Greeter::Send(const Peer& peer, const PeerProbe::Trial& trial) {
  Send({peer.address, trial.fast_port}, Hello{.nonce = trial.nonce});
}

void Greeter::Announce(bool answer_wanted) {
  Send(egress_->group(), Hello{.answer_wanted = answer_wanted});
}

void Greeter::SetFastPort(uint16_t fast_port) {
  fast_port_ = fast_port;
  probe_.SetFastPath(fast_port != 0);
}

void Greeter::OnHello(std::span<const uint8_t> frame, const Peer& from, PeerProbe::State* peer,
                      Via via, Instant now) {
  const std::optional<Hello> hello = DecodeHello(frame);
  if (!hello.has_value()) return;
  if (hello->repeated) group_.Hello(hello->source, from, via == Via::kGroup, now);
  const PeerProbe::Reaction reaction =
      probe_.OnHello(peer, *hello, /*at_fast_port=*/via == Via::kFastPort, now);
  if (reaction.answer.has_value()) {
    Send(from, Hello{.heard = reaction.answer->heard, .nonce = reaction.answer->nonce});
  }
  if (reaction.trial.has_value()) Send(from, *reaction.trial);
}

void Greeter::TickPeer(const Peer& peer, PeerProbe::State& state, Instant now) {
  if (const auto trial = probe_.Tick(state, now)) Send(peer, *trial);
}

GroupWatch::Advice Greeter::TickGroup(Instant now) {
  if (!self_.IsStation()) return {};  // it sends nothing, so no agent knows it
  if (now - last_hello_ >= kHelloPeriod) {
    last_hello_ = now;
    Announce(/*answer_wanted=*/false);
    group_.Sent(now);
  }
  GroupWatch::Advice advice = group_.Tick(now);
  for (const Peer& peer : advice.ask) Send(peer, Hello{.answer_wanted = true});
  return advice;
}

}  // namespace vxvde
