// Prober: the probes in progress on one cloud. It sends the probes of each address and decides
// when their silence means that the address is free (I2 of allocator.h). Not here: which address is
// probed, and the effect of an answer. Pure.

#ifndef VXVDE_AGENT_IPAM_PROBER_H_
#define VXVDE_AGENT_IPAM_PROBER_H_

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/ipam/agent_table.h"
#include "agent/ipam/jitter.h"
#include "agent/ipam/outbox.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

class Prober {
 public:
  // RFC 5227, section 1.1, has seconds where an overlay needs a tenth (docs/decisions/0006).
  static constexpr int kProbes = 3;
  static constexpr std::chrono::milliseconds kProbeInterval{80};
  // How long, from the first probe on, to wait for a living agent that has not answered, and how
  // often to ask it.
  static constexpr std::chrono::milliseconds kPatience{1500};
  static constexpr std::chrono::milliseconds kAskInterval{60};

  struct Purpose {
    std::string lease;  // the claim; empty: a spare address
    size_t slot = 0;    // of the claim
    // Other agents are to give the address up unless a pod has it.
    bool need = false;

    bool spare() const { return lease.empty(); }
  };

  // All of which outlive it.
  Prober(Jitter* jitter, const AgentTable* agents, Outbox* outbox)
      : jitter_(jitter), agents_(agents), outbox_(outbox) {}

  // Sends the first probe. Replaces a probe of `address` for another purpose.
  void Start(Instant now, const IpAddress& address, Purpose purpose);
  // Of an address that is probed: takes it out of the table.
  Purpose End(const IpAddress& address);
  // Ends all probes for which `condition(address, purpose)` holds.
  template <typename Condition>
  void EndIf(Condition condition) {
    std::erase_if(probes_,
                  [&](const auto& one) { return condition(one.first, one.second.purpose); });
  }

  bool Contains(const IpAddress& address) const { return probes_.contains(address); }
  const Purpose* Find(const IpAddress& address) const;
  size_t CountSpare(const IpPrefix& subnet) const;

  // `agent` said that it does not hold `address`.
  void OnFree(const IpAddress& address, const MacAddress& agent);

  // Addresses that need an action at `now`, in order.
  std::vector<IpAddress> Due(Instant now) const;
  // Does it: sends the next probe, asks silent agents again, or returns true: nobody has the
  // address. False if it is no longer probed.
  bool Advance(Instant now, const IpAddress& address);
  // Whether Advance(now) could return true for any address.
  bool WouldDecide(Instant now) const;
  std::optional<Instant> NextTime() const;

 private:
  struct Probe {
    Purpose purpose;
    int sent = 0;
    Instant due;
    Instant patient_until;
    std::set<MacAddress> free;  // agents that do not hold it
  };

  void Send(Instant now, const IpAddress& address, Probe& probe);
  // Asks each living agent that has not answered once more. True: there is none.
  bool AllAgree(Instant now, const IpAddress& address, const Probe& probe);

  Jitter* jitter_;
  const AgentTable* agents_;
  Outbox* outbox_;
  std::map<IpAddress, Probe> probes_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_PROBER_H_
