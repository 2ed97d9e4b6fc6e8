// CurrentConfig: the owner of the configuration that runs. A part of the agent reads it when it
// needs a value, and subscribes if a change has an effect at once. Not here: reading the file
// (system_config.h).
//
// Loop thread only.

#ifndef VXVDE_AGENT_CONFIG_CURRENT_CONFIG_H_
#define VXVDE_AGENT_CONFIG_CURRENT_CONFIG_H_

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "agent/config/config.h"

namespace vxvde {

class CurrentConfig {
 public:
  explicit CurrentConfig(Config config) : config_(std::move(config)) {}
  CurrentConfig(const CurrentConfig&) = delete;
  CurrentConfig& operator=(const CurrentConfig&) = delete;

  // The reference stays valid and shows each later configuration; pointers into it end with Set.
  const Config& Get() const { return config_; }

  // Replaces the configuration, then calls the listeners in the order of their subscription.
  void Set(Config config);

  // `before` is the configuration that Get() returned until now.
  using Listener = std::function<void(const Config& before)>;

  // Ends with its destruction. The owner outlives it.
  class Subscription {
   public:
    Subscription(Subscription&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), id_(other.id_) {}
    Subscription& operator=(Subscription&&) = delete;
    ~Subscription() {
      if (owner_ != nullptr) owner_->listeners_.erase(id_);
    }

   private:
    friend class CurrentConfig;
    Subscription(CurrentConfig* owner, uint64_t id) : owner_(owner), id_(id) {}
    CurrentConfig* owner_;
    uint64_t id_;
  };
  // A listener calls neither Set nor Subscribe, and ends no subscription.
  [[nodiscard]] Subscription Subscribe(Listener listener);

 private:
  Config config_;
  std::map<uint64_t, Listener> listeners_;  // in the order of subscription
  uint64_t last_id_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_CONFIG_CURRENT_CONFIG_H_
