// A hostile connection. The input is a sequence of messages, each with flags (1 byte), its size (2
// bytes, big endian) and its bytes. Flags: the number of descriptors in the low 2 bits; 4:
// truncated; 8: the answer is not delivered; 16: the service refuses; 32: a plan is answered after
// Handle, by its result (64), by an error (128) or not at all.

#include <sys/eventfd.h>

#include <algorithm>
#include <cstdlib>

#include "agent/attach/testing/fake_attach_service.h"
#include "agent/handoff/session.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vxvde::FakeAttachService service;
  {
    bool waits = false;
    vxvde::HandoffSession session(&service, [&](const std::string& answer) {
      if (answer.empty() || !waits) std::abort();
      waits = false;
    });
    std::span<const uint8_t> rest(data, size);
    while (rest.size() >= 3) {
      const uint8_t flags = rest[0];
      const size_t n = std::min<size_t>(rest[1] << 8 | rest[2], rest.size() - 3);
      std::vector<vxvde::UniqueFd> fds;
      for (int i = 0; i < (flags & 3); ++i) fds.emplace_back(eventfd(0, EFD_CLOEXEC));
      service.fail = (flags & 16) != 0 ? absl::InternalError("refused") : absl::OkStatus();
      service.plan_waits = (flags & 32) != 0;
      const std::optional<std::string> answer =
          session.Handle(rest.subspan(3, n), std::move(fds), (flags & 4) != 0);
      waits = !answer.has_value();
      if (waits != service.plan_pending() || (!waits && answer->empty())) std::abort();
      if (waits && (flags & 64) != 0) {
        service.AnswerPlan(absl::OkStatus());
      } else if (waits && (flags & 128) != 0) {
        service.AnswerPlan(absl::UnavailableError("no address"));
      }
      if ((flags & 8) != 0) session.Undelivered();
      rest = rest.subspan(3 + n);
      if (service.open < 0 || service.open > 1) std::abort();
    }
  }
  if (service.open != 0) std::abort();  // every plan has ended
  return 0;
}
