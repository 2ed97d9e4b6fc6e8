// Slots: hands out the slots of a map.

#ifndef VXVDE_PLUGIN_FASTPATH_SLOTS_H_
#define VXVDE_PLUGIN_FASTPATH_SLOTS_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace vxvde {

// Numbers from 0 below `size`. A number that was given back is used again only after all others, so
// that frames in flight that still name its last owner find no new one.
class Slots {
 public:
  explicit Slots(uint32_t size) : size_(size) {}

  std::optional<uint32_t> Take() {
    if (used_ < size_) return used_++;
    if (free_.empty()) return std::nullopt;
    const uint32_t slot = free_.front();
    free_.pop_front();
    return slot;
  }
  void GiveBack(uint32_t slot) { free_.push_back(slot); }
  // Marks `slots` as taken. Only before the first Take().
  void Reserve(std::vector<uint32_t> slots) {
    std::sort(slots.begin(), slots.end());
    for (const uint32_t slot : slots) {
      while (used_ < slot) free_.push_back(used_++);
      used_ = std::max(used_, slot + 1);
    }
  }

 private:
  uint32_t size_;
  uint32_t used_ = 0;
  std::deque<uint32_t> free_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_SLOTS_H_
