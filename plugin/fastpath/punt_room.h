// PuntRoom: the agent's side of fp_punts (abi.h), memory that it shares with the programs.

#ifndef VXVDE_PLUGIN_FASTPATH_PUNT_ROOM_H_
#define VXVDE_PLUGIN_FASTPATH_PUNT_ROOM_H_

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/fastpath/abi.h"
#include "plugin/os/fd.h"

namespace vxvde {

class PuntRoom {
 public:
  static absl::StatusOr<std::unique_ptr<PuntRoom>> Map(int map) {
    void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    if (memory == MAP_FAILED) return ErrnoStatus(errno, "map the memory of fp_punts");
    return std::unique_ptr<PuntRoom>(new PuntRoom(static_cast<fp_punts*>(memory)));
  }
  ~PuntRoom() { (void)munmap(punts_, kSize); }
  PuntRoom(const PuntRoom&) = delete;
  PuntRoom& operator=(const PuntRoom&) = delete;

  // Called when a frame of the port at `slot` was read.
  void Read(uint32_t slot, bool group) {
    if (slot < FP_PORTS) Out(slot, group ? FP_PUNT_FLOOD : FP_PUNT_OTHER).fetch_add(1, kRelaxed);
  }
  // Called when no frame of the port waits.
  void Reset(uint32_t slot) {
    for (int kind = 0; kind < FP_PUNT_KINDS; ++kind) {
      Out(slot, kind).store(In(slot, kind).load(kRelaxed), kRelaxed);
    }
  }
  // Called when the slot gets another port.
  void Clear(uint32_t slot) {
    Reset(slot);
    std::atomic_ref(punts_[slot].full_at).store(0, kRelaxed);
    std::atomic_ref(punts_[slot].refused).store(0, kRelaxed);
  }
  uint64_t Refused(uint32_t slot) const {
    return std::atomic_ref(punts_[slot].refused).load(kRelaxed);
  }
  // Frames that the tap dropped are never counted out. Gives a port its room back when none of its
  // frames was punted or read since the last call.
  struct Last {
    uint32_t in[FP_PUNT_KINDS] = {};
    uint32_t out[FP_PUNT_KINDS] = {};
  };
  void Recover(uint32_t slot, Last& last) {
    for (int kind = 0; kind < FP_PUNT_KINDS; ++kind) {
      const uint32_t in = In(slot, kind).load(kRelaxed);
      const uint32_t out = Out(slot, kind).load(kRelaxed);
      if (in != out && in == last.in[kind] && out == last.out[kind]) {
        Out(slot, kind).store(in, kRelaxed);
      }
      last.in[kind] = in;
      last.out[kind] = out;
    }
  }

 private:
  static constexpr size_t kSize = sizeof(fp_punts) * FP_PORTS;
  static_assert(kSize % 4096 == 0);
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;

  explicit PuntRoom(fp_punts* punts) : punts_(punts) {}
  std::atomic_ref<uint32_t> In(uint32_t slot, int kind) {
    return std::atomic_ref(punts_[slot].in[kind]);
  }
  std::atomic_ref<uint32_t> Out(uint32_t slot, int kind) {
    return std::atomic_ref(punts_[slot].out[kind]);
  }

  fp_punts* punts_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_PUNT_ROOM_H_
