#include "agent/config/current_config.h"

namespace vxvde {

void CurrentConfig::Set(Config config) {
  const Config before = std::exchange(config_, std::move(config));
  for (const auto& [id, listener] : listeners_) listener(before);
}

CurrentConfig::Subscription CurrentConfig::Subscribe(Listener listener) {
  listeners_.emplace(++last_id_, std::move(listener));
  return Subscription(this, last_id_);
}

}  // namespace vxvde
